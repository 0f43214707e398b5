/** A frozen encoder on the device: images in, features or embeddings out. */
import type { Gpu, Target } from "../kernels/gpu.ts";
import { byteLength, Graph, padTo4, type Tensor } from "../kernels/graph.ts";
import { l2Normalize } from "../kernels/ops/l2_normalize/l2_normalize.ts";
import type { KernelTime } from "../kernels/profiler.ts";
import { Program } from "../kernels/program.ts";
import { readStaging } from "../kernels/readback.ts";
import { RepeatedRun } from "../kernels/repeated_run.ts";
import { liveNodes, makeSchedule, type Schedule } from "../kernels/schedule.ts";
import { ConstantTextures } from "../kernels/texture_operand.ts";
import { EncoderBuilder } from "./encoder_builder.ts";
import type { DeviceParameter } from "./encoder_layers.ts";
import type { HeadOptions } from "./heads.ts";
import { type ImageInput, type Normalization, traceImages } from "./images.ts";
import { ParameterStore, type ReadEntry } from "./parameter_store.ts";
import { UserError } from "../errors.ts";
import { type Encoder, type EncoderOutputs, traceEncoder, traceOutputs } from "./encoder.ts";
import { usualHead } from "./registry.ts";

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
  /** Whether its feature map is wanted too. */
  map?: boolean;
  /** Keep feature maps, and the weights of convolutions and linear layers, in float16, which not every adapter can. */
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
  /** Its feature map [n, h, w, c], if it is wanted. */
  map: Tensor | undefined;
  /** What the output depends on. */
  parameters: DeviceParameter[];
}

/** Weights on the device, and which parameters they are. */
interface Weights {
  store: ParameterStore;
  parameters: readonly DeviceParameter[];
  /** Entries that parameters of {@linkcode DeviceParameter.bySize} are made of, once they are loaded. */
  entries: Map<string, Float32Array>;
  /** Copies of them that kernels read, where they read textures. */
  textures: ConstantTextures;
}

function trace(options: FrozenEncoderOptions, batch: number, limit: number): Traced {
  const { encoder, head, imageSize, input = "pixels", normalization, output } = options;
  const graph = new Graph();
  const { source, images } = traceImages(graph, input, batch, imageSize, normalization);
  const builder = new EncoderBuilder(graph, "eval", {
    maxWeightBytes: Math.min(limit, LARGEST_WEIGHT_BYTES),
    halfWeights: options.mixedPrecision,
  });
  const readsEmbedding = output === "embedding" || output === "normalized";
  const outputs = traceOutputs(encoder, builder, images, head, { readsEmbedding });
  const result = output === "feature"
    ? outputs.feature
    : output === "embedding"
    ? outputs.embedding
    : graph.apply(l2Normalize, [output === "normalized" ? outputs.embedding : outputs.feature], {});
  const map = options.map ? mapOf(encoder, outputs) : undefined;
  const parameters = builder.parametersOf(result, ...map === undefined ? [] : [map]);
  return { graph, images: source, output: result, map, parameters };
}

/** The feature map of an encoder's outputs. Throws a {@linkcode UserError} where it has none. */
export function mapOf({ name }: Encoder, { map }: EncoderOutputs): Tensor {
  if (map !== undefined) return map();
  throw new UserError(`${name} gives no feature map, which this --loss compares; use another loss`);
}

/** Height, width and channels of an encoder's feature map, of square images of a size; see {@linkcode mapOf}. */
export function mapShape(
  encoder: Encoder,
  imageSize: number,
): [height: number, width: number, channels: number] {
  const graph = new Graph();
  const { images } = traceImages(graph, "normalized", 1, imageSize);
  const outputs = traceEncoder(encoder, new EncoderBuilder(graph, "eval"), images, usualHead(encoder));
  const [, height, width, channels] = mapOf(encoder, outputs).shape;
  return [height, width, channels];
}

/** Images of one run: all, or as many as leave every activation small enough to be bound, in runs of one size. */
function runSize({ graph, output, map }: Traced, batch: number, limit: number): number {
  const activations = liveNodes(graph, [output, ...map === undefined ? [] : [map]]).flatMap(({ outputs }) =>
    outputs
  );
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
export type ImageBatchSize = Pick<FrozenEncoderOptions, "batch" | "imageSize" | "map">;

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
  readonly #run: RepeatedRun;
  readonly #weights: Weights;
  /** What it frees: its weights, or where they are shared those that depend on the images' size. */
  readonly #own: ParameterStore | undefined;
  readonly #images: Tensor;
  readonly #output: Tensor;
  readonly #map: Tensor | undefined;
  /** As {@linkcode FrozenEncoder.#staging}, of maps. */
  readonly #mapStaging: GPUBuffer[] = [];

  private constructor(
    gpu: Gpu,
    options: FrozenEncoderOptions,
    program: Program,
    weights: Weights,
    own: ParameterStore | undefined,
    { images, output, map }: Traced,
  ) {
    this.#gpu = gpu;
    this.#options = options;
    this.#program = program;
    this.#run = new RepeatedRun(gpu, [program]);
    this.#weights = weights;
    this.#own = own;
    this.#images = images;
    this.#output = output;
    this.#map = map;
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
   * The same encoder with the same weights, which are on the device once, for images of another size or number; they must
   * have been loaded. Dispose of it before this one.
   */
  share(size: ImageBatchSize): Promise<FrozenEncoder> {
    return FrozenEncoder.#create(this.#gpu, { ...this.#options, ...size }, this.#weights);
  }

  static async #create(gpu: Gpu, options: FrozenEncoderOptions, shared?: Weights): Promise<FrozenEncoder> {
    const limit = gpu.target.maxStorageBufferBindingSize;
    const traced = trace(options, runSize(trace(options, 1, limit), options.batch, limit), limit);
    const { graph, images, output, map, parameters } = traced;
    const bySize = parameters.filter((parameter) => parameter.bySize);
    const own = shared === undefined
      ? new ParameterStore(gpu, parameters)
      : bySize.length > 0
      ? new ParameterStore(gpu, bySize)
      : undefined;
    const weights = shared ?? {
      parameters,
      store: own!,
      entries: new Map(),
      textures: new ConstantTextures(
        gpu.device,
        parameters.reduce((sum, { tensor }) => sum + byteLength(tensor), 0),
      ),
    };
    if (shared !== undefined) await own?.load((key) => shared.entries.get(key)!);
    // Each trace has tensors of its own, in the same order.
    const bound = parameters.map(({ tensor, bySize }, i) => {
      const range = bySize ? own!.rangeOf(tensor) : weights.store.rangeOf(weights.parameters[i].tensor);
      return [tensor, range] as const;
    });
    const program = await Program.compile(gpu, {
      label: options.encoder.name,
      graph,
      inputs: [images],
      outputs: [output, ...map === undefined ? [] : [map]],
      bound: new Map(bound),
      constants: {
        tensors: parameters.flatMap(({ tensor, bySize }) => bySize ? [] : [tensor]),
        textures: weights.textures,
      },
      mixedPrecision: options.mixedPrecision,
    });
    if (shared !== undefined) weights.textures.fill();
    return new FrozenEncoder(gpu, options, program, weights, own, traced);
  }

  /** Uploads the weights; `read` gives a state_dict entry in PyTorch's layout. */
  async load(read: ReadEntry): Promise<void> {
    const { store, parameters, entries, textures } = this.#weights;
    const kept = new Set(parameters.filter(({ bySize }) => bySize).flatMap(({ keys }) => keys));
    await store.load(async (key, rows) => {
      const values = await read(key, rows);
      if (kept.has(key)) entries.set(key, values);
      return values;
    });
    textures.reload();
  }

  /**
   * Encodes one batch: packed RGBA8 pixels [batch, size, size] or, with input `normalized`, float32 in the device's
   * layout. A call submits its work at once, so that the device does not wait while the call before it still reads back.
   *
   * @param into filled with the output [batch, {@linkcode dimension}] and returned; a new array when not given
   * @param mapInto filled with the feature maps, in the device's layout; of an encoder that was created with `map`
   */
  async embed(
    images: ArrayBuffer | ArrayBufferView<ArrayBuffer>,
    into: Float32Array<ArrayBuffer> = new Float32Array(this.batch * this.dimension),
    mapInto?: Float32Array<ArrayBuffer>,
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
    const reserve = (free: GPUBuffer[], label: string, size: number) =>
      free.pop() ??
        device.createBuffer({ label, size, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
    const staging = reserve(this.#staging, "embeddings", this.batch * padTo4(this.dimension) * 4);
    const maps = mapInto && this.#program.rangeOf(this.#map!);
    const mapStaging = mapInto && reserve(this.#mapStaging, "feature maps", mapInto.byteLength);
    for (let done = 0; done < this.batch; done += this.imagesPerRun) {
      // The last run is as long as the others, and may embed some images a second time.
      const first = Math.min(done, this.batch - this.imagesPerRun);
      const part = data.subarray(first * imageBytes, (first + this.imagesPerRun) * imageBytes);
      this.#program.write(this.#images, part);
      this.#run.submit((encoder) => {
        const at = first * (bytes / this.imagesPerRun);
        encoder.copyBufferToBuffer(buffer, offset, staging, at, bytes);
        if (maps === undefined) return;
        const atMaps = first * (maps.bytes / this.imagesPerRun);
        encoder.copyBufferToBuffer(maps.buffer, maps.offset, mapStaging!, atMaps, maps.bytes);
      });
    }
    const readMaps = mapStaging && readStaging(this.#gpu, mapStaging, (maps) => {
      mapInto!.set(new Float32Array(maps));
    });
    const readEmbeddings = readStaging(this.#gpu, staging, (embeddings) => {
      const padded = new Float32Array(embeddings);
      const stride = padTo4(this.dimension);
      for (let row = 0; row < this.batch; row++) {
        into.set(padded.subarray(row * stride, row * stride + this.dimension), row * this.dimension);
      }
    });
    await Promise.all([readEmbeddings, readMaps]);
    this.#staging.push(staging);
    if (mapStaging !== undefined) this.#mapStaging.push(mapStaging);
    return into;
  }

  /** The time and the work of every dispatch of a run, on the images of the last one. */
  profile(): Promise<KernelTime[]> {
    return this.#program.profile();
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    this.#program.destroy();
    for (const staging of [...this.#staging, ...this.#mapStaging]) staging.destroy();
    this.#own?.[Symbol.dispose]();
    if (this.#own === this.#weights.store) this.#weights.textures[Symbol.dispose]();
  }
}
