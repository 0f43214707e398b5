/** Events of a distillation. */
import type { EncoderTrainingEvent } from "../encoder_training/events.ts";

/** Events of a distillation. */
export type DistillEvent = EncoderTrainingEvent;
