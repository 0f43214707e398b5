/** How many pixels may be in memory at a time, whoever decodes them. */
export class PixelBudget {
  readonly #total: number;
  #free: number;
  readonly #waiting: { pixels: number; start: () => void }[] = [];

  /** @param total pixels of all images under way */
  constructor(total: number) {
    this.#total = total;
    this.#free = total;
  }

  /**
   * Does some work when there is room for its pixels, in the order of the calls. Work of more pixels than the total is
   * done alone.
   */
  async run<T>(pixels: number, work: () => T | Promise<T>): Promise<T> {
    const needed = Math.min(pixels, this.#total);
    if (this.#waiting.length > 0 || needed > this.#free) {
      await new Promise<void>((start) => this.#waiting.push({ pixels: needed, start }));
    } else this.#free -= needed;
    try {
      return await work();
    } finally {
      this.#free += needed;
      while (this.#waiting.length > 0 && this.#waiting[0].pixels <= this.#free) {
        const next = this.#waiting.shift()!;
        this.#free -= next.pixels;
        next.start();
      }
    }
  }

  /** Does some work while no other is done. */
  alone<T>(work: () => Promise<T>): Promise<T> {
    return this.run(this.#total, work);
  }
}
