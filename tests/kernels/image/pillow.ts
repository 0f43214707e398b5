/**
 * Pillow's and torchvision's image operations as plain loops over numbers, in the arithmetic that they use (float64,
 * or float32 by `Math.fround`): what the augmenter's kernels are checked against at random parameters. Shares no code
 * with them.
 */
import type { JitterOp, ViewParameters } from "../../../kernels/image/view_parameters.ts";

/** RGB, 8 bits, [height, width, 3]. */
export interface Rgb {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

const float = Math.fround;

function blank(width: number, height: number): Rgb {
  return { width, height, data: new Uint8Array(width * height * 3) };
}

function mapPixels(image: Rgb, f: (rgb: number[]) => number[]): Rgb {
  const out = blank(image.width, image.height);
  for (let i = 0; i < image.data.length; i += 3) out.data.set(f([...image.data.subarray(i, i + 3)]), i);
  return out;
}

export function crop(image: Rgb, left: number, top: number, width: number, height: number): Rgb {
  const out = blank(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [sx, sy] = [left + x, top + y];
      if (sx < 0 || sy < 0 || sx >= image.width || sy >= image.height) continue;
      const from = (sy * image.width + sx) * 3;
      out.data.set(image.data.subarray(from, from + 3), (y * width + x) * 3);
    }
  }
  return out;
}

export function transpose({ width, height, data }: Rgb): Rgb {
  const out = blank(height, width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = (y * width + x) * 3;
      out.data.set(data.subarray(from, from + 3), (x * height + y) * 3);
    }
  }
  return out;
}

export function flip({ width, height, data }: Rgb): Rgb {
  const out = blank(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = (y * width + x) * 3;
      out.data.set(data.subarray(from, from + 3), (y * width + width - 1 - x) * 3);
    }
  }
  return out;
}

const FILTERS: Record<string, { support: number; weight: (x: number) => number }> = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    weight: (x) => {
      x = Math.abs(x);
      if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
    },
  },
};

function resizeWidth({ width, height, data }: Rgb, to: number, filter: string): Rgb {
  const { support: reach, weight } = FILTERS[filter];
  const out = blank(to, height);
  const scale = width / to;
  const stretch = Math.max(scale, 1);
  for (let x = 0; x < to; x++) {
    const centre = (x + 0.5) * scale;
    const from = Math.max(0, Math.trunc(centre - reach * stretch + 0.5));
    const until = Math.min(width, Math.trunc(centre + reach * stretch + 0.5));
    const weights: number[] = [];
    for (let s = from; s < until; s++) weights.push(weight((s - centre + 0.5) * (1 / stretch)));
    const sum = weights.reduce((a, b) => a + b, 0);
    const fixed = weights.map((w) => Math.sign(w) * Math.floor(Math.abs(w / sum) * 4194304 + 0.5));
    for (let y = 0; y < height; y++) {
      for (let c = 0; c < 3; c++) {
        const total = fixed.reduce((t, w, k) => t + w * data[(y * width + from + k) * 3 + c], 2097152);
        out.data[(y * to + x) * 3 + c] = Math.min(255, Math.max(0, Math.floor(total / 4194304)));
      }
    }
  }
  return out;
}

export function resize(image: Rgb, width: number, height: number, filter: string): Rgb {
  return transpose(resizeWidth(transpose(resizeWidth(image, width, filter)), height, filter));
}

function luma([r, g, b]: number[]): number {
  return (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;
}

function blend(from: number, to: number, factor: number): number {
  const value = float(from + float(float(factor) * (to - from)));
  return Math.min(255, Math.max(0, Math.trunc(value)));
}

function hueShift([r, g, b]: number[], shift: number): number[] {
  const max = Math.max(r, g, b);
  const min = Math.min(r, g, b);
  let [hue, saturation] = [0, 0];
  if (max !== min) {
    const [rc, gc, bc] = [r, g, b].map((c) => float((max - c) / (max - min)));
    const h = r === max ? float(bc - gc) : g === max ? float(2 + rc - bc) : float(4 + gc - rc);
    hue = Math.trunc(float((h / 6 + 1) % 1) * 255);
    saturation = Math.trunc(float((max - min) / max) * 255);
  }
  hue = (hue + shift) & 255;
  const sector = Math.floor((hue * 6) / 255);
  const f = float((hue * 6) / 255 - sector);
  const fs = float(saturation / 255);
  const p = Math.floor(max * (1 - fs) + 0.5);
  const q = Math.floor(max * (1 - float(fs * f)) + 0.5);
  const t = Math.floor(max * (1 - fs * (1 - f)) + 0.5);
  return [[max, t, p], [q, max, p], [p, max, t], [p, q, max], [t, p, max], [max, p, q]][sector % 6];
}

export function grayscale(image: Rgb): Rgb {
  return mapPixels(image, (rgb) => Array(3).fill(luma(rgb)));
}

export function jitter(image: Rgb, { kind, factor }: JitterOp): Rgb {
  if (kind === "hue") return mapPixels(image, (rgb) => hueShift(rgb, Math.trunc(factor * 255)));
  let mean = 0;
  mapPixels(image, (rgb) => {
    mean += luma(rgb);
    return rgb;
  });
  mean = Math.trunc(mean / (image.width * image.height) + 0.5);
  return mapPixels(image, (rgb) => {
    const from = { brightness: 0, contrast: mean, saturation: luma(rgb) }[kind];
    return rgb.map((c) => blend(from, c, factor));
  });
}

function boxBlurLines({ width, height, data }: Rgb, radius: number): Rgb {
  const out = blank(width, height);
  const whole = Math.trunc(radius);
  const inside = Math.trunc(float(16777216 / float(float(radius * 2) + 1)));
  const edge = Math.floor((16777216 - (whole * 2 + 1) * inside) / 2);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) {
        const at = (i: number) => data[(y * width + Math.min(width - 1, Math.max(0, i))) * 3 + c];
        let sum = (at(x - whole - 1) + at(x + whole + 1)) * edge;
        for (let i = -whole; i <= whole; i++) sum += at(x + i) * inside;
        out.data[(y * width + x) * 3 + c] = Math.floor((sum + 8388608) / 16777216);
      }
    }
  }
  return out;
}

export function gaussianBlur(image: Rgb, sigma: number): Rgb {
  const variance = float(float(float(sigma) * float(sigma)) / 3);
  const l = Math.floor((float(Math.sqrt(12 * variance + 1)) - 1) / 2);
  const a = float((2 * l + 1) * float(l * (l + 1) - float(3 * variance)));
  const radius = float(l + float(a / float(6 * float(variance - (l + 1) * (l + 1)))));
  for (let pass = 0; pass < 3; pass++) image = boxBlurLines(image, radius);
  image = transpose(image);
  for (let pass = 0; pass < 3; pass++) image = boxBlurLines(image, radius);
  return transpose(image);
}

/** The whole view, step by step in the order that a torchvision pipeline has. */
export function makeView(image: Rgb, view: ViewParameters, width: number, height: number): Rgb {
  let made = crop(image, view.crop.left, view.crop.top, view.crop.width, view.crop.height);
  made = resize(made, view.resized.width, view.resized.height, view.filter);
  made = crop(made, view.window.left, view.window.top, width, height);
  if (view.grayscale && view.grayscaleFirst) made = grayscale(made);
  for (const op of view.jitter) made = jitter(made, op);
  if (view.grayscale && !view.grayscaleFirst) made = grayscale(made);
  if (view.blurSigma > 0) made = gaussianBlur(made, view.blurSigma);
  return view.flip ? flip(made) : made;
}
