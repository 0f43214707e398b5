/** The text of `--help`, made from a command's table of flags. */

import type { Flag, FlagTable } from "../../methods/flag_table.ts";
import { screenWidth } from "../terminal/screen_width.ts";
import { flagName, type HelpExtent } from "./flags.ts";

/** Where the text breaks where there is no terminal, and at most. */
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
      return flag.implied === undefined ? " NAME" : " [NAME]";
    case "text":
      return ` ${flag.metavar}`;
    case "boolean":
      return "";
  }
}

function writeNames(property: string, flag: Flag, extent: HelpExtent): string {
  const long = [flagName(property), ...flag.aliases ?? []];
  const short = flag.short === undefined ? "    " : `-${flag.short}, `;
  const names = long.map((name) =>
    flag.kind === "boolean" && extent === "all" && name !== "help" ? `--[no-]${name}` : `--${name}`
  );
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

/** The rows that are shown, with their text. */
function shownFlags(table: FlagTable, extent: HelpExtent): { property: string; flag: Flag; help: string }[] {
  const rows = Object.entries(table).map(([property, flag]) => ({ property, flag, help: flag.help }));
  const common = rows.flatMap(({ property, flag }) =>
    flag.brief === undefined ? [] : [{ property, flag, help: flag.brief }]
  );
  return extent === "all" || common.length <= 1 ? rows : common; // each table has --help
}

/**
 * Writes the help: the usage, what the command does, then the flags under their groups in the table's order.
 *
 * @param defaults what stands in brackets behind a flag, e.g. `default: 256`
 * @param width of the terminal, in characters
 */
export function formatHelp<Table extends FlagTable>(
  { usage, intro, table, defaults, notes = [], width = screenWidth(MAX_WIDTH), extent = "common" }: {
    usage: string;
    intro: readonly string[];
    table: Table;
    defaults: Partial<Record<keyof Table, string>>;
    /** Stand at the end of the whole help. */
    notes?: readonly string[];
    width?: number;
    extent?: HelpExtent;
  },
): string {
  const columns = Math.min(Math.max(width, 60), MAX_WIDTH);
  const rows = shownFlags(table, extent);
  const left = Object.keys(table).length - rows.length;
  const lines = [`Usage: ${usage}`, ""];
  for (const paragraph of intro) lines.push(...wrap(paragraph, columns), "");
  for (const [group, flags] of Map.groupBy(rows, ({ flag }) => flag.group)) {
    lines.push(`${group}:`);
    for (const { property, flag, help } of flags) {
      const names = writeNames(property, flag, left > 0 ? "common" : "all");
      const choices = flag.kind === "choice" ? `: ${flag.valuesShown ?? flag.values.join(", ")}` : "";
      const note = defaults[property] === undefined ? "" : ` [${defaults[property]}]`;
      const text = left > 0 ? help + note.replace(/; the original: .*(?=\])/, "") : help + choices + note;
      const [first, ...rest] = wrap(text, columns - NAME_WIDTH - 2);
      if (names.length <= NAME_WIDTH) lines.push(`${names.padEnd(NAME_WIDTH + 2)}${first}`);
      else lines.push(names, `${" ".repeat(NAME_WIDTH + 2)}${first}`);
      lines.push(...rest.map((text) => " ".repeat(NAME_WIDTH + 2) + text));
    }
    lines.push("");
  }
  if (left > 0) return [...lines, `--help all shows ${left} more flags, and full descriptions.`].join("\n");
  for (const note of notes) lines.push(...wrap(note, columns), "");
  return lines.slice(0, -1).join("\n");
}
