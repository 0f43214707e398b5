/**
 * PBM, PGM and PPM, plain (P1, P2, P3) and raw (P4, P5, P6), with Pillow's rounding: samples become `value / maximum` of
 * 255, half to even; grays with a maximum above 255 become 16 bits and are clipped at 255.
 *
 * Source: https://netpbm.sourceforge.net/doc/ppm.html; Pillow, `PpmImagePlugin.py`.
 */
import { brokenImage, cutImage } from "../broken_image.ts";
import { pack, type ParsedImage } from "./parsed_image.ts";

/** Bytes of a number, as Pillow limits them. */
const MAX_DIGITS = 10;

const isSpace = (byte: number) => byte === 0x20 || (byte >= 9 && byte <= 13);
const isLineEnd = (byte: number) => byte === 10 || byte === 13;

/** Whether a file begins as one of these formats. */
export function isNetpbm([p, kind, space]: Uint8Array): boolean {
  return p === 0x50 && kind >= 0x31 && kind <= 0x36 && isSpace(space);
}

/** Reads the header. */
export function parseNetpbm(bytes: Uint8Array): ParsedImage {
  const kind = bytes[1] - 0x30;
  const tokens = new Tokens(bytes, 3);
  const width = tokens.readNumber();
  const height = tokens.readNumber();
  if (width === 0 || height === 0) throw brokenImage(`it has ${width} x ${height} pixels`);
  const isBitmap = kind === 1 || kind === 4;
  const maximum = isBitmap ? 1 : tokens.readNumber();
  if (maximum < 1 || maximum > 65535) {
    throw brokenImage(`expected a maximum value from 1 to 65535, found ${maximum}`);
  }
  const channels = kind === 3 || kind === 6 ? 3 : 1;
  const count = width * height * channels;
  const decode = () => {
    const level = (value: number): number => {
      if (isBitmap) return value === 0 ? 255 : 0;
      if (channels === 1 && maximum > 255) return Math.min(255, roundHalfEven(value / maximum * 65535));
      return Math.min(255, roundHalfEven(value / maximum * 255));
    };
    const levels = Uint8Array.from({ length: maximum > 255 ? 65536 : 256 }, (_, value) => level(value));
    const samples = kind >= 4 ? rawSamples(bytes, tokens.at, kind, width, height, maximum) : undefined;
    if (samples === undefined) tokens.expect(count, kind === 1);
    const next = samples ?? (() => tokens.readSample(kind === 1, maximum));
    const words = new Uint32Array(width * height);
    for (let i = 0; i < words.length; i++) {
      const first = levels[next()];
      words[i] = channels === 1 ? first * 0x010101 | 0xff000000 : pack(first, levels[next()], levels[next()]);
    }
    if (kind === 1) tokens.expectDigits();
    return words;
  };
  return { width, height, decode };
}

/** A function that gives the samples of a raw file, one after the other. */
function rawSamples(
  bytes: Uint8Array,
  start: number,
  kind: number,
  width: number,
  height: number,
  maximum: number,
): () => number {
  const rowBytes = kind === 4 ? Math.ceil(width / 8) : width * (kind === 6 ? 3 : 1) * (maximum > 255 ? 2 : 1);
  if (start + rowBytes * height > bytes.length) throw cutImage(bytes);
  let at = start;
  if (kind === 4) {
    let x = 0;
    return () => {
      const bit = (bytes[at] >> (7 - x % 8)) & 1;
      x++;
      if (x % 8 === 0 || x === width) at++;
      if (x === width) x = 0;
      return bit;
    };
  }
  return maximum > 255 ? () => (bytes[at++] << 8) | bytes[at++] : () => bytes[at++];
}

/** `Math.round` of a value that is not negative, but half to even. */
function roundHalfEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 === 1 ? rounded - 1 : rounded;
}

/** Reads text of numbers and comments. */
class Tokens {
  constructor(readonly bytes: Uint8Array, public at: number) {}

  /** A number, and the white space behind it. A comment may be inside. */
  readNumber(): number {
    let digits = "";
    for (;;) {
      if (this.at >= this.bytes.length) {
        if (digits === "") throw cutImage(this.bytes);
        break;
      }
      const byte = this.bytes[this.at++];
      if (byte === 0x23) this.#skipComment();
      else if (!isSpace(byte)) digits += this.#digit(byte);
      else if (digits !== "") break;
      if (digits.length > MAX_DIGITS) {
        throw brokenImage(`expected a number of at most ${MAX_DIGITS} digits, found ${digits}...`);
      }
    }
    return Number(digits);
  }

  /** A sample of a plain file. */
  readSample(isBit: boolean, maximum: number): number {
    const value = isBit ? this.#readBit() : this.readNumber();
    if (value > maximum) throw brokenImage(`expected values up to ${maximum}, found ${value}`);
    return value;
  }

  /** Makes sure that so many samples can be there, before memory is taken for them. */
  expect(samples: number, areBits: boolean): void {
    if (this.bytes.length - this.at < (areBits ? samples : 2 * samples - 1)) throw cutImage(this.bytes);
  }

  /** Makes sure that nothing but bits, white space and comments follows. */
  expectDigits(): void {
    while (this.at < this.bytes.length) {
      const byte = this.bytes[this.at++];
      if (byte === 0x23) this.#skipComment();
      else if (!isSpace(byte) && this.#digit(byte) > "1") {
        throw brokenImage("expected values up to 1 after the image, too");
      }
    }
  }

  #readBit(): number {
    while (this.at < this.bytes.length) {
      const byte = this.bytes[this.at++];
      if (byte === 0x23) this.#skipComment();
      else if (!isSpace(byte)) return Number(this.#digit(byte));
    }
    throw cutImage(this.bytes);
  }

  #digit(byte: number): string {
    const text = String.fromCharCode(byte);
    if (byte < 0x30 || byte > 0x39) {
      throw brokenImage(`expected a digit at byte ${this.at - 1}, found ${JSON.stringify(text)}`);
    }
    return text;
  }

  #skipComment(): void {
    while (this.at < this.bytes.length && !isLineEnd(this.bytes[this.at++])) { /* the rest of the line */ }
  }
}
