/** A frozen encoder on the device: pictures in, features or embeddings out. */
import type { Gpu } from "../kernels/gpu.ts";
import { byteLength, Graph, padTo4, type Tensor } from "../kernels/graph.ts";
import { l2Normalize } from "../kernels/ops/l2_normalize/l2_normalize.ts";
import { liveNodes, Program } from "../kernels/program.ts";
import { type DeviceParameter, EncoderBuilder } from "./encoder_builder.ts";
import type { HeadOptions } from "./heads.ts";
import { type ImageInput, traceImages } from "./images.ts";
import { ParameterStore, type ReadEntry } from "./parameter_store.ts";
import type { Encoder } from "./registry.ts";

/** What {@linkcode FrozenEncoder.create} needs. */
export interface FrozenEncoderOptions {
  encoder: Encoder;
  head: HeadOptions;
  /** Pictures of one run. */
  batch: number;
  /** Side of the square pictures, in pixels. */
  imageSize: number;
  input?: ImageInput;
  /** `feature`: pooled; `embedding`: the head's output; `normalized`: that, L2-normalised. */
  output: "feature" | "embedding" | "normalized";
}

/**
 * Larger weights are cut even where they could be bound. It bounds what loading needs beside the weights themselves:
 * a part as the file has it, as the device has it, and on software adapters three operand textures of that size.
 */
const LARGEST_WEIGHT_BYTES = 64 * 2 ** 20;

/** What a program for some pictures is compiled from. */
interface Traced {
  graph: Graph;
  images: Tensor;
  output: Tensor;
  /** What the output depends on. */
  parameters: DeviceParameter[];
}

function trace(options: FrozenEncoderOptions, batch: number, limit: number): Traced {
  const { encoder, head, imageSize, input = "pixels", output } = options;
  const graph = new Graph();
  const { source, images } = traceImages(graph, input, batch, imageSize);
  const builder = new EncoderBuilder(graph, "eval", {
    maxWeightBytes: Math.min(limit, LARGEST_WEIGHT_BYTES),
  });
  const outputs = encoder.trace(builder, images, head);
  const result = output === "feature"
    ? outputs.feature
    : output === "embedding"
    ? outputs.embedding
    : graph.apply(l2Normalize, [outputs.embedding], {});
  return { graph, images: source, output: result, parameters: builder.parametersOf(result) };
}

/** Pictures of one run: all, or as many as leave every activation small enough to be bound, in runs of one size. */
function runSize({ graph, output }: Traced, batch: number, limit: number): number {
  const activations = liveNodes(graph, [output]).flatMap(({ outputs }) => outputs);
  const most = Math.floor(limit / Math.max(...activations.map(byteLength)));
  // Where not even one fits, the program says which tensor it is.
  const runs = Math.ceil(batch / Math.max(1, most));
  return Math.ceil(batch / runs);
}

/** An encoder in eval mode, batch norm folded, for one batch size and picture size. */
export class FrozenEncoder implements Disposable {
  /** Length of a row of the output. */
  readonly dimension: number;
  readonly batch: number;
  /** Pictures that go through the device at once; a batch takes several runs where it is too large for that. */
  readonly picturesPerRun: number;
  readonly #gpu: Gpu;
  readonly #staging: GPUBuffer;
  readonly #program: Program;
  readonly #store: ParameterStore;
  readonly #images: Tensor;
  readonly #output: Tensor;

  private constructor(
    gpu: Gpu,
    program: Program,
    store: ParameterStore,
    images: Tensor,
    output: Tensor,
    batch: number,
  ) {
    this.#gpu = gpu;
    this.#program = program;
    this.#store = store;
    this.#images = images;
    this.#output = output;
    this.batch = batch;
    this.picturesPerRun = output.shape[0];
    this.dimension = output.shape.at(-1)!;
    this.#staging = gpu.device.createBuffer({
      label: "embeddings",
      size: batch * padTo4(this.dimension) * 4,
      usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
    });
  }

  /** Compiles it. Call {@linkcode load} before the first {@linkcode embed}. */
  static async create(gpu: Gpu, options: FrozenEncoderOptions): Promise<FrozenEncoder> {
    const { batch } = options;
    const limit = gpu.target.maxStorageBufferBindingSize;
    const { graph, images, output, parameters } = trace(
      options,
      runSize(trace(options, 1, limit), batch, limit),
      limit,
    );
    const store = new ParameterStore(gpu, parameters, { training: false });
    const program = await Program.compile(gpu, {
      label: options.encoder.name,
      graph,
      inputs: [images],
      outputs: [output],
      bound: store.bindings(),
    });
    return new FrozenEncoder(gpu, program, store, images, output, batch);
  }

  /** Uploads the weights; `read` gives a state_dict entry in PyTorch's layout. */
  load(read: ReadEntry): Promise<void> {
    return this.#store.load(read);
  }

  /**
   * Encodes one batch: packed RGBA8 pixels [batch, size, size] or, with input `normalized`, float32 in the device's
   * layout. One call at a time.
   *
   * @param into filled with the output [batch, {@linkcode dimension}] and returned; a new array when not given
   */
  async embed(
    images: ArrayBuffer | ArrayBufferView<ArrayBuffer>,
    into: Float32Array<ArrayBuffer> = new Float32Array(this.batch * this.dimension),
  ): Promise<Float32Array<ArrayBuffer>> {
    const { device } = this.#gpu;
    const data = images instanceof ArrayBuffer
      ? new Uint8Array(images)
      : new Uint8Array(images.buffer, images.byteOffset, images.byteLength);
    const pictureBytes = byteLength(this.#images) / this.picturesPerRun;
    if (data.byteLength !== this.batch * pictureBytes) {
      throw new Error(
        `${this.batch} pictures have ${this.batch * pictureBytes} bytes, was given ${data.byteLength}`,
      );
    }
    const { buffer, offset, bytes } = this.#program.rangeOf(this.#output);
    for (let done = 0; done < this.batch; done += this.picturesPerRun) {
      // The last run is as long as the others, and may embed some pictures a second time.
      const first = Math.min(done, this.batch - this.picturesPerRun);
      const part = data.subarray(first * pictureBytes, (first + this.picturesPerRun) * pictureBytes);
      this.#program.write(this.#images, part);
      const encoder = device.createCommandEncoder({ label: "embed" });
      this.#program.encode(encoder);
      const at = first * (bytes / this.picturesPerRun);
      encoder.copyBufferToBuffer(buffer, offset, this.#staging, at, bytes);
      device.queue.submit([encoder.finish()]);
    }
    await Promise.race([this.#staging.mapAsync(GPUMapMode.READ), this.#gpu.failed]);
    const padded = new Float32Array(this.#staging.getMappedRange());
    const stride = padTo4(this.dimension);
    for (let row = 0; row < this.batch; row++) {
      into.set(padded.subarray(row * stride, row * stride + this.dimension), row * this.dimension);
    }
    this.#staging.unmap();
    return into;
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    this.#program.destroy();
    this.#staging.destroy();
    this.#store[Symbol.dispose]();
  }
}
