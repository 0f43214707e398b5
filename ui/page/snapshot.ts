/// <reference lib="dom" />
/** A batch: its views, and what teacher and student make of the queue. */
import { Chart, formatNumber, styleColour, tooltip, valueAxis } from "page/charts.ts";
import { find, make } from "page/elements.ts";
import type { State } from "page/state.ts";
import { showTiles } from "page/viewer.ts";

/** Probabilities below are shown as this one: the axis is logarithmic. */
const LEAST = 1e-6;

/** The section. */
export class Snapshot {
  readonly #likeliest = new Chart("likeliest");
  readonly #histogram = new Chart("histogram");

  /** Shows the newest snapshot. */
  draw({ run }: State): void {
    const snapshot = run?.diagnostics.look;
    find("look").hidden = snapshot === undefined;
    if (snapshot === undefined) return;
    const { step, views, similarities: { keys, own, teacher, student, crossEntropy } } = snapshot;
    find("look-said").textContent = `Step ${step}. SEED's loss for the first image is ${
      formatNumber(crossEntropy)
    }. Effective number of keys in the softmax (exponential of its entropy): ${
      formatNumber(Math.exp(student.entropy), 3)
    } for the student, ${formatNumber(Math.exp(teacher.entropy), 3)} for the teacher, of ${keys}.`;
    const shown = Array.from({ length: views.count }, (_, index) => ({
      sprite: views,
      index,
      said: `view ${index + 1}${index === 0 ? ", shown below" : ""}`,
    }));
    showTiles(find("views"), shown, (button) => make("li", {}, button));
    const named = [["teacher", teacher], ["student", student]] as const;
    this.#likeliest.draw(() => ({
      values: [
        ["key", "teacher", "student"],
        ...teacher.probabilities.map((probability, i) => [
          i === own ? "own" : String(i + 1),
          formatNumber(probability, 3),
          formatNumber(student.probabilities[i], 3),
        ]),
      ],
      said: `The teacher's ${teacher.probabilities.length} most likely keys; the first has probability ${
        named.map(([name, { probabilities }]) => `${formatNumber(probabilities[0], 3)} for the ${name}`).join(
          " and ",
        )
      }`,
      option: {
        legend: { textStyle: { color: styleColour("text") }, top: 2, right: 0 },
        tooltip: tooltip({
          trigger: "axis",
          valueFormatter: (value: unknown) => formatNumber(Number(value), 3),
        }),
        xAxis: {
          type: "category",
          data: teacher.probabilities.map((_, i) => i === own ? "own" : String(i + 1)),
          axisLabel: { color: styleColour("faint") },
          axisLine: { lineStyle: { color: styleColour("faint") } },
        },
        yAxis: valueAxis("probability", { type: "log", min: LEAST, max: 1 }),
        series: named.map(([name, { probabilities }], i) => ({
          type: "line" as const,
          name,
          data: probabilities.map((value) => Math.max(value, LEAST)),
          symbol: i === 0 ? "circle" : "diamond",
          symbolSize: 8,
          showAllSymbol: true,
          itemStyle: { color: styleColour(name) },
          lineStyle: { width: 1, color: styleColour(name) },
        })),
      },
    }));
    const bins = teacher.histogram.length;
    this.#histogram.draw(() => ({
      values: [
        ["cosine from", "teacher's keys", "student's keys"],
        ...teacher.histogram.map((count, bin) => [
          formatNumber(-1 + 2 * bin / bins),
          String(count),
          String(student.histogram[bin]),
        ]),
      ],
      said: `Cosine similarities to all ${keys} keys: ${
        named.map(([name, { histogram }]) => `the ${name}'s peak near ${formatNumber(fullest(histogram), 2)}`)
          .join(", ")
      }`,
      option: {
        legend: { textStyle: { color: styleColour("text") }, top: 2, right: 0 },
        tooltip: tooltip({ trigger: "axis" }),
        xAxis: valueAxis("", { min: -1, max: 1, splitLine: { show: false } }),
        yAxis: valueAxis("keys", { axisLine: { onZero: false, lineStyle: { color: styleColour("faint") } } }),
        series: named.map(([name, { histogram }]) => ({
          type: "line" as const,
          step: "middle" as const,
          name,
          data: histogram.map((count, bin) => [-1 + 2 * (bin + 0.5) / bins, count]),
          showSymbol: false,
          lineStyle: { color: styleColour(name), width: 2 },
          itemStyle: { color: styleColour(name) },
          areaStyle: { opacity: 0.15, color: styleColour(name) },
        })),
      },
    }));
  }
}

function fullest(histogram: readonly number[]): number {
  return -1 + 2 * (histogram.indexOf(Math.max(...histogram)) + 0.5) / histogram.length;
}
