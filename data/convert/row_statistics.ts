/** What is found out about rows while they pass. */
import type { Image } from "../decode.ts";

/** Counts of rows, labels and sizes. */
export class RowStatistics {
  /** Good ones. */
  rows = 0;
  /** Those that cannot be used. */
  broken = 0;
  /** How many rows each label has. */
  readonly labels = new Map<number, number>();
  /** Smallest and largest width and height, in pixels; `undefined` until an image was decoded. */
  sizes?: { width: [min: number, max: number]; height: [min: number, max: number] };

  /** A row that is good. */
  add(label: number, image?: Pick<Image, "width" | "height">): void {
    this.rows++;
    this.labels.set(label, (this.labels.get(label) ?? 0) + 1);
    if (image === undefined) return;
    const { width, height } = image;
    const wider = (
      [min, max]: [number, number],
      value: number,
    ): [number, number] => [Math.min(min, value), Math.max(max, value)];
    this.sizes = {
      width: wider(this.sizes?.width ?? [width, width], width),
      height: wider(this.sizes?.height ?? [height, height], height),
    };
  }
}
