/** Charts of what benches found, as SVG: how many times faster, or a figure beside its target. */
import { drawCurves } from "./curves.ts";
import { ratioOf, times } from "./measure.ts";
import type { Figure, Section } from "./section.ts";

/** A chart, and what it shows in a line. */
export interface Chart {
  title: string;
  svg: string;
}

/** Sections in which nothing is compared, and the figure of theirs that has a target. */
const FIGURES: Readonly<Record<string, Figure>> = {
  pipeline: { fact: "at work", says: "share of the time, at least 90 %", target: 90, unit: " %" },
  host: { fact: "host ms", says: "milliseconds, at most 3", target: 3, unit: " ms" },
  memory: {
    fact: "planned / alive",
    says: "planned over alive, at most 1.15 times",
    target: 1.15,
    unit: "x",
  },
};

/** Seen apart by the colour-blind too, on white and on black: Okabe and Ito's. */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/** Heights of a bar and between rows, where the first begins below a legend of one line, and the width of the longest. */
const [BAR, GAP, TOP, WIDTH] = [13, 8, 58, 440];

/** Height of a further line of the legend. */
const LINE = 17;

const escape = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

/** Where bars begin, behind the longest of the names. */
const leftOf = (names: readonly string[]) => 16 + 6.6 * Math.max(...names.map(({ length }) => length));

const text = (x: number, y: number, content: string, anchor = "start") =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${escape(content)}</text>`;

const rectangle = (from: number, to: number, y: number, colour: string) =>
  `<rect x="${from.toFixed(1)}" y="${y}" width="${(to - from).toFixed(1)}" height="${
    BAR - 2
  }" fill="${colour}"/>`;

const upright = (x: number, from: number, to: number, more = "") =>
  `<line x1="${x.toFixed(1)}" x2="${x.toFixed(1)}" y1="${from}" y2="${to}" stroke="#8884"${more}/>`;

/** Entries side by side, in as many lines as they need in a width. */
function drawLegend(names: readonly string[], width: number): { elements: string[]; lines: number } {
  let [x, y] = [8, 30];
  const elements = names.map((name, i) => {
    const wide = 36 + 6.6 * name.length;
    if (x > 8 && x + wide > width) [x, y] = [8, y + LINE];
    const entry = `<rect x="${x.toFixed(1)}" y="${y}" width="11" height="11" fill="${
      COLOURS[i % COLOURS.length]
    }"/>${text(x + 16, y + 10, name)}`;
    x += wide;
    return entry;
  });
  return { elements, lines: 1 + (y - 30) / LINE };
}

function frame(title: string, lines: readonly string[], width: number, height: number): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" ` +
    `font-family="sans-serif" font-size="12" fill="#777" role="img">\n<title>${escape(title)}</title>\n` +
    `<text x="8" y="18" font-size="14" font-weight="bold">${escape(title)}</text>\n` +
    lines.join("\n") + "\n</svg>\n";
}

/** Who else did the work of some rows. */
export function othersOf(rows: Section["rows"]): string[] {
  const names = new Set(rows.flatMap(({ timings = {} }) => Object.keys(timings)));
  return [...names].filter((name) => name !== "ours");
}

/** The chart of a section; `undefined` where nothing is compared and nothing has a target. */
export function drawChart(section: Section): Chart | undefined {
  const { title, curves } = section;
  if (curves !== undefined) return { title, svg: drawCurves(title, curves) };
  return drawRatios(section) ?? drawFigures(section);
}

/** How many times faster, a bar for each row and other, on a logarithmic scale. */
function drawRatios({ title, rows }: Section): Chart | undefined {
  const others = othersOf(rows);
  const bars = rows.flatMap(({ name, timings }) =>
    others.flatMap((other) =>
      timings?.ours === undefined || timings[other] === undefined
        ? []
        : [{ name, other, ...ratioOf(timings.ours, timings[other]) }]
    )
  );
  if (bars.length === 0) return undefined;
  const left = leftOf(bars.map(({ name }) => name));
  const highest = Math.max(2, ...bars.map(({ most }) => most));
  const lowest = Math.min(0.5, ...bars.map(({ least }) => least));
  const x = (ratio: number) =>
    left + WIDTH * (Math.log(ratio) - Math.log(lowest)) / (Math.log(highest) - Math.log(lowest));
  const width = left + WIDTH + 70;
  const legend = drawLegend(others.map((other) => `against ${other}`), width);
  const top = TOP + LINE * (legend.lines - 1);
  const lines: string[] = [];
  let y = top;
  for (const { name } of rows) {
    const own = bars.filter((entry) => entry.name === name);
    if (own.length === 0) continue;
    lines.push(text(left - 8, y + own.length * BAR / 2 + 4, name, "end"));
    for (const { other, median, least, most } of own) {
      const [from, to] = [Math.min(x(1), x(median)), Math.max(x(1), x(median))];
      const middle = y + BAR / 2 - 1;
      lines.push(
        rectangle(from, to, y, COLOURS[others.indexOf(other) % COLOURS.length]),
        `<line x1="${x(least).toFixed(1)}" x2="${
          x(most).toFixed(1)
        }" y1="${middle}" y2="${middle}" stroke="#888"/>`,
        text(Math.max(x(most), to) + 5, middle + 4, times(median)),
      );
      y += BAR;
    }
    y += GAP;
  }
  const ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500].filter((tick) =>
    tick >= lowest && tick <= highest
  );
  const grid = ticks.flatMap((tick) => [
    upright(x(tick), top - 6, y, tick === 1 ? ' stroke-width="2"' : ""),
    text(x(tick), y + 14, `${tick}x`, "middle"),
  ]);
  const says = `${title}: how many times faster`;
  return { title: says, svg: frame(says, [...grid, ...legend.elements, ...lines], width, y + 24) };
}

/** A bar for each row from zero, and a line at the target if there is one. */
function drawFigures({ name, title, rows, figure = FIGURES[name] }: Section): Chart | undefined {
  if (figure === undefined) return undefined;
  const { fact, says, target, unit } = figure;
  const bars = rows.flatMap(({ name, facts = {} }) =>
    facts[fact] === undefined ? [] : [{
      name,
      value: parseFloat(facts[fact]),
      label: facts[fact].endsWith(unit) ? facts[fact] : facts[fact] + unit,
    }]
  );
  const left = leftOf(bars.map(({ name }) => name));
  const right = Math.max(70, 10 + 6.6 * Math.max(...bars.map(({ label }) => label.length)));
  const highest = Math.max(target ?? 0, ...bars.map(({ value }) => value));
  const x = (value: number) => left + WIDTH * value / highest;
  const lines = bars.flatMap(({ name, value, label }, i) => {
    const y = TOP + i * (BAR + GAP);
    return [
      text(left - 8, y + BAR - 3, name, "end"),
      rectangle(left, x(value), y, COLOURS[0]),
      text(x(Math.max(value, target ?? 0)) + 5, y + BAR - 3, label),
    ];
  });
  const end = TOP + bars.length * (BAR + GAP);
  const line = target === undefined ? [] : [
    upright(x(target), TOP - 6, end, ' stroke-width="2" stroke-dasharray="4 3"'),
    text(x(target), TOP - 12, `target ${target}${unit}`, "middle"),
  ];
  const heading = `${title}: ${says}`;
  return { title: heading, svg: frame(heading, [...lines, ...line], left + WIDTH + right, end + 10) };
}
