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
