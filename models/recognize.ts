/** Which encoder some weights are of: told by their names and shapes, and by the method that its head is known by. */
import { plainKey, type StateDict } from "./checkpoint/state_dict.ts";
import { type EncoderPart, firstEntryOf, partsOf } from "./encoder_parts.ts";
import type { StateEntry } from "./encoder_layers.ts";
import { findHead, type FoundHead, type HeadOptions, LOSS_LAYER } from "./heads.ts";
import type { Encoder, TeacherSsl } from "./encoder.ts";
import type { EncoderClues, Shapes } from "./encoder_family.ts";
import { stemOf } from "./encoder_input.ts";
import { withSavedFeature } from "./features.ts";
import { ENCODERS, encodersOfAllStems, FAMILIES, stemNameOf, stemsOf, usualHead } from "./registry.ts";

/** What of an encoder must be among some tensors. */
export interface ExpectedPart {
  /** The head as the tensors have it; the encoder's usual one where they have none. */
  head: HeadOptions;
  /** The part's entries, in PyTorch's order. */
  entries: readonly StateEntry[];
  /** Whether a tensor may be there beside them: to a backbone, the head, and other heads. */
  isOptional(key: string): boolean;
  /**
   * First names of the heads that the encoder itself does not have, see {@linkcode otherHeads}; a backbone's only. Of a classifier
   * in the same `nn.Sequential` as the backbone's last layer, the name of its layer.
   */
  otherHeads: readonly string[];
}

/** Whose head it is. */
export function methodOf({ root, kind }: FoundHead): TeacherSsl {
  if (root === "projection_head") return "swav";
  return kind === "mlp_bn" ? "simclr" : "moco";
}

/** What must be there of an encoder, with the head that is there. */
export function expectPart(
  encoder: Encoder,
  tensors: Shapes,
  part: EncoderPart,
  { isClassifier }: Pick<EncoderClues, "isClassifier"> = {},
): ExpectedPart {
  // A backbone's file may have no head, and the backbone does not depend on it.
  const found = findHeadOf(tensors, isClassifier);
  const head = found ?? usualHead(encoder);
  const parts = partsOf(encoder, head);
  const entries = parts[part];
  const inPart = new Set(entries);
  const rest = parts.encoder.filter((entry) => !inPart.has(entry));
  const roots = new Set(rest.map(({ key }) => rootOf(plainKey(key))));
  const own = new Set(entries.map(({ key }) => rootOf(plainKey(key))));
  const isHeadless = part === "backbone" || head.kind === "none";
  // A head that another method's encoder would have is one of them: the backbone depends on it as little.
  const foreign = part === "backbone" && found !== undefined && !roots.has(found.root) ? [found.root] : [];
  const others = isHeadless ? [...otherHeads(tensors), ...foreign].filter((root) => !own.has(root)) : [];
  for (const root of others) roots.add(root);
  const classifiers = part === "backbone" ? classifiersBehind(tensors, entries) : [];
  const optional = new Set([...encoder.unused ?? [], ...entries.filter((entry) => entry.optional)].map(
    ({ key }) => key,
  ));
  const isOptional = (key: string) =>
    roots.has(rootOf(key)) || optional.has(key) || key.startsWith(LOSS_LAYER) ||
    classifiers.some((layer) => key.startsWith(`${layer}.`)) || encoder.ignores?.test(key) === true;
  return { head, entries, isOptional, otherHeads: [...others, ...classifiers] };
}

/** The head that some tensors have, which a training of a classifier has put there or not. */
function findHeadOf(tensors: Shapes, isClassifier = false): FoundHead | undefined {
  const head = findHead(tensors);
  return isClassifier && head?.root === "fc" && head.kind === "linear" ? { ...head, isClassifier } : head;
}

/** What programs call the layers that they put behind a backbone. */
const HEAD_NAME =
  /^(_?fc|linear|mlp|heads?|proj|projector|projection|predictor|prototypes?|classifier)(_\w+)?$|^\w+_head$/;

/**
 * First names of heads of unknown kinds here, e.g. SimSiam's `projector`: their tensors are vectors and matrices,
 * and a backbone does not depend on them.
 */
export function otherHeads(tensors: Shapes): string[] {
  const known = findHead(tensors)?.root;
  const ranks = new Map<string, number>();
  for (const [key, { shape }] of tensors) {
    ranks.set(rootOf(key), Math.max(ranks.get(rootOf(key)) ?? 0, shape.length));
  }
  return [...ranks].filter(([root, rank]) => rank === 2 && root !== known && HEAD_NAME.test(root))
    .map(([root]) => root);
}

const CLASSIFIER_LAYER = /^classifier\.(\d+)\.weight$/;

/**
 * Names of linear layers behind a backbone's own in one `nn.Sequential`: its MobileNetV3s end with `classifier.0`, and those for
 * ImageNet have their classes in `classifier.3`.
 */
function classifiersBehind(tensors: Shapes, backbone: readonly StateEntry[]): string[] {
  const numberOf = (key: string) => Number(CLASSIFIER_LAYER.exec(key)?.[1] ?? -1);
  const last = Math.max(...backbone.map(({ key }) => numberOf(plainKey(key))));
  return last < 0 ? [] : [...tensors]
    .filter(([key, { shape }]) => numberOf(key) > last && shape.length === 2)
    .map(([key]) => key.replace(/\.weight$/, ""));
}

function rootOf(key: string): string {
  const end = key.indexOf(".");
  return end < 0 ? key : key.slice(0, end);
}

/** Whether the tensors are those of an encoder and no others; batch norm's counters are not looked at. */
export function fits(
  encoder: Encoder,
  tensors: Shapes,
  part: EncoderPart,
  clues: Pick<EncoderClues, "isClassifier"> = {},
): boolean {
  if (!begins(encoder, tensors)) return false;
  const { entries, isOptional } = expectPart(encoder, tensors, part, clues);
  const expected = requiredOf(entries);
  return expected.every((entry) => isThere(tensors, entry)) &&
    countRequired(tensors, isOptional) === expected.length;
}

/** Whether the first entry of an encoder is there, which tells nearly all others apart; a head's, which may be missing, does not. */
function begins(encoder: Encoder, tensors: Shapes): boolean {
  const first = firstEntryOf(encoder, findHead(tensors) ?? usualHead(encoder));
  return first === undefined || HEAD_NAME.test(rootOf(plainKey(first.key))) || isThere(tensors, first);
}

/** Entries that a checkpoint must have. */
function requiredOf(entries: readonly StateEntry[]): StateEntry[] {
  return entries.filter(({ kind, optional = false }) => kind !== "counter" && !optional);
}

function countRequired(tensors: Shapes, isOptional: (key: string) => boolean): number {
  return [...tensors.keys()].filter((key) => !key.endsWith("num_batches_tracked") && !isOptional(key)).length;
}

function isThere(tensors: Shapes, { key, shape }: StateEntry): boolean {
  return tensors.get(plainKey(key))?.shape.join() === shape.join();
}

/** What a file says of its encoder, and what is asked for. */
export function cluesOf(
  { arch, input, likelyStem, fixedPositions, config, isClassifier }:
    & Pick<StateDict, "arch" | "input" | "likelyStem" | "fixedPositions" | "config">
    & Partial<Pick<StateDict, "isClassifier">>,
  { stem, heads }: Pick<EncoderClues, "stem" | "heads"> = {},
): EncoderClues {
  return {
    arch,
    saved: input?.stem,
    likelyStem,
    fixedPositions,
    stem,
    heads: heads ?? input?.heads ?? config?.heads,
    feature: input?.feature,
    isClassifier,
  };
}

/**
 * The encoders that some tensors may be of, the likeliest first. Where one has the same tensors with several stems, as a
 * MobileNetV3 has, one of these is taken: the one that is asked for or that the file says, else the one that its program
 * usually has, else the first. An encoder of the method that the head is known by is preferred, but the head may be on any other too.
 * One that can give several features gives the one that the file says.
 */
export function recognizeEncoders(
  tensors: Shapes,
  part: EncoderPart,
  clues: EncoderClues = {},
): Encoder[] {
  const { arch: said, saved, likelyStem, stem, feature } = clues;
  const head = findHead(tensors);
  const isPreferred = (encoder: Encoder) =>
    head === undefined || encoder.ssl === methodOf(head) ||
    stemsOf(encoder).values().some(({ name }) => name === said);
  const isSaid = (encoder: Encoder) =>
    saved === undefined ? encoder.name === said : stemOf(encoder) === saved;
  const ofFamilies = readEncoders(tensors, clues).filter((encoder) =>
    stem === undefined || stemNameOf(encoder) === stem
  );
  const fittingOf = (usual: Encoder) => {
    const ofStems = stemsOf(usual);
    const stems = (stem === undefined ? [...ofStems.values()] : [ofStems.get(stem)])
      .filter((encoder) => encoder !== undefined)
      .map((encoder) => withSavedFeature(encoder, feature))
      .filter((encoder) => fits(encoder, tensors, part, clues));
    if (stems.length < 2) return stems;
    const likely = likelyStem && ofStems.get(likelyStem);
    return [stems.find(isSaid) ?? stems.find((encoder) => encoder === likely) ?? stems[0]];
  };
  const preferred = ENCODERS.filter(isPreferred).flatMap(fittingOf);
  const listed = preferred.length > 0 ? preferred : ENCODERS.flatMap(fittingOf);
  const read = ofFamilies.filter((encoder) => fits(encoder, tensors, part, clues));
  return [...listed, ...read].toSorted((a, b) => Number(b.name === said) - Number(a.name === said));
}

/**
 * What the first family that knows some tensors takes them for, if one does, with the feature that the file says. Whether they are
 * complete is not looked at.
 */
function readEncoders(tensors: Shapes, clues: EncoderClues): Encoder[] {
  for (const family of FAMILIES) {
    const encoder = family.recognize(tensors, clues);
    if (encoder !== undefined) return [withSavedFeature(encoder, clues.feature)];
  }
  return [];
}

/** Whether what is here are an encoder's tensors, which needs no head to give embeddings. */
export function isHeadless(tensors: Shapes, clues: EncoderClues = {}): boolean {
  return findHead(tensors) === undefined &&
    [...encodersOfAllStems(), ...readEncoders(tensors, clues)].some((encoder) =>
      encoder.head === "none" && fits(encoder, tensors, "encoder")
    );
}

/**
 * The encoder that has the most entries in common with some tensors, by name and shape.
 *
 * @returns `undefined` where none has half of its own
 */
export function nearestEncoder(tensors: Shapes, part: EncoderPart): Encoder | undefined {
  const shares = [...encodersOfAllStems(), ...readEncoders(tensors, {})].map((encoder) => {
    const { entries, isOptional } = expectPart(encoder, tensors, part);
    const expected = requiredOf(entries);
    const common = expected.filter((entry) => isThere(tensors, entry)).length;
    return { encoder, share: common / Math.max(expected.length, countRequired(tensors, isOptional)) };
  });
  const best = shares.reduce((a, b) => b.share > a.share ? b : a);
  return best.share < 0.5 ? undefined : best.encoder;
}
