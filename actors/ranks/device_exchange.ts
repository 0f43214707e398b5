/** The exchange of a training step with those of the other processes of a run. */
import { crc32 } from "node:zlib";
import type { Gpu } from "../../kernels/gpu.ts";
import type { BufferRange, GatheredRows } from "../../kernels/program.ts";
import { readStaging } from "../../kernels/readback.ts";
import { upload } from "../../kernels/upload.ts";
import type { ExchangedResults, GradientExchange as StepExchange } from "../../models/training_step.ts";
import type { GradientExchange } from "../messages.ts";
import type { ActorRef } from "../runtime/mod.ts";
import { areSame, PATIENCE, type RankPeers, requireSame } from "./peers.ts";
import type { GradientCompression, Ranks, RankSettings } from "./ranks.ts";

/** Bytes of gradients that are exchanged at once: as PyTorch's `bucket_cap_mb`. */
export const BUCKET_BYTES = 25 * 2 ** 20;

/** What one rank wishes, and all do then. */
export interface Wishes {
  /** A checkpoint after this step. */
  save: boolean;
  /** An end after that checkpoint. */
  stop: boolean;
}

/** A part of a buffer with the memory by which it comes to the host and goes back. */
interface Bucket extends BufferRange {
  staging: GPUBuffer;
  values: Float32Array<ArrayBuffer>;
}

/** A checksum of float32s, bit by bit, as an int32. */
function checksumOf(parts: Iterable<Float32Array>): number {
  let sum = 0;
  for (const { buffer, byteOffset, byteLength } of parts) {
    sum = crc32(new Uint8Array(buffer, byteOffset, byteLength), sum);
  }
  return sum | 0;
}

/**
 * Fails where ranks that are the same in all else have other buffers for the weights: each kind of adapter cuts those of large
 * encoders into pieces of its own.
 *
 * @throws {UserError}
 */
export async function requireSameLayout(peers: RankPeers, buffers: readonly GPUBuffer[]): Promise<void> {
  const pieces = buffers.map(({ size }) => size);
  await requireSame(peers, { "the layout of its weights (its adapter is of another kind)": pieces });
}

/** What a trainer exchanges with the trainers of the other ranks. */
export class DeviceExchange implements StepExchange, Disposable {
  readonly ranks: Ranks;
  /** What this rank's gradients are multiplied by before they are summed up. */
  weight = 1;
  /** What this rank wishes for the step whose exchange comes next. */
  wishes: Wishes = { save: false, stop: false };
  /** What any rank wished for the step that was exchanged last. */
  agreed: Wishes = { save: false, stop: false };
  readonly #gpu: Gpu;
  readonly #exchange: ActorRef<GradientExchange>;
  readonly #buckets: Bucket[] = [];
  readonly #sumGradients: "sum" | "sumHalves";
  readonly bucketBytes: number;
  /** What has begun of the step that is being exchanged. */
  #agreement: Promise<Int32Array> | undefined;
  #summed: Promise<void>[] = [];

  /**
   * @param exchange the actor of this process
   * @param compress what gradients become on their way; results and rows stay as they are
   */
  constructor(
    gpu: Gpu,
    ranks: Ranks & Pick<RankSettings, "bucketBytes">,
    exchange: ActorRef<GradientExchange>,
    compress: GradientCompression = "none",
  ) {
    this.#sumGradients = compress === "f16" ? "sumHalves" : "sum";
    this.bucketBytes = ranks.bucketBytes ?? BUCKET_BYTES;
    this.#gpu = gpu;
    this.ranks = ranks;
    this.#exchange = exchange;
  }

  /** Sums gradients and results, and gathers rows, in their buffers. */
  async exchange(gradients: readonly GPUBuffer[], { sums, rows }: ExchangedResults): Promise<void> {
    const gathered = rows.map(({ from }) => from);
    const buckets = gradients.flatMap((buffer) => this.#bucketsOf(buffer));
    const small = [...sums, ...gathered].map((range) => this.#bucketOf(range));
    this.#copyToHost([...small, ...buckets]);
    for (const bucket of small) await this.#read(bucket);
    const agreed = await this.#beginStep();
    this.#agreement = undefined;
    this.agreed = { save: agreed[0] > 0, stop: agreed[1] > 0 };
    for (const bucket of small.slice(0, sums.length)) this.#write(bucket, await this.#sum(bucket));
    for (const [i, { to }] of rows.entries()) await this.#gather(small[sums.length + i], to);
    // While one bucket is being summed, the next one comes from the device.
    for (const bucket of buckets) {
      await this.#read(bucket);
      this.#beginSum(bucket);
    }
    await Promise.all(this.#summed.splice(0));
  }

  /** Begins to sum gradients that others follow; {@linkcode exchange} ends it. */
  async begin(gradients: readonly BufferRange[], onDone: () => void): Promise<void> {
    const buckets = gradients.map((range) => this.#bucketOf(range));
    this.#copyToHost(buckets);
    const [first, ...others] = buckets;
    await this.#read(first, onDone);
    this.#beginStep();
    this.#beginSum(first);
    for (const bucket of others) {
      await this.#read(bucket);
      this.#beginSum(bucket);
    }
  }

  /** Asks the others to come, with what this rank wishes. */
  #beginStep(): Promise<Int32Array> {
    if (this.#agreement === undefined) {
      const { save, stop } = this.wishes;
      this.wishes = { save: false, stop: false };
      this.#agreement = this.#agree([Number(save), Number(stop)]);
    }
    return this.#agreement;
  }

  #beginSum(bucket: Bucket): void {
    if (this.weight !== 1) bucket.values.forEach((value, i) => bucket.values[i] = value * this.weight);
    this.#summed.push(this.#sum(bucket, this.#sumGradients).then((values) => this.#write(bucket, values)));
  }

  /** Gathers rows while a step is computed. */
  async gather({ from, to }: GatheredRows): Promise<void> {
    const bucket = this.#bucketOf(from);
    this.#copyToHost([bucket]);
    await this.#read(bucket);
    await this.#agree([0]);
    await this.#gather(bucket, to);
  }

  async #gather(bucket: Bucket, to: BufferRange): Promise<void> {
    const all = await this.#exchange.ask("gather", bucket.values, PATIENCE);
    bucket.values = new Float32Array(bucket.bytes / 4);
    upload(this.#gpu.device.queue, to.buffer, to.offset, all);
  }

  /** Gives this rank's buffers the contents that rank 0's have. */
  async broadcast(buffers: readonly GPUBuffer[]): Promise<void> {
    for (const bucket of buffers.flatMap((buffer) => this.#bucketsOf(buffer))) {
      this.#copyToHost([bucket]);
      await this.#read(bucket);
      bucket.values = await this.#exchange.ask("broadcast", bucket.values, PATIENCE);
      this.#write(bucket, bucket.values);
    }
  }

  /** Whether some values are the same bits on all ranks. */
  async isSame(values: Iterable<Float32Array>): Promise<boolean> {
    return await areSame(this.#exchange, [checksumOf(values)]);
  }

  async #agree(values: readonly number[]): Promise<Int32Array> {
    return await this.#exchange.ask("agree", Int32Array.from(values), PATIENCE);
  }

  async #sum(bucket: Bucket, how: "sum" | "sumHalves" = "sum"): Promise<Float32Array<ArrayBuffer>> {
    return bucket.values = await this.#exchange.ask(how, bucket.values, PATIENCE);
  }

  #bucketsOf(buffer: GPUBuffer): Bucket[] {
    return Array.from({ length: Math.ceil(buffer.size / this.bucketBytes) }, (_, i) => {
      const offset = i * this.bucketBytes;
      return this.#bucketOf({ buffer, offset, bytes: Math.min(this.bucketBytes, buffer.size - offset) });
    });
  }

  #bucketOf({ buffer, offset, bytes }: BufferRange): Bucket {
    const known = this.#buckets.find((bucket) =>
      bucket.buffer === buffer && bucket.offset === offset && bucket.bytes === bytes
    );
    if (known !== undefined) return known;
    const bucket: Bucket = {
      buffer,
      offset,
      bytes,
      values: new Float32Array(bytes / 4),
      staging: this.#gpu.device.createBuffer({
        label: "what is exchanged",
        size: bytes,
        usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
      }),
    };
    this.#buckets.push(bucket);
    return bucket;
  }

  #copyToHost(buckets: readonly Bucket[]): void {
    const encoder = this.#gpu.device.createCommandEncoder({ label: "exchange" });
    for (const { buffer, offset, staging, bytes } of buckets) {
      encoder.copyBufferToBuffer(buffer, offset, staging, 0, bytes);
    }
    this.#gpu.device.queue.submit([encoder.finish()]);
  }

  /** @param onDone called when the device is done with what was submitted before */
  async #read({ staging, values }: Bucket, onDone: () => void = () => {}): Promise<void> {
    await readStaging(this.#gpu, staging, (bytes) => {
      onDone();
      values.set(new Float32Array(bytes));
    });
  }

  #write({ buffer, offset }: Bucket, values: Float32Array<ArrayBuffer>): void {
    upload(this.#gpu.device.queue, buffer, offset, values);
  }

  /** Frees the memory that is its own. */
  [Symbol.dispose](): void {
    for (const { staging } of this.#buckets) staging.destroy();
  }
}
