/** Tables in Markdown, for `bench/RESULTS.md`. */

/** Prints a heading and a table, whose first row is the head. */
export function printTable(heading: string, rows: readonly string[][]): void {
  console.log(`\n### ${heading}\n`);
  for (const [i, row] of rows.entries()) {
    console.log(`| ${row.join(" | ")} |`);
    if (i === 0) console.log(`| ${row.map(() => "---").join(" | ")} |`);
  }
}
