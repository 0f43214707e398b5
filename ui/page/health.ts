/// <reference lib="dom" />
/** Measurements of training steps: norms of gradient and weights, the device's time, memory. */
import { DASHES } from "page/colours.ts";
import { find } from "page/elements.ts";
import { type Line, LineChart, type SharedView } from "page/line_chart.ts";
import { secondsPerStep } from "page/run_times.ts";
import { cellsOf, lookOf, type Shown, type ShownRun, whyUnseen } from "page/shown_runs.ts";
import { smooth } from "page/smoothing.ts";
import type { Run } from "page/state.ts";
import type { StatsRow } from "../records.ts";

/** A line of fewer points has marks: a single one would not be seen. */
const MARKED_POINTS = 30;

/** Returns the norm of all groups together; `null` where one is not finite. */
function totalOf(norms: StatsRow["gradient_norms"]): number | null {
  let sum = 0;
  for (const norm of Object.values(norms)) {
    if (norm === null) return null;
    sum += norm * norm;
  }
  return Math.sqrt(sum);
}

/** What a chart shows of a row. */
type ValueOf = (row: StatsRow, run: Run) => number | null;

const seconds: ValueOf = ({ device_seconds }) => device_seconds ?? null;

const share: ValueOf = (row, { points }) => {
  const length = secondsPerStep(points, row.step);
  return row.device_seconds === undefined || length === null || length <= 0
    ? null
    : 100 * row.device_seconds / length;
};

const MEMORY: Readonly<Record<string, ValueOf>> = {
  "trainer's device memory": ({ device_bytes }) => device_bytes / 2 ** 30,
  "whole process": ({ process_bytes }) => process_bytes / 2 ** 30,
};

/** The batches between two records of a run; `undefined` where its settings do not say. */
function stepsBetween({ config }: Run): number | undefined {
  const found = config?.stats_every;
  return typeof found === "number" ? found : undefined;
}

/** Returns why there are no records of some runs; `undefined` where there are some. */
function whyNoStats(runs: readonly Run[]): string | undefined {
  if (runs.some(({ stats }) => stats.length > 0)) return undefined;
  if (runs.length === 0) return "No run is selected.";
  if (runs.every(({ record, config }) => record?.task === "lincls" && config?.finetune !== true)) {
    return "A linear evaluation records no norms, device time or memory.";
  }
  const every = runs.map(stepsBetween);
  if (every.every((steps) => steps === 0)) return "Nothing is recorded: --stats-every is 0.";
  const isOver = runs.every(({ record }) => record !== undefined && record.status !== "running");
  const known = every.find((steps) => steps !== undefined && steps > 0);
  if (known === undefined) {
    return isOver ? "Nothing was recorded: an older version wrote this run." : "Nothing is recorded yet.";
  }
  const when = `there is a record every ${known} batches (--stats-every)`;
  return isOver ? `The run ended before its first record: ${when}.` : `Nothing is recorded yet: ${when}.`;
}

/** Returns why runs that have records have none of the device's time. */
function whyUntimed(runs: readonly Run[]): string {
  const areOfRanks = new Set(runs.map(({ config }) => typeof config?.ranks === "number"));
  const reasons = [
    ...areOfRanks.has(false) ? ["the adapter has no timestamp queries"] : [],
    ...areOfRanks.has(true) ? ["it is not measured in runs of several ranks"] : [],
  ];
  return `Device time is unknown: ${reasons.join(", or ")}.`;
}

/** Values that a chart shows, by name, and how. */
interface Values {
  values: ReadonlyMap<string, ValueOf>;
  /** What they are told apart by, where there are several. */
  lineName: string;
  isSmooth?: boolean;
  /** Why there may be no value. */
  none?: string;
  yAxis?: Record<string, unknown>;
}

/** The section. */
export class Health {
  readonly charts: readonly LineChart[];
  readonly #gradients: LineChart;
  readonly #weights: LineChart;
  readonly #time: LineChart;
  readonly #share: LineChart;
  readonly #memory: LineChart;

  /** @param view is shared with the other curves */
  constructor(view: SharedView) {
    this.#gradients = new LineChart("gradient-norm", "Gradient norm", "", view, "on");
    this.#weights = new LineChart("weight-norm", "Weight norm", "", view, "off");
    this.#time = new LineChart("device-time", "Device time", " s", view, "off");
    this.#share = new LineChart("device-share", "Device share", " %", view, "never");
    this.#memory = new LineChart("memory", "Memory", " GiB", view, "never");
    this.charts = [this.#gradients, this.#weights, this.#time, this.#share, this.#memory];
  }

  /** Shows the records of the runs that are drawn. */
  draw(shown: Shown): void {
    const runs = shown.runs.map(({ run }) => run);
    const why = whyNoStats(runs);
    find("health-charts").hidden = why !== undefined;
    const isAlone = runs.length === 1;
    find("health-said").textContent = why ??
      `L2 norms of the gradient, before it is clipped, and of the weights. ${
        isAlone
          ? "One line per group of layers."
          : "With several runs, only totals are plotted: plot one run to see its groups of layers."
      }`;
    if (why !== undefined) return;
    for (
      const [chart, field] of [[this.#gradients, "gradient_norms"], [this.#weights, "weight_norms"]] as const
    ) {
      const values = new Map<string, ValueOf>([["total", (row) => totalOf(row[field])]]);
      for (const group of isAlone ? Object.keys(runs[0].stats[0][field]) : []) {
        values.set(group, (row) => row[field][group] ?? null);
      }
      const isSmooth = field === "gradient_norms"; // weights change slowly
      this.#drawValues(chart, shown, { values, lineName: "group", isSmooth });
    }
    const isTimed = runs.some(({ stats }) =>
      stats.some(({ device_seconds }) => device_seconds !== undefined)
    );
    const untimed = whyUntimed(runs);
    const device = { lineName: "run", isSmooth: true, yAxis: { min: 0 } };
    this.#drawValues(this.#time, shown, {
      ...device,
      values: new Map([["device", seconds]]),
      none: untimed,
    });
    this.#drawValues(this.#share, shown, {
      ...device,
      values: new Map([["device", share]]),
      none: isTimed ? "Step time is unknown: metrics.jsonl has no two steps with a time." : untimed,
    });
    this.#drawValues(this.#memory, shown, {
      values: new Map(Object.entries(MEMORY)),
      lineName: "memory",
      yAxis: { min: 0 },
    });
  }

  /** Draws a line for each value of each run. */
  #drawValues(
    chart: LineChart,
    { runs, unit, smoothing, ...common }: Shown,
    { values, lineName, isSmooth = false, none, yAxis }: Values,
  ): void {
    const isAlone = runs.length === 1;
    const lines = runs.flatMap((one) =>
      [...values].map(([value, valueOf], i) =>
        lineOf(one, valueOf, isSmooth ? smoothing : 0, {
          name: values.size === 1 ? one.name : isAlone ? value : `${one.name}, ${value}`,
          // One run has all colours to itself.
          ...isAlone
            ? lookOf(i)
            : { colour: one.colour, dash: i === 0 ? one.dash : DASHES[i % DASHES.length] },
        })
      )
    );
    const drawn = isAlone && values.size > 1 ? lineName : "run";
    chart.draw({
      ...common,
      lines,
      lineName: drawn,
      empty: whyUnseen(lines, runs, unit, none),
      cells: () => cellsOf(lines, common.xName, drawn),
      yAxis,
    });
  }
}

/** Returns a line of a run's values; those that are not finite are gaps. */
function lineOf(
  { run, statsXs }: ShownRun,
  valueOf: ValueOf,
  smoothing: number,
  look: Pick<Line, "name" | "colour" | "dash">,
): Line {
  const points = run.stats.flatMap((row, i) => {
    const x = statsXs[i];
    return x === null ? [] : [[x, valueOf(row, run)] as const];
  });
  return {
    ...look,
    points,
    hasMarks: points.length < MARKED_POINTS,
    ...smoothing > 0 && { smoothed: smooth(points, smoothing) },
  };
}
