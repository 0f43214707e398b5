/**
 * The terms of a run: what its weights follow from. A checkpoint keeps them, so that a run which goes on from it can be
 * compared with the one that wrote it.
 */
import { encoderByFlags } from "../encoder_by_flags.ts";
import { describe, type Fail } from "./checkpoint_error.ts";
import { TensorRef } from "./tensor_ref.ts";
import { type TorchDict, torchDict, type TorchValue } from "./torch_value.ts";

/** Value of a term; `null` if there is nothing to compare. */
export type TermValue = string | number | boolean | null | readonly number[];

/** A setting that determines a run's weights. */
export interface Term {
  /** Its key in a checkpoint. */
  readonly name: string;
  /** The flag that sets it, such as `--temp`. */
  readonly flag: string;
  /** Where each value has a flag of its own: the flags by value. */
  readonly flags?: Readonly<Record<string, string>>;
  /** Value in this run. */
  readonly value: TermValue;
  /** Whether another value makes it another run; if not, the value may change when the run is resumed. */
  readonly isEssential: boolean;
  /** For what a file holds: what that is, such as `images`, by its fingerprint, or `channel means`, a list. */
  readonly content?: string;
  /** Value of every run that does not record it. It is not recorded itself. */
  readonly usual?: string | number | boolean;
  /** The encoder that it is about, where it is about one: flags say that in other words. */
  readonly encoder?: NamedEncoder;
}

/** An encoder among the terms. Its name may say a feature, and a size, which is a term of its own. */
export interface NamedEncoder {
  /** Name of the term whose value is its name. */
  readonly term: string;
  /** The flag of that. */
  readonly flag: string;
  /** Whether `--feature` may be given; otherwise the name of the term that says whether it was. Left out where there is no such flag. */
  readonly feature?: true | string;
}

/** A term that was another one when the checkpoint was written. */
export interface TermDifference extends Term {
  readonly then: TermValue;
  /** What to write on a command line to have it as it was. */
  readonly back: readonly string[];
}

/** The value to keep in a checkpoint. */
export function buildTerms(terms: readonly Term[]): TorchDict {
  return torchDict(
    terms.filter(({ value, usual }) => usual === undefined || value !== usual)
      .map(({ name, value }) => [name, Array.isArray(value) ? [...value] : value as string]),
  );
}

/**
 * What differs from a checkpoint's terms. Terms that the checkpoint does not have, and that have no usual value, are passed over.
 *
 * @param saved what {@linkcode buildTerms} made, as it was read
 * @throws CheckpointError where a value is none that could have been written
 */
export function compareTerms(saved: TorchDict, terms: readonly Term[], fail: Fail): TermDifference[] {
  return terms.flatMap((term) => {
    const then = saved.get(term.name) ?? term.usual;
    if (then === undefined) return [];
    const value = readTerm(then, term, fail);
    // What has no value on one side cannot be compared.
    if (value === null || term.value === null || String(value) === String(term.value)) return [];
    const back = term.encoder === undefined ? [giveBack(term, value)] : giveBackEncoder(
      flagsOf(term.encoder, new Map(terms.map((one) => [one.name, one.value]))),
      flagsOf(term.encoder, saved),
    );
    return [{ ...term, then: value, back }];
  });
}

function readTerm(value: TorchValue, { name, value: like }: Term, fail: Fail): TermValue {
  const isNumber = (item: unknown) => typeof item === "number" && Number.isFinite(item);
  if (value === null) return null;
  if (Array.isArray(value) && value.every(isNumber) && (like === null || Array.isArray(like))) {
    return value as number[];
  }
  const isPlain = typeof value === "string" || typeof value === "boolean" || isNumber(value);
  if (isPlain && (like === null || typeof value === typeof like)) return value as TermValue;
  const found = value instanceof TensorRef ? "a tensor" : describe(value);
  const expected = like === null
    ? "plain data"
    : Array.isArray(like)
    ? "a list of numbers"
    : { string: "a string", boolean: "a bool" }[typeof like as string] ?? "a number";
  throw fail(`its seed_resume is damaged: expected ${expected} for ${name}, found ${found}`);
}

/** A sentence about a difference, without a full stop: `--temp is 0.2, was 0.1`. */
export function describeDifference({ flag, flags, value, then, content }: TermDifference): string {
  if (content !== undefined) {
    const [now, before] = Array.isArray(value)
      ? [show(value), show(then)]
      : [`fingerprint ${short(value)}`, short(then)];
    return `${flag} has different ${content} (${now}, was ${before})`;
  }
  if (flags !== undefined) {
    return `${flags[String(value)]} is given, was ${flags[String(then)] ?? show(then)}`;
  }
  return `${flag} is ${show(value)}, was ${show(then)}`;
}

/** What flags say of an encoder, by flag; `undefined` of one that is left out. */
function flagsOf(
  { term, flag, feature }: NamedEncoder,
  values: ReadonlyMap<unknown, unknown>,
): Record<string, string | undefined> {
  const said = encoderByFlags(String(values.get(term)));
  if (feature === undefined) return { [flag]: said.arch };
  if (feature === true) return { [flag]: said.arch, "--feature": said.feature };
  const isAsked = values.get(feature) === true;
  return { [flag]: said.arch, "--feature": isAsked ? said.feature ?? "pooled" : undefined };
}

function giveBackEncoder(now: ReturnType<typeof flagsOf>, then: ReturnType<typeof flagsOf>): string[] {
  return Object.entries(then).filter(([flag, said]) => said !== now[flag])
    .map(([flag, said]) => said === undefined ? `no ${flag}` : `${flag} ${said}`);
}

function giveBack({ flag, flags, content, usual }: Term, then: TermValue): string {
  if (content !== undefined) return `${flag} with the original ${content}`;
  if (flags?.[String(then)] !== undefined) return flags[String(then)];
  if (then === false && usual === false) return `no ${flag}`;
  if (typeof then === "boolean") return then ? flag : flag.replace(/^--/, "--no-");
  return `${flag} ${show(then)}`;
}

/** A clause about all that makes a checkpoint one of another run, and how to have it as it was. */
export function describeOtherRun(essential: readonly TermDifference[]): string {
  const back = [...new Set(essential.flatMap((difference) => difference.back))].join(" ");
  return `is from a different run: ${essential.map(describeDifference).join("; ")}` +
    (back === "" ? "" : `. To resume, use ${back}`);
}

function short(value: TermValue): string {
  return String(value).slice(0, 12);
}

function show(value: TermValue): string {
  return typeof value === "boolean" ? value ? "on" : "off" : String(value);
}
