/** A frozen encoder on the device: images in, features or embeddings out. */
import type { Gpu, Target } from "../kernels/gpu.ts";
import { byteLength, Graph, padTo4, type Tensor } from "../kernels/graph.ts";
import { l2Normalize } from "../kernels/ops/l2_normalize/l2_normalize.ts";
import type { KernelTime } from "../kernels/profiler.ts";
import { Program } from "../kernels/program.ts";
import { readStaging } from "../kernels/readback.ts";
import { liveNodes, makeSchedule, type Schedule } from "../kernels/schedule.ts";
import { type DeviceParameter, EncoderBuilder } from "./encoder_builder.ts";
import type { HeadOptions } from "./heads.ts";
import { type ImageInput, type Normalization, traceImages } from "./images.ts";
import { ParameterStore, type ReadEntry } from "./parameter_store.ts";
import type { Encoder } from "./encoder.ts";

/** What {@linkcode FrozenEncoder.create} needs. */
export interface FrozenEncoderOptions {
  encoder: Encoder;
  head: HeadOptions;
  /** Images of one run. */
  batch: number;
  /** Side of the square images, in pixels. */
  imageSize: number;
  input?: ImageInput;
  /** Of `pixels`; ImageNet's where it is left out. */
  normalization?: Normalization;
  /**
   * `feature`: pooled; `embedding`: the head's output; `normalized`: that, L2-normalised; `normalized_feature`: the pooled
   * feature, likewise.
   */
  output: "feature" | "embedding" | "normalized" | "normalized_feature";
  /** Keep maps of pixels in float16, which not every adapter can. */
  mixedPrecision?: boolean;
}

/**
 * Larger weights are cut even where they could be bound. It bounds what loading needs beside the weights themselves:
 * a part as the file has it, as the device has it, and on software adapters three operand textures of that size.
 */
const LARGEST_WEIGHT_BYTES = 64 * 2 ** 20;

/** What a program for some images is compiled from. */
interface Traced {
  graph: Graph;
  images: Tensor;
  output: Tensor;
  /** What the output depends on. */
  parameters: DeviceParameter[];
}

/** Weights on the device, and which parameters they are. */
interface Weights {
  store: ParameterStore;
  parameters: readonly DeviceParameter[];
}

function trace(options: FrozenEncoderOptions, batch: number, limit: number): Traced {
  const { encoder, head, imageSize, input = "pixels", normalization, output } = options;
  const graph = new Graph();
  const { source, images } = traceImages(graph, input, batch, imageSize, normalization);
  const builder = new EncoderBuilder(graph, "eval", {
    maxWeightBytes: Math.min(limit, LARGEST_WEIGHT_BYTES),
  });
  const outputs = encoder.trace(builder, images, head);
  const result = output === "feature"
    ? outputs.feature
    : output === "embedding"
    ? outputs.embedding
    : graph.apply(l2Normalize, [output === "normalized" ? outputs.embedding : outputs.feature], {});
  return { graph, images: source, output: result, parameters: builder.parametersOf(result) };
}

/** Images of one run: all, or as many as leave every activation small enough to be bound, in runs of one size. */
function runSize({ graph, output }: Traced, batch: number, limit: number): number {
  const activations = liveNodes(graph, [output]).flatMap(({ outputs }) => outputs);
  const most = Math.floor(limit / Math.max(...activations.map(byteLength)));
  // Where not even one fits, the program says which tensor it is.
  const runs = Math.ceil(batch / Math.max(1, most));
  return Math.ceil(batch / runs);
}

/** The dispatches of a run and its memory, without a device: what it would be on such a target. */
export function scheduleEncoder(target: Target, options: FrozenEncoderOptions): Schedule {
  const { graph, images, output, parameters } = trace(
    options,
    options.batch,
    target.maxStorageBufferBindingSize,
  );
  return makeSchedule(target, {
    label: options.encoder.name,
    graph,
    inputs: [images],
    outputs: [output],
    bound: parameters.map(({ tensor }) => tensor),
    mixedPrecision: options.mixedPrecision,
  });
}

/** How many images a {@linkcode FrozenEncoder} takes, and of which size. */
export type ImageBatchSize = Pick<FrozenEncoderOptions, "batch" | "imageSize">;

/** An encoder in eval mode, batch norm folded, for one batch size and image size. */
export class FrozenEncoder implements Disposable {
  /** Of the encoder. */
  readonly name: string;
  /** Length of a row of the output. */
  readonly dimension: number;
  readonly batch: number;
  /** Images that go through the device at once; a batch takes several runs where it is too large for that. */
  readonly imagesPerRun: number;
  readonly #gpu: Gpu;
  readonly #options: FrozenEncoderOptions;
  /** Buffers that embeddings are read back through, those that no call uses. */
  readonly #staging: GPUBuffer[] = [];
  readonly #program: Program;
  readonly #weights: Weights;
  readonly #ownsWeights: boolean;
  readonly #images: Tensor;
  readonly #output: Tensor;

  private constructor(
    gpu: Gpu,
    options: FrozenEncoderOptions,
    program: Program,
    weights: Weights,
    ownsWeights: boolean,
    { images, output }: Traced,
  ) {
    this.#gpu = gpu;
    this.#options = options;
    this.#program = program;
    this.#weights = weights;
    this.#ownsWeights = ownsWeights;
    this.#images = images;
    this.#output = output;
    this.name = options.encoder.name;
    this.batch = options.batch;
    this.imagesPerRun = output.shape[0];
    this.dimension = output.shape.at(-1)!;
  }

  /** Compiles it. Call {@linkcode load} before the first {@linkcode embed}. */
  static create(gpu: Gpu, options: FrozenEncoderOptions): Promise<FrozenEncoder> {
    return FrozenEncoder.#create(gpu, options);
  }

  /**
   * The same encoder with the same weights, which are on the device once, for images of another size or number.
   * Dispose of it before this one.
   */
  share(size: ImageBatchSize): Promise<FrozenEncoder> {
    return FrozenEncoder.#create(this.#gpu, { ...this.#options, ...size }, this.#weights);
  }

  static async #create(gpu: Gpu, options: FrozenEncoderOptions, shared?: Weights): Promise<FrozenEncoder> {
    const limit = gpu.target.maxStorageBufferBindingSize;
    const traced = trace(options, runSize(trace(options, 1, limit), options.batch, limit), limit);
    const { graph, images, output, parameters } = traced;
    const weights = shared ??
      { parameters, store: new ParameterStore(gpu, parameters) };
    // Each trace has tensors of its own, in the same order.
    const bound = parameters.map(({ tensor }, i) =>
      [tensor, weights.store.rangeOf(weights.parameters[i].tensor)] as const
    );
    const program = await Program.compile(gpu, {
      label: options.encoder.name,
      graph,
      inputs: [images],
      outputs: [output],
      bound: new Map(bound),
      mixedPrecision: options.mixedPrecision,
    });
    return new FrozenEncoder(gpu, options, program, weights, shared === undefined, traced);
  }

  /** Uploads the weights; `read` gives a state_dict entry in PyTorch's layout. */
  load(read: ReadEntry): Promise<void> {
    return this.#weights.store.load(read);
  }

  /**
   * Encodes one batch: packed RGBA8 pixels [batch, size, size] or, with input `normalized`, float32 in the device's
   * layout. A call submits its work at once, so that the device does not wait while the call before it still reads back.
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
    const imageBytes = byteLength(this.#images) / this.imagesPerRun;
    if (data.byteLength !== this.batch * imageBytes) {
      throw new Error(
        `${this.batch} images have ${this.batch * imageBytes} bytes, was given ${data.byteLength}`,
      );
    }
    const { buffer, offset, bytes } = this.#program.rangeOf(this.#output);
    const staging = this.#staging.pop() ?? device.createBuffer({
      label: "embeddings",
      size: this.batch * padTo4(this.dimension) * 4,
      usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
    });
    for (let done = 0; done < this.batch; done += this.imagesPerRun) {
      // The last run is as long as the others, and may embed some images a second time.
      const first = Math.min(done, this.batch - this.imagesPerRun);
      const part = data.subarray(first * imageBytes, (first + this.imagesPerRun) * imageBytes);
      this.#program.write(this.#images, part);
      const encoder = device.createCommandEncoder({ label: "embed" });
      this.#program.encode(encoder);
      const at = first * (bytes / this.imagesPerRun);
      encoder.copyBufferToBuffer(buffer, offset, staging, at, bytes);
      device.queue.submit([encoder.finish()]);
    }
    await readStaging(this.#gpu, staging, (embeddings) => {
      const padded = new Float32Array(embeddings);
      const stride = padTo4(this.dimension);
      for (let row = 0; row < this.batch; row++) {
        into.set(padded.subarray(row * stride, row * stride + this.dimension), row * this.dimension);
      }
    });
    this.#staging.push(staging);
    return into;
  }

  /** The time and the work of every dispatch of a run, on the images of the last one. */
  profile(): Promise<KernelTime[]> {
    return this.#program.profile();
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    this.#program.destroy();
    for (const staging of this.#staging) staging.destroy();
    if (this.#ownsWeights) this.#weights.store[Symbol.dispose]();
  }
}
