/// <reference lib="dom" />
/** Runs that are chosen, as all charts over steps, epochs or time draw them. */
import { COLOURS, DASHES, type LegendEntry } from "page/colours.ts";
import type { Line, LinesDrawing } from "page/line_chart.ts";
import type { Run } from "page/state.ts";
import { currentTheme } from "page/theme.ts";

/** What the x axis counts. */
export type Unit = "step" | "epoch" | "time";

/** How a run is drawn: by its number, so that it keeps its colour whichever others are shown. */
export function lookOf(index: number): Omit<LegendEntry, "name"> {
  const colours = COLOURS[currentTheme()];
  return {
    colour: colours[index % colours.length],
    dash: DASHES[Math.floor(index / colours.length) % DASHES.length],
  };
}

/** A run that is shown, with what its points are drawn over. */
export interface ShownRun extends LegendEntry {
  run: Run;
  /** Of the x axis, for each of the run's points. */
  xs: (number | null)[];
  /** The same for each of its rows of statistics. */
  statsXs: (number | null)[];
  /** Of the x axis, for a step. */
  xOf(step: number): number | null;
}

/** Runs that are drawn, and what their charts have in common. */
export interface Shown extends Pick<LinesDrawing, "range" | "xName" | "formatX"> {
  runs: readonly ShownRun[];
  unit: Unit;
  /** How much lines are smoothed, from 0, which is not at all, to 1. */
  smoothing: number;
}

/** Returns why there is no point of some runs. */
function whyEmpty(runs: readonly Run[], unit: Unit): string {
  if (runs.length === 0) return "No run is selected.";
  if (runs.every(({ points }) => points.length === 0)) {
    const isOver = runs.every(({ record }) => record !== undefined && record.status !== "running");
    return isOver ? "The run ended before its first step." : "No steps yet.";
  }
  if (unit === "time") return "No time was recorded: an older version wrote these steps.";
  return "The length of an epoch is unknown: there is no plan in run.json.";
}

/**
 * Returns why nothing is seen of the lines of some runs; `undefined` where something is.
 *
 * @param none why there may be points, and no value
 */
export function whyUnseen(
  lines: readonly Line[],
  runs: readonly ShownRun[],
  unit: Unit,
  none = "No finite values.",
): string | undefined {
  if (lines.every(({ points }) => points.length === 0)) return whyEmpty(runs.map(({ run }) => run), unit);
  return lines.some(({ points }) => points.some(([, y]) => y !== null)) ? undefined : none;
}

/** Returns all points of lines, the heading first, for a file. */
export function cellsOf(lines: readonly Line[], xName: string, lineName = "run"): string[][] {
  const cell = (value: number | null | undefined) =>
    value === null || value === undefined ? "" : String(value);
  return [
    [lineName, xName, "value", "smoothed"],
    ...lines.flatMap(({ name, points, smoothed }) =>
      points.map(([x, y], i) => [name, cell(x), cell(y), cell(smoothed?.[i][1])])
    ),
  ];
}
