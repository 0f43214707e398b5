/**
 * A distillation by hand: the steps that its settings ask for, one after the other on one device, without actors. What
 * the actors do has to be the same to the bit.
 */
import { BatchReader } from "../../../data/batch_reader.ts";
import { openDataset } from "../../../data/open_dataset.ts";
import { packImages, TABLE_STRIDE } from "../../../data/pack.ts";
import { Random } from "../../../data/random.ts";
import { EpochOrder } from "../../../data/sampler.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import { drawMixture, repeatMixture } from "../../../kernels/image/mixup.ts";
import { ViewMaker } from "../../../kernels/image/view_maker.ts";
import { type Augmentation, sampleView } from "../../../kernels/image/view_parameters.ts";
import type { LossScale } from "../../../kernels/ops/loss_scale/loss_scale.ts";
import type { HeadOptions } from "../../../models/heads.ts";
import { FrozenEncoder, mapShape } from "../../../models/inference.ts";
import type { Normalization } from "../../../models/images.ts";
import { initialize, initializeQueue } from "../../../models/initialize.ts";
import { findEncoder } from "../../../models/registry.ts";
import { groupOf } from "../../../models/training_step.ts";
import { StudentStep, type StudentStepOptions } from "../../../methods/seed/step.ts";
import type { DrawnTeacher } from "../../actors/drawn_teacher.ts";

/** A run as its settings mean it, each of them named for itself. */
export interface HandRun {
  /** TSV file. */
  data: string;
  teacher: DrawnTeacher;
  seed: number;
  batch: number;
  imageSize: number;
  /** What the student's pixels are normalised by; ImageNet's where it is left out. */
  normalization?: Normalization;
  /** Side of the same views for the teacher, if it is another one. */
  teacherSize?: number;
  /** Alpha of mixup. */
  mixup?: number;
  /** Rule of the training views. */
  augmentation: Augmentation;
  /** Rule and number of each image's small views. */
  local?: { views: number; imageSize: number; augmentation: Augmentation };
  student: string;
  head: HeadOptions;
  queue: number;
  temperature: number;
  teacherTemperature: number;
  momentum: number;
  weightDecay: number;
  /** Batches of a step; 1 where it is left out. */
  accumulate?: number;
  clipNorm?: number;
  loss: string;
  /** Of the loss `tokens`: what its second term is told. */
  tokens?: { temperature: number; weight: number };
  lossScale?: LossScale;
  lossScaleRule?: StudentStepOptions["lossScaleRule"];
  /** Epochs from `firstEpoch` on, each with the learning rate of its steps. */
  firstEpoch: number;
  learningRates: readonly number[];
}

/** What came of it. */
export interface HandResult {
  losses: number[];
  weights: Map<string, Float32Array>;
  momentum: Map<string, Float32Array>;
  /** [queue, dimension], of the main views and of the small ones. */
  queues: Float32Array[];
  /** Where the next key goes. */
  pointer: number;
  /** Loss scaling after each step, where there is any. */
  lossScales: (LossScale | undefined)[];
  /** Pixels of the first batch's views. */
  firstViews: Uint8Array;
}

/** Trains by hand. */
export async function trainByHand(gpu: Gpu, run: HandRun): Promise<HandResult> {
  const { teacher, seed, batch, imageSize, teacherSize = imageSize, augmentation, local, head } = run;
  const encoder = findEncoder(teacher.arch);
  const frozen = {
    encoder,
    head: teacher.head,
    batch,
    imageSize: teacherSize,
    output: "normalized",
    map: run.tokens !== undefined,
  } as const;
  const teacherMap = run.tokens && mapShape(encoder, teacherSize);
  using teacherProgram = await FrozenEncoder.create(gpu, frozen);
  await teacherProgram.load((key) => teacher.values.get(key)!);
  using localTeacher = local &&
    await teacherProgram.share({ batch: batch * local.views, imageSize: local.imageSize, map: false });
  const [small, large] = [Math.min(imageSize, teacherSize), Math.max(imageSize, teacherSize)];
  const maker = new ViewMaker(gpu, { views: batch, width: large, height: large });
  const shrinker = small === large
    ? undefined
    : new ViewMaker(gpu, { views: batch, width: small, height: small });
  const localMaker = local &&
    new ViewMaker(gpu, { views: batch * local.views, width: local.imageSize, height: local.imageSize });
  using student = await StudentStep.create(gpu, {
    encoder: findEncoder(run.student),
    head,
    batch,
    imageSize,
    normalization: run.normalization,
    queueSize: run.queue,
    temperature: run.temperature,
    teacherTemperature: run.teacherTemperature,
    momentum: run.momentum,
    weightDecay: run.weightDecay,
    accumulate: run.accumulate,
    clipNorm: run.clipNorm,
    loss: run.loss,
    teacherMap,
    tokenTemperature: run.tokens?.temperature,
    tokenWeight: run.tokens?.weight,
    local: local && { views: local.views, imageSize: local.imageSize },
    lossScale: run.lossScale,
    lossScaleRule: run.lossScaleRule,
    dropoutSeed: seed,
  });
  const fresh = initialize(student.state, seed);
  await student.parameters.load((key) => fresh.get(key)!);
  student.queues[0].load(initializeQueue(run.queue, head.dimension, seed));
  if (local !== undefined) {
    student.queues[1].load(initializeQueue(run.queue, head.dimension, seed, "small queue"));
  }

  using dataset = await openDataset(run.data);
  const reader = new BatchReader(dataset);
  const losses: number[] = [];
  const lossScales: HandResult["lossScales"] = [];
  let firstViews: Uint8Array | undefined;
  let step = 0; // of this run; the run that is meant counts from epoch 0
  for (const [i, learningRate] of run.learningRates.entries()) {
    const epoch = run.firstEpoch + i;
    const order = new EpochOrder(dataset.rowCount, seed, epoch, batch);
    for (let number = 0; number < order.batchCount; number++) {
      const images = packImages(await reader.read(order, number));
      const draw = (name: string, place: number, augmentation: Augmentation, ...more: number[]) => {
        const [, width, height, row] = images.table.subarray(place * TABLE_STRIDE);
        return sampleView(new Random(seed, name, epoch, row, ...more), augmentation, width, height, place);
      };
      const mixture = run.mixup === undefined
        ? undefined
        : drawMixture(new Random(seed, "mixup", epoch, number), run.mixup, batch);
      const shrunk = shrinker && { by: shrinker, into: new ArrayBuffer(batch * small * small * 4) };
      const made = await maker.augment(
        images,
        Array.from(
          { length: batch },
          (_, place) => draw("augment", place, { ...augmentation, size: large }),
        ),
        undefined,
        { mixture, resized: shrunk },
      );
      const views = imageSize === large ? made : shrunk!.into;
      const teachers = teacherSize === large ? made : shrunk!.into;
      firstViews ??= new Uint8Array(views.slice(0));
      const smallViews = local && await localMaker!.augment(
        images,
        Array.from(
          { length: batch * local.views },
          (_, place) =>
            draw("small", Math.floor(place / local.views), local.augmentation, place % local.views),
        ),
        undefined,
        { mixture: mixture && repeatMixture(mixture, local.views) },
      );
      const maps = teacherMap && new Float32Array(batch * teacherMap.reduce((a, b) => a * b));
      const { loss, lossScale } = await student.run({
        images: views,
        teacher: await teacherProgram.embed(teachers, undefined, maps),
        maps,
        ...local && { local: { images: smallViews!, teacher: await localTeacher!.embed(smallViews!) } },
        learningRate,
        queuePointer: step * batch % run.queue,
        step: run.firstEpoch * order.batchCount + step,
        group: groupOf(number, order.batchCount, run.accumulate ?? 1),
      });
      losses.push(loss);
      lossScales.push(lossScale);
      step++;
    }
  }
  maker.destroy();
  shrinker?.destroy();
  localMaker?.destroy();
  return {
    losses,
    weights: await student.parameters.save(),
    momentum: await student.parameters.saveArena("momentum"),
    queues: [await student.queues[0].read(), ...local === undefined ? [] : [await student.queues[1].read()]],
    pointer: step * batch % run.queue,
    lossScales,
    firstViews: firstViews!,
  };
}
