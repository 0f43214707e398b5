/** Tables in Markdown, for `bench/RESULTS.md`. */

/** A table of rows of cells, the first one the head. */
export function markdownTable(rows: readonly (readonly string[])[]): string {
  const line = (row: readonly string[]) => `| ${row.join(" | ")} |`;
  return [line(rows[0]), line(rows[0].map(() => "---")), ...rows.slice(1).map(line)].join("\n");
}

/** Prints a heading and a table. */
export function printTable(heading: string, rows: readonly (readonly string[])[]): void {
  console.log(`\n### ${heading}\n\n${markdownTable(rows)}`);
}
