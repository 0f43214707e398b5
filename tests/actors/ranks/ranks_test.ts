/** A distillation by several ranks of one process takes the steps of one by itself. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import { isOneThread, setOneThread } from "../../../actors/one_thread.ts";
import type { Run } from "../../../actors/run.ts";
import type { ActorRef, ActorSystem, Message } from "../../../actors/runtime/mod.ts";
import { type GradientCompression, type RankSettings, StoppedByRank } from "../../../actors/ranks/ranks.ts";
import { StoppedError } from "../../../actors/stopped_error.ts";
import { UserError } from "../../../errors.ts";
import { distill, pretrain } from "../../../methods/runs.ts";
import type { DistillOptions } from "../../../methods/seed/options.ts";
import type { PretrainInput } from "../../../methods/moco/mod.ts";
import type { DistillEvent } from "../../../methods/seed/events.ts";
import type { DistillResult } from "../../../methods/seed/run.ts";
import { CheckpointError } from "../../../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import {
  type CheckpointLayout,
  readTrainingCheckpoint,
} from "../../../methods/encoder_training/checkpoint.ts";
import { readResumeState } from "../../../models/checkpoint/resume_state.ts";
import { MOCO_CHECKPOINT } from "../../../methods/moco/encoders.ts";
import { DISTILL_CHECKPOINT } from "../../../methods/seed/checkpoint.ts";
import { assertRounded } from "./near_weights.ts";
import { relativeError } from "../../kernels/check_op.ts";
import { RunFolder, TINY_ENCODER } from "../small_run.ts";

const CHANNEL = import.meta.resolve("./channel_exchange.ts");
const NORMLESS = import.meta.resolve("./normless_encoder.ts");
await import(NORMLESS);

/** Weights and running statistics of both encoders of a checkpoint, and its queue. */
async function contentsOf(
  path: string,
  layout: CheckpointLayout = DISTILL_CHECKPOINT,
): Promise<Map<string, Float32Array>> {
  using file = await openCheckpointFile(path);
  const { encoder, beside, queue } = readTrainingCheckpoint(layout, file);
  const contents = new Map<string, Float32Array>();
  const all = [
    ...encoder,
    ...[...beside].map(([key, tensor]) => [`${layout.beside}${key}`, tensor] as const),
  ];
  for (const [key, tensor] of all) {
    if (!key.endsWith("num_batches_tracked")) contents.set(key, Float32Array.from(await tensor.read()));
  }
  contents.set("queue", Float32Array.from(await queue!.read()));
  return contents;
}

/**
 * Starts a distillation by so many ranks.
 *
 * @param ofRank what one of them has otherwise
 */
function startRanks(
  options: DistillOptions,
  size: number,
  ofRank: (rank: number) => Partial<DistillOptions> = () => ({}),
  settings: Pick<RankSettings, "bucketBytes"> = {},
): Run<DistillEvent, DistillResult>[] {
  const { dim: _, teacherArch: __, teacherSsl: ___, ...input } = options;
  const channel = crypto.randomUUID();
  return Array.from({ length: size }, (_, rank) =>
    size === 1 ? distill(input) : distill(
      { ...input, ...ofRank(rank), actors: { gradient_exchange: CHANNEL, ...ofRank(rank).actors } },
      { ranks: { rank, size, exchange: { channel }, ...settings } },
    ));
}

/** Runs a distillation by so many ranks, and returns the first one's losses and last checkpoint. */
async function runRanks(
  options: DistillOptions,
  size: number,
  settings?: Pick<RankSettings, "bucketBytes">,
): Promise<{ losses: number[]; contents: Map<string, Float32Array>; checkpoint: string }> {
  const losses: number[] = [];
  const runs = startRanks(options, size, undefined, settings);
  const take = (event: DistillEvent) => event.type === "step" ? losses.push(event.loss) : undefined;
  for await (const event of runs[0]) take(event);
  const results = await Promise.all(runs.map(({ result }) => result));
  const { checkpoint } = results[0];
  return { losses, contents: await contentsOf(checkpoint), checkpoint };
}

const PLAIN: Readonly<Record<string, Partial<DistillOptions>>> = {
  "plain steps": {},
  "accumulated, clipped steps": { accumulate: 2, clipGrad: 0.05 },
  "steps with small views": { smallViews: 2, smallSize: 16 },
  "steps of a loss over the batch": { loss: "in_batch" },
};

/** The encoder without batch norm; and the one with it, whose statistics are then of all ranks. */
const CASES: Readonly<Record<string, [Partial<DistillOptions>, typeof PLAIN]>> = {
  "without batch norm": [{ studentArch: "normless", plugins: [NORMLESS] }, PLAIN],
  "with --sync-bn": [{ syncBn: true }, {
    ...PLAIN,
    "steps of activations that are computed again": { checkpointActivations: true },
  }],
};

for (const [encoder, [student, variants]] of Object.entries(CASES)) {
  for (const [name, changes] of Object.entries(variants)) {
    Deno.test(`2 and 4 ranks take the ${name} of a run by itself, ${encoder}`, async () => {
      using folder = new RunFolder(24);
      const runBy = (size: number) =>
        runRanks(folder.options(`${size}`, { batchSize: 8, queue: 32, ...student, ...changes }), size);
      const alone = await runBy(1);
      assertEquals(alone.losses.length, 3);
      for (const size of [2, 4]) {
        const { losses, contents } = await runBy(size);
        assert(relativeError(losses, alone.losses) < 1e-6, `losses ${losses}, not ${alone.losses}`);
        assertEquals([...contents.keys()], [...alone.contents.keys()]);
        for (const [key, values] of contents) {
          const error = relativeError(values, alone.contents.get(key)!);
          assert(error < 1e-5, `${key}: ${error}`);
        }
      }
    });
  }
}

Deno.test("gradients that are exchanged bucket by bucket, while others are computed, give the same bits", async () => {
  using folder = new RunFolder(24);
  const runBy = (name: string, bucketBytes?: number) =>
    runRanks(folder.options(name, { batchSize: 8, queue: 32 }), 2, { bucketBytes });
  const { contents } = await runBy("together");
  assertEquals((await runBy("apart", 2048)).contents, contents);
});

Deno.test("gradients that travel as float16 give steps near those of float32, and the same bits again", async () => {
  using folder = new RunFolder(24);
  const runBy = (name: string, compress: GradientCompression) =>
    runRanks(folder.options(name, { batchSize: 8, queue: 32, compress }), 2, { bucketBytes: 2048 });
  const plain = await runBy("plain", "none");
  const { losses, contents } = await runBy("halves", "f16");
  assertEquals((await runBy("again", "f16")).contents, contents);
  assert(relativeError(losses, plain.losses) < 1e-4, `losses ${losses}, not ${plain.losses}`);
  assertRounded(contents, plain.contents);
});

/**
 * Pretrains by so many ranks, and returns the last checkpoint's contents.
 *
 * @param warnings gets those of the first rank
 */
async function pretrainBy(
  folder: RunFolder,
  size: number,
  changes: Partial<PretrainInput>,
  warnings: string[] = [],
): Promise<Map<string, Float32Array>> {
  const channel = crypto.randomUUID();
  const input = {
    ...{ data: folder.data, testData: null, output: folder.makeOutput(crypto.randomUUID()), imageSize: 32 },
    ...{ batchSize: 8, mocoK: 32, epochs: 1, workers: 1, insight: false },
    ...{ arch: "tiny_convnet", plugins: [TINY_ENCODER], ...changes },
  };
  const runs = Array.from({ length: size }, (_, rank) =>
    pretrain(
      { ...input, actors: { gradient_exchange: CHANNEL } },
      size === 1 ? {} : { ranks: { rank, size, exchange: { channel } } },
    ));
  for await (const event of runs[0]) if (event.type === "warning") warnings.push(event.text);
  const [{ checkpoint }] = await Promise.all(runs.map(({ result }) => result));
  return await contentsOf(checkpoint, MOCO_CHECKPOINT);
}

for (
  const [encoder, [{ studentArch = "tiny_convnet", plugins = [TINY_ENCODER], syncBn }]] of Object.entries(
    CASES,
  )
) {
  Deno.test(`2 ranks pretrain as one by itself, ${encoder}`, async () => {
    using folder = new RunFolder(24);
    const runBy = (size: number) => pretrainBy(folder, size, { arch: studentArch, plugins, syncBn });
    const [alone, both] = [await runBy(1), await runBy(2)];
    assertEquals([...both.keys()], [...alone.keys()]);
    for (const [key, values] of both) {
      const error = relativeError(values, alone.get(key)!);
      assert(error < 1e-5, `${key}: ${error}`);
    }
  });
}

Deno.test("ranks whose queries and keys have the same statistics of batch norm warn of it, once a run", async () => {
  using folder = new RunFolder(32);
  const warningsOf = async (size: number, changes: Partial<PretrainInput>) => {
    const warnings: string[] = [];
    await pretrainBy(folder, size, { batchSize: 32, ...changes }, warnings);
    return warnings;
  };
  const why =
    "queries and for their keys. By these statistics the encoder can tell the right key, without good " +
    "features: this is MoCo without shuffling BN. Use";
  assertEquals(await warningsOf(2, {}), [
    `batch norm takes a rank's 16 images for ${why} --bn-splits 2, which normalises keys in other groups, or ` +
    "--sync-bn, whose statistics of all 32 images tell less",
  ]);
  assertEquals(await warningsOf(4, {}), [
    `batch norm takes a rank's 8 images for ${why} --sync-bn, whose statistics of all 32 images tell less`,
  ]);
  const normless = { arch: "normless", plugins: [NORMLESS] };
  for (
    const [size, changes] of [[1, {}], [2, { bnSplits: 2 }], [2, { syncBn: true }], [2, normless]] as const
  ) {
    assertEquals(await warningsOf(size, { ...changes }), []);
  }
});

Deno.test("2 ranks pretrain with gradients that travel as float16", async () => {
  using folder = new RunFolder(24);
  const runBy = (compress: GradientCompression) => pretrainBy(folder, 2, { compress });
  assertRounded(await runBy("f16"), await runBy("none"));
});

/** How runs end that are to fail. */
async function errorsOf(runs: readonly Run<DistillEvent, DistillResult>[]): Promise<unknown[]> {
  return await Promise.all(runs.map(({ result }) => result.then(() => undefined, (error) => error)));
}

Deno.test("a rank that is stopped has all save at the same step, and the others say why they end", async () => {
  using folder = new RunFolder(24);
  const options = folder.options("stopped", { epochs: 50 });
  const runs = startRanks(options, 2);
  const errors = errorsOf(runs);
  const steps: number[][] = [[], []];
  const watch = async (rank: number) => {
    try {
      for await (const event of runs[rank]) {
        if (event.type !== "step") continue;
        steps[rank].push(event.step);
        if (rank === 1 && event.step === 8) runs[1].stop("enough");
      }
    } catch {
      // it was stopped
    }
  };
  await Promise.all([watch(0), watch(1)]);
  const [first, second] = (await errors) as StoppedError[];
  assertInstanceOf(first, StoppedError);
  assertInstanceOf(first.cause, StoppedByRank);
  assertEquals([second.cause, second.checkpoint], ["enough", first.checkpoint]);
  assertEquals(steps[0].at(-1), steps[1].at(-1));
  assert(steps[0].length < 30, `${steps[0].length} steps`);

  // The run goes on with what the first rank saved, with another number of ranks.
  const resumed = await startRanks({ ...options, resume: first.checkpoint, limitSteps: 2 }, 1)[0].result;
  assertEquals(resumed.steps, 2);
});

Deno.test("a rank that is stopped as its epoch ends goes on until all have saved", async () => {
  using folder = new RunFolder(24);
  const runs = startRanks(folder.options("epoch", { epochs: 50 }), 2);
  const errors = errorsOf(runs);
  // The checkpoint of the epoch is still to be written when the end is asked for.
  for await (const event of runs[1]) if (event.type === "step" && event.step === 6) break;
  runs[1].stop("enough");
  const [first, second] = (await errors) as StoppedError[];
  assertInstanceOf(first.cause, StoppedByRank);
  assertEquals([second.cause, second.checkpoint], ["enough", first.checkpoint]);
});

Deno.test("a rank that is stopped before it begins has all end after the first step", async () => {
  using folder = new RunFolder(24);
  for (const stopped of [0, 1]) {
    const runs = startRanks(folder.options(`${stopped}`, { epochs: 50 }), 2);
    const errors = errorsOf(runs);
    runs[stopped].stop("early");
    const ended = (await errors) as StoppedError[];
    assertEquals(ended[stopped].cause, "early");
    assertInstanceOf(ended[1 - stopped].cause, StoppedByRank);
    assertEquals(ended[0].checkpoint, ended[1].checkpoint);
    const path = ended[0].checkpoint!;
    using file = await openCheckpointFile(path);
    const { resume } = readTrainingCheckpoint(DISTILL_CHECKPOINT, file);
    assertEquals(readResumeState(resume, (problem) => new CheckpointError(path, problem))!.batch, 1);
  }
});

Deno.test("ranks with other settings, or batches that cannot be shared, do not begin", async () => {
  using folder = new RunFolder(24);
  using other = new RunFolder(20);
  const { data } = other.options("other");
  // The last one has a setting that the others have not.
  const changes = [{}, { lr: 0.2, data }, { lr: 0.2, data }, { smallViews: 1, smallSize: 16 }];
  const different = startRanks(folder.options("different"), 4, (rank) => changes[rank]);
  for (const [rank, error] of (await errorsOf(different)).entries()) {
    assertStringIncludes(
      (error as Error).message,
      "the ranks do not do the same: ranks 1, 2 differ from rank 0 in images (--data), --lr and its batches; " +
        `rank 3 differs from rank 0 in --augmentation, --small-views and ${
          rank === 3 ? "--small-size" : "a setting"
        }. Start all with`,
    );
  }
  for (const error of await errorsOf(startRanks(folder.options("odd"), 3))) {
    assertInstanceOf(error, UserError);
    assertEquals(
      error.message,
      "--batch-size 4 cannot be shared by 3 ranks: expected a multiple of 3, such as 3 or 6",
    );
  }
  const auto = startRanks({ ...folder.options("auto"), resume: "auto" }, 2);
  for (const error of await errorsOf(auto)) {
    assertStringIncludes((error as Error).message, "resume: expected a checkpoint's path or null");
  }
});

Deno.test("ranks with another plugin file or optimizer do not begin, whatever the paths of equal files", async () => {
  using folder = new RunFolder(24);
  const options = folder.options("program");
  const fileOf = (name: string, text: string) => {
    const path = join(folder.path, name);
    Deno.writeTextFileSync(path, text);
    return { plugins: [...options.plugins!, pathToFileURL(path).href] };
  };
  const changes = [
    fileOf("a.js", "export {};"),
    fileOf("b.js", "export { };"),
    { ...fileOf("c.js", "export {};"), optimizer: "adamw" as const },
    fileOf("d.js", "export {};"),
  ];
  for (const error of await errorsOf(startRanks(options, 4, (rank) => changes[rank]))) {
    assertStringIncludes(
      (error as Error).message,
      "the ranks do not do the same: rank 1 differs from rank 0 in code (--plugin); " +
        "rank 2 differs from rank 0 in --optimizer. Start all with",
    );
  }
});

Deno.test("ranks whose adapters lay the weights out in other pieces do not begin", async () => {
  using folder = new RunFolder(24);
  const options = folder.options("pieces", { imageSize: 8 });
  const actors = { student_trainer: import.meta.resolve("./narrow_trainer.ts") };
  const wasOne = isOneThread();
  setOneThread(false); // each trainer with an adapter of its own
  const errors = await errorsOf(startRanks(options, 2, (rank) => rank === 1 ? { actors } : {}));
  setOneThread(wasOne);
  for (const error of errors) {
    assertStringIncludes(
      (error as Error).message,
      "rank 1 differs from rank 0 in the layout of its weights (its adapter is of another kind). Start all with",
    );
  }
});

/** Sends an actor of a rank what nobody would send, at some step. */
async function harm(run: Run<DistillEvent, DistillResult>, actor: string, message: string): Promise<void> {
  let actors: ActorSystem["actors"] | undefined;
  for await (const event of run) {
    if (event.type === "actors") actors = event.actors;
    if (event.type !== "step" || event.step !== 2) continue;
    const ref = actors!.get(actor)!.ref as ActorRef<Record<string, Message<unknown>>>;
    ref.tell(message, { views: new ArrayBuffer(3) }).catch(() => {});
  }
}

Deno.test("ranks that go on from other files do not begin, though all stand at the same step", async () => {
  using folder = new RunFolder(24);
  const runBy = async (name: string, lr: number) =>
    (await startRanks(folder.options(name, { lr }), 1)[0].result).checkpoint;
  const files = [await runBy("one", 0.1), await runBy("other", 0.2)];
  const options = folder.options("both", { epochs: 2, resumeAnyway: true });
  const runs = startRanks(options, 2, (rank) => ({ resume: files[rank] }));
  for (const error of await errorsOf(runs)) {
    assertStringIncludes(
      (error as Error).message,
      "rank 1 differs from rank 0 in the checkpoint that it goes on from. Start all with",
    );
  }
});

Deno.test("an augmenter that crashes is started again within its rank, and a trainer that crashes ends the run", async () => {
  using folder = new RunFolder(24);
  const options = (name: string) => folder.options(name, { epochs: 2 });
  const whole = startRanks(options("whole"), 2);
  const [{ checkpoint: expected }] = await Promise.all(whole.map(({ result }) => result));

  const harmed = startRanks(options("harmed"), 2);
  await harm(harmed[1], "augmenter", "augment");
  const [{ checkpoint }] = await Promise.all(harmed.map(({ result }) => result));
  assertEquals(await contentsOf(checkpoint), await contentsOf(expected));

  const ended = startRanks(options("ended"), 2);
  const first = ended[0].result.catch((error) => error);
  const error = await harm(ended[1], "student_trainer", "train").then(() => undefined, (error) => error);
  assertStringIncludes(error.message, "the trainer of this rank crashed, and the other ranks are ahead");
  assertStringIncludes((await first).message, "rank 1 has ended");
});
