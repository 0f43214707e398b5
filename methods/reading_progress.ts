/** How far a reading of images is that are not trained on: they are embedded, or classified. */
import type { Emit, ProgressEvent } from "../actors/events.ts";

/** One reading of images, told as `progress` events. */
export class ReadingProgress {
  readonly #of: Omit<ProgressEvent, "type" | "done">;
  readonly #emit: Emit<ProgressEvent>;
  #come = 0;
  #told = 0;
  #hasEnded = false;

  /** @param of what is read; its `total` counts broken images too */
  constructor(of: Omit<ProgressEvent, "type" | "done">, emit: Emit<ProgressEvent>) {
    this.#of = of;
    this.#emit = emit;
  }

  /** So many images more have come. */
  add(images: number): void {
    this.reach(this.#come + images);
  }

  /** So many images have come in all; fewer than before, where a crash began it anew. */
  reach(images: number): void {
    if (this.#hasEnded) return; // what was told before the end can arrive after it
    this.#come = images;
    const done = Math.min(images, this.#of.total);
    if (done === this.#told) return;
    this.#told = done;
    this.#emit({ type: "progress", ...this.#of, done });
  }

  /** It has ended: broken images never come, and whoever shows it waits for its total. */
  end(): void {
    this.reach(this.#of.total);
    this.#hasEnded = true;
  }
}
