import { assert, assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import {
  batchScale,
  distillLearningRate,
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
