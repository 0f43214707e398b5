/**
 * The table of a method's flags: what each is called, what it takes and what it does. `cli/flags/` makes parsers and the text
 * of `--help` from it.
 */

import { findNearNames } from "../data/near_names.ts";
import { UserError } from "../errors.ts";

/** What every flag has. */
export interface FlagBase {
  /** One letter, e.g. `b` for `-b`. */
  short?: string;
  /** Other long names, with hyphens. */
  aliases?: readonly string[];
  /** Heading of `--help` that it stands under. */
  group: string;
  /** What it does, for `--help all`; no full stop. */
  help: string;
  /** The same in a few words, for `--help`, which leaves out flags without it; of a table where none has it, none is left out. */
  brief?: string;
}

/** A whole number from `min` to `max`. */
export interface IntegerFlag extends FlagBase {
  /** Tells flags apart. */
  kind: "integer";
  /** The least. */
  min?: number;
  /** The most. */
  max?: number;
  /** The value where the flag is given without one. */
  implied?: number;
  /** Names the number in `--help`; `N` where it is left out. */
  metavar?: string;
}

/** A finite number: at least `min`, or more than `above`, and at most `max`. */
export interface NumberFlag extends FlagBase {
  /** Tells flags apart. */
  kind: "number";
  /** The least. */
  min?: number;
  /** What it must be more than. */
  above?: number;
  /** The most. */
  max?: number;
}

/** Any text that is not empty. `metavar` names it in `--help`, e.g. `PATH`. */
export interface TextFlag extends FlagBase {
  /** Tells flags apart. */
  kind: "text";
  /** Names the value in `--help`. */
  metavar: string;
  /** Whether a program's option is what the text is parsed to, which is checked elsewhere. */
  isParsed?: boolean;
}

/** One of `values`, or of those that `isOther` knows. */
export interface ChoiceFlag<Value extends string = string> extends FlagBase {
  /** Tells flags apart. */
  kind: "choice";
  /** All that there are, or all that are listed. */
  values: readonly Value[];
  /** Whether a text is one that is not listed, where there is no end of them: vision transformers by their shape. */
  isOther?(text: string): boolean;
  /** The value where the flag is given without one. */
  implied?: Value;
  /** What `--help` says in place of all the values, where they are many. */
  valuesShown?: string;
}

/** `--name` and `--no-name`. */
export interface BooleanFlag extends FlagBase {
  /** Tells flags apart. */
  kind: "boolean";
}

/** Whole numbers of at least `min`, with commas or blanks between. */
export interface IntegersFlag extends FlagBase {
  /** Tells flags apart. */
  kind: "integers";
  /** The least. */
  min?: number;
}

/** Numbers as {@linkcode NumberFlag} has one, with commas or blanks between. */
export interface NumbersFlag extends FlagBase {
  /** Tells flags apart. */
  kind: "numbers";
  /** The least. */
  min?: number;
  /** What it must be more than. */
  above?: number;
  /** The most. */
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

type Setting = string | number | boolean | readonly number[] | null;

function show(value: Setting): string {
  return value === null ? "none" : typeof value === "boolean" ? (value ? "on" : "off") : String(value);
}

/**
 * Says for `--help` what settings are where their flags are not given.
 *
 * @param sample defaults for the bundled images
 * @param original defaults of the original that differ
 */
export function describeDefaults<Settings extends { readonly [Name in keyof Settings]: Setting }>(
  own: Settings,
  sample: Settings,
  original: Readonly<Partial<Record<keyof Settings, string>>>,
): Record<keyof Settings, string> {
  const describe = (name: keyof Settings) => {
    const [usual, bundled] = [show(own[name]), show(sample[name])];
    return `default: ${usual}` + (bundled === usual ? "" : `; bundled sample: ${bundled}`) +
      (original[name] === undefined ? "" : `; the original: ${original[name]}`);
  };
  const names = Object.keys(own) as (keyof Settings)[];
  return Object.fromEntries(names.map((name) => [name, describe(name)])) as Record<keyof Settings, string>;
}

function describeRange({ min, above, max }: { min?: number; above?: number; max?: number }): string {
  const low = above !== undefined ? `above ${above}` : min !== undefined ? `of at least ${min}` : "";
  const high = max !== undefined ? `at most ${max}` : "";
  if (low !== "" && high !== "") {
    return above === undefined ? ` from ${min} to ${max}` : ` ${low} and ${high}`;
  }
  return low !== "" ? ` ${low}` : high !== "" ? ` of ${high}` : "";
}

/** What a flag takes, for errors. */
export function describeExpected(flag: Flag): string {
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
      return "true or false (no value means true)";
    case "text":
      return `a value (${flag.metavar})`;
  }
}

/** Whether a number is finite, and one that a flag may have. */
export function isInRange(
  value: number,
  { min, above, max }: { min?: number; above?: number; max?: number },
): boolean {
  return Number.isFinite(value) && value >= (min ?? -Infinity) && value > (above ?? -Infinity) &&
    value <= (max ?? Infinity);
}

/** Whether a text is one of the values of a flag. */
export function isChoice({ values, isOther }: ChoiceFlag, text: string): boolean {
  return values.includes(text) || isOther?.(text) === true;
}

/** Whether a value is one that its flag could have given. */
function isFitting(flag: Flag, value: unknown): boolean {
  switch (flag.kind) {
    case "integer":
      return Number.isSafeInteger(value) && isInRange(value as number, flag);
    case "number":
      return typeof value === "number" && isInRange(value, flag);
    case "integers":
    case "numbers":
      return Array.isArray(value) && value.length > 0 &&
        value.every((item) =>
          typeof item === "number" && isInRange(item, flag) &&
          (flag.kind === "numbers" || Number.isSafeInteger(item))
        );
    case "choice": // long lists have a search of their own, with near names
      return typeof value === "string" && (flag.valuesShown !== undefined || isChoice(flag, value));
    case "boolean":
      return typeof value === "boolean";
    case "text": // paths and the like, which are looked at where they are used
      return flag.isParsed === true || (typeof value === "string" && value !== "");
  }
}

/**
 * Makes sure that a program's options have the names of flags, or one of a few others.
 *
 * @throws {UserError} that names the first one that has not, and the option that may be meant
 */
export function checkNames(table: FlagTable, others: readonly string[], options: object): void {
  for (const name of Object.keys(options)) {
    if (Object.hasOwn(table, name) || others.includes(name)) continue;
    const known = Object.entries(table).flatMap(([option, { aliases = [] }]) =>
      [option, ...aliases.map((alias) => alias.replaceAll("-", ""))].map((word) => [word, option] as const)
    );
    const meant = new Map([...known, ...others.map((other) => [other, other] as const)]);
    const [near] = findNearNames(name, meant.keys(), 1);
    throw new UserError(
      `unknown option ${name}` + (near === undefined ? "" : `; did you mean ${meant.get(near)}?`),
    );
  }
}

/**
 * Makes sure that a program's options are what the command line would let through; what is left out has a default,
 * and `null` is for options that take it.
 *
 * @param required names of the paths that have none
 * @throws {UserError} that names the first one that is not, and says what was expected and found
 */
export function checkOptions(table: FlagTable, options: object, required: readonly string[] = []): void {
  for (const name of required) {
    const value: unknown = Object.hasOwn(options, name) ? options[name as keyof typeof options] : undefined;
    if (typeof value === "string" && value !== "") continue;
    throw new UserError(`${name}: expected a path, found ${describeFound(value)}`);
  }
  for (const [name, value] of Object.entries(options)) {
    const flag = Object.hasOwn(table, name) ? table[name] : undefined;
    if (flag !== undefined && value !== undefined && value !== null) checkOption(name, flag, value);
  }
}

/**
 * Makes sure that one value is what its flag would let through.
 *
 * @throws {UserError} that names it, and says what was expected and found
 */
export function checkOption(name: string, flag: Flag, value: unknown): void {
  if (isFitting(flag, value)) return;
  throw new UserError(`${name}: expected ${describeOption(flag)}, found ${describeFound(value)}`);
}

/** What a program's option is to be, for errors: what is any text on the command line must be a string. */
function describeOption(flag: Flag): string {
  if (flag.kind === "text") return `a non-empty string (${flag.metavar})`;
  if (flag.kind === "choice" && flag.valuesShown !== undefined) return `a string (${flag.valuesShown})`;
  return describeExpected(flag);
}

/** A value of whatever type, for errors. */
function describeFound(value: unknown): string {
  return value instanceof URL ? "a URL object" : Deno.inspect(value);
}
