/// <reference lib="dom" />
/** Charts that follow the page's colours and size. */
import type * as Echarts from "echarts";
import { COLOURS, type LegendEntry } from "page/colours.ts";
import { make } from "page/elements.ts";
import { saveCanvas, saveTable } from "page/saving.ts";
import { currentTheme } from "page/theme.ts";

declare const echarts: typeof Echarts;

/** What a chart is drawn from. */
export type ChartOption = Echarts.EChartsOption;

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

/** What a chart shows. */
export interface Drawing {
  option: ChartOption;
  /** A sentence for those who do not see it. */
  said: string;
  /** Some of its values, the heading first, for those who want to read them. */
  values: readonly (readonly string[])[];
  /** All its values, the heading first, for a file; by default `values`. */
  cells?: () => readonly (readonly string[])[];
  /** Why there is nothing to be seen, where there is not. */
  empty?: string;
  /** What an image file needs beside the chart, where the page has it elsewhere. */
  legend?: readonly LegendEntry[];
}

/** A chart in an element, with buttons that save it, and a table of its values behind it that can be opened. */
export class Chart {
  readonly element: HTMLElement;
  /** Buttons beside its title. */
  readonly tools: HTMLElement = make("span", { className: "tools" });
  readonly #chart: Echarts.ECharts;
  readonly #values = document.createElement("details");
  readonly #empty = make("p", { className: "none" });
  readonly #caption: HTMLElement;
  readonly #buttons = {
    CSV: this.#button("CSV", () => this.#saveCsv()),
    PNG: this.#button("PNG", () => this.#savePng()),
  };
  #make: (() => Drawing) | undefined;
  #drawing: Drawing | undefined;

  constructor(id: string) {
    this.element = document.getElementById(id)!;
    this.element.setAttribute("role", "img");
    this.#chart = echarts.init(this.element);
    // It is told of the first size too, in which the chart has been drawn.
    new ResizeObserver(() => {
      const { clientWidth, clientHeight } = this.element;
      if (clientWidth !== this.#chart.getWidth() || clientHeight !== this.#chart.getHeight()) {
        this.#chart.resize();
      }
    }).observe(this.element);
    this.#values.append(make("summary", { textContent: "Values" }), make("table"));
    this.#values.addEventListener("toggle", () => this.redraw());
    this.element.after(this.#empty, this.#values);
    this.#caption = this.element.closest("figure")!.querySelector("figcaption")!;
    this.tools.append(...Object.values(this.#buttons));
    this.#caption.after(this.tools);
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

  /** Draws it once more. */
  redraw(): void {
    if (this.#make === undefined) return;
    for (const [text, button] of Object.entries(this.#buttons)) {
      button.setAttribute("aria-label", `Save ${this.#title} as ${text}`);
    }
    const { option, said, values, empty } = this.#drawing = this.#make();
    const isEmpty = empty !== undefined;
    this.element.hidden = this.#values.hidden = this.tools.hidden = isEmpty;
    this.#empty.hidden = !isEmpty;
    this.#empty.textContent = empty ?? "";
    if (isEmpty) return;
    this.element.setAttribute("aria-label", said);
    this.#chart.setOption({ ...baseOption(), ...option }, { notMerge: true });
    if (this.#values.open) this.#list(values);
  }

  /** The value of the x axis at a distance from the left edge, in pixels; `undefined` where nothing is drawn. */
  valueAt(pixel: number): number | undefined {
    const value: unknown = this.#chart.convertFromPixel({ xAxisIndex: 0 }, pixel);
    return typeof value === "number" && Number.isFinite(value) ? value : undefined;
  }

  /** The distance from the left edge of a value of the x axis, in pixels. */
  pixelOf(value: number): number {
    return Number(this.#chart.convertToPixel({ xAxisIndex: 0 }, value));
  }

  /** What the page calls it now. */
  get #title(): string {
    return this.#caption.textContent!.trim();
  }

  #button(text: string, onClick: () => void): HTMLButtonElement {
    const button = make("button", { textContent: text, title: `Save as ${text}` });
    button.type = "button";
    button.addEventListener("click", onClick);
    return button;
  }

  #saveCsv(): void {
    if (this.#drawing === undefined) return;
    saveTable(this.#drawing.cells?.() ?? this.#drawing.values, this.#title);
  }

  #savePng(): void {
    const chart = this.#chart.renderToCanvas({ pixelRatio: 2, backgroundColor: styleColour("panel") });
    saveCanvas(chart, this.#title, this.#drawing?.legend ?? [], {
      text: styleColour("text"),
      background: styleColour("panel"),
    });
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
    color: [...COLOURS[currentTheme()]],
    backgroundColor: "transparent",
    textStyle: { color: styleColour("text") },
    grid: { left: 8, right: 12, top: 28, bottom: 8, containLabel: true },
  };
}

/** An axis of numbers. */
export function valueAxis(name: string, more: Record<string, unknown> = {}) {
  return {
    type: "value" as const,
    name,
    nameTextStyle: { color: styleColour("faint"), align: "left" as const },
    axisLabel: { color: styleColour("faint"), hideOverlap: true },
    axisLine: { lineStyle: { color: styleColour("faint") } },
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
