/**
 * Flags as a table: a command says once what each flag is called, what it takes and what it does, and gets typed values
 * and the text of `--help` from that. The spelling is argparse's, which people of PyTorch know:
 *
 * - `--batch-size 32`, `--batch-size=32`, `--batch_size 32`, `-b 32`, `-b32`, `-b=32`
 * - `--lr -1` is a negative number, not a flag
 * - `--schedule 120 160` and `--schedule 120,160`
 * - `--cos`, `--no-cos`, and the `--cos False` of scripts written for the original
 */

import { parseArgs } from "@std/cli/parse-args";
import { findNearNames } from "../../data/near_names.ts";
import { UserError } from "../../errors.ts";
import {
  describeExpected,
  type Flag,
  type FlagTable,
  type FlagValue,
  type FlagValues,
  isChoice,
  isInRange,
  type RetiredFlag,
} from "../../methods/flag_table.ts";
import { explainForeignName } from "./foreign_names.ts";

/** The command line is wrong. `runMain` ends with exit code 2, as Unix tools do, instead of 1. */
export class UsageError extends UserError {
  override name = "UsageError";
}

/** What every program that has flags depends on besides the arguments. */
export interface FlagsContext {
  /** Folder that relative paths start from; the caller's by default. */
  folder?: string;
  /** Width of the terminal in characters, for the help. */
  width?: number;
  /** How much of the help; the common flags by default. */
  extent?: HelpExtent;
}

/** `--help`: the flags that most runs need, in few words; `--help all`: every flag. */
export type HelpExtent = "common" | "all";

/** What a command line said. */
export interface ParsedFlags<Table extends FlagTable> {
  values: FlagValues<Table>;
  positionals: string[];
  /** One sentence for each retired flag that was given. */
  warnings: string[];
}

/** `batchSize` -> `batch-size`. */
export function flagName(property: string): string {
  return property.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** The flag that every task has. */
export function helpFlag(group: string) {
  const help = "show this text; --help all shows every flag";
  return {
    kind: "boolean",
    short: "h",
    group,
    help,
    brief: "show this text; --help all: every flag",
  } as const;
}

/** The help that a command line asks for, if it does: a wrong flag beside that is no reason to withhold it. */
export function helpExtent(args: readonly string[]): HelpExtent | undefined {
  if (args.includes("--help=all")) return "all";
  const at = args.findIndex((arg) => /^(-h|--help)$|^--help=/.test(arg));
  return at === -1 ? undefined : args[at + 1] === "all" ? "all" : "common";
}

const NUMBER = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;
const INTEGER = /^[-+]?\d+$/;
const TRUE = /^(true|yes|on|1)$/i;
const FALSE = /^(false|no|off|0)$/i;

// Returns undefined where the text is not of the flag's kind or range.
function convert(flag: Flag, text: string): FlagValue<Flag> | undefined {
  switch (flag.kind) {
    case "text":
      return text;
    case "choice":
      return isChoice(flag, text) ? text : undefined;
    case "boolean":
      return TRUE.test(text) ? true : FALSE.test(text) ? false : undefined;
    case "number":
      return NUMBER.test(text) && isInRange(Number(text), flag) ? Number(text) : undefined;
    case "integer": {
      const value = Number(text);
      return INTEGER.test(text) && Number.isSafeInteger(value) && isInRange(value, flag) ? value : undefined;
    }
    case "integers":
    case "numbers": {
      const items = text.split(",").map((item) => item.trim()).filter((item) => item !== "");
      const values = items.map(Number);
      const isOne = (item: string, value: number) =>
        flag.kind === "numbers" ? NUMBER.test(item) : INTEGER.test(item) && Number.isSafeInteger(value);
      const isGood = items.length > 0 &&
        items.every((item, i) => isOne(item, values[i]) && isInRange(values[i], flag));
      return isGood ? values : undefined;
    }
  }
}

/**
 * The one of `known` that was probably meant: the only one that `word` begins, or else the longest that `word` goes on from (`data`
 * of `data-path`), or else the nearest in edits.
 */
export function nearestName(word: string, known: readonly string[]): string | undefined {
  const begins = known.filter((name) => word.length > 1 && name.startsWith(word.toLowerCase()));
  if (begins.length === 1) return begins[0];
  const begun = known.filter((name) => name.length > 1 && word.toLowerCase().startsWith(`${name}-`));
  if (begun.length > 0) return begun.reduce((a, b) => b.length > a.length ? b : a);
  return word.length < 3 ? undefined : findNearNames(word, known, 1)[0];
}

/**
 * Reads a flag's text.
 *
 * @throws {UsageError} where it is not of the flag's kind or range, or there is none
 */
function read(flag: Flag, text: string, written: string): FlagValue<Flag> {
  if (text === "") throw new UsageError(`${written} has no value: expected ${describeExpected(flag)}`);
  const value = convert(flag, text);
  if (value !== undefined) return value;
  const near = flag.kind === "choice" ? nearestName(text, flag.values) : undefined;
  throw new UsageError(
    `${written}: expected ${describeExpected(flag)}, found "${text}"` +
      (near === undefined ? "" : `; did you mean ${near}?`),
  );
}

function throwUnknown(arg: string, names: ReadonlyMap<string, Named>): never {
  const written = arg.replace(/=.*/s, "");
  const known = [...names].flatMap(([name, { property, flag }]) =>
    property === undefined || name.length === 1 ? [] : flag.kind === "boolean" ? [name, `no-${name}`] : [name]
  );
  const word = written.replace(/^--?/, "").replaceAll("_", "-");
  const near = nearestName(word, known);
  const answer = explainForeignName(word, (name) => names.get(name)?.property !== undefined) ??
    (near === undefined ? "" : `; did you mean --${near}?`);
  throw new UsageError(`unknown flag ${written}${answer} (--help all lists every flag)`);
}

/** What a name on the command line stands for: a row of the table, or a retired flag. */
interface Named {
  /** The first long name. */
  name: string;
  /** Key of the table; `undefined` for a retired flag. */
  property?: string;
  flag: Flag;
}

/** Every name by which flags are called: long ones with hyphens, and letters. */
function namesOf(table: FlagTable, retired: Readonly<Record<string, RetiredFlag>>): Map<string, Named> {
  const names = new Map<string, Named>();
  for (const [property, flag] of Object.entries(table)) {
    const name = flagName(property);
    for (const other of [name, ...otherNames(flag)]) {
      if (names.has(other)) throw new Error(`two flags are called "${other}"`);
      names.set(other, { name, property, flag });
    }
  }
  for (const [name, { takesValue, reason }] of Object.entries(retired)) {
    const row = { group: "", help: reason };
    names.set(name, {
      name,
      flag: takesValue ? { kind: "text", metavar: "", ...row } : { kind: "boolean", ...row },
    });
  }
  return names;
}

function otherNames({ aliases = [], short }: Flag): string[] {
  return [...aliases, ...short === undefined ? [] : [short]];
}

/** An argument that is a flag. */
interface Mention extends Named {
  /** As the command line has it, for messages. */
  written: string;
  /** What stands behind `=`, or behind a letter. */
  value: string | undefined;
}

// Returns undefined for values, positional arguments and unknown flags.
function readMention(arg: string, names: ReadonlyMap<string, Named>): Mention | undefined {
  const [, hyphens, long, value] = /^(--?)([^-=][^=]*)(?:=(.*))?$/s.exec(arg) ?? [];
  if (hyphens === undefined || NUMBER.test(arg)) return undefined;
  const letter = hyphens === "-" ? names.get(long[0]) : undefined;
  if (letter !== undefined) {
    return { ...letter, written: `-${long[0]}`, value: long.length > 1 ? arg.slice(2) : value };
  }
  const [written, name] = [hyphens + long, long.replaceAll("_", "-")];
  const found = names.get(name);
  if (found !== undefined) return { ...found, written, value };
  const negated = name.startsWith("no-") ? names.get(name.slice(3)) : undefined;
  if (negated === undefined) return undefined;
  if (negated.flag.kind !== "boolean" || negated.property === undefined) throwUnknown(arg, names);
  if (value !== undefined) throw new UsageError(`${written} takes no value, found "${value}"`);
  return { ...negated, written, value: "false" };
}

function isNegative(text: string): boolean {
  return text.startsWith("-") && NUMBER.test(text);
}

// How many of the arguments after a flag are its value although parseArgs would not take them for it.
function countFollowing(flag: Flag, following: readonly string[]): number {
  const next = following[0];
  if (next === undefined) return 0;
  switch (flag.kind) {
    case "boolean":
      return /^(true|false)$/i.test(next) ? 1 : 0;
    case "integers":
    case "numbers": {
      const isList = flag.kind === "integers" ? /^[-+\d,]+$/ : /^[-+\d.,e]+$/i;
      const end = following.findIndex((arg) => !isList.test(arg) || !/\d/.test(arg));
      return end === -1 ? following.length : end;
    }
    default:
      return next === "-" || isNegative(next) ? 1 : 0;
  }
}

/**
 * Rewrites what argparse takes and `parseArgs` reads in another way: underscores in names, `-lr`, `-kNAME`, negative
 * numbers, lists with blanks, and other words than true and false. `--no-cos` becomes `--cos=false`, since `parseArgs`
 * forgets at a negation what was collected before it.
 */
function rewrite(
  args: readonly string[],
  names: ReadonlyMap<string, Named>,
): { args: string[]; mentions: Mention[] } {
  const rewritten: string[] = [];
  const numbers: string[] = []; // negative ones that are the value of no flag
  const mentions: Mention[] = [];
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  for (let i = 0; i < end; i++) {
    const mention = readMention(args[i], names);
    if (mention === undefined) {
      (isNegative(args[i]) ? numbers : rewritten).push(args[i]);
      continue;
    }
    mentions.push(mention);
    const { name, property, flag, written } = mention;
    let { value } = mention;
    if (value === undefined) {
      const count = countFollowing(flag, args.slice(i + 1, end));
      if (count > 0) value = args.slice(i + 1, i + 1 + count).join(",");
      i += count;
    }
    if (property === undefined && value !== undefined) continue; // nothing reads it
    if (value === "" || (value !== undefined && flag.kind === "boolean")) {
      value = String(read(flag, value, written));
    }
    rewritten.push(value === undefined ? `--${name}` : `--${name}=${value}`);
  }
  return { args: [...rewritten, "--", ...numbers, ...args.slice(end + 1)], mentions };
}

/**
 * Reads a command line.
 *
 * @param retired flags that are taken with a warning, by long name with hyphens
 * @throws {UsageError} for an unknown flag, a missing or wrong value, a flag that is given twice, an empty argument, and a
 * positional argument where the command takes none (`positionals`: how many it takes at most; 0 by default)
 *
 * @example
 * ```ts
 * import { parseFlags } from "./flags.ts";
 *
 * const table = {
 *   batchSize: { kind: "integer", short: "b", min: 1, group: "Training", help: "images in a batch" },
 *   cos: { kind: "boolean", group: "Training", help: "cosine schedule" },
 * } as const;
 * const { values } = parseFlags(table, ["-b", "32", "--no-cos"]);
 * values.batchSize; // 32: number | undefined
 * values.cos; // false: boolean | undefined
 * ```
 */
export function parseFlags<const Table extends FlagTable>(
  table: Table,
  args: readonly string[],
  { retired = {}, positionals: most = 0 }: {
    retired?: Readonly<Record<string, RetiredFlag>>;
    positionals?: number;
  } = {},
): ParsedFlags<Table> {
  const names = namesOf(table, retired);
  const { args: rewritten, mentions } = rewrite(args, names);
  const all = [...new Map([...names.values()].map((named) => [named.name, named.flag]))];
  const [booleans, others] = [true, false].map((isBoolean) =>
    all.filter(([, { kind }]) => (kind === "boolean") === isBoolean).map(([name]) => name)
  );
  const { _: positionals, ...given } = parseArgs(rewritten, {
    string: ["_", ...others],
    boolean: booleans,
    alias: Object.fromEntries(all.map(([name, flag]) => [name, otherNames(flag)])),
    collect: [...booleans, ...others],
    unknown: (arg, name) => name === undefined || throwUnknown(arg, names),
  }) as { _: string[]; [name: string]: (string | boolean)[] };
  const values: Record<string, unknown> = {};
  const warnings: string[] = [];
  for (const { written, name, property, flag } of mentions) {
    if (property === undefined) {
      warnings.push(`${written} is ignored: ${flag.help}`);
      continue;
    }
    const implied = "implied" in flag ? flag.implied : undefined;
    const texts = given[name].map((text) => String(text === "" ? implied ?? "" : text));
    [values[property]] = texts.map((text) => read(flag, text, written));
    if (texts.length === 1) continue;
    throw new UsageError(
      `--${name} is given ${texts.length === 2 ? "twice" : `${texts.length} times`} (${
        texts.join(", ")
      }); give it once`,
    );
  }
  if (positionals.includes("")) {
    throw new UsageError("an argument is empty: is a variable in the command not set?");
  }
  if (positionals.length > most) {
    const flagsOnly = `: this command takes flags only${"data" in table ? ", and images with --data" : ""}`;
    throw new UsageError(
      `unexpected argument "${positionals[most]}"` +
        (most === 0 ? flagsOnly : `: at most ${most} can be given`) +
        " (--help all lists every flag)",
    );
  }
  return { values: values as FlagValues<Table>, positionals, warnings };
}
