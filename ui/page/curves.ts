/// <reference lib="dom" />
/** Loss, accuracy, throughput and learning rate of all runs that are chosen, over steps, epochs or time. */
import { formatNumber } from "page/charts.ts";
import { DASHES } from "page/colours.ts";
import { find } from "page/elements.ts";
import { Health } from "page/health.ts";
import { type Line, LineChart, type Range, scaleRange } from "page/line_chart.ts";
import { shortNames } from "page/names.ts";
import { secondsAt, secondsOf } from "page/run_times.ts";
import { cellsOf, lookOf, type ShownRun, type Unit, whyUnseen } from "page/shown_runs.ts";
import { type Point, smooth } from "page/smoothing.ts";
import { BY, describeImages, epochsAfter, type Run, type State } from "page/state.ts";
import type { CurvePoint, ScoreRow } from "../records.ts";

/** Units of time, in seconds; the largest is taken that the longest run is at least two of. */
const TIMES = [["hours", 3600], ["minutes", 60], ["seconds", 1]] as const;

/** A button zooms by this factor, or moves by this share of the range. */
const ZOOM_FACTOR = 2;
const MOVE_SHARE = 0.5;

/** The shortest range, as a share of everything. */
const SHORTEST = 1e-5;

/** Values over x; points that are at no x are left out. */
function pointsOf({ run, xs }: ShownRun, value: (point: CurvePoint) => number | null): Point[] {
  return run.points.flatMap((point, i) => xs[i] === null ? [] : [[xs[i], value(point)] as const]);
}

/** A line for each way in which the student was evaluated: by kNN, and by each linear classifier. */
function scoreLines(shown: ShownRun, isAlone: boolean): Line[] {
  const { run, xOf, name, colour, dash } = shown;
  const kinds = new Map<string, ScoreRow[]>();
  for (const row of run.scores) {
    if (row.of !== "student") continue;
    const kind = row.by !== "linear"
      ? BY[row.by] + describeImages(row)
      : row.lr === undefined
      ? BY.linear
      : `linear, lr ${formatNumber(row.lr)}`;
    kinds.set(kind, [...kinds.get(kind) ?? [], row]);
  }
  const teacher = run.scores.find(({ of }) => of === "teacher");
  return [...kinds].map(([kind, rows], i) => ({
    name: kinds.size === 1 ? name + describeImages(rows[0]) : `${name}, ${kind}`,
    // One run has all colours to itself.
    ...isAlone ? lookOf(i) : { colour, dash: i === 0 ? dash : DASHES[i % DASHES.length] },
    points: rows.flatMap(({ step, top1 }) => {
      const x = xOf(step);
      return x === null ? [] : [[x, top1] as const];
    }),
    hasMarks: true,
    ...i === 0 && teacher && { level: { y: teacher.top1, said: `teacher ${teacher.top1.toFixed(1)} %` } },
  }));
}

/** Why there is no accuracy of some runs. */
function whyNoScores(runs: readonly Run[]): string {
  const knows = runs.some(({ record, config }) =>
    record?.task === "lincls" || (config?.test_data ?? null) !== null
  );
  if (runs.length > 0 && !knows) return "No evaluation: the run has no --test-data.";
  if (runs.length > 0 && runs.every(({ record }) => record?.plan?.knn === null)) {
    return "No kNN: there are no labelled images to classify.";
  }
  if (runs.some(({ record }) => record?.status === "finished")) {
    return "The run finished without an evaluation.";
  }
  const isOver = runs.every(({ record }) => record !== undefined && record.status !== "running");
  return isOver ? "The run ended before its first evaluation." : "No evaluation yet.";
}

/** The charts over steps, epochs or time, and what is chosen of them. */
export class Curves {
  readonly #loss: LineChart;
  readonly #scores: LineChart;
  readonly #throughput: LineChart;
  readonly #lr: LineChart;
  readonly #health: Health;
  readonly #smoothing = find<HTMLInputElement>("smoothing");
  readonly #redraw: () => void;
  /** All there is of the x axis. */
  #everything: Range = [0, 1];
  /** What is shown of it. */
  #range: Range = [0, 1];
  /** Seconds that a unit of the x axis is; 1 where it counts steps or epochs. */
  #unitLength = 1;
  /** What was chosen of it, in seconds where it counts time, whose unit may become another one; nothing for all. */
  #zoom: Range | undefined;

  /** @param redraw has them drawn anew */
  constructor(redraw: () => void) {
    this.#redraw = redraw;
    const view = {
      onZoom: (range: Range | undefined) => this.#show(range),
      onPoint: (x: number | undefined) => this.#all().forEach((chart) => chart.point(x)),
    };
    this.#loss = new LineChart("loss", "Loss", "", view, "off");
    this.#scores = new LineChart("scores", "Top-1", " %", view, "never");
    this.#throughput = new LineChart("throughput", "Images per second", "", view, "off");
    this.#lr = new LineChart("lr", "Learning rate", "", view, "off");
    this.#health = new Health(view);
    find("unit").addEventListener("change", () => this.#show(undefined));
    this.#smoothing.addEventListener("input", redraw);
    const ranges: Record<string, (range: Range) => Range | undefined> = {
      "zoom-in": (range) => scaleRange(range, 1 / ZOOM_FACTOR),
      "zoom-out": (range) => scaleRange(range, ZOOM_FACTOR),
      "zoom-before": ([from, to]) => [from - MOVE_SHARE * (to - from), to - MOVE_SHARE * (to - from)],
      "zoom-after": ([from, to]) => [from + MOVE_SHARE * (to - from), to + MOVE_SHARE * (to - from)],
      "zoom-all": () => undefined,
    };
    for (const [id, change] of Object.entries(ranges)) {
      find(id).addEventListener("click", () => this.#show(change(this.#range)));
    }
  }

  /** Shows what there is. */
  draw({ runs }: State): void {
    const unit = document.querySelector<HTMLInputElement>("#unit input:checked")!.value as Unit;
    const share = Number(this.#smoothing.value) / 100;
    find("smoothing-said").textContent = share === 0 ? "off" : `${this.#smoothing.value} % of the steps`;
    const names = shortNames(runs.map(({ name }) => name));
    const chosen = runs.map((run, i) => ({ run, name: names[i], ...lookOf(i) })).filter(({ run }) =>
      run.isShown
    );
    const seconds = chosen.map(({ run }) => unit === "time" ? secondsOf(run.points) : []);
    const longest = Math.max(...seconds.map((own) => own.at(-1) ?? 0));
    const [time, divisor] = TIMES.find(([, length]) => longest >= 2 * length) ?? TIMES[2];
    const shown = chosen.map((one, i): ShownRun => {
      const { points, record } = one.run;
      const plan = record?.plan;
      const xOf = (step: number): number | null => {
        if (unit === "step") return step;
        if (unit === "epoch") return plan === undefined ? null : epochsAfter(step, plan);
        const at = secondsAt(points, seconds[i], step);
        return at === null ? null : at / divisor;
      };
      const xs = unit === "time"
        ? seconds[i].map((at) => at === null ? null : at / divisor)
        : points.map(([step]) => xOf(step));
      return { ...one, xs, statsXs: one.run.stats.map(({ step }) => xOf(step)), xOf };
    });
    this.#everything = extentOf(shown);
    this.#unitLength = unit === "time" ? divisor : 1;
    const range = this.#range = this.#zoomed() ?? this.#everything;
    const xName = unit === "time" ? time : unit;
    const formatX = (x: number) => unit === "step" ? String(Math.round(x)) : formatNumber(x);
    const common = { range, xName, formatX };
    this.#health.draw({ ...common, runs: shown, unit, smoothing: share });
    const drawPoints = (
      chart: LineChart,
      value: (point: CurvePoint) => number | null,
      isSmooth: boolean,
      none?: string,
    ) => {
      const lines = shown.map((one) => {
        const points = pointsOf(one, value);
        const { name, colour, dash } = one;
        return {
          name,
          colour,
          dash,
          points,
          ...isSmooth && share > 0 && { smoothed: smooth(points, share) },
        };
      });
      const empty = whyUnseen(lines, shown, unit, none);
      chart.draw({ ...common, lines, empty, cells: () => cellsOf(lines, xName) });
    };
    drawPoints(this.#loss, (point) => point[1], true);
    drawPoints(this.#lr, (point) => point[2], false);
    drawPoints(this.#throughput, (point) => point[3], true, "The rate is known after a second of training.");
    const scores = shown.flatMap((one) => scoreLines(one, shown.length === 1));
    const isEmpty = scores.every(({ points }) => points.length === 0);
    this.#scores.draw({
      ...common,
      lines: scores,
      empty: isEmpty ? whyNoScores(shown.map(({ run }) => run)) : undefined,
      cells: () => cellsOf(scores, xName),
      yAxis: { min: 0, max: (extent: { max: number }) => largestShown(extent.max, scores) },
    });
  }

  #all(): LineChart[] {
    return [this.#loss, this.#scores, this.#throughput, this.#lr, ...this.#health.charts];
  }

  /** Shows a range of the x axis, as far as there is anything in it. */
  #show(range: Range | undefined): void {
    const [first, last] = this.#everything;
    if (range !== undefined) {
      const length = Math.min(Math.max(range[1] - range[0], SHORTEST * (last - first)), last - first);
      const from = Math.min(Math.max(range[0], first), last - length);
      range = length === last - first ? undefined : [from, from + length];
    }
    this.#zoom = range && [range[0] * this.#unitLength, range[1] * this.#unitLength];
    this.#redraw();
  }

  /** What was chosen of the x axis; one of runs that are no longer drawn is given up. */
  #zoomed(): Range | undefined {
    if (this.#zoom === undefined) return undefined;
    const [from, to] = [this.#zoom[0] / this.#unitLength, this.#zoom[1] / this.#unitLength];
    const [first, last] = this.#everything;
    if (from < last && to > first) return [from, to];
    this.#zoom = undefined;
  }
}

/** From the first point or evaluation of some runs to the last. */
function extentOf(runs: readonly ShownRun[]): Range {
  const ends = runs.flatMap(({ xs, xOf, run: { scores } }) => [
    xs[0] ?? null,
    xs.at(-1) ?? null,
    ...scores.filter(({ of }) => of === "student").map(({ step }) => xOf(step)),
  ]).filter((x) => x !== null);
  if (ends.length === 0) return [0, 1];
  const [first, last] = [Math.min(...ends), Math.max(...ends)];
  return [first, last > first ? last : first + 1];
}

/** Room for the teacher's line, and for what is written at it. */
function largestShown(largest: number, lines: readonly Line[]): number {
  const most = Math.max(largest, ...lines.map(({ level }) => level?.y ?? 0));
  return Math.min(100, Math.ceil((most * 1.2 + 5) / 10) * 10);
}
