/** The terms of runs: what their weights follow from, and how a run that is gone on with is compared with the one before. */
import type { Emit, NoticeEvent } from "../actors/events.ts";
import { CheckpointError } from "../models/checkpoint/checkpoint_error.ts";
import type { RunOrigin } from "../models/checkpoint/resume_state.ts";
import {
  compareTerms,
  describeDifference,
  describeOtherRun,
  type NamedEncoder,
  type Term,
} from "../models/checkpoint/run_terms.ts";
import type { Normalization } from "../models/images.ts";
import { findEncoder } from "../models/registry.ts";
import type { TorchDict } from "../models/checkpoint/torch_value.ts";

/** Identity of a run, as its checkpoints store it. */
export interface RunIdentity {
  /** Settings that determine its weights. */
  terms: readonly Term[];
  /** The student before the first step; `undefined` if no longer known. */
  origin: RunOrigin | undefined;
}

/**
 * A property of options as a term: its name in a checkpoint, and its flag.
 *
 * @param usual see {@linkcode Term.usual}
 */
export function termOf<Name extends string, Value extends Term["value"]>(
  property: Name,
  value: Value,
  isEssential: boolean,
  usual?: Term["usual"],
): Term {
  const words = property.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).split(" ");
  const term = { name: words.join("_"), flag: `--${words.join("-")}`, value, isEssential };
  return usual === undefined ? term : { ...term, usual };
}

/** Settings of any training step that most runs leave as they are. A clipped gradient has a norm above 0. */
export function rareTerms(
  { accumulate = 1, clipGrad, syncBn = false, compress = "none" }: {
    accumulate?: number;
    clipGrad?: number | null;
    syncBn?: boolean;
    compress?: string;
  },
): Term[] {
  return [
    termOf("accumulate", accumulate, false, 1),
    termOf("clipGrad", clipGrad ?? 0, false, 0),
    termOf("syncBn", syncBn, false, false),
    termOf("compress", compress, false, "none"),
  ];
}

/**
 * How images are decoded, and which of them are. What an adapter cannot take is broken on it alone: a run may go on on another one.
 *
 * @param options.maxPixels as asked for, whatever the adapter allows
 */
export function decodingTerms(
  { fastDecode = false, maxPixels }: { fastDecode?: boolean; maxPixels: number },
): Term[] {
  return [termOf("fastDecode", fastDecode, true, false), termOf("maxPixels", maxPixels, true)];
}

/** The stochastic depth of an encoder that has it. */
export function dropPathTerm(arch: string, { dropPath }: { dropPath: number }): Term[] {
  return findEncoder(arch).dropPath === undefined ? [] : [termOf("dropPath", dropPath, false)];
}

/**
 * The name of an encoder as a term.
 *
 * @param feature see {@linkcode NamedEncoder.feature}
 */
export function encoderTerm(property: string, arch: string, feature?: NamedEncoder["feature"]): Term {
  const term = termOf(property, arch, true);
  return { ...term, encoder: { term: term.name, flag: term.flag, feature } };
}

/** What a file or folder holds as a term: its fingerprint. */
export function contentTerm(name: string, flag: string, value: string | null, content: string): Term {
  return { name, flag, value, isEssential: true, content };
}

/**
 * What an encoder's pixels are normalised by as terms: its file says it beside the weights.
 *
 * @param prefix of their names in a checkpoint
 */
export function normalizationTerms(
  prefix: string,
  flag: string,
  { mean, deviation }: Normalization,
): Term[] {
  return [
    { name: `${prefix}mean`, flag, value: [...mean], isEssential: true, content: "channel means" },
    { name: `${prefix}std`, flag, value: [...deviation], isEssential: true, content: "channel deviations" },
  ];
}

/** What ranks must have in common, by its name: for `requireSame`. A run without terms has none of these. */
export function factsOf(terms: readonly Term[] = []): Record<string, Term["value"]> {
  return Object.fromEntries(
    terms.map(({ flag, value, content }) => [content === undefined ? flag : `${content} (${flag})`, value]),
  );
}

/**
 * Compares a run with the one that wrote a checkpoint, and says every difference.
 *
 * @param saved the checkpoint's terms; `undefined` where it has none
 * @param insists goes on whatever differs
 * @throws CheckpointError where it is another run, and nobody insists
 */
export function checkTerms(
  path: string,
  saved: TorchDict | undefined,
  terms: readonly Term[],
  insists: boolean,
  emit: Emit<NoticeEvent>,
): void {
  if (saved === undefined) {
    const text = `${path} does not record its data and settings, so they cannot be compared`;
    return void emit({ type: "note", text });
  }
  const fail = (problem: string) => new CheckpointError(path, problem);
  const differences = compareTerms(saved, terms, fail);
  const essential = differences.filter(({ isEssential }) => isEssential);
  for (const difference of differences) {
    const text = `resumed with a change: ${describeDifference(difference)}`;
    if (!difference.isEssential) emit({ type: "note", text });
    else if (insists) emit({ type: "warning", text, isCommon: true });
  }
  if (essential.length === 0 || insists) return;
  throw fail(`${describeOtherRun(essential)}; to resume anyway, add --resume-anyway`);
}
