/** A frozen encoder on the device: pictures in, features or embeddings out. */
import type { Gpu } from "../kernels/gpu.ts";
import { byteLength, Graph, padTo4, type Tensor } from "../kernels/graph.ts";
import { l2Normalize } from "../kernels/ops/l2_normalize/l2_normalize.ts";
import { liveNodes, Program } from "../kernels/program.ts";
import { EncoderBuilder } from "./encoder_builder.ts";
import type { HeadOptions } from "./heads.ts";
import { type ImageInput, traceImages } from "./images.ts";
import { ParameterStore } from "./parameter_store.ts";
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

/** An encoder in eval mode, batch norm folded, for one batch size and picture size. */
export class FrozenEncoder implements Disposable {
  /** Length of a row of the output. */
  readonly dimension: number;
  readonly batch: number;
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
    this.dimension = output.shape.at(-1)!;
    this.#staging = gpu.device.createBuffer({
      label: "embeddings",
      size: byteLength(output),
      usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
    });
  }

  /** Compiles it. Call {@linkcode load} before the first {@linkcode embed}. */
  static async create(gpu: Gpu, options: FrozenEncoderOptions): Promise<FrozenEncoder> {
    const { encoder, head, batch, imageSize, input = "pixels", output } = options;
    const graph = new Graph();
    const { source, images } = traceImages(graph, input, batch, imageSize);
    const builder = new EncoderBuilder(graph, "eval");
    const outputs = encoder.trace(builder, images, head);
    const result = output === "feature"
      ? outputs.feature
      : output === "embedding"
      ? outputs.embedding
      : graph.apply(l2Normalize, [outputs.embedding], {});
    const used = new Set(liveNodes(graph, [result]).flatMap(({ inputs }) => inputs));
    const store = new ParameterStore(gpu, builder.parameters.filter(({ tensor }) => used.has(tensor)), {
      training: false,
    });
    const program = await Program.compile(gpu, {
      label: encoder.name,
      graph,
      inputs: [source],
      outputs: [result],
      bound: store.bindings(),
    });
    return new FrozenEncoder(gpu, program, store, source, result, batch);
  }

  /** Uploads the weights; `read` gives a state_dict entry in PyTorch's layout. */
  load(read: (key: string) => Float32Array | Promise<Float32Array>): Promise<void> {
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
    this.#program.write(this.#images, images);
    const { device } = this.#gpu;
    const encoder = device.createCommandEncoder({ label: "embed" });
    this.#program.encode(encoder);
    const { buffer, offset, bytes } = this.#program.rangeOf(this.#output);
    encoder.copyBufferToBuffer(buffer, offset, this.#staging, 0, bytes);
    device.queue.submit([encoder.finish()]);
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
