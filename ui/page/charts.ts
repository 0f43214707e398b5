/// <reference lib="dom" />
/** Charts that follow the page's colours and size. */
import type * as Echarts from "echarts";
import { make } from "page/elements.ts";

declare const echarts: typeof Echarts;

/** What a chart is drawn from. */
export type ChartOption = Echarts.EChartsOption;

/** Colours of runs and classes that are told apart by the colour-blind too (Okabe and Ito), readable on light and dark. */
export const COLOURS = [
  "#0f7fc0",
  "#d56000",
  "#009e73",
  "#b0609a",
  "#c29700",
  "#3aa0d8",
  "#7a7f87",
  "#8a5a2b",
  "#5e60ce",
  "#d1495b",
];

/** A colour of the style sheet. */
export function styleColour(name: string): string {
  // Resolved by the browser, since a custom property is text to it.
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** A number as people read it. */
export function formatNumber(value: number, digits = 4): string {
  if (!Number.isFinite(value)) return "–";
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(2);
  return String(Number(value.toPrecision(digits)));
}

const darkScheme = matchMedia("(prefers-color-scheme: dark)");
const all = new Set<Chart>();
darkScheme.addEventListener("change", () => all.forEach((chart) => chart.redraw()));

/** What a chart shows. */
export interface Drawing {
  option: ChartOption;
  /** A sentence for those who do not see it. */
  said: string;
  /** Some of its values, the heading first, for those who want to read them. */
  values?: readonly (readonly string[])[];
}

/** A chart in an element, with a table of its values behind it that can be opened. */
export class Chart {
  readonly #element: HTMLElement;
  readonly #chart: Echarts.ECharts;
  readonly #values = document.createElement("details");
  #make: (() => Drawing) | undefined;

  constructor(id: string) {
    this.#element = document.getElementById(id)!;
    this.#element.setAttribute("role", "img");
    this.#chart = echarts.init(this.#element);
    new ResizeObserver(() => this.#chart.resize()).observe(this.#element);
    this.#values.append(make("summary", { textContent: "Values" }), make("table"));
    this.#values.addEventListener("toggle", () => this.redraw());
    this.#element.after(this.#values);
    all.add(this);
  }

  /**
   * Draws it.
   *
   * @param make gives what to draw, in the colours of the moment
   */
  draw(make: () => Drawing): void {
    this.#make = make;
    this.redraw();
  }

  /** Draws it once more, in other colours. */
  redraw(): void {
    if (this.#make === undefined) return;
    const { option, said, values } = this.#make();
    this.#element.setAttribute("aria-label", said);
    this.#chart.setOption({ ...baseOption(), ...option }, { notMerge: true, lazyUpdate: true });
    this.#values.hidden = values === undefined;
    if (values !== undefined && this.#values.open) this.#list(values);
  }

  #list([heading, ...rows]: readonly (readonly string[])[]): void {
    const row = (tag: "th" | "td", cells: readonly string[]) =>
      make("tr", {}, ...cells.map((textContent) => make(tag, { textContent })));
    this.#values.querySelector("table")!.replaceChildren(
      make("thead", {}, row("th", heading)),
      make("tbody", {}, ...rows.map((cells) => row("td", cells))),
    );
  }
}

function baseOption(): ChartOption {
  return {
    animation: false,
    color: COLOURS,
    backgroundColor: "transparent",
    textStyle: { color: styleColour("text") },
    grid: { left: 8, right: 12, top: 34, bottom: 8, containLabel: true },
  };
}

/** An axis of numbers. */
export function valueAxis(name: string, more: Record<string, unknown> = {}) {
  return {
    type: "value" as const,
    name,
    nameTextStyle: { color: styleColour("faint"), align: "left" as const },
    axisLabel: { color: styleColour("faint"), hideOverlap: true },
    axisLine: { lineStyle: { color: styleColour("line") } },
    splitLine: { lineStyle: { color: styleColour("line") } },
    ...more,
  };
}

/** Something that is shown beside the pointer, in the page's colours. */
export function tooltip(more: Record<string, unknown>) {
  return {
    backgroundColor: styleColour("panel"),
    borderColor: styleColour("line"),
    textStyle: { color: styleColour("text") },
    confine: true,
    ...more,
  };
}
