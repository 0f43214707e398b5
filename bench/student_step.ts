/** The training step that benches time: SEED's, of a student with a head of 128 numbers. */
import type { Gpu } from "../kernels/gpu.ts";
import { type StudentBatch, StudentStep, type StudentStepOptions } from "../methods/seed/step.ts";
import { initialize, initializeQueue } from "../models/initialize.ts";
import { findEncoder } from "../models/registry.ts";
import type { GradientExchange } from "../models/training_step.ts";

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

/** Compiles a step, and gives it weights and keys to begin with. */
export async function startStep(
  gpu: Gpu,
  options: StudentStepOptions,
  exchange?: GradientExchange,
): Promise<StudentStep> {
  const step = await StudentStep.create(gpu, options, exchange);
  const weights = initialize(step.state, 1);
  await step.load((key) => weights.get(key)!);
  step.queues[0].load(initializeQueue(options.queueSize, DIMENSION, 1));
  return step;
}

/** Returns a batch of a step; every rank has another one. */
export function batchOf({ batch, imageSize }: StudentStepOptions, rank = 0): StudentBatch {
  return {
    images: new Uint8Array(batch * imageSize * imageSize * 4).fill(100 + rank),
    teacher: initializeQueue(batch, DIMENSION, 2 + rank),
    learningRate: 0.01,
    queuePointer: 0,
  };
}
