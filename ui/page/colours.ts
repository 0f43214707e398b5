/** Colours of lines, and how well one colour is seen on another. Knows no document, so that it can be tested without one. */

/** How the page is lit. */
export type Theme = "light" | "dark";

/**
 * Colours of runs and classes, in the order of Okabe and Ito, which the colour-blind can tell apart. Each has a contrast
 * of 4.5 or more with the page and its panels, so that it may be written in too.
 */
export const COLOURS: Readonly<Record<Theme, readonly string[]>> = {
  light: [
    "#00568f",
    "#a33e00",
    "#00604a",
    "#8a2f74",
    "#665000",
    "#00617a",
    "#4b525b",
    "#6b3f14",
    "#4440b8",
    "#a61e3a",
  ],
  dark: [
    "#63b3ed",
    "#f2a154",
    "#3fcf9f",
    "#e594d3",
    "#e3c04a",
    "#8fd6f5",
    "#b5bac2",
    "#d9ab7c",
    "#a9abf9",
    "#ff8f9e",
  ],
};

/** Dashes of lines, which tell runs of one colour apart: widths of marks and gaps in pixels. */
export const DASHES: readonly (readonly number[])[] = [[], [6, 3], [2, 2], [8, 3, 2, 3]];

/** A name with the mark that it has in charts. */
export interface LegendEntry {
  name: string;
  colour: string;
  /** Of {@linkcode DASHES}. */
  dash: readonly number[];
}

/** What a line needs to be seen (WCAG 2.2, 1.4.11), and what text needs to be read (1.4.3). */
export const LEAST_CONTRAST = { line: 3, text: 4.5 };

type Rgb = readonly [red: number, green: number, blue: number];

/**
 * Parses `#rrggbb` or `rgb(r, g, b)`.
 *
 * @throws {Error} for another text
 */
function parse(colour: string): Rgb {
  const hex = /^#([\da-f]{2})([\da-f]{2})([\da-f]{2})$/i.exec(colour);
  if (hex !== null) return [1, 2, 3].map((i) => parseInt(hex[i], 16)) as unknown as Rgb;
  const parts = /^rgb\((\d+), (\d+), (\d+)\)$/.exec(colour);
  if (parts !== null) return [1, 2, 3].map((i) => Number(parts[i])) as unknown as Rgb;
  throw new Error(`a colour: expected #rrggbb or rgb(r, g, b), found ${colour}`);
}

/** Relative luminance (WCAG 2.2), from 0 to 1. */
function luminance(colour: string): number {
  const [red, green, blue] = parse(colour).map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** Contrast of two colours (WCAG 2.2), from 1 to 21. */
export function contrast(a: string, b: string): number {
  const [darker, lighter] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (lighter + 0.05) / (darker + 0.05);
}

/** Steps between a colour and its background that are tried. */
const FADES = 64;

/** The faintest colour on the way to a background that a line can still be seen in; the colour itself where none is. */
export function faded(colour: string, background: string): string {
  const [from, to] = [parse(colour), parse(background)];
  for (let fade = FADES - 1; fade > 0; fade--) {
    const mixed = from.map((value, i) => Math.round(value + (to[i] - value) * fade / FADES));
    const faint = `rgb(${mixed.join(", ")})`;
    if (contrast(faint, background) >= LEAST_CONTRAST.line) return faint;
  }
  return colour;
}
