// Going on with a checkpoint: of the same run, of another one, and of one whose end alone is missing.
import { assert, assertAlmostEquals, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { readTrainingCheckpoint } from "../../../methods/encoder_training/checkpoint.ts";
import type { RunSoFar } from "../../../methods/encoder_training/prepare.ts";
import { DISTILL_CHECKPOINT } from "../../../methods/seed/checkpoint.ts";
import { type DistillResult, runDistillation } from "../../../methods/seed/run.ts";
import type { DistillOptions } from "../../../methods/seed/options.ts";
import { NothingToDoError } from "../../../methods/nothing_to_do.ts";
import { CheckpointError } from "../../../models/checkpoint/checkpoint_error.ts";
import { SAMPLE_TEACHER } from "../../../data/sample.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import type { TensorRef } from "../../../models/checkpoint/tensor_ref.ts";
import { TensorValue, type TorchDict } from "../../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../../models/checkpoint/torch_writer.ts";
import {
  digestFile,
  PLAIN_PIXELS,
  RunFolder,
  sampleRows,
  TINY_TEACHER,
  withInput,
} from "../../actors/small_run.ts";
import { hear } from "../../actors/hear.ts";
import { IS_LONG } from "../../long.ts";

interface Told {
  result: DistillResult;
  notes: string[];
  warnings: string[];
  knn: { of: string; step: number; top1: number }[];
}

async function run(options: DistillOptions, soFar?: RunSoFar): Promise<Told> {
  const notes: string[] = [];
  const warnings: string[] = [];
  const knn: Told["knn"] = [];
  const result = await runDistillation(
    options,
    hear({
      note: ({ text }) => notes.push(text),
      warning: ({ text }) => warnings.push(text),
      knn: ({ of, step, top1 }) => knn.push({ of, step, top1 }),
    }),
    undefined,
    soFar,
  );
  return { result, notes, warnings, knn };
}

/** Writes a checkpoint once more, changed. */
async function rewrite(from: string, to: string, change: (root: TorchDict) => Promise<void>): Promise<void> {
  using file = await openCheckpointFile(from);
  const root = file.value as TorchDict;
  await change(root);
  await writeTorchFile(to, root);
}

const changesOf = (texts: string[]) => texts.filter((text) => text.startsWith("resumed with a change: "));

Deno.test("a checkpoint of another run is refused by the name of every flag that differs, unless one insists", async () => {
  using folder = new RunFolder(16);
  // Within its epoch: batches of 4 of 16 images.
  const begun = folder.options("begun", { limitSteps: 3 });
  const { result: { checkpoint } } = await run(begun);
  const resumed = { ...begun, resume: checkpoint, limitSteps: 1 };

  const teacher = join(folder.path, "teacher.pth.tar");
  await rewrite(TINY_TEACHER, teacher, async (root) => {
    const weights = root.get("state_dict") as TorchDict;
    const [[key, tensor]] = [...weights].filter(([key]) => String(key).includes("layer1.conv.weight"));
    const { shape } = tensor as TensorRef;
    const data = await (tensor as TensorRef).read();
    data[0] += 1e-3;
    weights.set(key, new TensorValue("float32", shape, data));
  });
  const other = folder.makeOutput("other");
  const rows = sampleRows("train.tsv", 17);
  Deno.writeTextFileSync(join(other, "train.tsv"), rows.slice(rows.indexOf("\n") + 1)); // as many rows
  const refuse = async (changes: Partial<DistillOptions>, ...expected: string[]) => {
    const error = await assertRejects(() => run({ ...resumed, ...changes }), CheckpointError);
    for (const text of [...expected, "; to resume anyway, add --resume-anyway"]) {
      assertStringIncludes(error.message, text);
    }
  };
  await refuse({ temp: 0.3 }, "is from a different run: --temp is 0.3, was 0.2. To resume, use --temp 0.2;");
  await refuse({ distillT: 0.5 }, "--distill-t is 0.5, was ");
  await refuse(
    { data: other },
    "--data has different images (fingerprint ",
    "To resume, use --data with the original images",
  );
  await refuse({ distill: teacher }, "--distill has different teacher's weights (fingerprint ");
  const pixels = await withInput(TINY_TEACHER, join(folder.path, "pixels.pth.tar"), PLAIN_PIXELS);
  await refuse(
    { distill: pixels },
    "--distill has different channel means (0,0,0, was 0.485,0.456,0.406); --distill has different channel deviations",
  );
  await refuse(
    { imageSize: 40, temp: 1 },
    "--temp is 1, was 0.2; --image-size is 40, was 32",
    "--temp 0.2 --image-size 32",
  );
  await refuse({ augmentation: "simclr" }, "--augmentation is simclr, was mocov2");
  await refuse({ loss: "cosine" }, "--loss is cosine, was seed");
  await refuse({ mixup: 0.5 }, "--mixup is 0.5, was 0. To resume, use --mixup 0;");
  await refuse({ maxPixels: 2000 }, `--max-pixels is 2000, was ${begun.maxPixels}`);
  await refuse({ fastDecode: true }, "--fast-decode is on, was off. To resume, use no --fast-decode;");

  // The same images elsewhere, and another container of the same teacher, are the same.
  const moved = folder.makeOutput("moved");
  Deno.copyFileSync(join(folder.data, "train.tsv"), join(moved, "train.tsv"));
  const copy = join(folder.path, "copy.pth.tar");
  await rewrite(TINY_TEACHER, copy, () => Promise.resolve());
  const same = await run({ ...resumed, data: moved, distill: copy, lr: 0.01, epochs: 3, schedule: [1] });
  assertEquals(same.warnings, []);
  assertEquals(changesOf(same.notes), [
    "resumed with a change: --lr is 0.01, was 0.03",
    "resumed with a change: --epochs is 3, was 1",
  ]);

  // What a run had is not left out unseen.
  const rare = { mixup: 0.5, clipGrad: 2, accumulate: 2 };
  const mixed = { ...folder.options("mixed", { ...rare, limitSteps: 1 }) };
  const { result: { checkpoint: ofMixed } } = await run(mixed);
  const plain = { ...mixed, mixup: 0, clipGrad: null, accumulate: 1, resume: ofMixed };
  await assertRejects(
    () => run(plain),
    CheckpointError,
    "--mixup is 0, was 0.5. To resume, use --mixup 0.5;",
  );
  assertEquals(changesOf((await run({ ...plain, mixup: 0.5 })).notes), [
    "resumed with a change: --accumulate is 1, was 2",
    "resumed with a change: --clip-grad is 0, was 2",
  ]);

  const insisted = await run({ ...resumed, data: other, temp: 0.3, resumeAnyway: true });
  const said = changesOf(insisted.warnings);
  assertEquals(said.length, 2);
  assertStringIncludes(said[0], "--data has different images");
  assertEquals(said[1], "resumed with a change: --temp is 0.3, was 0.2");
  // What it is now is what its own checkpoint says.
  const again = { ...resumed, data: other, temp: 0.3, resume: insisted.result.checkpoint, epochs: 2 };
  assertEquals(changesOf((await run(again)).warnings), []);
});

Deno.test("layers of a loss that a checkpoint does not have, or for another teacher, begin untrained", async () => {
  using folder = new RunFolder(16);
  const { result: { checkpoint: plain } } = await run(folder.options("plain", { limitSteps: 2 }));
  const tokens = { loss: "tokens", limitSteps: 1 };
  const insisted = await run(
    folder.options("tokens", { ...tokens, resume: plain, resumeAnyway: true, maxRestarts: 0 }),
  );
  assertStringIncludes(
    insisted.warnings.join("\n"),
    "has no layers of this loss (loss_tokens.weight, loss_tokens.bias): they begin untrained",
  );
  assertEquals(insisted.result.steps, 1);
  // They are kept from then on.
  const again = await run(folder.options("again", { ...tokens, resume: insisted.result.checkpoint }));
  assertEquals(again.warnings, []);

  const wider = folder.options("wider", {
    ...{ distill: SAMPLE_TEACHER, teacherArch: "resnet18", teacherSize: 64 },
    ...{ ...tokens, resume: insisted.result.checkpoint, resumeAnyway: true, maxRestarts: 0 },
  });
  const { result, warnings } = await run(wider);
  assertStringIncludes(warnings.join("\n"), "has no layers of this loss (loss_tokens.weight, ");
  assert(Number.isFinite(result.firstLoss));
});

Deno.test("AdamW begins anew beside layers of a loss that a checkpoint does not have, which take whole first steps", async () => {
  using folder = new RunFolder(32);
  const lr = 0.001;
  const settings: Partial<DistillOptions> = {
    ...{ optimizer: "adamw", lr, lrPerStep: false, scaleLr: false, warmupEpochs: 0, weightDecay: 0 },
    ...{ cos: false, schedule: [1000] },
  };
  const { result: { steps, checkpoint: resume } } = await run(folder.options("plain", settings));
  assertEquals(steps, 8);
  const ofTokens = { loss: "tokens", limitSteps: 1, epochs: 2, resume, resumeAnyway: true };
  const [moved, still] = [
    await run(folder.options("moved", { ...settings, ...ofTokens })),
    await run(folder.options("still", { ...settings, ...ofTokens, lr: 0 })),
  ];
  assertStringIncludes(
    moved.warnings.join("\n"),
    "(loss_tokens.weight, loss_tokens.bias): they begin untrained, and AdamW begins anew, without its moments",
  );
  using file = await openCheckpointFile(moved.result.checkpoint);
  using other = await openCheckpointFile(still.result.checkpoint);
  const [after, before] = [file, other].map((file) => readTrainingCheckpoint(DISTILL_CHECKPOINT, file));
  const key = "loss_tokens.weight";
  const weights = await before.encoder.get(key)!.read();
  const shares = (await after.encoder.get(key)!.read()).map((value, i) => Math.abs(value - weights[i]) / lr);
  const median = shares.toSorted()[shares.length >> 1];
  assertAlmostEquals(median, 1, 0.01); // it was 0.49 with the bias correction of nine steps

  // A tenth of the gradient, and a thousandth of its square: of one step alone, in every layer.
  const { averages, squares, step } = after.adamw!;
  assertEquals(await (step as TensorRef).read(), Float32Array.of(1));
  for (const [key, tensor] of averages) {
    const square = await squares.get(key)!.read();
    for (const [i, average] of (await tensor.read()).entries()) {
      assertAlmostEquals(square[i], average ** 2 / 10, 1e-4 * square[i] + 1e-12, key);
    }
  }
});

Deno.test("an epoch that would have another order is begun anew where one insists, and checkpoints of before resume", async () => {
  using folder = new RunFolder(16);
  const begun = folder.options("begun", { limitSteps: 3 });
  const { result: { checkpoint: written } } = await run(begun);
  const checkpoint = join(folder.path, "within.pth.tar"); // what goes on writes to the same name
  Deno.renameSync(written, checkpoint);
  const resumed = { ...begun, resume: checkpoint, limitSteps: null };
  const within = { ...resumed, seed: 5 };
  await assertRejects(() => run(within), CheckpointError, "or restart that epoch with --resume-anyway");
  assertEquals((await run({ ...within, resumeAnyway: true })).result.steps, 4);

  const before = join(folder.path, "before.pth.tar");
  await rewrite(checkpoint, before, (root) => {
    const state = root.get("seed_resume") as TorchDict;
    for (const key of ["origin", "terms"]) assert(state.delete(key));
    return Promise.resolve();
  });
  const old = await run({ ...resumed, resume: before, temp: 0.3 });
  assertEquals([old.result.steps, old.warnings], [1, []]);
  assertStringIncludes(
    old.notes.join("\n"),
    `${before} does not record its data and settings, so they cannot be compared`,
  );

  // What no version writes hung, or was called a bug.
  for (const batch of [2.5, NaN, -5, "2", 4]) {
    await rewrite(checkpoint, before, (root) => {
      (root.get("seed_resume") as TorchDict).set("batch", batch);
      return Promise.resolve();
    });
    const error = await assertRejects(() => run({ ...resumed, resume: before }), CheckpointError);
    assertStringIncludes(error.message, "for batch, found ");
  }
});

Deno.test("the student before is that of the run's own beginning, and what is known is not evaluated again", async () => {
  using folder = new RunFolder(16, 10);
  const settings = {
    testData: join(folder.data, "test.tsv"),
    epochs: 2,
    knnEvery: 1,
    lr: 0.5,
    warmupEpochs: 0,
  };
  const whole = await run(folder.options("whole", settings));
  assertEquals(whole.knn.map(({ of, step }) => `${of} ${step}`).toSorted(), [
    "student 0",
    "student 4",
    "student 8",
    "teacher 0",
  ]);
  const begun = folder.options("begun", { ...settings, limitSteps: 4 });
  const first = await run(begun);
  const goesOn = { ...begun, limitSteps: null, resume: first.result.checkpoint };
  // Without records all is found out again, from the seed and the checkpoint.
  const alone = await run(goesOn);
  assertEquals(alone.result.knn, whole.result.knn);
  assertEquals(
    alone.knn.filter(({ of }) => of === "student").toSorted((a, b) => a.step - b.step),
    whole.knn.filter(({ of }) => of === "student").toSorted((a, b) => a.step - b.step),
  );
  // With them only the rest is.
  const soFar = {
    accuracies: first.knn.map((row) => ({ ...row, of: row.of as "teacher" | "student", top5: 100 })),
    losses: [1, 2, 3, 4].map((step) => ({ step, loss: step })),
    isUnfinished: true,
  };
  const known = await run({ ...goesOn, output: folder.makeOutput("known") }, soFar);
  assertEquals(known.knn.map(({ of, step }) => `${of} ${step}`), ["student 8"]);
  assertEquals(known.result.knn!.after, whole.result.knn!.after);
  assertEquals(known.result.knn!.before!.top1, whole.result.knn!.before!.top1);
  assertEquals([known.result.steps, known.result.firstLoss], [4, 2.5]);

  // All steps are done; the end is made up for where it is missing, and there is nothing to do where it is not.
  const done = { ...goesOn, resume: known.result.checkpoint };
  await assertRejects(() => run(done), NothingToDoError, "there is nothing left to do");
  const digest = await digestFile(done.resume);
  const finished = await run(done, { ...soFar, accuracies: [] });
  assertEquals(finished.result.knn, whole.result.knn);
  assertEquals([finished.result.steps, finished.result.checkpoint], [0, done.resume]);
  assertEquals(await digestFile(done.resume), digest);
  // The same where --limit-steps was the end.
  const limited = { ...goesOn, limitSteps: 4 };
  const atLimit = await run(limited, { ...soFar, accuracies: [], end: 4 });
  assertEquals([atLimit.result.steps, atLimit.result.knn], [0, first.result.knn]);
});

Deno.test("an epoch that was not evaluated before the run ended is evaluated when it goes on, if its checkpoint is left", async () => {
  using folder = new RunFolder(16, 10);
  const settings = {
    testData: join(folder.data, "test.tsv"),
    epochs: 3,
    knnEvery: 1,
    saveEvery: { steps: 1 },
  };
  const begun = folder.options("begun", { ...settings, limitSteps: 6 }); // an epoch of four, and half of one
  const first = await run(begun);
  const ofStudent = ({ knn }: Told) =>
    knn.filter(({ of }) => of === "student").toSorted((a, b) => a.step - b.step);
  const [, expected] = ofStudent(first);
  assertEquals(expected.step, 4);
  const soFar = {
    accuracies: first.knn.filter(({ step }) => step === 0)
      .map((row) => ({ ...row, of: row.of as "teacher" | "student", top5: 100 })),
    losses: [],
    isUnfinished: true,
  };
  const files = [...Deno.readDirSync(begun.output)].map(({ name }) => name).toSorted();
  const copy = (name: string, count: number) => {
    const output = folder.makeOutput(name);
    for (const file of files.slice(0, count)) {
      Deno.copyFileSync(join(begun.output, file), join(output, file));
    }
    return { output, resume: join(output, files[count - 1]), limitSteps: 1 };
  };
  // Within an epoch: the one before has a checkpoint of its own, which the first save removes.
  const within = { ...begun, ...copy("within", 2), keep: 1 };
  const found = await run(within, soFar);
  assertEquals(ofStudent(found).map(({ step, top1 }) => [step, top1]), [[4, expected.top1], [
    7,
    found.result.knn!.after.top1,
  ]]);
  assertEquals([...Deno.readDirSync(within.output)].length, 1);
  // At its end, where that is the checkpoint which the run goes on from.
  assertEquals(ofStudent(await run({ ...begun, ...copy("after", 1), keep: 1 }, soFar))[0], expected);
  // The epoch that a mid-epoch checkpoint begins anew is not one of its end.
  const gone = copy("gone", 2);
  Deno.removeSync(join(gone.output, files[0]));
  for (const changes of [{}, { seed: 5, resumeAnyway: true }]) {
    const { notes, ...without } = await run({ ...begun, ...gone, ...changes }, soFar);
    assertEquals(ofStudent({ notes, ...without }).length, 1);
    assert(
      notes.includes("the student after epoch 0 is not evaluated: no checkpoint of that epoch's end is left"),
    );
  }
});

Deno.test("epochs whose evaluations still waited when the run ended are evaluated when it goes on, in training and at its end", async () => {
  using folder = new RunFolder(16, 10);
  const settings = { testData: join(folder.data, "test.tsv"), epochs: 5, knnEvery: 1 };
  const begun = folder.options("begun", settings); // four steps an epoch
  const first = await run(begun);
  const ofStudent = ({ knn }: Told) =>
    knn.filter(({ of, step }) => of === "student" && step > 0).map(({ step, top1 }) => [step, top1]);
  const expected = ofStudent(first);
  assertEquals(expected.map(([step]) => step), [4, 8, 12, 16, 20]);
  const known = (last: number, knnEvery?: number) => ({
    accuracies: first.knn.filter(({ step }) => step <= last)
      .map((row) => ({ ...row, of: row.of as "teacher" | "student", top5: 100 })),
    knnEvery,
    losses: [],
    isUnfinished: true,
  });
  const files = [...Deno.readDirSync(begun.output)].map(({ name }) => name)
    .filter((name) => name.endsWith(".pth.tar")).toSorted();
  const copy = (name: string, count: number) => {
    const output = folder.makeOutput(name);
    for (const file of files.slice(0, count)) {
      Deno.copyFileSync(join(begun.output, file), join(output, file));
    }
    return { ...begun, output, resume: join(output, files[count - 1]) };
  };
  // Checkpoints that the first save removes are read all the same.
  const kept = { ...copy("kept", 4), keep: 1 };
  assertEquals(ofStudent(await run(kept, known(4, 1))), expected.slice(1));
  assertEquals([...Deno.readDirSync(kept.output)].length, 1);
  // Of every second epoch those that were due; of another evaluation the last one.
  const ends = { ...copy("ends", 4), limitSteps: 1 };
  const stepsOf = async (options: DistillOptions, soFar: ReturnType<typeof known>) =>
    ofStudent(await run(options, soFar)).map(([step]) => step);
  assertEquals(await stepsOf(ends, known(0, 2)), [8, 16, 17]);
  assertEquals(await stepsOf({ ...copy("rarely", 3), knnEvery: 2, limitSteps: 1 }, known(0, 1)), [8, 13]);
  assertEquals(await stepsOf({ ...copy("other", 4), limitSteps: 1 }, known(0)), [16, 17]);
  // At the end too, and what is not there any more is said.
  assertEquals(ofStudent(await run(copy("over", 5), known(4, 1))), expected.slice(1));
  const gone = copy("gone", 5);
  for (const file of files.slice(1, 3)) Deno.removeSync(join(gone.output, file));
  const { notes, ...rest } = await run(gone, known(4, 1));
  assertEquals(ofStudent({ notes, ...rest }), expected.slice(3));
  assert(
    notes.includes("the student after epochs 1, 2 is not evaluated: no checkpoints of their ends are left"),
    notes.join("\n"),
  );
});

Deno.test("the student before is known from --student-init as it was, and unknown without it", {
  ignore: !IS_LONG, // what is made again from the seed is in every run of the tests
}, async () => {
  using folder = new RunFolder(16, 10);
  const settings = { testData: join(folder.data, "test.tsv"), limitSteps: 1 };
  const { result: { checkpoint } } = await run(
    folder.options("first", { ...settings, lr: 0.5, warmupEpochs: 0 }),
  );
  const init = join(folder.path, "init.pth.tar");
  Deno.copyFileSync(checkpoint, init);
  const begun = folder.options("begun", { ...settings, studentInit: init });
  const first = await run(begun);
  const resumed = { ...begun, resume: first.result.checkpoint };
  assertEquals((await run(resumed)).result.knn!.before, first.result.knn!.before);
  const without = await run({ ...resumed, studentInit: null });
  assertEquals(without.result.knn!.before, null);
  assert(
    without.notes.some((note) => note.startsWith("the student before training is not known: --student-init")),
  );
});
