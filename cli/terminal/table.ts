/** Small tables of text for a run's summary. */

/**
 * Aligns rows in columns two blanks apart: the first column to the left, the others, which hold numbers, to the right.
 * The first row is the heading and is underlined.
 *
 * @example
 * ```ts
 * import { formatTable } from "./table.ts";
 *
 * console.log(formatTable([["encoder", "top-1"], ["teacher", "39.6 %"]]));
 * // encoder   top-1
 * // ---------------
 * // teacher  39.6 %
 * ```
 */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => widths[i] = Math.max(widths[i] ?? 0, cell.length));
  const lines = rows.map((row) =>
    widths.map((width, column) => {
      const cell = row[column] ?? "";
      return column === 0 ? cell.padEnd(width) : cell.padStart(width);
    }).join("  ").trimEnd()
  );
  if (lines.length > 0) {
    lines.splice(
      1,
      0,
      "-".repeat(widths.reduce((a, b) => a + b, 2 * (widths.length - 1))),
    );
  }
  return lines.join("\n");
}

/** Characters of a cell beside the first column that are shown, at least and at most. */
const [LEAST_CELL, MOST_CELL] = [20, 28];

/** Leaves out the middle of a longer text. */
function shorten(text: string, length: number): string {
  if (text.length <= length) return text;
  const end = length >> 1;
  return `${text.slice(0, length - end - 1)}…${text.slice(-end)}`;
}

/** Leaves out what is far from a place, by which a longer text is known. */
function shortenAround(text: string, place: number, length: number): string {
  if (text.length <= length) return text;
  // As much as fits between the marks; the end of a text has none behind it.
  const from = Math.min(place - Math.floor(length / 3), text.length - length + 1);
  if (from <= 1) return `${text.slice(0, length - 1)}…`;
  const end = from + length - 2;
  return end + 1 >= text.length ? `…${text.slice(1 - length)}` : `…${text.slice(from, end)}…`;
}

/** How many characters all texts begin with. */
function commonStart([first = "", ...others]: readonly string[]): number {
  let length = 0;
  while (length < first.length && others.every((other) => other[length] === first[length])) length++;
  return length;
}

/**
 * Shortens the cells of a row so that different ones stay different: they lose their middle, or all that is far from where they
 * begin to differ. They stay as they are where neither does.
 */
function shortenRow(cells: readonly string[], length: number): string[] {
  const count = new Set(cells).size;
  const start = commonStart(cells.filter((cell) => cell.length > length));
  const ways = [
    (cell: string) => shorten(cell, length),
    (cell: string) => shortenAround(cell, start, length),
  ];
  for (const way of ways) {
    const short = cells.map(way);
    if (new Set(short).size === count) return short;
  }
  return [...cells];
}

/**
 * Formats a table that fits a screen. Long cells are shortened; columns that have no room beside the others follow below, each time behind the first
 * column. One column beside the first is shown however narrow the screen is.
 *
 * @param columns of the screen
 */
export function formatWideTable(rows: readonly (readonly string[])[], columns: number): string {
  const names = Math.max(0, ...rows.map(([name]) => name.length));
  const room = Math.floor((columns - names) / 2) - 2; // two of them side by side
  const most = Math.min(Math.max(room, LEAST_CELL), MOST_CELL);
  const short = rows.map(([name, ...cells]) => [name, ...shortenRow(cells, most)]);
  const widths = (short[0] ?? []).map((_, i) => Math.max(...short.map((row) => row[i]?.length ?? 0)));
  const tables: number[][] = [];
  let left = 0;
  for (let i = 1; i < widths.length; i++) {
    if (tables.length === 0 || widths[i] + 2 > left) {
      tables.push([]);
      left = columns - widths[0];
    }
    tables.at(-1)!.push(i);
    left -= widths[i] + 2;
  }
  return tables.map((table) => formatTable(short.map((row) => [row[0], ...table.map((i) => row[i] ?? "")])))
    .join("\n\n");
}
