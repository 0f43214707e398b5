// A vision transformer through every method that trains an encoder: its optimizer, what checkpoints keep of it, and resuming.
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { join } from "node:path";
import { UserError } from "../../errors.ts";
import { distill, finetune, knn, pretrain } from "../../methods/runs.ts";
import { type CheckpointLayout, readTrainingCheckpoint } from "../../methods/encoder_training/checkpoint.ts";
import { moco } from "../../methods/moco/mod.ts";
import { METHODS } from "../../methods/registry.ts";
import { type DistillInput, seed } from "../../methods/seed/mod.ts";
import { initialWeights } from "../../methods/encoder_training/initial_weights.ts";
import { withOptimizer } from "../../methods/encoder_training/step_options.ts";
import { readFinetuneCheckpoint } from "../../methods/finetune/checkpoint.ts";
import { MOCO_CHECKPOINT } from "../../methods/moco/encoders.ts";
import { DISTILL_CHECKPOINT } from "../../methods/seed/checkpoint.ts";
import type { DistillEvent } from "../../methods/seed/events.ts";
import { PAPER_DEFAULTS } from "../../methods/seed/defaults.ts";
import { readAdamWSteps } from "../../models/checkpoint/adamw_state.ts";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import type { TorchDict } from "../../models/checkpoint/torch_value.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { DINO_RESIZING, resizePositions } from "../../models/position_embedding.ts";
import { findEncoder, summarize } from "../../models/registry.ts";
import { resolveTeacher } from "../../models/teacher.ts";
import { drawTeacher } from "../actors/drawn_teacher.ts";
import { digestFile, RunFolder, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";

const ARCH = "dino_vit_p4_w64_b2_h1_f64_r0_g2";
const BATCHES = 3;
const fail = (problem: string) => new CheckpointError("test", problem);

/** The optimizer's groups in a checkpoint: learning rate, weight decay, and how many parameters. */
function groupsOf(root: unknown): [lr: number, weightDecay: number, parameters: number][] {
  const groups = ((root as TorchDict).get("optimizer") as TorchDict).get("param_groups") as TorchDict[];
  return groups.map((group) => [
    group.get("lr") as number,
    group.get("weight_decay") as number,
    (group.get("params") as number[]).length,
  ]);
}

Deno.test("a vision transformer is pretrained, taught and fine-tuned with AdamW, to the same bits when it is resumed", async () => {
  using folder = new RunFolder(8 * BATCHES, 8);
  const testData = join(folder.data, "test.tsv");
  const size = { batchSize: 8, imageSize: 8 };
  const shared = { data: folder.data, ...size, workers: 1, lr: 0.002, lrPerStep: false, insight: false };
  const pretraining = (name: string) => ({
    ...{ ...shared, testData: null, output: folder.makeOutput(name), arch: ARCH, epochs: 2 },
    ...{ mocoDim: 8, mocoK: 16, scaleLr: false, warmupEpochs: 0, dropPath: 0.3 },
  });
  const whole = await pretrain(pretraining("whole")).result;
  const begun = await pretrain({ ...pretraining("begun"), limitSteps: 2 }).result;
  const resumed = await pretrain({ ...pretraining("resumed"), resume: begun.checkpoint, workers: 2 }).result;
  assertEquals(await digestFile(resumed.checkpoint), await digestFile(whole.checkpoint));
  await assertRejects(
    () =>
      pretrain({ ...pretraining("refused"), resume: begun.checkpoint, optimizer: "sgd", resumeAnyway: true })
        .result,
    UserError,
    "was trained with adamw, but --optimizer is sgd; use --optimizer adamw, or start a new run",
  );
  const undropped = await pretrain({ ...pretraining("undropped"), dropPath: 0, limitSteps: 2 }).result;
  assertNotEquals(
    await firstWeight(MOCO_CHECKPOINT, undropped.checkpoint),
    await firstWeight(MOCO_CHECKPOINT, begun.checkpoint),
  );
  {
    using file = await openCheckpointFile(whole.checkpoint);
    const { arch, adamw, sgd } = readTrainingCheckpoint(MOCO_CHECKPOINT, file);
    assertEquals([arch, sgd, await readAdamWSteps(adamw!, fail)], [ARCH, undefined, 2 * BATCHES]);
    // Four weights of each block, the patches' and two of the head decay, and nothing else.
    const groups = groupsOf(file.value);
    assertEquals(groups.map(([, decay, count]) => [decay, count]), [[0.1, 11], [0, 23]]);
    assertAlmostEquals(groups[0][0], 0.001, 1e-9); // half of the way down
  }

  const teaching = (name: string) => ({
    ...{ ...shared, testData: null, output: folder.makeOutput(name), studentArch: ARCH, epochs: 1 },
    ...{ distill: whole.checkpoint, queue: 16, dim: 8, scaleLr: false },
  });
  const taught = await distill(teaching("taught")).result;
  const part = await distill({ ...teaching("part"), limitSteps: 1 }).result;
  const again = await distill({ ...teaching("again"), resume: part.checkpoint }).result;
  assertEquals(await digestFile(again.checkpoint), await digestFile(taught.checkpoint));
  // Stochastic depth is on where nobody says a word, and with another optimizer the weights are others.
  for (const [i, changes] of [{ dropPath: 0 }, { optimizer: "sgd" as const }].entries()) {
    const other = await distill({ ...teaching(`other ${i}`), ...changes, limitSteps: 1 }).result;
    assertNotEquals(
      await firstWeight(DISTILL_CHECKPOINT, other.checkpoint),
      await firstWeight(DISTILL_CHECKPOINT, part.checkpoint),
    );
  }

  const tuning = (name: string) => ({
    ...{ data: folder.data, testData, output: folder.makeOutput(name), pretrained: taught.checkpoint },
    ...{ batchSize: 8, imageSize: 8, workers: 1, epochs: 2, lrLastLayer: 0.01, schedule: [1], gamma: 0.5 },
    ...{ lrPerStep: false, warmupEpochs: 0 },
  });
  const tuned = await finetune(tuning("tuned")).result;
  const first = await finetune({ ...tuning("first"), epochs: 1 }).result;
  const second = await finetune({ ...tuning("second"), resume: first.checkpoint! }).result;
  assertEquals(await digestFile(second.checkpoint!), await digestFile(tuned.checkpoint!));
  using file = await openCheckpointFile(tuned.checkpoint!);
  const { adamw } = readFinetuneCheckpoint(file);
  assertEquals(await readAdamWSteps(adamw!, fail), 2 * BATCHES);
  const [encoder, plain, classifier, bias] = groupsOf(file.value);
  assertEquals([encoder, plain, classifier, bias].map(([, decay, count]) => [decay, count]), [
    [0.05, 9],
    [0, 21],
    [0.05, 1],
    [0, 1],
  ]);
  assertAlmostEquals(encoder[0], 5e-5, 1e-9); // AdamW's rate of an encoder, halved
  assertAlmostEquals(classifier[0], 0.005, 1e-9);
  await assertRejects(
    () => finetune({ ...tuning("no"), resume: first.checkpoint!, optimizer: "sgd" }).result,
    UserError,
    "was trained with adamw, but --optimizer is sgd",
  );
});

Deno.test("a fine-tuning of DINO's encoder in the shape of a vit_tiny is resumed and evaluated as DINO's", async () => {
  using folder = new RunFolder(8, 8);
  const arch = "dino_vit_p16_w192_b12_h3_f768_r0_g2";
  const pretrained = join(folder.path, "dino.pth");
  await drawTeacher(pretrained, arch, { kind: "none", dimension: 192 }, 1);
  const tuning = (name: string) => ({
    ...{
      data: folder.data,
      testData: join(folder.data, "test.tsv"),
      output: folder.makeOutput(name),
      pretrained,
    },
    ...{ batchSize: 4, imageSize: 32, workers: 1, epochs: 2 },
  });
  const first = await finetune({ ...tuning("first"), epochs: 1 }).result;
  const resume = first.checkpoint!;
  using source = await openEncoderSource(resume, { part: "backbone" });
  assertEquals([source.encoder.name, findEncoder("vit_tiny_32").features], [arch, source.encoder.features]);
  const { checkpoint, last } = await finetune({ ...tuning("resumed"), resume, pretrained: null }).result;
  const evaluation = { ...tuning("evaluated"), resume: checkpoint!, pretrained: null, evaluate: true };
  assertEquals((await finetune(evaluation).result).last, last);
});

async function firstWeight(layout: CheckpointLayout, checkpoint: string): Promise<number> {
  using file = await openCheckpointFile(checkpoint);
  const { encoder } = readTrainingCheckpoint(layout, file);
  return (await encoder.get("blocks.1.attn.qkv.weight")!.read())[0];
}

Deno.test("a run of vision transformers is profiled, looked into and measured", async () => {
  using folder = new RunFolder(24, 12);
  const { checkpoint } = await pretrain({
    ...{
      data: folder.data,
      testData: null,
      output: folder.makeOutput("teacher"),
      insight: false,
      workers: 1,
    },
    ...{ arch: ARCH, imageSize: 8, batchSize: 8, epochs: 1, mocoK: 16, mocoDim: 8 },
  }).result;
  const { teacherArch: _, teacherSsl: __, plugins: ___, ...options } = folder.options("looked", {
    ...{ distill: checkpoint, studentArch: ARCH, dim: 8, imageSize: 8, epochs: 4, statsEvery: 1 },
    ...{ testData: join(folder.data, "test.tsv"), insight: true },
  });
  const events: DistillEvent[] = [];
  await using run = distill(options, { profile: true });
  for await (const event of run) events.push(event);
  await run.result;
  const all = <Type extends DistillEvent["type"]>(type: Type) =>
    events.filter((event): event is Extract<DistillEvent, { type: Type }> => event.type === type);

  const [profile] = all("profile");
  const kernelsOf = (actor: string) =>
    profile.programs.filter((program) => program.actor === actor).flatMap(({ kernels }) =>
      kernels.map(({ label }) => label)
    );
  const lacks = (there: readonly string[], wanted: readonly string[]) =>
    wanted.filter((one) => !there.includes(one));
  assertEquals(lacks(kernelsOf("teacher_encoder"), ["attention", "layer_norm"]), []);
  assertEquals(lacks(kernelsOf("student_trainer"), ["attention", "attention_gradient queries", "adamw"]), []);

  const [stats] = all("stats");
  assertEquals(lacks(Object.keys(stats.gradientNorms), ["blocks.0", "blocks.1", "patch_embed"]), []);
  assert(Object.values(stats.gradientNorms).every((norm) => norm > 0), "every group of layers learns");

  const [snapshot] = all("snapshot");
  assertEquals([snapshot.views.size, snapshot.similarities.keys], [8, 16]);
  assertEquals([...new Set(all("neighbours").map(({ of }) => of))].toSorted(), ["student", "teacher"]);
});

Deno.test("the size in an encoder's name is that of its images, in every task that begins with fresh weights", async () => {
  using folder = new RunFolder(8, 8);
  const { data } = folder;
  const output = folder.makeOutput("run");
  const teacher = {
    data,
    output,
    distill: TINY_TEACHER,
    plugins: [TINY_ENCODER],
    studentArch: "vit_tiny_48",
  };
  const sizesOf = async (input: Partial<DistillInput>) => {
    const { studentArch, imageSize, teacherSize } = await seed.resolve({ ...teacher, ...input }, () => {});
    return [studentArch, imageSize, teacherSize];
  };
  assertEquals(await sizesOf({}), ["vit_tiny_48", 48, undefined]);
  assertEquals(await sizesOf({ teacherSize: 32 }), ["vit_tiny_48", 48, 32]);
  assertEquals(await sizesOf({ studentArch: "vit_tiny", imageSize: 64 }), ["vit_tiny_64", 64, undefined]);
  await assertRejects(() => sizesOf({ imageSize: 64 }), UserError, "images of 48 x 48 pixels, found 64 x 64");
  const { arch, imageSize } = await moco.resolve({ data, output, arch: "vit_tiny_48" }, () => {});
  assertEquals([arch, imageSize], ["vit_tiny_48", 48]);

  const probed = await METHODS.linear_probe.resolve(
    { data, output, pretrained: null, arch: "vit_tiny_48" },
    () => {},
  );
  assertEquals([probed.arch, probed.imageSize], ["vit_tiny_48", 48]);
  const sizes: number[] = [];
  for await (const event of knn({ data, arch: "vit_tiny_16", knnK: [3] })) {
    if (event.type === "plan") sizes.push(event.imageSize);
  }
  assertEquals(sizes, [16]);
});

Deno.test("every task refuses --heads and --weights that an encoder with fresh weights does not have", async () => {
  using folder = new RunFolder(8, 8);
  const { data } = folder;
  const shared = {
    data,
    output: folder.makeOutput("run"),
    pretrained: null,
    arch: "vit_tiny",
    imageSize: 32,
  };
  const tasks = (changes: { heads?: number; weights?: string }) => [
    () => METHODS.linear_probe.resolve({ ...shared, ...changes }, () => {}),
    () => METHODS.finetune.resolve({ ...shared, ...changes }, () => {}),
    () => knn({ data, arch: "vit_tiny", imageSize: 32, knnK: [3], ...changes }).result,
  ];
  for (const task of tasks({ heads: 12 })) {
    await assertRejects(task, UserError, "--heads 12 contradicts vit_tiny_32");
  }
  for (const task of tasks({ weights: "teacher" })) {
    await assertRejects(task, UserError, "--weights teacher selects");
  }
  // Of a distillation they are the teacher's.
  await assertRejects(() => resolveTeacher(TINY_TEACHER, { heads: 3 }), UserError, "has no attention heads");
});

Deno.test("a vision transformer starts from weights for images of another size, with resized positions", async () => {
  using folder = new RunFolder(4);
  const init = join(folder.path, "vit_tiny_32.pth");
  const head = { kind: "mlp", dimension: 8 } as const;
  const { values } = await drawTeacher(init, "vit_tiny_32", head, 1);
  const { state } = summarize(findEncoder("vit_tiny_48"), head, 48);
  const weights = new Map(await initialWeights({ arch: "vit_tiny_48", head, init }, 2, state));
  const table = resizePositions(values.get("pos_embed")!, 192, [3, 3], DINO_RESIZING);
  assertEquals(weights.get("pos_embed"), Float32Array.from(table));
  for (const [key, own] of values) if (key !== "pos_embed") assertEquals(weights.get(key), own, key);

  const notes: string[] = [];
  const run = distill({
    ...{ data: folder.data, testData: null, output: folder.makeOutput("run"), distill: TINY_TEACHER },
    ...{ plugins: [TINY_ENCODER], studentArch: "vit_tiny", studentInit: init, imageSize: 48, dim: 128 },
    ...{ batchSize: 4, queue: 16, limitSteps: 1, epochs: 1, workers: 1, insight: false },
  });
  for await (const event of run) if (event.type === "note") notes.push(event.text);
  await run.result;
  assert(
    notes.some((note) => note.endsWith("; its positions are resized from 32 to 48 pixels")),
    notes.join(),
  );
});

Deno.test("a ConvNeXt is fine-tuned with AdamW; one that was begun with SGD goes on with it, or not at all", async () => {
  using folder = new RunFolder(8, 8);
  const tuning = (name: string) => ({
    ...{ data: folder.data, testData: join(folder.data, "test.tsv"), output: folder.makeOutput(name) },
    ...{ pretrained: null, arch: "dinov3_convnext_d1-1-1-1_w16-16-16-16", batchSize: 4, imageSize: 32 },
    ...{ workers: 1, epochs: 2 },
  });
  const first = await finetune({ ...tuning("first"), epochs: 1 }).result;
  using file = await openCheckpointFile(first.checkpoint!);
  assertEquals(groupsOf(file.value).map(([, decay]) => decay), [0.05, 0, 0.05, 0]);

  const sgd = { optimizer: "sgd", lr: 0.01 } as const;
  const whole = await finetune({ ...tuning("whole"), ...sgd }).result;
  const begun = await finetune({ ...tuning("begun"), ...sgd, epochs: 1 }).result;
  await assertRejects(
    () => finetune({ ...tuning("other"), lr: 0.01, resume: begun.checkpoint! }).result,
    UserError,
    "was trained with sgd, but --optimizer is adamw; use --optimizer sgd, or start a new run",
  );
  const resumed = await finetune({ ...tuning("resumed"), ...sgd, resume: begun.checkpoint! }).result;
  assertEquals(await digestFile(resumed.checkpoint!), await digestFile(whole.checkpoint!));
});

Deno.test("withOptimizer() gives a vision transformer or a ConvNeXt AdamW and its settings, but for what is asked for", () => {
  const adamw = { lr: 5e-4, weightDecay: 0.05 };
  const choose = (arch: string, asked: Partial<typeof PAPER_DEFAULTS>) => {
    const options = { ...PAPER_DEFAULTS, ...asked };
    const { optimizer, lr, weightDecay, dropPath } = withOptimizer(options, findEncoder(arch), asked, adamw);
    return [optimizer, lr, weightDecay, dropPath];
  };
  assertEquals(choose("vit_tiny", {}), ["adamw", 5e-4, 0.05, 0.1]);
  assertEquals(choose("vit_tiny", { lr: 0.01, dropPath: 0 }), ["adamw", 0.01, 0.05, 0]);
  assertEquals(choose("vit_tiny", { optimizer: "sgd" }), ["sgd", 0.03, 1e-4, 0.1]);
  assertEquals(choose("dinov3_convnext_tiny", {}), ["adamw", 5e-4, 0.05, 0]);
  assertEquals(choose("dinov3_convnext_tiny", { optimizer: "sgd" }), ["sgd", 0.03, 1e-4, 0]);
  assertEquals(choose("resnet18", {}), ["sgd", 0.03, 1e-4, 0]);
  assertEquals(choose("resnet18", { optimizer: "adamw", weightDecay: 1 }), ["adamw", 5e-4, 1, 0]);
  assertThrows(
    () => choose("resnet18", { dropPath: 0.1 }),
    UserError,
    "--drop-path 0.1: resnet18 has no stochastic depth, as vision transformers have by `dropPath` of their Encoder",
  );
});
