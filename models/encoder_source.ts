/** Encoders from checkpoint files: which one it is, with which head, and its weights one entry at a time. */
import { UserError } from "../errors.ts";
import { CheckpointError, quote } from "./checkpoint/checkpoint_error.ts";
import { encoderBeside, matchStateDict, namesBeside, type StateDict } from "./checkpoint/state_dict.ts";
import { fingerprintWeights } from "./checkpoint/fingerprint_weights.ts";
import { readFinite, requireFinite } from "./checkpoint/read_finite.ts";
import type { SavedInput } from "./checkpoint/saved_input.ts";
import type { TensorRef } from "./checkpoint/tensor_ref.ts";
import type { StateEntry } from "./encoder_layers.ts";
import { type InputSource, stemOf } from "./encoder_input.ts";
import type { EncoderPart } from "./encoder_parts.ts";
import { findHead, type HeadOptions } from "./heads.ts";
import { type Normalization, normalizationOf } from "./images.ts";
import type { RowRange } from "./parameter_layout.ts";
import { adviseChoice, describeOtherModel, explainUnknown } from "./near_miss.ts";
import { completeEntries, isUsual, unusedEntries } from "./complete_entries.ts";
import { type EncoderClues, requireSameHeads } from "./encoder_family.ts";
import { cluesOf, expectPart, isHeadless, recognizeEncoders } from "./recognize.ts";
import {
  BICUBIC_EVALUATIONS,
  type Encoder,
  type EncoderRole,
  type FeatureKind,
  SSL_TITLES,
  type Stem,
} from "./encoder.ts";
import { chooseFeature, featureLeftOpen, featureOf } from "./features.ts";
import { gridOfTable } from "./position_embedding.ts";
import { encodersNamed, findEncoder, stemNameOf } from "./registry.ts";
import { hasFixedPositions, openEncoder } from "./locate_encoder.ts";
import { requireHead } from "./teacher.ts";

/** What {@linkcode openEncoderSource} looks for. */
export interface EncoderSourceOptions {
  /** Name of the encoder; found out where it is left out. */
  arch?: string;
  /**
   * Whether that name is as somebody asked for it, and not as a run has decided: then the file says the feature where neither
   * `feature` nor the name does, and must not say other heads.
   */
  isAsked?: boolean;
  /** Whether the file may have it for images of another size, which is the encoder that is opened then. */
  ofAnySize?: boolean;
  /** First layers of the encoder; those that fit and that the file says where it is left out. */
  stem?: Stem;
  /** In a checkpoint that holds both; the student by default. */
  which?: EncoderRole;
  /** Heads of a vision transformer, where its tensors do not tell. */
  heads?: number;
  /** Its feature; where it is left out, that of `arch`, or else what the file says. */
  feature?: FeatureKind;
  /** What stands before the encoder's keys, where a checkpoint holds several; see `locate_encoder.ts`. */
  weights?: string;
  /** Whether the head is wanted too. */
  part: EncoderPart;
  /** Length that the embedding must have, or a backbone's feature; any where it is left out. */
  dimension?: number;
}

/** An open checkpoint, and what of it is wanted. Close it with `using`. */
export interface EncoderSource extends Disposable, InputSource {
  readonly encoder: Encoder;
  /** The head as the checkpoint has it; a usual one where only the backbone is wanted and the file has none. */
  readonly head: HeadOptions;
  /** Whether it has one. */
  readonly hasHead: boolean;
  /** What its pixels are normalised by: what the file says, and else ImageNet's. */
  readonly normalization: Normalization;
  /** Epochs done, where the file says so. */
  readonly epoch: number | undefined;
  /** Paths of the checkpoint's files: one, or all that it is cut into. */
  readonly files: readonly string[];
  /** The part's entries, in PyTorch's order. */
  readonly state: readonly StateEntry[];
  /** The part's tensors by the encoder's keys, in their order; counters only where the file has them. */
  readonly tensors: ReadonlyMap<string, TensorRef>;
  /** What exports have beside them, see `Encoder.unused`. */
  readonly unused: ReadonlyMap<string, TensorRef>;
  /** Names of what the file holds besides this encoder: other encoders, heads of other kinds, a queue. See `namesBeside()`. */
  readonly beside: readonly string[];
  /** First names of heads of unknown kinds, which a backbone does without; with the prefix they are among `beside`. */
  readonly otherHeads: readonly string[];
  /**
   * Reads one entry, or some rows of it, in PyTorch's layout. Call it as a function of its own. It throws a
   * {@linkcode CheckpointError} where a number of it is not finite.
   */
  read: (key: string, rows?: RowRange) => Promise<Float32Array>;
  /** Reads the whole part, and throws that error where {@linkcode EncoderSource.read} would: before long work begins. */
  requireFinite: () => Promise<void>;
  /** As {@linkcode EncoderSource.requireFinite}, and gives the part's {@linkcode fingerprintWeights} from the same reads. */
  fingerprint: () => Promise<string>;
}

/** Names heads of unknown kinds, for a person: without them an encoder gives features; `undefined` where there are none. */
export function describeOtherHeads(
  path: string,
  { otherHeads }: Pick<EncoderSource, "otherHeads">,
): string | undefined {
  return otherHeads.length === 0
    ? undefined
    : `${path}: ignored heads of unknown kinds: ${otherHeads.join(", ")}`;
}

/**
 * Opens a checkpoint and checks that the part that is wanted is in it.
 *
 * @throws {UserError} where the file cannot be read, the encoder cannot be told, keys are missing, unexpected or of
 * another shape, or the embedding has another length than it must have
 */
export async function openEncoderSource(
  path: string,
  { arch, isAsked = false, ofAnySize = false, stem, heads, feature, which, weights, part, dimension }:
    EncoderSourceOptions,
): Promise<EncoderSource> {
  const state = await openEncoder(path, weights);
  try {
    const tensors = which === "teacher" ? teacherOf(state) : state.tensors;
    // The checkpoint's own words, its epoch too, are about the student.
    const epoch = which === "teacher" ? undefined : state.epoch;
    const [prefix, left] = which === "teacher" ? ["teacher.", state.prefix] : [state.prefix, undefined];
    const said = which === "teacher" ? state.teacherArch : state.arch;
    const { config, likelyStem, likelyInput } = state;
    const input = which === "teacher" ? state.teacherInput : state.input ?? likelyInput;
    const fixedPositions = which === "teacher" ? await hasFixedPositions(tensors) : state.fixedPositions;
    const isClassifier = which !== "teacher" && state.isClassifier;
    const clues = cluesOf({ arch: said, input, likelyStem, fixedPositions, config, isClassifier }, {
      stem,
      heads,
    });
    const wanted = arch === undefined ? undefined : findEncoder(arch, stem);
    const named = wanted && ofAnySize ? sizedAs(wanted, tensors) : wanted;
    const other = describeOtherModel(tensors, named);
    if (other !== undefined) throw new CheckpointError(path, other);
    if (named !== undefined) {
      requireSameHeads(path, named, { asked: heads, saved: isAsked ? input?.heads : undefined });
    }
    const headless = named === undefined ? isHeadless(tensors, clues) : named.head === "none";
    if (part === "encoder" && !headless) requireHead({ ...state, tensors }, clues);
    const encoder = named === undefined
      ? chooseFeature(recognize(path, tensors, part, clues), feature ?? input?.feature)
      : chooseFeature(named, feature ?? (isAsked ? featureLeftOpen(named, input?.feature) : undefined));
    if (part === "encoder" && findHead(tensors) !== undefined) requireFeatureOfHead(path, encoder, input);
    const { head, entries, isOptional, otherHeads } = expectPart(encoder, tensors, part, clues);
    const advise = () => adviseChoice(tensors, part, encoder);
    const found = matchStateDict({ ...state, tensors }, entries, isOptional, advise);
    const matched = completeEntries(entries, found, config?.ropeTheta);
    const unused = unusedEntries(encoder, tensors, matched);
    const isIgnored = (key: string) => encoder.ignores?.test(key) === true && !unused.has(key);
    requireStem(path, encoder, input);
    if (tensors.has("conv1.weight")) requirePooling(path, encoder, state.maxPool);
    requirePlainHalving(path, encoder, said ?? config?.architecture);
    const isLikelyStem = input?.stem === undefined && stemNameOf(encoder) === likelyStem;
    if (dimension !== undefined && part === "encoder") checkDimension(state, head, dimension);
    if (dimension !== undefined && part === "backbone" && encoder.features !== dimension) {
      throw new UserError(
        `${path}: its features have length ${encoder.features}, but --dim is ${dimension}; use --dim ${encoder.features}`,
      );
    }
    return {
      encoder,
      head,
      hasHead: findHead(tensors) !== undefined,
      path,
      framework: state.framework,
      prefix,
      others: which === "teacher" ? undefined : state.others,
      ...isLikelyStem && { likelyStem },
      stem: stemNameOf(encoder),
      likelyInput,
      isOurs: state.isOurs,
      sizes: encoder.sizes,
      smallest: encoder.smallest,
      sizesAreOf: SSL_TITLES[encoder.ssl],
      interpolation: BICUBIC_EVALUATIONS.includes(encoder.ssl) ? "bicubic" : "bilinear",
      input,
      feature: encoder.feature,
      inputIsOfRun: state.inputIsOfRun,
      normalization: normalizationOf(input),
      epoch,
      files: state.file.files,
      state: entries,
      tensors: matched,
      otherHeads,
      beside: [
        ...new Set([
          ...namesBeside([
            ...left === undefined ? [] : [left],
            ...[...state.beside.keys()].filter((key) => left === undefined || !key.startsWith(prefix)),
          ], prefix),
          ...otherHeads.map((head) => prefix + head),
          ...namesBeside([...tensors.keys()].filter(isIgnored)).map((name) => prefix + name),
        ]),
      ],
      read: (key, rows) => readFinite(path, key, matched.get(key)!, rows),
      requireFinite: () => requireFinite(path, matched),
      unused,
      fingerprint: async () => {
        const isNew = await Promise.all(
          entries.map(async (entry) =>
            matched.has(entry.key) && !await isUsual(entry, matched.get(entry.key)!)
          ),
        );
        return await fingerprintWeights(
          entries.filter((_, i) => isNew[i]).map(({ key }) => ({
            key,
            shape: matched.get(key)!.shape,
            read: () => readFinite(path, key, matched.get(key)!),
          })),
        );
      },
      [Symbol.dispose]: () => state.close(),
    };
  } catch (error) {
    state.close();
    throw error;
  }
}

/** The encoder of a checkpoint. Of several that fit, the one that the file names, or else the first. */
function recognize(
  path: string,
  tensors: ReadonlyMap<string, TensorRef>,
  part: EncoderPart,
  clues: EncoderClues,
): Encoder {
  const [encoder] = recognizeEncoders(tensors, part, clues);
  if (encoder !== undefined) return encoder;
  const { arch: said, stem } = clues;
  const [other] = stem === undefined ? [] : recognizeEncoders(tensors, part, { ...clues, stem: undefined });
  if (other !== undefined) {
    throw new CheckpointError(path, `holds a ${other.name}, which has no --stem ${stem}; leave --stem out`);
  }
  throw new CheckpointError(
    path,
    `holds no ${part} of a known encoder${said === undefined ? "" : ` (it says ${quote(said)})`}; ` +
      explainUnknown(tensors, part, clues),
  );
}

/** The encoder for the size of images that a table of positions is for, of one that is made for a size. */
function sizedAs(encoder: Encoder, tensors: ReadonlyMap<string, TensorRef>): Encoder {
  const { sizes, sizedFor } = encoder;
  const rows = tensors.get("pos_embed")?.shape[1];
  if (sizes === undefined || sizedFor === undefined || rows === undefined) return encoder;
  const side = gridOfTable(rows);
  return side === undefined ? encoder : sizedFor(side * sizes.multiple);
}

/** Fails where an encoder gives another feature than its head was trained on, which takes as many numbers of any. */
function requireFeatureOfHead(path: string, { feature }: Encoder, input: SavedInput | undefined): void {
  const own = featureOf(input);
  if (feature === undefined || feature === own) return;
  throw new UserError(
    `${path}: its head takes the feature ${own}, but ${feature} is asked for; use the encoder without its head ` +
      `(--part backbone), or leave --feature ${feature} out`,
  );
}

/** Fails where the encoder begins otherwise than the one that was saved: it has the same tensors, and gives other features. */
export function requireStem(path: string, encoder: Encoder, input: SavedInput | undefined): void {
  if (input?.stem === undefined) return;
  const own = stemOf(encoder);
  if (input.stem === own) return;
  throw new CheckpointError(
    path,
    `was saved from an encoder that begins with ${
      quote(input.stem)
    }, but ${encoder.name} begins with ${own}, and ` +
      "would give other features; use the encoder that it was saved from (--arch, --stem, --plugin)",
  );
}

/** Fails where a max pooling follows the first convolution against the word of Lightning Bolts, or is missing: no tensor tells. */
function requirePooling(path: string, encoder: Encoder, said: boolean | undefined): void {
  if (said === undefined) return;
  const own = stemOf(encoder);
  if (own.includes("max pool") === said) return;
  throw new CheckpointError(
    path,
    `has "maxpool1": ${said} in its hyper_parameters, as Lightning Bolts writes them, but ${encoder.name} begins with ` +
      `${own}, and would give other features; use an encoder that begins ${
        said ? "with" : "without"
      } max pooling (--arch, --plugin)`,
  );
}

/** timm's ResNets that are blurred or averaged where they halve a map, by its names: `resnetblur50`, `resnetaa50.a1h_in1k`. */
const BLURRED = /^resnet(?:blur|aa)(\d+)(?:\.|$)/;

/** Fails where a file names a ResNet that halves maps otherwise than the plain one, which has its tensors: no shape tells. */
function requirePlainHalving(path: string, encoder: Encoder, said: string | undefined): void {
  const [, depth] = BLURRED.exec(said ?? "") ?? [];
  if (depth === undefined || !encodersNamed(`resnet${depth}`).includes(encoder)) return;
  throw new CheckpointError(
    path,
    `is of timm's ${
      quote(said!)
    }, which has the tensors of a ${encoder.name}, but blurs or averages where it halves a map, ` +
      "and would give other features; use a checkpoint of another encoder, or load your own with --plugin",
  );
}

function teacherOf(state: StateDict): ReadonlyMap<string, TensorRef> {
  const { file, framework } = state;
  if (framework !== "seed") {
    throw new CheckpointError(
      file.path,
      `has only one encoder, not a teacher and a student (it is a ${framework} checkpoint); leave --which out`,
    );
  }
  const teacher = encoderBeside(state, "teacher");
  if (teacher.size === 0) {
    throw new CheckpointError(file.path, "does not include the teacher; use the teacher's own checkpoint");
  }
  return teacher;
}

function checkDimension({ file, framework }: StateDict, head: HeadOptions, dimension: number): void {
  if (head.dimension === dimension) return;
  const isClassifier = framework === "torchvision" && head.kind === "linear";
  throw new UserError(
    `${file.path}: its embeddings have length ${head.dimension}, but --dim is ${dimension}; ${
      isClassifier
        ? `its fc looks like a classifier of ${head.dimension} classes, but a self-supervised teacher is needed`
        : `use --dim ${head.dimension}`
    }`,
  );
}
