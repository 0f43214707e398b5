/** Charts of how something grows, as SVG: a panel for each curve, both axes logarithmic. */
import type { Curve } from "./section.ts";

const [WIDTH, HEIGHT, LEFT, TOP, GAP] = [300, 190, 62, 66, 62];
const COLUMNS = 2;
const MEASURED = "#0072b2";
const EXPECTED = "#d55e00";

/** 1200 as `1.2k`. */
function short(value: number): string {
  for (const [unit, name] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]] as const) {
    if (value >= unit) return `${Number((value / unit).toPrecision(3))}${name}`;
  }
  return `${Number(value.toPrecision(2))}`;
}

/** Powers of ten from one value to another, and the ends. */
function ticks(least: number, most: number): number[] {
  const powers = Array.from({ length: 24 }, (_, i) => 10 ** (i - 8));
  const inside = powers.filter((power) => power > 1.5 * least && power < most / 1.5);
  return [least, ...inside, most];
}

/** Draws a panel for each curve: what was measured, and dashed what was expected. */
export function drawCurves(title: string, curves: readonly Curve[]): string {
  const text = (x: number, y: number, content: string, more = "") =>
    `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}"${more}>${content}</text>`;
  const panel = ({ title, x: xName, y: yName, points }: Curve, i: number): string => {
    const [left, top] = [
      LEFT + i % COLUMNS * (WIDTH + LEFT + 20),
      TOP + Math.floor(i / COLUMNS) * (HEIGHT + GAP),
    ];
    const values = points.flatMap(({ measured, expected }) => [measured, expected]);
    const scale = (least: number, most: number, from: number, to: number) => (value: number) =>
      from + (to - from) * Math.log(value / least) / Math.log(most / least);
    const [fewest, most] = [points[0].x, points.at(-1)!.x];
    const [least, largest] = [Math.min(...values), Math.max(...values)];
    const x = scale(fewest, most, left, left + WIDTH);
    const y = scale(least, largest, top + HEIGHT, top);
    const line = (of: "measured" | "expected", colour: string, more = "") =>
      `<polyline fill="none" stroke="${colour}" stroke-width="2"${more} points="${
        points.map((point) => `${x(point.x).toFixed(1)},${y(point[of]).toFixed(1)}`).join(" ")
      }"/>`;
    return [
      text(left, top - 10, `${title}: ${yName} by ${xName}`, ' font-weight="bold"'),
      `<rect x="${left}" y="${top}" width="${WIDTH}" height="${HEIGHT}" fill="none" stroke="#8884"/>`,
      ...ticks(fewest, most).map((tick) =>
        text(x(tick), top + HEIGHT + 16, short(tick), ' text-anchor="middle"')
      ),
      ...ticks(least, largest).map((tick) => text(left - 6, y(tick) + 4, short(tick), ' text-anchor="end"')),
      line("expected", EXPECTED, ' stroke-dasharray="5 4"'),
      line("measured", MEASURED),
      ...points.map((point) =>
        `<circle cx="${x(point.x).toFixed(1)}" cy="${
          y(point.measured).toFixed(1)
        }" r="3" fill="${MEASURED}"/>`
      ),
    ].join("\n");
  };
  const rows = Math.ceil(curves.length / COLUMNS);
  const [width, height] = [COLUMNS * (WIDTH + LEFT + 20) + 20, TOP + rows * (HEIGHT + GAP)];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" ` +
    `font-size="12" fill="#777" role="img">\n<title>${title}</title>\n` +
    text(8, 18, title, ' font-size="14" font-weight="bold"') + "\n" +
    `<rect x="8" y="28" width="11" height="11" fill="${MEASURED}"/>` + text(24, 38, "measured") +
    `<rect x="108" y="28" width="11" height="11" fill="${EXPECTED}"/>` + text(124, 38, "expected") + "\n" +
    curves.map(panel).join("\n") + "\n</svg>\n";
}
