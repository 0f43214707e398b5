/**
 * Stand-in for `@std/cli/parse-args`: splits an argument list into flags and positional arguments. Dotted names
 * (`--a.b=1` as nested objects) are left out; everything else behaves as in the real package.
 */

/** What {@linkcode parseArgs} returns: a value for every flag, and what belongs to no flag in `_`. */
// deno-lint-ignore no-explicit-any -- as in the real package, where nothing is said about the flags
export type Args = Record<string, any> & {
  /** The positional arguments. */
  _: (string | number)[];
  /** What stands after `--`, when asked for. */
  "--"?: string[];
};

/** How {@linkcode parseArgs} reads the flags. */
export interface ParseOptions {
  /** Put what follows `--` into `["--"]` instead of `_`. */
  "--"?: boolean;
  /** Other names of a flag. */
  alias?: Record<string, string | readonly string[]>;
  /** Flags that take no value; `true` makes every `--flag` without `=` one. They are `false` unless given. */
  boolean?: boolean | string | readonly string[];
  /** Values of flags that are not given. */
  default?: Record<string, unknown>;
  /** Treat everything after the first positional argument as positional. */
  stopEarly?: boolean;
  /** Flags whose values stay strings; `_` among them keeps positional arguments strings. */
  string?: string | readonly string[];
  /** Flags whose values are gathered in an array. */
  collect?: string | readonly string[];
  /** Flags that `--no-` in front of them sets to `false`. */
  negatable?: string | readonly string[];
  /** Called with what no option names; `false` leaves it out of the result. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

function isNumeric(text: string): boolean {
  return /^0x[0-9a-f]+$/i.test(text) || /^[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?$/.test(text);
}

function toList(names: boolean | string | readonly string[] | undefined): string[] {
  if (names === undefined || typeof names === "boolean") return [];
  return (typeof names === "string" ? [names] : [...names]).filter((name) => name !== "");
}

/** For every name that has others, the other names of the same flag. */
function otherNames(alias: ParseOptions["alias"] = {}): Map<string, string[]> {
  const others = new Map<string, string[]>();
  for (const [name, names] of Object.entries(alias)) {
    const family = [name, ...toList(names)];
    for (const member of family) others.set(member, family.filter((one) => one !== member));
  }
  return others;
}

/** Of `-abc`, `-n5`, `-n=5`: each letter with the value that is written with it, but for a last letter that is open. */
function readLetters(arg: string): { letters: [string, string | undefined][]; isLastOpen: boolean } {
  const letters: [string, string | undefined][] = [];
  const text = arg.slice(1, -1);
  for (let i = 0; i < text.length; i++) {
    const letter = text[i];
    const rest = arg.slice(i + 2);
    if (rest === "-") {
      letters.push([letter, rest]);
      continue;
    }
    const isLetter = /[A-Za-z]/.test(letter);
    const value = isLetter && rest.includes("=")
      ? rest.slice(rest.indexOf("=") + 1)
      : (isLetter && /-?\d+(\.\d*)?(e-?\d+)?$/.test(rest)) || /\W/.test(text[i + 1] ?? "")
      ? rest
      : undefined;
    letters.push([letter, value]);
    if (value !== undefined) return { letters, isLastOpen: false };
  }
  return { letters, isLastOpen: !arg.endsWith("-") };
}

/** Reads `args` and returns the flags found by name, and the rest in `_`. */
export function parseArgs(args: string[], options: ParseOptions = {}): Args {
  const others = otherNames(options.alias);
  const withAliases = (names: string[]) =>
    new Set(names.flatMap((name) => [name, ...others.get(name) ?? []]));
  const booleans = withAliases(toList(options.boolean));
  const strings = withAliases(toList(options.string));
  const collected = withAliases(toList(options.collect));
  const negatable = withAliases(toList(options.negatable));
  const allBooleans = options.boolean === true;

  const result: Args = { _: [] };

  function put(name: string, value: unknown, collect: boolean): void {
    if (!collect) result[name] = value;
    else if (Array.isArray(result[name])) result[name].push(value);
    else result[name] = result[name] ? [result[name], value] : [value];
  }

  function set(name: string, value: string | boolean, arg: string, collect = true): void {
    const isKnown = booleans.has(name) || strings.has(name) || others.has(name) ||
      (allBooleans && /^--[^=]+$/.test(arg));
    if (!isKnown && options.unknown?.(arg, name, value) === false) return;
    const typed = typeof value === "string" && !strings.has(name) && isNumeric(value) ? Number(value) : value;
    for (const member of [name, ...others.get(name) ?? []]) {
      put(member, typed, collect && collected.has(name));
    }
  }

  const end = args.indexOf("--");
  const flagged = end === -1 ? args : args.slice(0, end);
  const afterDashes = end === -1 ? [] : args.slice(end + 1);

  // Gives a flag without `=` its value: the next argument, unless the flag is a boolean or the next one is a flag.
  // Returns how many arguments that used up.
  function setFromNext(name: string, arg: string, next: string | undefined, nextIsValue: boolean): number {
    if (nextIsValue && !booleans.has(name)) {
      set(name, next!, arg);
      return 1;
    }
    if (next === "true" || next === "false") {
      set(name, next === "true", arg);
      return 1;
    }
    set(name, strings.has(name) ? "" : true, arg);
    return 0;
  }

  // Returns whether the last letter still waits for its value.
  function setLetters(arg: string): boolean {
    const { letters, isLastOpen } = readLetters(arg);
    for (const [letter, value] of letters) set(letter, value ?? (strings.has(letter) ? "" : true), arg);
    return isLastOpen;
  }

  for (let i = 0; i < flagged.length; i++) {
    const arg = flagged[i];
    const next = flagged[i + 1];
    const long = /^--(no-)?(.+?)(?:=(.+))?$/s.exec(arg);
    if (long !== null) {
      const [, negated, key, value] = long;
      if (value !== undefined) set(key, booleans.has(key) ? value !== "false" : value, arg);
      else if (negated !== undefined && negatable.has(key)) set(key, false, arg, false);
      else {
        const nextIsValue = next !== undefined && next !== "" && !next.startsWith("-") && !allBooleans;
        i += setFromNext((negated ?? "") + key, arg, next, nextIsValue);
      }
    } else if (/^-./s.test(arg)) {
      if (setLetters(arg)) {
        const nextIsValue = next !== undefined && next !== "" && !/^--?[^-]/.test(next);
        i += setFromNext(arg.slice(-1), arg, next, nextIsValue);
      }
    } else {
      if (options.unknown?.(arg) !== false) {
        result._.push(strings.has("_") || !isNumeric(arg) ? arg : Number(arg));
      }
      if (options.stopEarly) {
        result._.push(...flagged.slice(i + 1));
        break;
      }
    }
  }

  for (const [name, value] of Object.entries(options.default ?? {})) {
    if (Object.hasOwn(result, name)) continue;
    for (const member of [name, ...others.get(name) ?? []]) result[member] = value;
  }
  for (const name of booleans) {
    if (!Object.hasOwn(result, name)) {
      result[name] = collected.has(name) ? [] : false;
    }
  }
  for (const name of strings) if (!Object.hasOwn(result, name) && collected.has(name)) result[name] = [];

  if (options["--"]) result["--"] = afterDashes;
  else result._.push(...afterDashes);
  return result;
}
