// Defaults and recipes against the numbers of those who made the methods, written out.
import { assertEquals } from "@std/assert";
import { LINEAR_DEFAULTS } from "../../methods/linear_probe/options.ts";
import { FINETUNE_ADAMW, FINETUNE_DEFAULTS } from "../../methods/finetune/options.ts";
import { PRETRAIN_ADAMW, PRETRAIN_DEFAULTS } from "../../methods/moco/defaults.ts";
import { PAPER_ADAMW, PAPER_DEFAULTS } from "../../methods/seed/defaults.ts";
import { RECIPES } from "../../methods/seed/recipes.ts";

/** Fails where options have other values than are expected; there may be more of them. */
function assertHas(options: object, expected: Record<string, unknown>, what: string): void {
  for (const [name, value] of Object.entries(expected)) {
    assertEquals((options as Record<string, unknown>)[name], value, `${name} of ${what}`);
  }
}

/** What `tools/opts.py` of SEED and `main_moco.py` of MoCo have alike. */
const COMMON = {
  ...{ epochs: 200, startEpoch: 0, lr: 0.03, cos: true, schedule: [120, 160] },
  ...{ momentum: 0.9, weightDecay: 1e-4, optimizer: "sgd" },
  ...{ batchSize: 256, imageSize: 224 },
};

/** `eval_knn.py` of DINO: the most neighbours of its `--nb_knn`, and `--temperature`. */
const KNN = { knnK: 200, knnT: 0.07 };

/** Section 4.1 of SEED's paper, its `tools/opts.py`, and the warm-up of its `main.py`. */
const SEED = {
  ...COMMON,
  ...{ dim: 128, queue: 65536, temp: 0.2, distillT: 0.01, studentMlp: true },
  ...{ scaleLr: true, warmupEpochs: 5, smallViews: 0 },
};

Deno.test("parity: a distillation has the defaults of SEED's paper and code, and DINO's kNN", () => {
  // 96 pixels: swav_small_aug.
  assertHas(PAPER_DEFAULTS, { ...SEED, ...KNN, smallSize: 96 }, "PAPER_DEFAULTS");
  // DINO's main_dino.py: --lr 0.0005 for a batch of 256; DeiT's main.py: --weight-decay 0.05.
  assertEquals(PAPER_ADAMW, { lr: 5e-4, lrPerStep: true, weightDecay: 0.05 });
});

Deno.test("parity: a pretraining has the defaults of main_moco.py, with what MoCo-v2's command line adds, and DINO's kNN", () => {
  const v2 = { mocoT: 0.2, mlp: true, augPlus: true, cos: true };
  const moco = { arch: "resnet50", mocoDim: 128, mocoK: 65536, mocoM: 0.999, ...v2 };
  const expected = { ...COMMON, ...moco, scaleLr: false, warmupEpochs: 0, ...KNN };
  assertHas(PRETRAIN_DEFAULTS, expected, "PRETRAIN_DEFAULTS");
  // MoCo-v3's CONFIG.md: -lr=1.5e-4 --wd=.1
  const mocoV3 = { lr: 1.5e-4, lrPerStep: true, scaleLr: true, warmupEpochs: 10, weightDecay: 0.1 };
  assertEquals(PRETRAIN_ADAMW, mocoV3);
});

Deno.test("parity: a fine-tuning has SWAV's defaults for 10 % of ImageNet, and with AdamW the warm-up of DeiT and MAE", () => {
  // SwAV's README: 20 epochs, --lr 0.01 --lr_last_layer 0.2; eval_semisup.py: --decay_epochs 12 16, --gamma 0.2, --wd 0.
  const swav = { epochs: 20, batchSize: 256, lr: 0.01, lrLastLayer: 0.2, schedule: [12, 16], gamma: 0.2 };
  assertHas(FINETUNE_DEFAULTS, { ...swav, weightDecay: 0, lrPerStep: false }, "FINETUNE_DEFAULTS");
  assertHas(FINETUNE_ADAMW, { lrPerStep: true, warmupEpochs: 5, weightDecay: 0.05 }, "FINETUNE_ADAMW");
});

Deno.test("parity: a linear probe has the defaults of main_lincls.py", () => {
  const expected = {
    epochs: 100,
    batchSize: 256,
    lr: [30],
    schedule: [60, 80],
    momentum: 0.9,
    weightDecay: 0,
  };
  assertHas(LINEAR_DEFAULTS, { ...expected, startEpoch: 0, imageSize: 224 }, "LINEAR_DEFAULTS");
});

Deno.test("parity: the paper's recipes have the paper's settings, six small views under SWAV's teachers, 800 epochs under its wide one", () => {
  const { optimizer: _, startEpoch: __, schedule: ___, ...paper } = SEED;
  const views = { smallViews: 6, smallSize: 96 }; // num_patches of main_small-patch.py
  const recipes = {
    "paper-moco-r50": { ...paper, teacherArch: "resnet50", teacherSsl: "moco" },
    "paper-moco-r101": { ...paper, teacherArch: "resnet101", teacherSsl: "moco" },
    "paper-moco-r152": { ...paper, teacherArch: "resnet152", teacherSsl: "moco" },
    "paper-simclr-r50": { ...paper, teacherArch: "simclr_resnet50", teacherSsl: "simclr" },
    "paper-swav-r50": { ...paper, ...views, teacherArch: "swav_resnet50", teacherSsl: "swav" },
    // README of SEED: "small-patches are also utilized during distillation and trained for 800 epochs".
    "paper-swav-r50w2": {
      ...{ ...paper, ...views, epochs: 800 },
      ...{ teacherArch: "swav_resnet50w2", teacherSsl: "swav" },
    },
  };
  const found = Object.entries(RECIPES).filter(([name]) => name.startsWith("paper-"));
  assertEquals<object>(Object.fromEntries(found), recipes);
});

Deno.test("parity: recipes of teachers whose embedding is their feature have lightly-train's temperatures and queue", () => {
  const expected = { queue: 8192, temp: 0.07, distillT: 0.07, studentMlp: false, augmentation: "mocov2" };
  const found = Object.entries(RECIPES).filter(([name]) => !name.startsWith("paper-"));
  for (const [name, recipe] of found) {
    assertHas(recipe, { ...expected, epochs: 200, lr: 0.03, loss: "seed" }, name);
  }
  assertHas(RECIPES["dinov2-vits14"], { imageSize: 224, teacherSsl: "dinov2" }, "dinov2-vits14");
});
