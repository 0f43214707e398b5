/** Comma-separated values (RFC 4180) that no spreadsheet takes for formulas. Knows no document: `embed` writes by it too. */

/** What a spreadsheet takes for a formula where it begins a cell (OWASP, "CSV injection"). */
const FORMULA = /^[=+\-@\t\r]/;

/** A number as it is written here. */
const NUMBER = /^-?\d+(\.\d+)?(e[+-]?\d+)?$/;

/** Formats a text as a field; one that looks like a formula gets an apostrophe, as spreadsheets do. */
export function formatField(text: string): string {
  const field = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
}

/** Formats rows, lines ending in CR LF; numbers stay numbers, also those below 0. */
export function formatCsv(rows: readonly (readonly string[])[]): string {
  const format = (cell: string) => NUMBER.test(cell) ? cell : formatField(cell);
  return rows.map((cells) => cells.map(format).join(",") + "\r\n").join("");
}
