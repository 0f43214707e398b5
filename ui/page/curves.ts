/// <reference lib="dom" />
/** Loss, accuracy, throughput and learning rate over the steps, of all runs that are chosen. */
import { Chart, type ChartOption, COLOURS, formatNumber, tooltip, valueAxis } from "page/charts.ts";
import type { CurvePoint } from "../records.ts";
import type { Run, State } from "page/state.ts";

/** Share of the newest value in the moving average of the loss. */
const SMOOTHING = 0.05;

type Point = [x: number, y: number | null];

function smooth(points: readonly Point[]): Point[] {
  let sum = 0;
  let weight = 0;
  return points.map(([x, y]) => {
    if (y === null) return [x, null];
    // The weights of the first values are made up for, so that the curve begins where they are.
    sum = (1 - SMOOTHING) * sum + SMOOTHING * y;
    weight = (1 - SMOOTHING) * weight + SMOOTHING;
    return [x, sum / weight];
  });
}

function column(points: readonly CurvePoint[], index: 1 | 2 | 3): Point[] {
  return points.map((point) => [point[0], point[index]]);
}

interface Line {
  run: Run;
  colour: string;
  points: Point[];
  style?: Record<string, unknown>;
}

function drawLines(
  chart: Chart,
  what: string,
  unit: string,
  lines: readonly Line[],
  more: ChartOption = {},
): void {
  chart.draw(() => ({
    said: `${what}: ${
      lines.map(({ run, points }) => `${run.name} ${describeCurve(points, unit)}`).join("; ") || "nothing yet"
    }`,
    values: [["run", "step", what], ...listed(lines, unit)],
    option: {
      tooltip: tooltip({
        trigger: "axis",
        valueFormatter: (value: unknown) => `${formatNumber(Number(value))}${unit}`,
      }),
      xAxis: valueAxis("", { min: "dataMin", max: "dataMax", splitLine: { show: false } }),
      yAxis: valueAxis(unit.trim(), { scale: true }),
      dataZoom: [{ type: "inside", filterMode: "none" }],
      series: lines.map(({ run, colour, points, style }) => ({
        type: "line" as const,
        name: run.name,
        data: points,
        showSymbol: false,
        sampling: "lttb" as const,
        itemStyle: { color: colour },
        lineStyle: { width: 2, color: colour },
        ...style,
      })),
      ...more,
    },
  }));
}

function describeCurve(points: readonly Point[], unit: string): string {
  const known = points.filter(([, y]) => y !== null);
  if (known.length === 0) return "nothing yet";
  const [first, last] = [known[0], known.at(-1)!];
  return `${formatNumber(first[1]!)}${unit} at step ${first[0]}, ${formatNumber(last[1]!)}${unit} at step ${
    last[0]
  }`;
}

/** Points of a line that are listed, evenly spaced, the newest among them. */
const LISTED = 12;

/** Some points of each run's last line: of the loss, the smoothed one. */
function listed(lines: readonly Line[], unit: string): string[][] {
  const last = new Map(lines.map((line) => [line.run, line]));
  return [...last.values()].flatMap(({ run, points }) => {
    const known = points.filter(([, y]) => y !== null);
    const stride = Math.max(1, Math.ceil(known.length / LISTED));
    return known.filter((_, i) => (known.length - 1 - i) % stride === 0)
      .map(([x, y]) => [run.name, String(x), `${formatNumber(y!)}${unit}`]);
  });
}

/** The four charts. */
export class Curves {
  readonly #loss = new Chart("loss");
  readonly #scores = new Chart("scores");
  readonly #throughput = new Chart("throughput");
  readonly #lr = new Chart("lr");

  /** Shows what there is. */
  draw({ runs }: State): void {
    const shown = runs.map((run, i) => ({ run, colour: COLOURS[i % COLOURS.length] })).filter(({ run }) =>
      run.isShown
    );
    drawLines(
      this.#loss,
      "Loss",
      "",
      shown.flatMap(({ run, colour }) => {
        const raw = column(run.points, 1);
        const faint = {
          silent: true,
          lineStyle: { width: 1, opacity: 0.25, color: colour },
          tooltip: { show: false },
        };
        return [{ run, colour, points: raw, style: faint }, { run, colour, points: smooth(raw) }];
      }),
    );
    drawLines(
      this.#lr,
      "Learning rate",
      "",
      shown.map((line) => ({ ...line, points: column(line.run.points, 2) })),
    );
    drawLines(
      this.#throughput,
      "Images a second",
      "",
      shown.map((line) => ({ ...line, points: column(line.run.points, 3) })),
    );
    drawLines(
      this.#scores,
      "Top-1",
      " %",
      shown.map((line) => {
        const { scores } = line.run;
        const teacher = scores.find(({ of }) => of === "teacher");
        const style = {
          showSymbol: true,
          symbolSize: 7,
          ...teacher && {
            markLine: {
              silent: true,
              symbol: "none",
              data: [{
                yAxis: teacher.top1,
                label: { formatter: `teacher ${teacher.top1.toFixed(1)} %`, position: "insideEndTop" },
              }],
              lineStyle: { color: line.colour, type: "dashed" },
            },
          },
        };
        const points = scores.filter(({ of }) => of === "student").map((
          { step, top1 },
        ): Point => [step, top1]);
        return { ...line, points, style };
      }),
      {
        yAxis: valueAxis("%", { min: 0, max: largestShown }),
        // Up to the newest step, however few the scores are.
        xAxis: valueAxis("", {
          min: 0,
          max: Math.max(1, ...shown.map(({ run }) => run.last?.step ?? run.scores.at(-1)?.step ?? 0)),
          splitLine: { show: false },
        }),
      },
    );
  }
}

/** Room for the teacher's line. */
function largestShown({ max }: { max: number }): number {
  return Math.min(100, Math.ceil((max * 1.5 + 5) / 10) * 10);
}
