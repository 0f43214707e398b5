/** How fast one of several ranks is. */
import type { RankRecord } from "../../ui/records.ts";
import { RateMeter } from "../terminal/rate_meter.ts";
import { STEPS_UNDER_WAY } from "../terminal/time_left.ts";

/** Counts the images of a rank, for its record. */
export class RankRate {
  readonly #rank: Omit<RankRecord, "images_per_second">;
  readonly #images: number;
  readonly #meter = new RateMeter(STEPS_UNDER_WAY);

  /** @param batchSize images of a batch of all ranks */
  constructor(rank: Omit<RankRecord, "images_per_second">, batchSize: number) {
    this.#rank = rank;
    this.#images = batchSize / rank.size;
  }

  /** A batch is done. */
  step(): void {
    this.#meter.add(this.#images, performance.now() / 1000);
  }

  /** The rank as it is now. */
  record(): RankRecord {
    return { ...this.#rank, images_per_second: this.#meter.perSecond() ?? null };
  }
}
