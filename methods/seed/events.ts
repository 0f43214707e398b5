/** What a distillation tells. */
import type { EncoderTrainingEvent } from "../encoder_training/events.ts";

/** What a distillation tells. */
export type DistillEvent = EncoderTrainingEvent;
