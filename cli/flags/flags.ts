/**
 * Flags as a table: a command says once what each flag is called, what it takes and what it does, and gets typed values
 * and the text of `--help` from that. The spelling is argparse's, which people of PyTorch know:
 *
 * - `--batch-size 32`, `--batch-size=32`, `--batch_size 32`, `-b 32`, `-b32`, `-b=32`
 * - `--lr -1` is a negative number, not a flag
 * - `--schedule 120 160` and `--schedule 120,160`
 * - `--cos`, `--no-cos`, and the `--cos False` of scripts written for the original
 */

import { EVALUATION_RESIZES } from "../../actors/evaluation_resize.ts";
import { parseArgs } from "@std/cli/parse-args";
import { findNearNames } from "../../data/near_names.ts";
import { UserError } from "../../errors.ts";
import { DEFAULT_PORT, LOOPBACK } from "../../ui/page_address.ts";
import type { PageOptions } from "../../ui/server.ts";
import { resolvePath } from "./paths.ts";

/** The command line is wrong. `runMain` ends with exit code 2, as Unix tools do, instead of 1. */
export class UsageError extends UserError {
  override name = "UsageError";
}

interface FlagBase {
  /** One letter, e.g. `b` for `-b`. */
  short?: string;
  /** Other long names, with hyphens. */
  aliases?: readonly string[];
  /** Heading of `--help` that it stands under. */
  group: string;
  /** What it does, for `--help`; no full stop. */
  help: string;
}

/** A whole number from `min` to `max`. */
export interface IntegerFlag extends FlagBase {
  kind: "integer";
  min?: number;
  max?: number;
  /** The value where the flag is given without one. */
  implied?: number;
  /** Names the number in `--help`; `N` where it is left out. */
  metavar?: string;
}

/** A finite number: at least `min`, or more than `above`, and at most `max`. */
export interface NumberFlag extends FlagBase {
  kind: "number";
  min?: number;
  above?: number;
  max?: number;
}

/** Any text that is not empty. `metavar` names it in `--help`, e.g. `PATH`. */
export interface TextFlag extends FlagBase {
  kind: "text";
  metavar: string;
}

/** One of `values`. */
export interface ChoiceFlag<Value extends string = string> extends FlagBase {
  kind: "choice";
  values: readonly Value[];
  /** What `--help` says in place of all the values, where they are many. */
  valuesShown?: string;
}

/** `--name` and `--no-name`. */
export interface BooleanFlag extends FlagBase {
  kind: "boolean";
}

/** Whole numbers of at least `min`, with commas or blanks between. */
export interface IntegersFlag extends FlagBase {
  kind: "integers";
  min?: number;
}

/** Numbers as {@linkcode NumberFlag} has one, with commas or blanks between. */
export interface NumbersFlag extends FlagBase {
  kind: "numbers";
  min?: number;
  above?: number;
  max?: number;
}

/** One row of a table. */
export type Flag =
  | IntegerFlag
  | NumberFlag
  | TextFlag
  | ChoiceFlag
  | BooleanFlag
  | IntegersFlag
  | NumbersFlag;

/** Flags by property name: `batchSize` is `--batch-size` on the command line. */
export type FlagTable = Readonly<Record<string, Flag>>;

/** The type of a flag's value. */
export type FlagValue<F extends Flag> = F extends IntegerFlag | NumberFlag ? number
  : F extends TextFlag ? string
  : F extends ChoiceFlag<infer Value> ? Value
  : F extends BooleanFlag ? boolean
  : F extends IntegersFlag | NumbersFlag ? number[]
  : never;

/** The values of the flags that were given. */
export type FlagValues<Table extends FlagTable> = { [Name in keyof Table]?: FlagValue<Table[Name]> };

/** A flag of the original that has no place here: it is taken, with a warning. */
export interface RetiredFlag {
  /** Whether the next argument belongs to it. */
  takesValue: boolean;
  /** Why it is not needed, and what to use instead; no full stop. */
  reason: string;
}

/** What every program that has flags depends on besides the arguments. */
export interface FlagsContext {
  /** Folder that relative paths start from; the caller's by default. */
  folder?: string;
  /** Width of the terminal in characters, for the help. */
  width?: number;
}

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

const NUMBER = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;
const INTEGER = /^[-+]?\d+$/;
const TRUE = /^(true|yes|on|1)$/i;
const FALSE = /^(false|no|off|0)$/i;

function describeRange({ min, above, max }: { min?: number; above?: number; max?: number }): string {
  const low = above !== undefined ? `above ${above}` : min !== undefined ? `of at least ${min}` : "";
  const high = max !== undefined ? `at most ${max}` : "";
  if (low !== "" && high !== "") {
    return above === undefined ? ` from ${min} to ${max}` : ` ${low} and ${high}`;
  }
  return low !== "" ? ` ${low}` : high !== "" ? ` of ${high}` : "";
}

function describeExpected(flag: Flag): string {
  switch (flag.kind) {
    case "integer":
      return `a whole number${describeRange(flag)}`;
    case "number":
      return `a number${describeRange(flag)}`;
    case "integers":
      return `whole numbers${describeRange(flag)}, such as 120,160`;
    case "numbers":
      return `numbers${describeRange(flag)}, such as 0.1,0.3`;
    case "choice":
      return `one of ${flag.values.join(", ")}`;
    case "boolean":
      return "true or false (or nothing, which is true)";
    case "text":
      return `a value (${flag.metavar})`;
  }
}

function isInRange(
  value: number,
  { min, above, max }: { min?: number; above?: number; max?: number },
): boolean {
  return Number.isFinite(value) && value >= (min ?? -Infinity) && value > (above ?? -Infinity) &&
    value <= (max ?? Infinity);
}

// Returns undefined where the text is not of the flag's kind or range.
function convert(flag: Flag, text: string): string | number | boolean | number[] | undefined {
  switch (flag.kind) {
    case "text":
      return text;
    case "choice":
      return flag.values.includes(text) ? text : undefined;
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

/** The one of `known` that was probably meant: the only one that `word` begins, or else the nearest in edits. */
export function nearestName(word: string, known: readonly string[]): string | undefined {
  const begins = known.filter((name) => word.length > 1 && name.startsWith(word.toLowerCase()));
  if (begins.length === 1) return begins[0];
  return word.length < 3 ? undefined : findNearNames(word, known, 1)[0];
}

/** Finds flags by what stands on the command line. */
class Names<Table extends FlagTable> {
  #table: Table;
  #properties = new Map<string, keyof Table & string>(); // long name or letter -> property

  constructor(table: Table) {
    this.#table = table;
    for (const [property, flag] of Object.entries(table)) {
      for (const name of [flagName(property), ...flag.aliases ?? [], ...flag.short ? [flag.short] : []]) {
        if (this.#properties.has(name)) throw new Error(`two flags are called "${name}"`);
        this.#properties.set(name, property);
      }
    }
  }

  find(name: string): { property: keyof Table & string; flag: Flag } | undefined {
    const property = this.#properties.get(name);
    return property === undefined ? undefined : { property, flag: this.#table[property] };
  }

  /** Every long name, `--no-` forms among them. */
  long(): string[] {
    return [...this.#properties].filter(([name]) => name.length > 1).flatMap(([name, property]) =>
      this.#table[property].kind === "boolean" ? [name, `no-${name}`] : [name]
    );
  }
}

/** An argument that names a flag, cut in parts: `written` is for messages. */
interface Mention {
  written: string;
  name: string;
  value: string | undefined;
}

function readMention<Table extends FlagTable>(arg: string, names: Names<Table>): Mention | undefined {
  const match = /^(--?)([^-=][^=]*)(?:=(.*))?$/s.exec(arg);
  if (match === null || NUMBER.test(arg)) return undefined;
  const [, hyphens, written, value] = match;
  const letter = written[0];
  // `-b32` is `-b 32`; `-lr` is a long name with a hyphen too few, unless there is an `-l`.
  if (hyphens === "-" && (written.length === 1 || names.find(letter) !== undefined)) {
    return { written: `-${letter}`, name: letter, value: written.length > 1 ? arg.slice(2) : value };
  }
  return { written: hyphens + written, name: written.replaceAll("_", "-"), value };
}

function throwUnknown<Table extends FlagTable>(mention: Mention, names: Names<Table>): never {
  const near = nearestName(mention.name, names.long());
  throw new UsageError(
    `unknown flag ${mention.written}` + (near === undefined ? "" : `; did you mean --${near}?`) +
      " (--help lists every flag)",
  );
}

// Whether the argument after a flag can be its value: 1, else 0.
function countFollowing(next: string | undefined): number {
  return next === undefined || (next.startsWith("-") && next !== "-" && !NUMBER.test(next)) ? 0 : 1;
}

// How many of the arguments after a flag belong to it.
function countValues(flag: Flag, following: readonly string[]): number {
  const next = following[0];
  if (next === undefined) return 0;
  switch (flag.kind) {
    case "boolean":
      return /^(true|false)$/i.test(next) ? 1 : 0;
    case "integers":
    case "numbers": {
      const isList = flag.kind === "integers" ? /^[-+\d,]+$/ : /^[-+\d.,e]+$/i;
      const end = following.findIndex((arg) => !isList.test(arg) || !/\d/.test(arg));
      // What is no number is still taken for the value of a flag that has none yet: the error is then about it.
      return Math.max(end === -1 ? following.length : end, next.startsWith("-") ? 0 : 1);
    }
    default:
      return countFollowing(next);
  }
}

/**
 * Rewrites arguments into forms that have one reading: `--name=value` for each flag, positional arguments after `--`.
 */
function canonicalise<Table extends FlagTable>(
  args: readonly string[],
  names: Names<Table>,
  retired: Readonly<Record<string, RetiredFlag>>,
): { args: string[]; warnings: string[] } {
  const flags: string[] = [];
  const positionals: string[] = [];
  const warnings: string[] = [];
  for (let i = 0; i < args.length; i++) {
    if (args[i] === "--") {
      positionals.push(...args.slice(i + 1));
      break;
    }
    const mention = readMention(args[i], names);
    if (mention === undefined) {
      positionals.push(args[i]);
      continue;
    }
    const { written, name, value } = mention;
    if (Object.hasOwn(retired, name)) {
      const { takesValue, reason } = retired[name];
      if (takesValue && value === undefined) i += countFollowing(args[i + 1]);
      warnings.push(`${written} is not needed here: ${reason}`);
      continue;
    }
    const found = names.find(name);
    const negated = found === undefined && name.startsWith("no-") ? names.find(name.slice(3)) : undefined;
    if (negated?.flag.kind === "boolean") {
      if (value !== undefined) throw new UsageError(`${written} takes no value, found "${value}"`);
      flags.push(`--${negated.property}=false`);
      continue;
    }
    if (found === undefined) throwUnknown(mention, names);
    let values = value === undefined ? [] : [value];
    if (value === undefined) {
      const count = countValues(found.flag, args.slice(i + 1));
      values = args.slice(i + 1, i + 1 + count);
      i += count;
      if (values.length === 0 && found.flag.kind === "boolean") values = ["true"];
      if (values.length === 0 && found.flag.kind === "integer" && found.flag.implied !== undefined) {
        values = [String(found.flag.implied)];
      }
    }
    const text = values.join(",");
    if (text === "") {
      throw new UsageError(`${written} has no value: expected ${describeExpected(found.flag)}`);
    }
    if (convert(found.flag, text) === undefined) {
      const near = found.flag.kind === "choice" ? nearestName(text, found.flag.values) : undefined;
      throw new UsageError(
        `${written}: expected ${describeExpected(found.flag)}, found "${text}"` +
          (near === undefined ? "" : `; did you mean ${near}?`),
      );
    }
    flags.push(`--${found.property}=${text}`);
  }
  return { args: [...flags, "--", ...positionals], warnings };
}

/**
 * Reads a command line.
 *
 * @param retired flags that are taken with a warning, by long name with hyphens
 * @throws {UsageError} for an unknown flag, a missing or wrong value, a flag that is given twice, and a positional
 * argument where the command takes none (`positionals`: how many it takes at most; 0 by default)
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
  const { args: plain, warnings } = canonicalise(args, new Names(table), retired);
  const properties = Object.keys(table);
  const parsed = parseArgs(plain, { string: [...properties, "_"], collect: properties });
  const positionals = parsed._.map(String);
  if (positionals.length > most) {
    throw new UsageError(
      `unexpected argument "${positionals[most]}"` +
        (most === 0 ? ": this command takes flags only" : `: at most ${most} can be given`) +
        " (--help lists every flag)",
    );
  }
  const values: Record<string, unknown> = {};
  for (const property of properties) {
    const texts = (parsed as Record<string, unknown>)[property] as string[];
    if (texts.length > 1) {
      throw new UsageError(
        `--${flagName(property)} is given ${texts.length === 2 ? "twice" : `${texts.length} times`} (${
          texts.join(", ")
        }); give it once`,
      );
    }
    if (texts.length === 1) values[property] = convert(table[property], texts[0]);
  }
  return { values: values as FlagValues<Table>, positionals, warnings };
}

/** The flag of every task that decodes images. */
export function maxPixelsFlag(group: string) {
  return {
    kind: "integer",
    min: 1,
    group,
    help:
      "pixels that an image may have; a larger one counts as broken, since a small file can decode to any size",
  } as const;
}

/** The flag of every task that makes views without augmentation. */
export function evalResizeFlag(group: string) {
  return {
    kind: "choice",
    values: EVALUATION_RESIZES,
    group,
    help:
      "how images become views in an evaluation: torchvision's Resize(size * 256/224) and CenterCrop(size); none, which " +
      "takes images of the size as they are; auto is none where views are smaller than 64 and the data's images have " +
      "their size, else torchvision",
  } as const;
}

/** The flag of tasks that train. */
export function tuneFlag(group: string) {
  return {
    kind: "boolean",
    group,
    help:
      "measure once which kernels are fastest on this adapter, which takes some seconds, and keep that for later runs; " +
      "a run that is resumed on the same adapter uses what it began with",
  } as const;
}

/** What `--resume` asks for. */
export interface ResumeChoice {
  /** The checkpoint, where one is named. */
  resume: string | null;
  /** `auto`: go on from the newest checkpoint of the output folder, where there is one. */
  resumesIfThere: boolean;
}

/**
 * Reads `--resume FILE` or `--resume auto`.
 *
 * @throws {UsageError} for `auto` where no output folder is named
 */
export function readResumeFlag(
  { resume, output }: { resume?: string; output?: string },
  folder: string,
): ResumeChoice {
  if (resume !== "auto") {
    return { resume: resume === undefined ? null : resolvePath(resume, folder), resumesIfThere: false };
  }
  if (output === undefined) {
    throw new UsageError("--resume auto looks for the newest checkpoint in --output: add that");
  }
  return { resume: null, resumesIfThere: true };
}

/** `--resume-anyway`. */
export function resumeAnywayFlag(group: string) {
  return {
    kind: "boolean",
    group,
    help:
      "go on from --resume even where the checkpoint is of another run: other data, weights or settings than the flags say",
  } as const;
}

/** The flags of tasks that serve the page. */
export function pageFlags(group: string) {
  return {
    ui: {
      kind: "integer",
      min: 0,
      max: 65535,
      implied: DEFAULT_PORT,
      metavar: "PORT",
      group,
      help:
        `serve a page that shows the run while it goes on, on this port; ${DEFAULT_PORT}, or the next free one, where ` +
        "none is given",
    },
    uiHost: {
      kind: "text",
      metavar: "ADDRESS",
      group,
      help:
        `address to serve it at: ${LOOPBACK} is this machine only, 0.0.0.0 every network that it is in, where all ` +
        "may look who can reach it",
    },
  } as const;
}

/** Where the page is to be served, if anywhere. */
export function readPageFlags(
  { ui: port, uiHost: hostname }: { ui?: number; uiHost?: string },
  warnings: string[],
): PageOptions | undefined {
  if (port !== undefined) return { port, hostname };
  if (hostname !== undefined) warnings.push("--ui-host has no effect without --ui");
}

/** Steps between two lines of progress where nothing is said. */
export const PRINT_FREQ = 10;

/** The flags of long tasks about what is on the screen. */
export function outputFlags(group: string) {
  return {
    quiet: { kind: "boolean", short: "q", group, help: "show no progress" },
    json: {
      kind: "boolean",
      group,
      help: "for programs: a line of JSON for everything that happens, and for the result, on stdout",
    },
  } as const;
}
