/** A frozen encoder on the device: pictures in, features or embeddings out. */
import type { Gpu } from "../kernels/gpu.ts";
import { Graph, type Tensor } from "../kernels/graph.ts";
import { unpadRows } from "../kernels/layout.ts";
import { l2Normalize } from "../kernels/ops/l2_normalize/l2_normalize.ts";
import { Program } from "../kernels/program.ts";
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
  readonly #program: Program;
  readonly #store: ParameterStore;
  readonly #images: Tensor;
  readonly #output: Tensor;

  private constructor(
    program: Program,
    store: ParameterStore,
    images: Tensor,
    output: Tensor,
    batch: number,
  ) {
    this.#program = program;
    this.#store = store;
    this.#images = images;
    this.#output = output;
    this.batch = batch;
    this.dimension = output.shape.at(-1)!;
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
    const used = usedBy(graph, result);
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
    return new FrozenEncoder(program, store, source, result, batch);
  }

  /** Uploads the weights; `read` gives a state_dict entry in PyTorch's layout. */
  load(read: (key: string) => Float32Array | Promise<Float32Array>): Promise<void> {
    return this.#store.load(read);
  }

  /**
   * Encodes one batch: packed RGBA8 pixels [batch, size, size] or, with input `normalized`, float32 in the device's
   * layout. Returns [batch, {@linkcode dimension}].
   */
  async embed(images: ArrayBuffer | ArrayBufferView<ArrayBuffer>): Promise<Float32Array<ArrayBuffer>> {
    this.#program.write(this.#images, images);
    this.#program.run();
    return unpadRows(await this.#program.read(this.#output), [this.batch, this.dimension]);
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    this.#program.destroy();
    this.#store[Symbol.dispose]();
  }
}

/** Every tensor that a result depends on. */
function usedBy(graph: Graph, result: Tensor): Set<Tensor> {
  const used = new Set([result]);
  for (const node of graph.nodes.toReversed()) {
    if (node.outputs.some((output) => used.has(output))) { for (const input of node.inputs) used.add(input); }
  }
  return used;
}
