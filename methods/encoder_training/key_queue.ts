/**
 * A queue of earlier embeddings on the device: a ring of rows that a loss compares a batch with, and into which the batch's
 * own keys go when its step is done.
 */
import { UserError } from "../../errors.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { readBuffer } from "../../kernels/readback.ts";
import { padTo4 } from "../../kernels/graph.ts";
import { padRows, unpadRows } from "../../kernels/layout.ts";
import type { BufferRange, GatheredRows } from "../../kernels/program.ts";
import { QueueSimilarities } from "../../models/queue_similarities.ts";
import { ringPieces } from "../../models/ring.ts";
import type { BatchInGroup } from "../../models/training_step.ts";

/** Options for {@linkcode KeyQueue}. */
export interface KeyQueueOptions {
  /** Keys that the queue holds. */
  size: number;
  /** Numbers in a key. */
  dimension: number;
  /** Keys that a batch brings, on this device. */
  batch: number;
  /** Devices that bring as many; 1 where it is left out. */
  ranks?: number;
  /** Batches that make one step. */
  accumulate: number;
  /** Rows of a batch's embeddings from one key to the next: of several views of an image the first one's is a key. */
  stride: number;
}

/**
 * Fails where a queue is larger than a buffer may be: a loss binds it in parts, but it lies in one.
 *
 * @throws {UserError} that says the most keys that fit, a multiple of a step's
 */
export function requireQueueFits(
  { device }: Pick<Gpu, "device">,
  { size, dimension, batch, ranks = 1, accumulate = 1 }:
    & Pick<KeyQueueOptions, "size" | "dimension" | "batch" | "ranks">
    & { accumulate?: number },
): void {
  const rowBytes = padTo4(dimension) * 4;
  const [bytes, limit] = [padTo4(size) * rowBytes, device.limits.maxBufferSize];
  if (bytes <= limit) return;
  const most = Math.floor(limit / (4 * rowBytes)) * 4;
  const ofStep = batch * ranks * accumulate;
  throw new UserError(
    `a queue of ${size} keys of ${dimension} numbers takes ${bytes} bytes, but a buffer of this adapter has at most ${limit}; ` +
      `the longest queue that fits has ${most - most % ofStep} keys`,
  );
}

/** A queue in the buffer of a training step's tensor [1, 1, size padded to 4, dimension]. */
export class KeyQueue implements Disposable {
  readonly #gpu: Gpu;
  readonly #buffer: GPUBuffer;
  readonly #options: KeyQueueOptions;
  /** Keys that wait for their step's last batch, where batches accumulate. */
  readonly #waiting: GPUBuffer | undefined;
  /** The embeddings of all devices' batches, where there are several. */
  readonly #gathered: GPUBuffer | undefined;
  /** Made when it is first asked for. */
  #similarities: Promise<QueueSimilarities> | undefined;

  /** @param buffer stays its owner's */
  constructor(gpu: Gpu, buffer: GPUBuffer, options: KeyQueueOptions) {
    const { accumulate, dimension, size, stride, ranks = 1 } = options;
    const batch = options.batch * ranks;
    if (accumulate * batch > size) {
      throw new Error(
        `the keys of a step, ${accumulate} x ${batch}, do not fit into a queue of ${size} rows`,
      );
    }
    this.#gpu = gpu;
    this.#buffer = buffer;
    this.#options = { ...options, batch };
    this.#gathered = ranks === 1 ? undefined : gpu.device.createBuffer({
      label: "embeddings of all devices",
      size: batch * stride * padTo4(dimension) * 4,
      usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    this.#waiting = accumulate === 1 ? undefined : gpu.device.createBuffer({
      label: "keys of a step",
      size: accumulate * batch * padTo4(dimension) * 4,
      usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
  }

  /** Replaces the whole queue: [size, dimension]. */
  load(keys: Float32Array): void {
    const { size, dimension } = this.#options;
    this.#gpu.device.queue.writeBuffer(this.#buffer, 0, padRows(keys, [size, dimension]));
  }

  /** Reads the queue back: [size, dimension]. */
  async read(): Promise<Float32Array<ArrayBuffer>> {
    const { size, dimension } = this.#options;
    const padded = new Float32Array(await readBuffer(this.#gpu, this.#buffer));
    return unpadRows(padded.subarray(0, size * padTo4(dimension)), [size, dimension]);
  }

  /** Cosines [2, size] of two L2-normalised embeddings [2, dimension] with the keys as they are now. */
  async compare(pair: Float32Array): Promise<Float32Array<ArrayBuffer>> {
    const { size: queueSize, dimension } = this.#options;
    this.#similarities ??= QueueSimilarities.create(this.#gpu, this.#buffer, {
      rows: 2,
      queueSize,
      dimension,
    });
    return await (await this.#similarities).compare(pair);
  }

  /** What {@linkcode encodeEnqueue} needs of all devices, where there are several. */
  gathers(embeddings: BufferRange): GatheredRows[] {
    if (this.#gathered === undefined) return [];
    return [{ from: embeddings, to: { buffer: this.#gathered, offset: 0, bytes: this.#gathered.size } }];
  }

  /**
   * Encodes that a batch's embeddings go into the queue. Those of batches that accumulate wait for the last one, since all
   * are compared with the queue as it was before the step.
   *
   * @param embeddings of this device's batch [batch * stride, dimension padded to 4]; those of all have been gathered, where there
   *   are several
   * @param pointer row of the queue that the batch's first key replaces
   */
  encodeEnqueue(
    encoder: GPUCommandEncoder,
    embeddings: BufferRange,
    pointer: number,
    { index, size: batches }: BatchInGroup,
  ): void {
    const { batch, dimension, size, stride } = this.#options;
    const { buffer, offset } = this.#gathered === undefined
      ? embeddings
      : { buffer: this.#gathered, offset: 0 };
    const rowBytes = padTo4(dimension) * 4;
    const copyKeys = (target: GPUBuffer, row: number, to: number, count: number) => {
      const [rows, each] = stride === 1 ? [1, count] : [count, 1];
      for (let i = 0; i < rows; i++) {
        const from = offset + (row + i) * stride * rowBytes;
        encoder.copyBufferToBuffer(buffer, from, target, (to + i) * rowBytes, each * rowBytes);
      }
    };
    const waiting = this.#waiting;
    if (waiting === undefined) {
      for (const { from, to, count } of ringPieces(pointer, batch, size)) {
        copyKeys(this.#buffer, from, to, count);
      }
      return;
    }
    copyKeys(waiting, 0, index * batch, batch);
    if (index < batches - 1) return;
    const first = (pointer + size - index * batch % size) % size;
    for (const { from, to, count } of ringPieces(first, batches * batch, size)) {
      encoder.copyBufferToBuffer(waiting, from * rowBytes, this.#buffer, to * rowBytes, count * rowBytes);
    }
  }

  /** Frees the memory that is its own. */
  [Symbol.dispose](): void {
    this.#similarities?.then((similarities) => similarities[Symbol.dispose](), () => {});
    this.#waiting?.destroy();
    this.#gathered?.destroy();
  }
}
