/** The text of `--help`, made from a command's table of flags. */

import type { Flag, FlagTable } from "../../methods/flag_table.ts";
import { flagName } from "./flags.ts";

/** Where the text breaks when the terminal says no width of its own, and at most. */
const MAX_WIDTH = 100;
/** Names longer than this have their explanation on the next line. */
const NAME_WIDTH = 30;

function metavar(flag: Flag): string {
  switch (flag.kind) {
    case "integer": {
      const name = flag.metavar ?? "N";
      return flag.implied === undefined ? ` ${name}` : ` [${name}]`;
    }
    case "number":
      return " X";
    case "integers":
      return " N,N";
    case "numbers":
      return " X,X";
    case "choice":
      return " NAME";
    case "text":
      return ` ${flag.metavar}`;
    case "boolean":
      return "";
  }
}

function writeNames(property: string, flag: Flag): string {
  const long = [flagName(property), ...flag.aliases ?? []];
  const short = flag.short === undefined ? "    " : `-${flag.short}, `;
  const names = long.map((name) => flag.kind === "boolean" ? `--[no-]${name}` : `--${name}`);
  return `  ${short}${names.join(", ")}${metavar(flag)}`;
}

/** Breaks text into lines of at most `width` characters, at blanks. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/**
 * Writes the help: the usage, what the command does, then the flags under their groups in the table's order.
 *
 * @param defaults what stands in brackets behind a flag, e.g. `default: 256`
 * @param width of the terminal, in characters
 */
export function formatHelp<Table extends FlagTable>(
  { usage, intro, table, defaults, notes = [], listing, width = MAX_WIDTH }: {
    usage: string;
    intro: readonly string[];
    table: Table;
    defaults: Partial<Record<keyof Table, string>>;
    notes?: readonly string[];
    /** Stands last, as it is. */
    listing?: string;
    width?: number;
  },
): string {
  const columns = Math.min(Math.max(width, 60), MAX_WIDTH);
  const lines = [`Usage: ${usage}`, ""];
  for (const paragraph of intro) lines.push(...wrap(paragraph, columns), "");
  for (const [group, rows] of Map.groupBy(Object.entries(table), ([, flag]) => flag.group)) {
    lines.push(`${group}:`);
    for (const [property, flag] of rows) {
      const names = writeNames(property, flag);
      const choices = flag.kind === "choice" ? `: ${flag.valuesShown ?? flag.values.join(", ")}` : "";
      const note = defaults[property] === undefined ? "" : ` [${defaults[property]}]`;
      const [first, ...rest] = wrap(flag.help + choices + note, columns - NAME_WIDTH - 2);
      if (names.length <= NAME_WIDTH) lines.push(`${names.padEnd(NAME_WIDTH + 2)}${first}`);
      else lines.push(names, `${" ".repeat(NAME_WIDTH + 2)}${first}`);
      lines.push(...rest.map((text) => " ".repeat(NAME_WIDTH + 2) + text));
    }
    lines.push("");
  }
  for (const note of notes) lines.push(...wrap(note, columns), "");
  if (listing !== undefined) lines.push(listing, "");
  return lines.slice(0, -1).join("\n");
}
