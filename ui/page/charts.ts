/// <reference lib="dom" />
/** Charts that follow the page's colours and size. */
import type * as Echarts from "echarts";

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

/** A chart in an element. */
export class Chart {
  readonly #element: HTMLElement;
  readonly #chart: Echarts.ECharts;
  #make: (() => { option: ChartOption; said: string }) | undefined;

  constructor(id: string) {
    this.#element = document.getElementById(id)!;
    this.#element.setAttribute("role", "img");
    this.#chart = echarts.init(this.#element);
    new ResizeObserver(() => this.#chart.resize()).observe(this.#element);
    all.add(this);
  }

  /**
   * Draws it.
   *
   * @param make gives the option in the colours of the moment, and a sentence for those who do not see it
   */
  draw(make: () => { option: ChartOption; said: string }): void {
    this.#make = make;
    this.redraw();
  }

  /** Draws it once more, in other colours. */
  redraw(): void {
    if (this.#make === undefined) return;
    const { option, said } = this.#make();
    this.#element.setAttribute("aria-label", said);
    this.#chart.setOption({ ...baseOption(), ...option }, { notMerge: true, lazyUpdate: true });
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
