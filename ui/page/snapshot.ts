/// <reference lib="dom" />
/** A batch: its views, and what the two encoders make of the queue. */
import { Chart, formatNumber, styleColour, tooltip, valueAxis } from "page/charts.ts";
import { find, make } from "page/elements.ts";
import type { SnapshotRecord } from "../records.ts";
import type { State } from "page/state.ts";
import { showTiles } from "page/viewer.ts";
import { type Wording, wordingOf } from "page/wording.ts";

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
    const { step, views, similarities: { keys, own, teacher, student } } = snapshot;
    const wording = wordingOf(run?.record?.task);
    find("look-title").textContent = `A batch, as the ${wording.trained} sees it`;
    find("likeliest-title").textContent = `${wording.both} softmax over the queue, for the first image`;
    find("look-said").textContent = `Step ${step}. ${
      describeLoss(snapshot, wording)
    } Effective number of keys in the softmax (exponential of its entropy): ${
      formatNumber(Math.exp(student.entropy), 3)
    } for the ${wording.trained}, ${
      formatNumber(Math.exp(teacher.entropy), 3)
    } for the ${wording.keys}, of ${keys}.`;
    const shown = Array.from({ length: views.count }, (_, index) => ({
      sprite: views,
      index,
      said: `view ${index + 1}${index === 0 ? ", shown below" : ""}`,
    }));
    showTiles(find("views"), shown, (button) => make("li", {}, button));
    const named = [[wording.keys, teacher], [wording.trained, student]] as const;
    const colourOf = (i: number) => styleColour(i === 0 ? "teacher" : "student");
    this.#likeliest.draw(() => ({
      values: [
        ["key", ...named.map(([name]) => name)],
        ...teacher.probabilities.map((probability, i) => [
          i === own ? "own" : String(i + 1),
          formatNumber(probability, 3),
          formatNumber(student.probabilities[i], 3),
        ]),
      ],
      said:
        `The ${wording.keys}'s ${teacher.probabilities.length} most likely keys; the first has probability ${
          named.map(([name, { probabilities }]) => `${formatNumber(probabilities[0], 3)} for the ${name}`)
            .join(
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
          itemStyle: { color: colourOf(i) },
          lineStyle: { width: 1, color: colourOf(i) },
        })),
      },
    }));
    const bins = teacher.histogram.length;
    this.#histogram.draw(() => ({
      values: [
        ["cosine from", ...named.map(([name]) => `${name}'s keys`)],
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
        series: named.map(([name, { histogram }], i) => ({
          type: "line" as const,
          step: "middle" as const,
          name,
          data: histogram.map((count, bin) => [-1 + 2 * (bin + 0.5) / bins, count]),
          showSymbol: false,
          lineStyle: { color: colourOf(i), width: 2 },
          itemStyle: { color: colourOf(i) },
          areaStyle: { opacity: 0.15, color: colourOf(i) },
        })),
      },
    }));
  }
}

/** The first image's loss against the queue: with a teacher the cross-entropy of both softmaxes, else that of its own key. */
function describeLoss({ similarities }: SnapshotRecord, { hasTeacher }: Wording): string {
  const { own, student, crossEntropy } = similarities;
  if (hasTeacher) return `SEED's loss for the first image is ${formatNumber(crossEntropy)}.`;
  if (own < 0) return ""; // its key is not among those that are recorded
  return `InfoNCE for the first image is ${formatNumber(-Math.log(student.probabilities[own]))}.`;
}

function fullest(histogram: readonly number[]): number {
  return -1 + 2 * (histogram.indexOf(Math.max(...histogram)) + 0.5) / histogram.length;
}
