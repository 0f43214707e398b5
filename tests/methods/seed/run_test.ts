// The whole recipe, with every part real, on a few rows of the bundled images.
import { assert, assertEquals, assertLess, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { readTrainingCheckpoint } from "../../../methods/encoder_training/checkpoint.ts";
import type { EncoderTrainingStep } from "../../../methods/encoder_training/events.ts";
import { DISTILL_CHECKPOINT } from "../../../methods/seed/checkpoint.ts";
import { basename, join } from "node:path";
import type { DistillEvent } from "../../../methods/seed/events.ts";
import { type DistillResult, runDistillation } from "../../../methods/seed/run.ts";
import { StoppedError } from "../../../actors/stopped_error.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { describeAdapter } from "../../../kernels/gpu.ts";
import { UserError } from "../../../errors.ts";
import type { DistillOptions } from "../../../methods/seed/options.ts";
import type { ActorSystem, TraceSpan } from "../../../actors/runtime/mod.ts";
import { IS_LONG } from "../../long.ts";
import { referencePath } from "../../reference.ts";
import { hear } from "../../actors/hear.ts";
import { digestFile, RunFolder } from "../../actors/small_run.ts";
import { distill } from "../../../mod.ts";
import { skip } from "../../skip.ts";

/** A run with what it told. */
async function runAndListen(
  options: DistillOptions,
  emit: (event: DistillEvent) => void = () => {},
  signal?: AbortSignal,
): Promise<{
  result: DistillResult;
  losses: number[];
  notes: string[];
  warnings: string[];
  checkpoints: string[];
}> {
  const losses: number[] = [];
  const notes: string[] = [];
  const warnings: string[] = [];
  const checkpoints: string[] = [];
  const listen = hear<DistillEvent>({
    step: ({ loss }) => losses.push(loss),
    note: ({ text }) => notes.push(text),
    warning: ({ text }) => warnings.push(text),
    checkpoint: ({ path }) => checkpoints.push(basename(path).slice(-"checkpoint_0000.pth.tar".length)),
  });
  const take = (event: DistillEvent) => {
    listen(event);
    emit(event);
  };
  // Tracing is asked for by those who listen.
  const result = await runDistillation(options, take, signal, undefined, { trace: true });
  return { result, losses, notes, warnings, checkpoints };
}

/** Two epochs of seven steps. */
const TWO_EPOCHS = { epochs: 2, seed: 3 };
const STEPS = 14;
const ROWS = 30;

let shared: Promise<{ folder: RunFolder; whole: Awaited<ReturnType<typeof runAndListen>> }> | undefined;

/** A run by one reader, made once: others compare with it. */
function unbroken(): NonNullable<typeof shared> {
  return shared ??= (async () => {
    const folder = new RunFolder(ROWS);
    return { folder, whole: await runAndListen(folder.options("one reader", TWO_EPOCHS)) };
  })();
}

Deno.test.afterAll(async () => (await shared)?.folder[Symbol.dispose]());

Deno.test("runDistillation() gives the same bits for any number of readers, and when it is stopped and resumed", async () => {
  const { folder, whole } = await unbroken();
  assertEquals(whole.losses.length, STEPS);
  assert(whole.losses.every((loss) => Number.isFinite(loss) && loss > 0));
  assertEquals(new Set(whole.losses).size, STEPS);
  const digest = await digestFile(whole.result.checkpoint);

  // Stopped within the second epoch; batches that were on their way already are trained on. Three readers until then,
  // two behind it.
  const controller = new AbortController();
  const options = folder.options("stopped", { ...TWO_EPOCHS, workers: 3 });
  const stopped: number[] = [];
  const enough = new Error("enough");
  const saved: [path: string, stepsBefore: number][] = [];
  const error = await assertRejects(() =>
    runDistillation(
      options,
      hear({
        step({ step, loss }) {
          stopped.push(loss);
          if (step === 8) controller.abort(enough);
        },
        checkpoint({ path }) {
          saved.push([path, stopped.length]);
          // Meanwhile the trainer goes on.
          if (controller.signal.aborted) { for (const end = Date.now() + 300; Date.now() < end;); }
        },
      }),
      controller.signal,
    ), StoppedError);
  const [path, stepsBefore] = saved.at(-1)!;
  assertEquals([error.cause, error.checkpoint], [enough, path]);
  assertEquals(stopped.length, stepsBefore, "no step is told of after the checkpoint of a stop");
  // One that the trainer was about to write when it was ended is left half, under another name.
  const checkpoints = [...Deno.readDirSync(options.output)].map(({ name }) => name)
    .filter((name) => !name.endsWith(".tmp")).toSorted();
  assertEquals(checkpoints.map((name) => name.slice(-"0000.pth.tar".length)), [
    "0000.pth.tar",
    "0001.pth.tar",
  ]);
  assertLess(stopped.length, STEPS);

  const resumed = await runAndListen(
    folder.options("resumed", { ...TWO_EPOCHS, workers: 2, resume: join(options.output, checkpoints[1]) }),
  );
  assertEquals([...stopped, ...resumed.losses], whole.losses);
  assertEquals(await digestFile(resumed.result.checkpoint), digest);
});

Deno.test(
  "runDistillation() with small views gives the same bits for any number of readers, and when it is resumed",
  {
    ignore: !IS_LONG, // without small views it does so in every run of the tests
  },
  async () => {
    using folder = new RunFolder(16);
    const settings = { epochs: 2, seed: 3, smallViews: 2, smallSize: 16 };
    const whole = await runAndListen(folder.options("whole", settings));
    assertEquals(whole.losses.length, 8);
    assert(whole.losses.every((loss) => Number.isFinite(loss) && loss > 0));
    const digest = await digestFile(whole.result.checkpoint);
    const begun = folder.options("begun", settings);
    const first = await runAndListen({ ...begun, limitSteps: 5 });
    const rest = await runAndListen({ ...begun, resume: first.result.checkpoint, workers: 3 });
    assertEquals([...first.losses, ...rest.losses], whole.losses);
    assertEquals(await digestFile(rest.result.checkpoint), digest);

    // The small queue is saved under the original's name, and is not the other one.
    using file = await openCheckpointFile(whole.result.checkpoint);
    const { queue, smallQueue } = readTrainingCheckpoint(DISTILL_CHECKPOINT, file);
    assertEquals(smallQueue!.shape, queue!.shape);
    assertNotEquals(await smallQueue!.read(), await queue!.read());
    const options = { ...folder.options("mixed", settings), smallViews: 0, epochs: 3 };
    await assertRejects(
      () => runDistillation({ ...options, resume: whole.result.checkpoint }),
      Error,
      "is from a run with small views",
    );
  },
);

Deno.test({
  name:
    "runDistillation() in mixed precision gives the same bits when it is resumed, its loss scale included",
  async fn({ name }) {
    if (!(await describeAdapter()).hasHalf) return skip(name, "the adapter has no float16");
    using folder = new RunFolder(ROWS);
    const settings = { ...TWO_EPOCHS, amp: true };
    const scales: unknown[] = [];
    const listen = hear<DistillEvent>({
      step: ({ lossScale }: EncoderTrainingStep) => scales.push(lossScale),
    });
    const whole = await runAndListen(folder.options("whole", settings), listen);
    const unbroken = scales.splice(0);
    assertEquals(unbroken.length, STEPS);
    const begun = folder.options("begun", settings);
    const first = await runAndListen({ ...begun, limitSteps: 5 }, listen);
    const rest = await runAndListen({ ...begun, resume: first.result.checkpoint }, listen);
    assertEquals([...first.losses, ...rest.losses], whole.losses);
    assertEquals(scales, unbroken);
    assertEquals(await digestFile(rest.result.checkpoint), await digestFile(whole.result.checkpoint));
    const inFull = await runAndListen(folder.options("full", TWO_EPOCHS));
    assertLess(Math.abs(whole.losses[0] / inFull.losses[0] - 1), 1e-3);
  },
});

Deno.test("runDistillation() with another seed gives another student; --limit-steps ends it early with a checkpoint", async () => {
  const { folder, whole } = await unbroken();
  const { losses, result } = await runAndListen(
    folder.options("another seed", { ...TWO_EPOCHS, seed: TWO_EPOCHS.seed + 1, limitSteps: 1 }),
  );
  assertEquals([result.steps, losses.length], [1, 1]);
  assertNotEquals(losses[0], whole.losses[0]);
  assert(Deno.statSync(result.checkpoint).size > 16 * 128 * 4);
});

Deno.test("runDistillation() evaluates teacher and student next to training, and reports broken rows once", async () => {
  using folder = new RunFolder(20, 10);
  const train = join(folder.data, "train.tsv");
  // Six rows of the eight are broken.
  Deno.writeFileSync(train, Deno.readFileSync(referencePath("tsv/bad_rows.tsv")), { append: true });
  const plans: unknown[] = [];
  const [evaluated, progress]: string[][] = [[], []];
  const { result, warnings, checkpoints } = await runAndListen(
    folder.options("evaluated", {
      testData: join(folder.data, "test.tsv"),
      epochs: 3,
      knnEvery: 2,
      workers: 2,
    }),
    hear({
      plan: (plan) => plans.push(plan),
      knn: ({ of, step }) => evaluated.push(`${of} ${step}`),
      progress: ({ phase, of, total }) => progress.push(phase === "reading" ? phase : `${of} ${total}`),
    }),
  );
  const { cache } = plans[0] as { cache: string };
  assertEquals(plans, [{
    type: "plan",
    images: 28,
    batchesPerEpoch: 7,
    totalSteps: 21,
    firstStep: 0,
    evalResize: "torchvision",
    cache,
    knn: { bank: 28, queries: 10, heldOut: false },
    notes: [
      "21 steps in the whole run (3 epochs) are few to learn from. Use --epochs 15 or more, or a smaller --batch-size",
    ],
  }]);
  assertMatch(cache, /^\d+ kB of memory for train\.tsv; \d+ kB of memory for test\.tsv$/);
  assertEquals(result.steps, 21);
  for (const which of ["teacher", "before", "after"] as const) {
    const { top1, top5 } = result.knn![which]!;
    assert(top1 >= 0 && top1 <= top5 && top5 <= 100, `${which}: top-1 ${top1}, top-5 ${top5}`);
    assertEquals(Math.round(top1), top1, "ten queries make whole tens of percent");
  }
  assertEquals(checkpoints, [0, 1, 2].map((epoch) => `checkpoint_000${epoch}.pth.tar`));
  assertEquals(evaluated.toSorted(), ["student 0", "student 14", "student 21", "teacher 0"]);
  // 28 rows vote, ten are classified.
  assertEquals(new Set(progress), new Set(["reading", "teacher 38", "student 38"]));
  const broken = warnings.filter((text) => text.includes(`${train} line `));
  assertEquals(broken.length, 6, broken.join("\n"));
  assertMatch(broken[5], / \(skipped; 6 so far\)$/);
});

Deno.test("runDistillation() goes on with another batch size after an epoch, and within one only with what it began with", async () => {
  using folder = new RunFolder(ROWS);
  const begun = folder.options("begun", { ...TWO_EPOCHS, limitSteps: 7 });
  const { result } = await runAndListen(begun);
  // The queue of 16 keys goes on at row 12, and batches of 6 go past its end.
  const again = { ...begun, resume: result.checkpoint, limitSteps: 2 };
  const { losses } = await runAndListen({ ...again, batchSize: 6 });
  assertEquals(losses.length, 2);
  assert(losses.every(Number.isFinite));

  const within = await runAndListen({ ...begun, limitSteps: 3 });
  const resumed = { ...begun, resume: within.result.checkpoint };
  for (
    const [changes, message] of [
      [
        { batchSize: 6 },
        "within an epoch of batches of 4, but --batch-size is 6; resume with --batch-size 4",
      ],
      [{ seed: 5 }, "within an epoch of a run with --seed 3, but --seed is 5; resume with --seed 3"],
      [{ queue: 3 }, "--queue 3 is too small: expected at least --batch-size, 4"],
    ] as const
  ) await assertRejects(() => runDistillation({ ...resumed, ...changes }), UserError, message);
});

Deno.test("runDistillation() evaluates by the images that have classes, and by none where there are none", async () => {
  using folder = new RunFolder(16, 10);
  const [train, test] = ["train", "test"].map((name) => join(folder.data, `${name}.tsv`));
  const settings = { testData: test, limitSteps: 1 };
  const unlabel = (path: string, rows: (row: number) => boolean) => {
    const lines = Deno.readTextFileSync(path).trimEnd().split("\n");
    const changed = lines.map((line, row) => rows(row) ? line.replace(/\t\d+\t/, "\t-1\t") : line);
    Deno.writeTextFileSync(path, changed.join("\n") + "\n");
    Deno.removeSync(path.replace(".tsv", ".lineidx"));
  };
  const whole = await runAndListen(folder.options("whole", settings));
  unlabel(train, (row) => row === 3);
  unlabel(test, (row) => row >= 5);
  const some = await runAndListen(folder.options("some", settings));
  assertEquals(some.losses, whole.losses);
  // Five queries are left.
  assertEquals(some.result.knn!.after.top1 % 20, 0);
  assert(some.result.knn!.after.top5 > 0);

  Deno.writeTextFileSync(test, Deno.readTextFileSync(test).replaceAll(/[^\t\n]+(?=\n)/g, "AAAA"));
  Deno.removeSync(test.replace(".tsv", ".lineidx"));
  const broken = await runAndListen(folder.options("broken", settings));
  assertEquals([broken.losses, broken.result.knn], [whole.losses, null]);
  const why = `no kNN: ${test}: found no usable image in any row`;
  assertEquals(broken.notes.filter((note) => note === why).length, 1, broken.notes.join("\n"));

  unlabel(test, () => true);
  const none = await runAndListen(folder.options("none", settings));
  assertEquals([none.losses, none.result.knn], [whole.losses, null]);
  assert(none.notes.includes(`no kNN: ${test} has no class labels`), none.notes.join("\n"));
});

Deno.test("runDistillation() has all stages at work at the same time, and none far ahead", async () => {
  using folder = new RunFolder(60);
  const spans = new Map<string, TraceSpan[]>();
  const aheadAt: Promise<number>[] = [];
  let actors: ActorSystem["actors"] | undefined;
  const handled = async (name: string, message: string) =>
    (await actors!.get(name)!.stats()).handled[message] ?? 0;
  await runAndListen(
    folder.options("stats"),
    hear({
      actors: (event) => actors = event.actors,
      step({ step }) {
        if (step > 13) return; // the reader has ended
        // The trainer is asked first: what it does meanwhile makes the difference larger.
        aheadAt.push((async () => {
          const trained = await handled("student_trainer", "train");
          return await handled("augmenter", "augment") - trained;
        })());
      },
      trace: ({ actor, spans: some }) => spans.set(actor, [...spans.get(actor) ?? [], ...some]),
    }),
  );
  const ownActors = [...spans.keys()].filter((name) => name !== "main" && name !== "monitor");
  assertEquals(ownActors.toSorted(), [
    "augmenter",
    "queue_keeper",
    "student_trainer",
    "teacher_encoder",
    "tsv_reader",
  ]);
  // At some moment each of the slow stages is at work while the trainer is, on another batch.
  const workOf = (actor: string) => spans.get(actor)!.filter(({ kind }) => kind !== "wait");
  for (const stage of ["tsv_reader", "augmenter", "teacher_encoder"]) {
    const together = workOf(stage).some((one) =>
      workOf("student_trainer").some((other) =>
        one.startMs < other.startMs + other.durationMs && other.startMs < one.startMs + one.durationMs
      )
    );
    assert(together, `${stage} and student_trainer were never at work together`);
  }
  const ahead = await Promise.all(aheadAt);
  assert(ahead.some((batches) => batches > 0), "the augmenter is never ahead");
  for (const batches of ahead) {
    assert(batches <= 8, `the augmenter is ${batches} batches ahead, with six sets of buffers`);
  }
});

Deno.test("distill() refuses --mixup where a batch has one image", async () => {
  using folder = new RunFolder(4);
  await assertRejects(
    () => distill(folder.options("alone", { mixup: 1, batchSize: 1, queue: 4 })).result,
    UserError,
    "--mixup mixes the images of a batch with each other: use at least two in a batch",
  );
});
