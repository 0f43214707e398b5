/** Encoders that are no fixed list: they are read off a checkpoint, whatever their width and depth. */
import type { Encoder } from "./encoder.ts";
import type { EncoderClues, Shapes } from "./recognize.ts";

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
