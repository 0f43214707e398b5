/** An image that square tiles are put on. */
import { loadSharp } from "../../data/sharp.ts";

/** Red, green, blue, from 0 to 255. */
export type Colour = readonly [number, number, number];

/** An RGB image. */
export class Canvas {
  readonly #pixels: Uint8Array<ArrayBuffer>;

  /** @param width in pixels; @param height in pixels */
  constructor(readonly width: number, readonly height: number, background: Colour = [0, 0, 0]) {
    this.#pixels = new Uint8Array(width * height * 3);
    this.fill(0, 0, width, height, background);
  }

  /** Fills a rectangle. */
  fill(left: number, top: number, width: number, height: number, colour: Colour): void {
    for (let y = top; y < top + height; y++) {
      for (let x = left; x < left + width; x++) this.#pixels.set(colour, (y * this.width + x) * 3);
    }
  }

  /** Puts RGBA8 pixels [size, size, 4] somewhere; alpha is not looked at. */
  paste(pixels: Uint8Array, size: number, left: number, top: number): void {
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const from = (y * size + x) * 4;
        this.#pixels.set(pixels.subarray(from, from + 3), ((top + y) * this.width + left + x) * 3);
      }
    }
  }

  /** The image as a PNG file. */
  async toPng(): Promise<Uint8Array<ArrayBuffer>> {
    const { width, height } = this;
    const sharp = await loadSharp();
    return new Uint8Array(
      await sharp(this.#pixels, { raw: { width, height, channels: 3 } }).png().toBuffer(),
    );
  }
}
