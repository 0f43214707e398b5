import { assert, assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import {
  batchScale,
  distillLearningRate,
  learningRateAt,
  type LearningRateSchedule,
  linearLearningRate,
} from "../../../models/optim/schedule.ts";
import { referenceJson } from "../../reference.ts";

/** A schedule and its rates, from a name such as `distill_step_lr0.03_batch1024`. */
interface Case {
  name: string;
  isLinear: boolean;
  schedule: LearningRateSchedule;
  rates: number[];
}

// The milestones are the defaults of the original's flags, which the file's name does not give.
function readCases(): Case[] {
  return Object.entries<unknown>(referenceJson("lr_schedule.json")).flatMap(([name, rates]) => {
    const match = /^(distill|distill_step|lincls)_lr([\d.]+)_batch(\d+)$/.exec(name);
    if (match === null || !Array.isArray(rates)) return [];
    const [, kind, lr, batch] = match;
    const isLinear = kind === "lincls";
    const schedule: LearningRateSchedule = {
      lr: Number(lr),
      scale: batchScale(Number(batch)),
      warmupEpochs: 5,
      epochs: rates.length,
      cos: kind === "distill",
      milestones: isLinear ? [60, 80] : [120, 160],
    };
    return [{ name, isLinear, schedule, rates }];
  });
}

Deno.test("parity: learning rates are the original's in every epoch", () => {
  const cases = readCases();
  assert(cases.some((one) => one.isLinear) && cases.some((one) => one.schedule.cos), "no case was read");
  for (const { name, isLinear, schedule, rates } of cases) {
    const rateOf = isLinear ? linearLearningRate : distillLearningRate;
    // The cosine's last bit is the C library's choice, and near its end that bit is all there is.
    const tolerance = schedule.cos ? 2 ** -52 * schedule.lr * Math.max(1, schedule.scale) : 0;
    rates.forEach((expected, epoch) => {
      assertAlmostEquals(rateOf(epoch, schedule), expected, tolerance, `${name}, epoch ${epoch}`);
    });
  }
});

const SMALL: LearningRateSchedule = {
  lr: 1,
  scale: 1,
  warmupEpochs: 0,
  epochs: 10,
  cos: false,
  milestones: [2, 4],
};

Deno.test("distillLearningRate() needs no warm-up", () => {
  assertEquals(distillLearningRate(0, { ...SMALL, scale: 4 }), 4);
  assertEquals(distillLearningRate(0, { ...SMALL, scale: 4, cos: true }), 4);
});

Deno.test("distillLearningRate() goes down in the warm-up of a batch below 256", () => {
  const schedule = { ...SMALL, scale: batchScale(64), warmupEpochs: 5 };
  for (let epoch = 1; epoch <= 5; epoch++) {
    assertLess(distillLearningRate(epoch, schedule), distillLearningRate(epoch - 1, schedule));
  }
});

Deno.test("milestones within the warm-up lower the rate of the linear evaluation alone", () => {
  const schedule = { ...SMALL, warmupEpochs: 5 };
  assertEquals(distillLearningRate(3, schedule), 1);
  assertAlmostEquals(linearLearningRate(3, schedule), 0.1, 1e-12);
  assertAlmostEquals(linearLearningRate(4, schedule), 0.01, 1e-12);
  assertAlmostEquals(distillLearningRate(5, schedule), 0.01, 1e-12);
});

// `adjust_learning_rate(optimizer, 0.6, epoch + i / 4, args)` of MoCo-v3's main_moco.py, for --warmup-epochs 2 --epochs 5.
const MOCO_V3 = [
  ...[0, 0.075, 0.15, 0.225],
  ...[0.3, 0.375, 0.45, 0.525],
  ...[0.6, 0.5897777478867204, 0.5598076211353317, 0.5121320343559642],
  ...[0.45, 0.3776457135307562, 0.3, 0.2223542864692438],
  ...[0.15, 0.08786796564403576, 0.040192378864668386, 0.01022225211327954],
];

Deno.test("parity: learning rates by step are MoCo-v3's: from 0 to the scaled rate, then half a cosine", () => {
  const schedule = {
    lr: 0.3,
    scale: 2,
    warmupEpochs: 2,
    epochs: 5,
    cos: true,
    milestones: [],
    isPerStep: true,
  };
  for (const [step, expected] of MOCO_V3.entries()) {
    const position = { epoch: Math.floor(step / 4), batch: step % 4 };
    assertAlmostEquals(learningRateAt(position, 4, schedule), expected, 1e-15, `step ${step}`);
    const ofEpoch = learningRateAt(position, 4, { ...schedule, isPerStep: false });
    assertEquals(ofEpoch, distillLearningRate(position.epoch, schedule));
  }
});

Deno.test("learning rates by step are lowered at milestones, and rise to the end where all is warm-up", () => {
  const schedule = { ...SMALL, warmupEpochs: 1, isPerStep: true };
  const rates = [0, 1, 2, 3, 4].map((epoch) => learningRateAt({ epoch, batch: 1 }, 2, schedule));
  for (const [epoch, rate] of [0.5, 1, 0.1, 0.1, 0.01].entries()) {
    assertAlmostEquals(rates[epoch], rate, 1e-12, `epoch ${epoch}`);
  }
  const rising = { ...SMALL, warmupEpochs: 10, cos: true, isPerStep: true };
  assertEquals([0, 5, 10].map((epoch) => learningRateAt({ epoch, batch: 0 }, 2, rising)), [0, 0.5, 1]);
});
