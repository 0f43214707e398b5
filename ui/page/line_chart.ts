/// <reference lib="dom" />
/** A chart of lines that can be zoomed and moved, and says the values under the pointer below it, not over the lines. */
import { Chart, type Drawing, formatNumber, styleColour, valueAxis } from "page/charts.ts";
import { faded, type LegendEntry } from "page/colours.ts";
import { make, swatch } from "page/elements.ts";
import { placeOf } from "page/run_times.ts";
import type { Point } from "page/smoothing.ts";

/** From one value of the x axis to another. */
export type Range = readonly [from: number, to: number];

/** A line. */
export interface Line extends LegendEntry {
  /** In the order of x. */
  points: readonly Point[];
  /** The same smoothed, point by point; nothing where it is not. */
  smoothed?: readonly Point[];
  /** Whether each point has a mark. */
  hasMarks?: boolean;
  /** A height that is marked, with what it is. */
  level?: { y: number; said: string };
}

/** What the lines are drawn by. */
export interface LinesDrawing {
  lines: readonly Line[];
  /** Of the x axis. */
  range: Range;
  xName: string;
  /** Writes a value of the x axis. */
  formatX: (x: number) => string;
  /** What the lines are told apart by; runs by default. */
  lineName?: string;
  /** Why there are no lines, where there are none. */
  empty?: string;
  cells: Drawing["cells"];
  yAxis?: Record<string, unknown>;
}

/** What is shared with other charts of the same x axis. */
export interface SharedView {
  /** Shows another range; `undefined` is everything. */
  onZoom(range: Range | undefined): void;
  /** The pointer is at a value; `undefined` where it is at none. */
  onPoint(x: number | undefined): void;
}

/** Whether the y axis may be logarithmic, and whether it is so at first. */
export type Logarithm = "never" | "off" | "on";

/** Lines whose legend scrolls, where there are more. */
const LEGEND_LINES = 8;

/** A drag that is shorter, in pixels, is a click. */
const SHORTEST_DRAG = 6;

/** Size of the mark of a point that stands alone, in pixels. */
const LONE_SIZE = 5;

/** Fingers that are nearer, in pixels, count as so far apart. */
const SHORTEST_PINCH = 20;

/** A turn of the wheel makes the range so much longer or shorter. */
const WHEEL_FACTOR = 1.25;

/** Points of a line that are listed, evenly spaced, the newest among them. */
const LISTED = 12;

/** The place of the point that is nearest to x and has a value; -1 where there is none. */
function nearest(points: readonly Point[], x: number): number {
  const at = placeOf(points, x);
  let [before, after] = [at - 1, at];
  while (before >= 0 && points[before][1] === null) before--;
  while (after < points.length && points[after][1] === null) after++;
  if (before < 0 || after >= points.length) return after < points.length ? after : before;
  return x - points[before][0] < points[after][0] - x ? before : after;
}

/** Points that are seen in a range, and one on either side, to which the line leads. */
function pointsIn(points: readonly Point[], [from, to]: Range): readonly Point[] {
  return points.slice(Math.max(0, placeOf(points, from) - 1), placeOf(points, to) + 1);
}

/** A point as a chart takes it. */
type DrawnPoint = [x: number, y: number | null];

/** Points without a neighbour that has a value: no line leads to them. */
function lonePoints(points: readonly DrawnPoint[]): DrawnPoint[] {
  const isGap = (i: number) => (points[i]?.[1] ?? null) === null;
  return points.filter((_, i) => !isGap(i) && isGap(i - 1) && isGap(i + 1));
}

/** A range of the same middle, or of x in its place, that is longer by a factor. */
export function scaleRange([from, to]: Range, factor: number, x = (from + to) / 2): Range {
  return [x - (x - from) * factor, x + (to - x) * factor];
}

/** A finger on a chart, in pixels from its left upper corner. */
interface Touch {
  x: number;
  y: number;
}

/** Where two fingers took hold of a chart. */
interface Pinch {
  /** How far they were apart, in pixels, and the value of the x axis between them. */
  distance: number;
  x: number;
  /** Left end of the x axis in pixels, and what a pixel of it was. */
  left: number;
  perPixel: number;
  /** Of the x axis, in pixels. */
  width: number;
}

function distanceOf([a, b]: readonly Touch[]): number {
  return Math.max(Math.hypot(a.x - b.x, a.y - b.y), SHORTEST_PINCH);
}

/** The chart, its legend, and what a pointer does in it. */
export class LineChart {
  readonly #what: string;
  readonly #unit: string;
  readonly #chart: Chart;
  readonly #view: SharedView;
  readonly #cursor = make("span", { className: "cursor" });
  readonly #selection = make("span", { className: "selection" });
  readonly #legend = make("div", { className: "legend" }, make("table"));
  #drawing: LinesDrawing | undefined;
  /** Where the pointer is, on the x axis. */
  #pointed: number | undefined;
  #isLogarithmic: boolean;
  /** Where a drag began. */
  #drag: { pixel: number; x: number; range: Range; moves: boolean } | undefined;
  /** Fingers that are on it, by pointer. */
  readonly #touches = new Map<number, Touch>();
  #pinch: Pinch | undefined;

  /**
   * @param what it shows
   * @param unit behind its values
   */
  constructor(id: string, what: string, unit: string, view: SharedView, logarithm: Logarithm) {
    this.#what = what;
    this.#unit = unit;
    this.#view = view;
    this.#chart = new Chart(id);
    this.#cursor.hidden = this.#selection.hidden = true;
    const { element } = this.#chart;
    element.append(this.#cursor, this.#selection);
    element.after(this.#legend);
    this.#isLogarithmic = logarithm === "on";
    if (logarithm !== "never") this.#addLogarithm();
    element.addEventListener("pointerdown", (event) => this.#down(event));
    element.addEventListener("pointermove", (event) => this.#move(event));
    element.addEventListener("pointerup", (event) => this.#up(event));
    element.addEventListener("pointercancel", (event) => this.#cancel(event));
    element.addEventListener("pointerleave", () => this.#view.onPoint(undefined));
    element.addEventListener("dblclick", () => this.#view.onZoom(undefined));
    element.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  /** Draws lines. */
  draw(drawing: LinesDrawing): void {
    this.#drawing = drawing;
    this.#chart.draw(() => this.#toDrawing(drawing));
    this.#legend.hidden = drawing.empty !== undefined;
    this.point(this.#pointed);
  }

  /** Says what the values are at x; by default the newest ones. */
  point(x: number | undefined): void {
    this.#pointed = x;
    if (this.#drawing === undefined) return;
    const { lines, formatX, xName, range: [from, to] } = this.#drawing;
    const isSmooth = lines.some(({ smoothed }) => smoothed !== undefined);
    const heading = ["", ...isSmooth ? ["smoothed", "raw"] : [this.#what.toLowerCase()], xName];
    const rows = lines.flatMap(({ name, colour, dash, points, smoothed }) => {
      const place = nearest(points, x ?? Infinity);
      if (place < 0) return [];
      const format = (point: Point | undefined) =>
        point === undefined ? "" : `${formatNumber(point[1] ?? NaN)}${this.#unit}`;
      const values = [...isSmooth ? [format(smoothed?.[place])] : [], format(points[place])];
      const head = make("th", {}, swatch(colour, dash), name);
      head.scope = "row";
      const cells = [...values, formatX(points[place][0])];
      return [make("tr", {}, head, ...cells.map((textContent) => make("td", { textContent })))];
    });
    const head = make(
      "tr",
      {},
      ...heading.map((textContent) => make(textContent === "" ? "td" : "th", { textContent })),
    );
    this.#legend.firstElementChild!.replaceChildren(
      make("thead", {}, head),
      make("tbody", {}, ...rows),
    );
    const scrolls = rows.length > LEGEND_LINES;
    this.#legend.classList.toggle("scrolls", scrolls);
    // What scrolls can be reached by keyboard, and has a name.
    const attributes = { tabindex: "0", role: "region", "aria-label": `Legend, ${this.#what}` };
    for (const [name, value] of Object.entries(attributes)) {
      if (scrolls) this.#legend.setAttribute(name, value);
      else this.#legend.removeAttribute(name);
    }
    this.#cursor.hidden = x === undefined || x < from || x > to;
    if (x !== undefined) this.#cursor.style.left = `${this.#chart.pixelOf(x)}px`;
  }

  #toDrawing({ lines, lineName = "run", range, empty, cells, xName, formatX, yAxis }: LinesDrawing): Drawing {
    const panel = styleColour("panel");
    const isLogarithmic = this.#isLogarithmic;
    // A logarithm has no place for what is not positive.
    const data = (points: readonly Point[]) =>
      pointsIn(points, range).map((
        [x, y],
      ): DrawnPoint => [x, isLogarithmic && y !== null && y <= 0 ? null : y]);
    return {
      empty,
      cells,
      legend: lines,
      said: `${this.#what}: ${
        lines.map(({ name, points, smoothed = points }) =>
          `${name} ${this.#describe(smoothed, xName, formatX)}`
        )
          .join("; ") || "nothing yet"
      }`,
      values: [
        [lineName, xName, this.#what],
        ...lines.flatMap(({ name, points, smoothed = points }) => this.#listed(name, smoothed, formatX)),
      ],
      option: {
        xAxis: valueAxis("", {
          min: range[0],
          max: range[1],
          splitLine: { show: false },
          axisLabel: { color: styleColour("faint"), hideOverlap: true, showMinLabel: true },
        }),
        yAxis: valueAxis(this.#unit.trim(), { scale: true, ...isLogarithmic ? { type: "log" } : yAxis }),
        series: lines.flatMap(({ name, colour, dash, points, smoothed, hasMarks, level }) => {
          const line = {
            type: "line" as const,
            name,
            silent: true,
            showSymbol: hasMarks ?? false,
            symbol: "circle",
            symbolSize: 7,
            sampling: "lttb" as const,
            itemStyle: { color: colour },
            lineStyle: { width: 2, color: colour, type: dash.length === 0 ? "solid" as const : [...dash] },
            ...level && { markLine: levelMark(level, colour) },
          };
          /** The line, and marks where there is none. */
          const drawn = (points: readonly Point[], look: Partial<typeof line & { z: number }> = {}) => {
            const seen = { ...line, ...look, data: data(points) };
            const lone = seen.showSymbol ? [] : lonePoints(seen.data);
            const marks = { type: "scatter" as const, name, silent: true, symbolSize: LONE_SIZE, data: lone };
            const itemStyle = { color: seen.lineStyle.color, opacity: 1 };
            return lone.length === 0 ? [seen] : [seen, { ...marks, z: look.z ?? 2, itemStyle }];
          };
          if (smoothed === undefined) return drawn(points);
          const faint = { width: 1, color: faded(colour, panel), type: "solid" as const };
          // All raw lines lie below all smoothed ones.
          return [...drawn(points, { z: 1, lineStyle: faint }), ...drawn(smoothed, { showSymbol: false })];
        }),
      },
    };
  }

  #describe(points: readonly Point[], xName: string, formatX: (x: number) => string): string {
    const known = points.filter(([, y]) => y !== null);
    if (known.length === 0) return "nothing yet";
    const said = ([x, y]: Point) => `${formatNumber(y!)}${this.#unit} at ${xName} ${formatX(x)}`;
    return `${said(known[0])}, ${said(known.at(-1)!)}`;
  }

  #listed(name: string, points: readonly Point[], formatX: (x: number) => string): string[][] {
    const known = points.filter(([, y]) => y !== null);
    const stride = Math.max(1, Math.ceil(known.length / LISTED));
    return known.filter((_, i) => (known.length - 1 - i) % stride === 0)
      .map(([x, y]) => [name, formatX(x), `${formatNumber(y!)}${this.#unit}`]);
  }

  #addLogarithm(): void {
    const button = make("button", { textContent: "log", title: "Logarithmic y axis" });
    button.type = "button";
    button.setAttribute("aria-label", `log scale, ${this.#what}`);
    button.setAttribute("aria-pressed", String(this.#isLogarithmic));
    button.addEventListener("click", () => {
      this.#isLogarithmic = !this.#isLogarithmic;
      button.setAttribute("aria-pressed", String(this.#isLogarithmic));
      this.#chart.redraw();
    });
    this.#chart.tools.prepend(button);
  }

  #down({ button, pointerId, pointerType, offsetX, offsetY, shiftKey }: PointerEvent): void {
    if (pointerType === "touch") {
      this.#touches.set(pointerId, { x: offsetX, y: offsetY });
      if (this.#touches.size > 1) return this.#beginPinch();
    }
    const x = this.#chart.valueAt(offsetX);
    if (button !== 0 || x === undefined || this.#drawing === undefined) return;
    this.#drag = { pixel: offsetX, x, range: this.#drawing.range, moves: shiftKey };
    this.#chart.element.setPointerCapture(pointerId);
  }

  #move({ pointerId, offsetX, offsetY }: PointerEvent): void {
    if (this.#touches.has(pointerId)) this.#touches.set(pointerId, { x: offsetX, y: offsetY });
    if (this.#touches.size > 1) return this.#movePinch();
    const x = this.#chart.valueAt(offsetX);
    if (x === undefined || this.#drawing === undefined) return;
    this.#view.onPoint(x);
    if (this.#drag === undefined) return;
    const { pixel, moves } = this.#drag;
    if (moves) {
      // The value that was taken hold of stays under the pointer, however far the axis has moved already.
      const [from, to] = this.#drawing.range;
      return this.#view.onZoom([from + this.#drag.x - x, to + this.#drag.x - x]);
    }
    this.#selection.hidden = Math.abs(offsetX - pixel) < SHORTEST_DRAG;
    this.#selection.style.left = `${Math.min(pixel, offsetX)}px`;
    this.#selection.style.width = `${Math.abs(offsetX - pixel)}px`;
  }

  #up({ pointerId, offsetX }: PointerEvent): void {
    this.#touches.delete(pointerId);
    this.#pinch = undefined;
    const x = this.#chart.valueAt(offsetX);
    const drag = this.#drag;
    this.#stop();
    if (drag === undefined || drag.moves || x === undefined) return;
    if (Math.abs(offsetX - drag.pixel) >= SHORTEST_DRAG) {
      this.#view.onZoom([Math.min(drag.x, x), Math.max(drag.x, x)]);
    }
  }

  #cancel({ pointerId }: PointerEvent): void {
    this.#touches.delete(pointerId);
    this.#pinch = undefined;
    this.#stop();
  }

  /** Two fingers take hold; with a third one nothing is meant. */
  #beginPinch(): void {
    this.#stop();
    this.#pinch = undefined;
    if (this.#touches.size !== 2 || this.#drawing === undefined) return;
    const touches = [...this.#touches.values()];
    const [from, to] = this.#drawing.range;
    const [left, right] = [from, to].map((x) => this.#chart.pixelOf(x));
    const x = this.#chart.valueAt((touches[0].x + touches[1].x) / 2);
    if (x === undefined || !(right > left)) return;
    const width = right - left;
    this.#pinch = { distance: distanceOf(touches), x, left, width, perPixel: (to - from) / width };
  }

  /** The value that was between the fingers stays there, and the range is as much shorter as they are farther apart. */
  #movePinch(): void {
    if (this.#pinch === undefined) return;
    const touches = [...this.#touches.values()];
    const { distance, x, left, width, perPixel } = this.#pinch;
    const scale = perPixel * distance / distanceOf(touches);
    const from = x - ((touches[0].x + touches[1].x) / 2 - left) * scale;
    this.#view.onPoint(undefined);
    this.#view.onZoom([from, from + width * scale]);
  }

  #stop(): void {
    this.#drag = undefined;
    this.#selection.hidden = true;
  }

  #wheel(event: WheelEvent): void {
    // Without these keys the page scrolls.
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const x = this.#chart.valueAt(event.offsetX);
    if (x === undefined || this.#drawing === undefined) return;
    const factor = event.deltaY > 0 ? WHEEL_FACTOR : 1 / WHEEL_FACTOR;
    this.#view.onZoom(scaleRange(this.#drawing.range, factor, x));
  }
}

/** A dashed line at a height, with what it is in words that can be read on any line. */
function levelMark({ y, said }: { y: number; said: string }, colour: string) {
  return {
    silent: true,
    symbol: "none",
    data: [{
      yAxis: y,
      label: {
        formatter: said,
        position: "insideEndTop" as const,
        color: styleColour("text"),
        textBorderWidth: 0,
        backgroundColor: styleColour("panel"),
        padding: [1, 3],
      },
    }],
    lineStyle: { color: colour, type: "dashed" as const },
  };
}
