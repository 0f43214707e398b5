/// <reference lib="dom" />
/** Nearest neighbours by teacher and student, or by an encoder before and now; and maps. */
import { Chart, formatNumber, styleColour, tooltip, valueAxis } from "page/charts.ts";
import { COLOURS } from "page/colours.ts";
import { find, make } from "page/elements.ts";
import { lastParts } from "page/names.ts";
import type { NeighboursRecord, ProbeSetRecord } from "../records.ts";
import type { State } from "page/state.ts";
import { currentTheme } from "page/theme.ts";
import { image, showTiles, type Tile } from "page/viewer.ts";
import { wordingOf } from "page/wording.ts";

/** Images whose neighbours are shown, and how many of these. */
const QUERIES = 10;
const NEIGHBOURS = 6;

/** Classes that are all named above a map; of more, some at a time. */
const MOST_NAMED = 12;

function labelOf({ labels, classNames }: ProbeSetRecord, place: number): string {
  const label = labels[place];
  return label < 0 ? `image ${place}` : classNames?.[label] ?? `class ${label}`;
}

/** Share of neighbours that have their image's class, in percent; `undefined` without classes. */
function agreement({ labels }: ProbeSetRecord, { k, neighbours }: NeighboursRecord): number | undefined {
  if (labels.some((label) => label < 0) || k === 0) return undefined;
  const same = neighbours.filter((place, i) => labels[place] === labels[Math.floor(i / k)]).length;
  return 100 * same / neighbours.length;
}

/** Share of the neighbours that two encoders have in common, in percent. */
function overlap(a: NeighboursRecord, b: NeighboursRecord): number {
  const k = Math.min(a.k, b.k);
  const count = a.k === 0 ? 0 : a.neighbours.length / a.k;
  let common = 0;
  for (let i = 0; i < count; i++) {
    const others = new Set(b.neighbours.slice(i * b.k, i * b.k + k));
    common += a.neighbours.slice(i * a.k, i * a.k + k).filter((place) => others.has(place)).length;
  }
  return count === 0 ? 0 : 100 * common / (count * k);
}

/** The neighbours in this probe set; nothing where they are of another one, from before the run was resumed. */
function inProbeSet(
  { rows }: ProbeSetRecord,
  found: NeighboursRecord | undefined,
): NeighboursRecord | undefined {
  if (found === undefined) return undefined;
  const { k, neighbours, pca } = found;
  return neighbours.length === k * rows.length && pca.length === 2 * rows.length ? found : undefined;
}

/** Neighbours by one encoder, or by one encoder as it was. */
interface Found {
  /** Heading of its column. */
  name: string;
  neighbours: NeighboursRecord;
}

/** Both sections. */
export class Neighbours {
  /** Of the teacher; without one, of the encoder before training. */
  readonly #leftMap = new Chart("map-teacher");
  /** Of the encoder that is trained. */
  readonly #rightMap = new Chart("map-student");

  /** @param onChange the map is to be drawn by another method */
  constructor(onChange: () => void) {
    find("projection").addEventListener("change", onChange);
  }

  /** Shows the newest neighbours and maps. */
  draw({ run }: State): void {
    const { gallery, ...all } = run?.diagnostics ?? {};
    const [teacher, before, student] = [all.teacher, all.before, all.student].map((found) =>
      gallery && inProbeSet(gallery, found)
    );
    const { noun, hasTeacher } = wordingOf(run?.record?.task);
    const found = [
      ...hasTeacher ? [{ name: "teacher", neighbours: teacher }] : [],
      { name: `${noun} before`, neighbours: before },
      { name: `${noun} now`, neighbours: student },
    ].filter((entry): entry is Found => entry.neighbours !== undefined);
    const isThere = gallery !== undefined && (hasTeacher ? teacher !== undefined : found.length > 0);
    find("neighbours").hidden = !isThere;
    find("map").hidden = !isThere;
    if (!isThere) return;
    this.#drawNeighbours(gallery, found, hasTeacher ? "are also the teacher's" : "were so before training");
    const left = hasTeacher ? teacher : before;
    const right = student ?? (hasTeacher ? before : undefined);
    const named = `${noun[0].toUpperCase()}${noun.slice(1)}`;
    this.#leftMap.element.closest("figure")!.hidden = left === undefined;
    this.#rightMap.element.closest("figure")!.hidden = right === undefined;
    if (left !== undefined) {
      find("map-teacher-title").textContent = hasTeacher ? "Teacher" : `${named} before training`;
      const whose = hasTeacher ? "teacher's features" : `${noun}'s features before training`;
      this.#drawMap(this.#leftMap, whose, gallery, left);
    }
    if (right !== undefined) {
      find("map-student-title").textContent = `${named} after ${right.step} steps`;
      this.#drawMap(this.#rightMap, `${noun}'s features`, gallery, right);
    }
  }

  /** @param isCommon what neighbours are said to be that are also the first ones' */
  #drawNeighbours(gallery: ProbeSetRecord, found: readonly Found[], isCommon: string): void {
    const [first] = found;
    const said = found.map(({ name, neighbours }) => {
      const same = agreement(gallery, neighbours);
      const shares = [
        ...same === undefined ? [] : [`${same.toFixed(0)} % of the neighbours have the image's class`],
        ...neighbours === first.neighbours
          ? []
          : [`${overlap(first.neighbours, neighbours).toFixed(0)} % ${isCommon}`],
      ];
      return shares.length === 0 ? "" : `${name[0].toUpperCase()}${name.slice(1)}: ${shares.join(", ")}`;
    }).filter((text) => text !== "");
    find("neighbours-said").textContent =
      `Nearest neighbours among ${gallery.rows.length} images of ${lastParts(gallery.data, 2)}, by features.${
        said.map((text) => ` ${text}.`).join("")
      }` +
      (agreement(gallery, first.neighbours) === undefined
        ? ""
        : " Blue frame: same class. Dotted orange frame: another class.");
    const head = make(
      "tr",
      {},
      ...["image", ...found.map(({ name }) => name)].map((textContent) => {
        const cell = make("th", { textContent });
        cell.scope = "col";
        return cell;
      }),
    );
    const sets = Array.from({ length: Math.min(QUERIES, gallery.rows.length) }, (_, place) => [
      [tileOf(gallery, place)],
      ...found.map(({ neighbours }) => neighbourTiles(gallery, neighbours, place)),
    ]);
    const table = find<HTMLTableElement>("alike");
    const isSame = table.rows.length === 1 + sets.length &&
      table.tHead?.rows[0].cells.length === 1 + found.length;
    if (!isSame) {
      const cell = () => make("td", {}, make("div", { className: "set" }));
      table.replaceChildren(
        make("thead"),
        make("tbody", {}, ...sets.map((row) => make("tr", {}, ...row.map(cell)))),
      );
    }
    table.tHead!.replaceChildren(head);
    for (const [i, shown] of table.querySelectorAll<HTMLElement>(".set").entries()) {
      showTiles(shown, sets.flat()[i]);
    }
  }

  #drawMap(chart: Chart, whose: string, gallery: ProbeSetRecord, neighbours: NeighboursRecord): void {
    const wanted = document.querySelector<HTMLInputElement>("#projection input:checked")!.value;
    const points = (wanted === "umap" ? neighbours.umap : neighbours.pca) ?? neighbours.pca;
    const classes = [...new Set(gallery.labels)].sort((a, b) => a - b);
    const colours = COLOURS[currentTheme()];
    const place = (i: number) => [points[2 * i], points[2 * i + 1]];
    chart.draw(() => ({
      values: [
        ["row", "class", "x", "y"],
        ...gallery.rows.map((
          row,
          i,
        ) => [String(row), labelOf(gallery, i), ...place(i).map((at) => formatNumber(at))]),
      ],
      said: `Map of ${gallery.rows.length} images by the ${whose}, projected by ${wanted}`,
      option: {
        legend: {
          show: classes.length > 1,
          type: classes.length > MOST_NAMED ? "scroll" as const : "plain" as const,
          top: 2,
          itemGap: 8,
          itemWidth: 12,
          textStyle: { color: styleColour("text") },
          pageTextStyle: { color: styleColour("text") },
          pageIconColor: styleColour("text"),
          pageIconInactiveColor: styleColour("line"),
        },
        grid: { left: 8, right: 8, top: classes.length > 1 ? 62 : 8, bottom: 8 },
        tooltip: tooltip({
          formatter: ({ data }: { data: number[] }) => imageTip(gallery, data[2]),
        }),
        xAxis: valueAxis("", { scale: true, axisLabel: { show: false }, axisTick: { show: false } }),
        yAxis: valueAxis("", { scale: true, axisLabel: { show: false }, axisTick: { show: false } }),
        series: classes.map((label, i) => ({
          type: "scatter" as const,
          name: labelOf(gallery, gallery.labels.indexOf(label)),
          symbolSize: 9,
          symbol: SYMBOLS[Math.floor(i / colours.length) % SYMBOLS.length],
          itemStyle: { color: colours[i % colours.length] },
          data: gallery.labels.flatMap((other, i) => other === label ? [[...place(i), i]] : []),
        })),
      },
    }));
  }
}

const SYMBOLS = ["circle", "triangle", "rect", "diamond"];

function tileOf(
  gallery: ProbeSetRecord,
  place: number,
  said = labelOf(gallery, place),
  className = "",
): Tile {
  return { sprite: gallery.views, index: place, said, className: `small ${className}` };
}

function neighbourTiles(
  gallery: ProbeSetRecord,
  { k, neighbours, similarities }: NeighboursRecord,
  place: number,
): Tile[] {
  return Array.from({ length: Math.min(k, NEIGHBOURS) }, (_, i) => {
    const neighbour = neighbours[place * k + i];
    const [own, other] = [gallery.labels[place], gallery.labels[neighbour]];
    const className = own < 0 || other < 0 ? "" : own === other ? "same" : "other";
    const said = `${labelOf(gallery, neighbour)}, cosine ${similarities[place * k + i].toFixed(2)}`;
    return tileOf(gallery, neighbour, said, className);
  });
}

function imageTip(gallery: ProbeSetRecord, place: number): HTMLElement {
  return make("div", {}, image(tileOf(gallery, place)), labelOf(gallery, place));
}
