/// <reference lib="dom" />
/** Files that the page gives: tables and images of its charts. Nothing leaves the browser for them. */
import type { LegendEntry } from "page/colours.ts";
import { formatCsv } from "page/csv.ts";
import { make } from "page/elements.ts";

/** How long a file may be fetched by the browser from where it was put, in ms. */
const KEPT_MS = 10_000;

/** Pixels of an image for one of the page. */
const SCALE = 2;

/** Around what is in an image, and the height of a line of its text, in pixels. */
const MARGIN = 12;
const LINE = 20;

/** Offers a file to be saved, under the page's name and its own. */
function save(content: Blob, title: string, extension: string): void {
  const link = make("a");
  link.href = URL.createObjectURL(content);
  link.download = `${document.title} ${title}`.replace(/[^\p{L}\p{N}._-]+/gu, "-") + `.${extension}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MS);
}

/** Saves a table as CSV. */
export function saveTable(rows: readonly (readonly string[])[], title: string): void {
  save(new Blob([formatCsv(rows)], { type: "text/csv" }), title, "csv");
}

/** Saves a chart as PNG, with its title above it and a legend below. */
export function saveCanvas(
  chart: HTMLCanvasElement,
  title: string,
  legend: readonly LegendEntry[],
  { text, background }: { text: string; background: string },
): void {
  const image = document.createElement("canvas");
  const [margin, line] = [SCALE * MARGIN, SCALE * LINE];
  image.width = chart.width + 2 * margin;
  image.height = chart.height + 2 * margin + line * (1 + legend.length);
  const context = image.getContext("2d")!;
  context.fillStyle = background;
  context.fillRect(0, 0, image.width, image.height);
  context.drawImage(chart, margin, margin + line);
  context.textBaseline = "middle";
  const write = (said: string, left: number, top: number) => context.fillText(said, left, top + line / 2);
  context.fillStyle = text;
  context.font = `bold ${SCALE * 14}px sans-serif`;
  write(title, margin, margin);
  context.font = `${SCALE * 13}px sans-serif`;
  context.lineWidth = SCALE * 2;
  for (const [i, { name, colour, dash }] of legend.entries()) {
    const top = margin + line * (i + 1) + chart.height;
    context.strokeStyle = colour;
    context.setLineDash(dash.map((part) => SCALE * part));
    context.beginPath();
    context.moveTo(margin, top + line / 2);
    context.lineTo(margin + SCALE * 24, top + line / 2);
    context.stroke();
    write(name, margin + SCALE * 32, top);
  }
  image.toBlob((blob) => blob !== null && save(blob, title, "png"), "image/png");
}
