/** How alike some embeddings are to every key of a queue: what SEED's softmax is taken of. */
import type { Gpu } from "../kernels/gpu.ts";
import { byteLength, Graph, padTo4, type Tensor } from "../kernels/graph.ts";
import { padRows, unpadRows } from "../kernels/layout.ts";
import { matmulTransposed } from "../kernels/ops/matmul_transposed/matmul_transposed.ts";
import { Program } from "../kernels/program.ts";
import { rowChunks } from "../kernels/row_chunks.ts";

/** Compares a fixed number of embeddings with a queue that is on the device. */
export class QueueSimilarities implements Disposable {
  readonly #program: Program;
  readonly #rows: Tensor;
  /** By chunks of keys. */
  readonly #outputs: readonly Tensor[];
  readonly #shape: readonly [rows: number, keys: number, dimension: number];

  private constructor(program: Program, rows: Tensor, outputs: readonly Tensor[], queueSize: number) {
    this.#program = program;
    this.#rows = rows;
    this.#outputs = outputs;
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
    const rowBytes = padTo4(dimension) * 4;
    // A queue that is larger than what the device binds at once.
    const chunks = rowChunks(padTo4(queueSize), rowBytes, gpu.target.maxStorageBufferBindingSize);
    const bound = new Map(chunks.map(({ first, count }) => {
      const keys = graph.source("queue", [1, 1, count, dimension]);
      return [keys, { buffer: queue, offset: first * rowBytes, bytes: byteLength(keys) }];
    }));
    const outputs = [...bound.keys()].map((keys) => graph.apply(matmulTransposed, [input, keys], {}));
    const program = await Program.compile(gpu, {
      label: "similarities to the queue",
      graph,
      inputs: [input],
      outputs,
      bound,
    });
    return new QueueSimilarities(program, input, outputs, queueSize);
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
    const all = new Float32Array(rows * keys);
    let first = 0;
    for (const output of this.#outputs) {
      const columns = output.shape[3];
      const part = unpadRows(await this.#program.read(output), output.shape);
      const count = Math.min(columns, keys - first);
      for (let row = 0; row < rows; row++) {
        all.set(part.subarray(row * columns, row * columns + count), row * keys + first);
      }
      first += columns;
    }
    return all;
  }

  /** Frees the device's memory; the queue is its owner's. */
  [Symbol.dispose](): void {
    this.#program.destroy();
  }
}
