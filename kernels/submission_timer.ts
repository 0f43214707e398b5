/** Times whole submissions on the device: by timestamps in passes that do nothing, before and behind what is submitted. */
import type { Gpu } from "./gpu.ts";
import { readBuffer } from "./readback.ts";
import { encodeStamps, timestampPeriod } from "./timestamps.ts";

/** Times one submission at a time. */
export class SubmissionTimer implements Disposable {
  readonly #gpu: Gpu;
  readonly #queries: GPUQuerySet;
  readonly #resolved: GPUBuffer;
  /** Nanoseconds of a tick; see {@linkcode timestampPeriod}. */
  readonly #period: Promise<number | undefined>;

  private constructor(gpu: Gpu) {
    this.#gpu = gpu;
    this.#period = timestampPeriod(gpu);
    this.#period.catch(() => {}); // whoever reads hears of it
    this.#queries = gpu.device.createQuerySet({ type: "timestamp", count: 4 });
    this.#resolved = gpu.device.createBuffer({
      label: "timestamps of a submission",
      size: 8 * 4,
      usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    });
  }

  /** A timer on such a device; `undefined` where the adapter has no timestamps. */
  static on(gpu: Gpu): SubmissionTimer | undefined {
    return gpu.device.features.has("timestamp-query") ? new SubmissionTimer(gpu) : undefined;
  }

  /** Marks where the time begins. */
  begin(encoder: GPUCommandEncoder): void {
    encodeStamps(this.#gpu, encoder, this.#queries, 0);
  }

  /** Marks where it ends, in the same submission. */
  end(encoder: GPUCommandEncoder): void {
    encodeStamps(this.#gpu, encoder, this.#queries, 2);
    encoder.resolveQuerySet(this.#queries, 0, 4, this.#resolved, 0);
  }

  /** Returns the seconds of the submission before; `undefined` where the device gives zeros for timestamps. */
  async read(): Promise<number | undefined> {
    const [, begin, end] = new BigUint64Array(await readBuffer(this.#gpu, this.#resolved));
    const period = await this.#period;
    return period && Math.max(0, period * Number(end - begin) / 1e9);
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    this.#queries.destroy();
    this.#resolved.destroy();
  }
}
