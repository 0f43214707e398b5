/** The training step that benches time: SEED's, of a student with a head of 128 numbers. */
import type { StudentStepOptions } from "../methods/seed/step.ts";
import { findEncoder } from "../models/registry.ts";

/** Numbers in an embedding. */
export const DIMENSION = 128;

/** What differs from step to step. */
export interface StepSize {
  encoder: string;
  batch: number;
  imageSize: number;
  queueSize: number;
}

/** Options of a step, with the paper's temperatures. */
export function stepOptions({ encoder, batch, imageSize, queueSize }: StepSize): StudentStepOptions {
  return {
    encoder: findEncoder(encoder),
    head: { kind: "mlp", dimension: DIMENSION },
    batch,
    imageSize,
    queueSize,
    temperature: 0.2,
    teacherTemperature: 0.01,
    momentum: 0.9,
    weightDecay: 1e-4,
  };
}
