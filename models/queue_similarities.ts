/** How alike some embeddings are to every key of a queue: what SEED's softmax is taken of. */
import type { Gpu } from "../kernels/gpu.ts";
import { byteLength, Graph, padTo4, type Tensor } from "../kernels/graph.ts";
import { padRows, unpadRows } from "../kernels/layout.ts";
import { matmulTransposed } from "../kernels/ops/matmul_transposed/matmul_transposed.ts";
import { Program } from "../kernels/program.ts";

/** Compares a fixed number of embeddings with a queue that is on the device. */
export class QueueSimilarities implements Disposable {
  readonly #program: Program;
  readonly #rows: Tensor;
  readonly #output: Tensor;
  readonly #shape: readonly [rows: number, keys: number, dimension: number];

  private constructor(program: Program, rows: Tensor, output: Tensor, queueSize: number) {
    this.#program = program;
    this.#rows = rows;
    this.#output = output;
    this.#shape = [rows.shape[0], queueSize, rows.shape[3]];
  }

  /** @param queue keys [queueSize padded to 4, dimension padded to 4], float32, L2-normalised */
  static async create(
    gpu: Gpu,
    queue: GPUBuffer,
    { rows, queueSize, dimension }: { rows: number; queueSize: number; dimension: number },
  ): Promise<QueueSimilarities> {
    const graph = new Graph();
    const input = graph.source("embeddings", [rows, 1, 1, dimension]);
    const keys = graph.source("queue", [1, 1, padTo4(queueSize), dimension]);
    const output = graph.apply(matmulTransposed, [input, keys], {});
    const program = await Program.compile(gpu, {
      label: "similarities to the queue",
      graph,
      inputs: [input],
      outputs: [output],
      bound: new Map([[keys, { buffer: queue, offset: 0, bytes: byteLength(keys) }]]),
    });
    return new QueueSimilarities(program, input, output, queueSize);
  }

  /**
   * Cosines [rows, queueSize] with the keys as they are now.
   *
   * @param embeddings [rows, dimension], L2-normalised
   */
  async compare(embeddings: Float32Array): Promise<Float32Array<ArrayBuffer>> {
    const [rows, keys, dimension] = this.#shape;
    this.#program.write(this.#rows, padRows(embeddings, [rows, dimension]));
    this.#program.run();
    const padded = unpadRows(await this.#program.read(this.#output), this.#output.shape);
    const columns = this.#output.shape[3];
    if (columns === keys) return padded;
    const all = new Float32Array(rows * keys);
    for (let row = 0; row < rows; row++) {
      all.set(padded.subarray(row * columns, row * columns + keys), row * keys);
    }
    return all;
  }

  /** Frees the device's memory; the queue is its owner's. */
  [Symbol.dispose](): void {
    this.#program.destroy();
  }
}
