/** The messages of a pretraining: augmenter -> moco_trainer -> (buffers) -> tsv_reader. */
import type { Encoder } from "../../actors/messages.ts";
import type { EncoderTrainer } from "../encoder_training/messages.ts";

/** Embeds two views of each image, and trains on them. */
export type MocoTrainer = EncoderTrainer & Encoder;
