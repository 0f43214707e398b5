/** Encoders that are no fixed list: they are read off a checkpoint, whatever their width and depth. */
import { UserError } from "../errors.ts";
import { CheckpointError } from "./checkpoint/checkpoint_error.ts";
import type { Encoder, FeatureKind, Stem } from "./encoder.ts";

/** Tensors, or only their shapes, by plain key: without a framework's wrapping. */
export type Shapes = ReadonlyMap<string, { readonly shape: readonly number[] }>;

/** What is known of some tensors besides their names and shapes. */
export interface EncoderClues {
  /**
   * Name of the encoder that the file gives. It decides between encoders of the same names and shapes, and beats the
   * method: a SEED student with SimCLR's encoder has MoCo's head.
   */
  arch?: string;
  /** First layers that the file says, see `stemOf`. */
  saved?: string;
  /** The stem that the file's program gives such an encoder, where the tensors do not tell; see `StateDict`. */
  likelyStem?: Stem;
  /** The stem that is asked for; whichever fits where it is left out. */
  stem?: Stem;
  /** Heads of a vision transformer, `--heads`, where its tensors do not tell. */
  heads?: number;
  /** The feature that the file says: a head behind two tokens is twice as wide. */
  feature?: FeatureKind;
  /** Whether the file is of a training of a classifier, see `HeadOptions`. */
  isClassifier?: boolean;
  /** Whether its table of positions is not learned but MoCo-v3's. */
  fixedPositions?: boolean;
}

/**
 * Fails where an encoder that is named has other heads than those that are asked for, or else those that its file says: it has the
 * same tensors, and would give other features.
 */
export function requireSameHeads(
  path: string,
  { name, heads }: Pick<Encoder, "name" | "heads">,
  { asked, saved }: { asked?: number; saved?: number },
): void {
  const wanted = asked ?? saved;
  if (wanted === undefined || heads === undefined || wanted === heads) return;
  if (asked !== undefined) {
    throw new UserError(
      `${path}: --heads ${asked} contradicts ${name}, which has ${heads}; leave one of them out`,
    );
  }
  throw new CheckpointError(
    path,
    `was saved from an encoder with ${saved} attention heads, but ${name} has ${heads}, and would give other features; ` +
      "use the encoder that it was saved from",
  );
}

/** A family of encoders. To add one: a file with such an object, and a line in `registry.ts`. */
export interface EncoderFamily {
  /** Those that their authors released, by which tables and `--help` name the family. */
  readonly released: readonly Encoder[];
  /**
   * The encoder that some tensors are of, which have the names of its release; `undefined` where they are of another family.
   * Whether they are complete is not looked at.
   */
  recognize(tensors: Shapes, clues: EncoderClues): Encoder | undefined;
  /** Says what is missing where tensors are of the family, but do not tell all of the encoder; a sentence without its subject. */
  explain?(tensors: Shapes, clues: EncoderClues): string | undefined;
  /**
   * The encoder of a name: a released one, or one that {@linkcode EncoderFamily.recognize} gave. The same name gives the same
   * object.
   */
  named(name: string): Encoder | undefined;
}
