/**
 * The table of a method's flags: what each is called, what it takes and what it does. `cli/flags/` makes parsers and the text
 * of `--help` from it.
 */

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
