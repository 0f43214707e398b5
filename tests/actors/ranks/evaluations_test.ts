/** Evaluations by several ranks of one process find exactly what one by itself finds. */
import { assert, assertAlmostEquals, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { basename, join } from "node:path";
import { type GradientCompression, type RankSettings, StoppedByRank } from "../../../actors/ranks/ranks.ts";
import type { Run } from "../../../actors/run.ts";
import { StoppedError } from "../../../actors/stopped_error.ts";
import { UserError } from "../../../errors.ts";
import type { EmbeddingResult, EmbedEvent } from "../../../methods/embedding.ts";
import type { FinetuneEvent } from "../../../methods/finetune/events.ts";
import type { FinetuneInput } from "../../../methods/finetune/mod.ts";
import { FINETUNE_SAMPLE_DEFAULTS } from "../../../methods/finetune/options.ts";
import { type FinetuneResult, runFinetune } from "../../../methods/finetune/run.ts";
import type { LinearEvent } from "../../../methods/linear_probe/events.ts";
import { LINEAR_SAMPLE_DEFAULTS } from "../../../methods/linear_probe/options.ts";
import type { LinearResult } from "../../../methods/linear_probe/run.ts";
import { embed, finetune, knn, linearProbe } from "../../../methods/runs.ts";
import { loadStateDict } from "../../../models/checkpoint/state_dict.ts";
import { assertRounded } from "./near_weights.ts";
import { IS_LONG } from "../../long.ts";
import { relativeError } from "../../kernels/check_op.ts";
import { drawTeacher } from "../drawn_teacher.ts";
import { slowClock } from "../slow_clock.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../small_run.ts";

const CHANNEL = import.meta.resolve("./channel_exchange.ts");
const ACTORS = { gradient_exchange: CHANNEL };
const ENCODER = { pretrained: TINY_TEACHER, plugins: [TINY_ENCODER], imageSize: 32, actors: ACTORS };

/** Runs so many ranks, and returns their results and what the first one was told; one runs without any. */
async function runRanks<Event extends { type: string }, Result>(
  size: number,
  start: (settings: { ranks?: RankSettings }, rank: number) => Run<Event, Result>,
): Promise<{ results: Result[]; told: Event[]; warnings: string[] }> {
  const channel = crypto.randomUUID();
  const told: Event[] = [];
  const warnings: string[] = [];
  const runs = Array.from(
    { length: size },
    (_, rank) => start(size === 1 ? {} : { ranks: { rank, size, exchange: { channel } } }, rank),
  );
  const hear = runs.map(async (run, rank) => {
    for await (const event of run) {
      if (rank === 0) told.push(event);
      if (event.type === "warning") warnings.push((event as unknown as { text: string }).text);
    }
    return await run.result;
  });
  await Promise.allSettled(hear); // of two that fail, the second one has not ended with the first
  return { results: await Promise.all(hear), told, warnings };
}

/** Breaks some rows of a file. */
function spoil(path: string, broken: readonly number[]): void {
  const lines = Deno.readTextFileSync(path).split("\n");
  for (const row of broken) lines[row] = lines[row].replace(/[^\t]*$/, "AAAA");
  Deno.writeTextFileSync(path, lines.join("\n"));
}

Deno.test("2 and 3 ranks embed the rows of one in its order, to the same bits, and find the same neighbours", async () => {
  using folder = new RunFolder(31);
  const data = join(folder.data, "train.tsv");
  spoil(data, [2, 8, 9, 10, 11, 28, 29, 30]); // the third batch of four, and the last one, have no image that can be used
  const neighbours = { queries: 4, k: 3, seed: 1 };
  const runBy = async (size: number, batchSize: number) => {
    const { results, told, warnings } = await runRanks<EmbedEvent, EmbeddingResult>(
      size,
      (settings) => embed({ ...ENCODER, data, batchSize, workers: 2, neighbours }, settings),
    );
    for (const { images } of results) assertEquals(images, 23);
    assertEquals(results.slice(1).flatMap(({ neighbours }) => neighbours), []);
    assertEquals(warnings.length, 8);
    const rows = told.flatMap((event) =>
      event.type !== "rows" ? [] : event.rows.map((row, i) => ({
        row,
        name: event.names[i],
        label: event.labels[i],
        embedding: event.embeddings.slice(i * 8, (i + 1) * 8),
      }))
    );
    return { rows, neighbours: results[0].neighbours };
  };
  for (const batchSize of [4, 16]) { // 8 batches; 2, which leave the third rank nothing
    const alone = await runBy(1, batchSize);
    assertEquals([alone.rows.length, alone.neighbours.length], [23, 4]);
    for (const size of [2, 3]) assertEquals(await runBy(size, batchSize), alone);
  }
});

Deno.test("2 ranks that find no image, or do not do the same, say so", async () => {
  using folder = new RunFolder(5);
  const data = join(folder.data, "train.tsv");
  const runBy = (batchSizes: number[]) =>
    runRanks(
      2,
      (settings, rank) => embed({ ...ENCODER, data, batchSize: batchSizes[rank], workers: 1 }, settings),
    );
  await assertRejects(() => runBy([2, 3]), UserError, "the ranks do not do the same");
  spoil(data, [0, 1, 2, 3, 4]);
  await assertRejects(() => runBy([2, 2]), UserError, "found no usable image");
});

Deno.test("ranks that see other images or another encoder are named, with what they have", async () => {
  using folder = new RunFolder(12, 6);
  using other = new RunFolder(13, 6);
  const teacher = join(folder.path, "teacher.pth.tar");
  await drawTeacher(teacher, "tiny_convnet", { kind: "mlp", dimension: 128 }, 2);
  const changes: [Partial<typeof ENCODER & { data: string }>, string][] = [
    [{ data: other.data }, "rank 1 differs from rank 0 in images. Start"],
    [{ pretrained: teacher }, "rank 1 differs from rank 0 in the encoder's weights. Start"],
    [
      { pretrained: teacher, imageSize: 24 },
      "rank 1 differs from rank 0 in --image-size, --eval-resize and the encoder's weights. Start",
    ],
  ];
  for (const [change, message] of changes) {
    const inputOf = (rank: number) => ({ ...ENCODER, data: folder.data, ...rank === 1 && change });
    await assertRejects(
      () => runRanks(2, (settings, rank) => embed({ ...inputOf(rank), workers: 1 }, settings)),
      UserError,
      message,
    );
    await assertRejects(
      () => runRanks(2, (settings, rank) => knn({ ...inputOf(rank), knnK: [1] }, settings)),
      UserError,
      message,
    );
  }
});

Deno.test("2 and 3 ranks classify by kNN exactly as one does", async () => {
  using folder = new RunFolder(330, 250);
  spoil(join(folder.data, "train.tsv"), [7, 120]);
  spoil(join(folder.data, "test.tsv"), [1, 101]);
  const runBy = async (size: number) => {
    const { results } = await runRanks(
      size,
      (settings) => knn({ ...ENCODER, data: folder.data, knnK: [1, 20] }, settings),
    );
    for (const result of results) assertEquals(result, results[0]);
    return results[0];
  };
  const alone = await runBy(1);
  assert(alone[0].top1 > 0 && alone[0].top1 < 100, `${alone[0].top1}`);
  for (const size of [2, 3]) assertEquals(await runBy(size), alone);
});

/** Of four ranks some have no image in the last batch. */
const SIZES = IS_LONG ? [2, 4] : [4];

for (const cacheFeatures of [false, true]) {
  const title = cacheFeatures ? "on features that are kept" : "on random crops";
  Deno.test(`ranks train linear classifiers ${title} as one does, and one of them writes`, async () => {
    // The last batch has 3 images, which leave the first of four ranks none.
    using folder = new RunFolder(35, 21);
    spoil(join(folder.data, "test.tsv"), [3, 20]);
    const runBy = async (size: number) => {
      const output = folder.makeOutput(`${size}`);
      const { schedule: _, ...defaults } = LINEAR_SAMPLE_DEFAULTS;
      const input = {
        ...{
          ...defaults,
          ...ENCODER,
          data: join(folder.data, "train.tsv"),
          testData: join(folder.data, "test.tsv"),
        },
        ...{ output, workers: 2, epochs: 3, batchSize: 16, lr: [0.03, 0.3], warmupEpochs: 1, scaleLr: false },
        ...{ cacheFeatures },
      };
      const { results, told } = await runRanks<LinearEvent, LinearResult>(
        size,
        (settings) => linearProbe(input, settings),
      );
      for (const { scores } of results) assertEquals(scores, results[0].scores);
      assertEquals(results.map(({ checkpoint }) => checkpoint === null), results.map((_, rank) => rank > 0));
      const steps = told.flatMap((event) => event.type === "step" ? [event.score] : []);
      const epochs = told.flatMap((event) => event.type === "epoch" ? [event] : []);
      const { checkpoint } = results[0];
      const again = await runRanks(
        size,
        (settings) => linearProbe({ ...input, resume: checkpoint, evaluate: true }, settings),
      );
      for (const { scores } of again.results) {
        assertEquals(scores.map(({ last }) => last.top1), results[0].scores.map(({ last }) => last.top1));
      }
      using file = await loadStateDict(checkpoint!);
      const weights = Float32Array.from(await file.tensors.get("fc.weight")!.read());
      return {
        steps,
        epochs,
        weights,
        files: [...Deno.readDirSync(output)].map(({ name }) => name).toSorted(),
      };
    };
    const alone = await runBy(1);
    assertEquals([alone.steps.length, alone.epochs.length, alone.files.length], [9, 3, 2]);
    for (const size of SIZES) {
      const { steps, epochs, weights, files } = await runBy(size);
      assertEquals(files, alone.files);
      const error = relativeError(weights, alone.weights);
      assert(error < 1e-4, `weights: ${error}`);
      const lossesOf = (of: typeof steps) => of.map(({ loss }) => loss);
      assert(relativeError(lossesOf(steps), lossesOf(alone.steps)) < 1e-5);
      for (const [i, { top1, top5 }] of steps.entries()) {
        assertEquals([top1, top5], [alone.steps[i].top1, alone.steps[i].top5]);
      }
      for (const [i, { trained, tested }] of epochs.entries()) {
        for (const [p, score] of [...trained, ...tested].entries()) {
          const expected = [...alone.epochs[i].trained, ...alone.epochs[i].tested][p];
          assertEquals([score.top1, score.top5], [expected.top1, expected.top5]);
          assertAlmostEquals(score.loss, expected.loss, 1e-4);
        }
      }
    }
  });
}

Deno.test("ranks that find no test image say so", async () => {
  using folder = new RunFolder(12, 4);
  const testData = join(folder.data, "test.tsv");
  spoil(testData, [0, 1, 2, 3]);
  const input = {
    ...ENCODER,
    data: join(folder.data, "train.tsv"),
    testData,
    epochs: 1,
    batchSize: 4,
    lr: [0.03],
  };
  for (const cacheFeatures of [false, true]) {
    const output = folder.makeOutput(`${cacheFeatures}`);
    await assertRejects(
      () => runRanks(2, (settings) => linearProbe({ ...input, output, cacheFeatures }, settings)),
      Error,
      "found no usable image",
    );
  }
  await assertRejects(
    () => runRanks(2, (settings) => knn({ ...ENCODER, data: folder.data, knnK: [1] }, settings)),
    UserError,
    "found no usable image",
  );
});

Deno.test("ranks refuse batches that they cannot share equally", async () => {
  using folder = new RunFolder(12, 4);
  const input = {
    ...ENCODER,
    data: folder.data,
    testData: join(folder.data, "test.tsv"),
    output: folder.path,
  };
  await assertRejects(
    () => runRanks(2, (settings) => linearProbe({ ...input, batchSize: 5 }, settings)),
    UserError,
    "--batch-size 5 cannot be shared by 2 ranks: expected a multiple of 2, such as 4 or 6",
  );
  await assertRejects(
    () => runRanks(2, (settings) => finetune({ ...input, batchSize: 5 }, settings)),
    UserError,
    "--batch-size 5 cannot be shared by 2 ranks",
  );
});

/** A fine-tuning of three epochs, of four steps each. */
function finetuneIn(folder: RunFolder, output: string, changes: Partial<FinetuneInput>): FinetuneInput {
  return {
    ...{ pretrained: TINY_TEACHER, plugins: [TINY_ENCODER], imageSize: 32, actors: ACTORS },
    ...{ data: join(folder.data, "train.tsv"), testData: join(folder.data, "test.tsv"), batchSize: 8 },
    ...{ output: folder.makeOutput(output), workers: 2, epochs: 3, lrLastLayer: 0.05, ...changes },
  };
}

const NORMLESS = import.meta.resolve("./normless_encoder.ts");
await import(NORMLESS);

const FINETUNED: Readonly<Record<string, Partial<FinetuneInput>>> = {
  "with --sync-bn": { syncBn: true },
  "without batch norm, in accumulated steps": {
    ...{ arch: "normless", plugins: [NORMLESS], pretrained: null, accumulate: 3, clipGrad: 0.5 },
  },
};

for (const [name, changes] of Object.entries(FINETUNED)) {
  Deno.test(`ranks fine-tune as one by itself ${name}, and one of them writes`, async () => {
    using folder = new RunFolder(35, 21);
    spoil(join(folder.data, "test.tsv"), [3, 16, 20]); // of the last batch, two ranks of four have no image
    const runBy = async (size: number) => {
      const input = finetuneIn(folder, `${name} ${size}`, changes);
      const { results, told } = await runRanks<FinetuneEvent, FinetuneResult>(
        size,
        (settings) => finetune(input, settings),
      );
      for (const { last, best } of results) assertEquals([last, best], [results[0].last, results[0].best]);
      const { checkpoint } = results[0];
      const again = await runRanks(
        size,
        (settings) => finetune({ ...input, resume: checkpoint, evaluate: true }, settings),
      );
      for (const { last } of again.results) assertEquals(last.top1, results[0].last.top1);
      return {
        ...{ last: results[0].last, weights: await weightsOf(checkpoint!) },
        steps: told.flatMap((event) => event.type === "step" ? [event.score] : []),
        trained: told.flatMap((event) => event.type === "epoch" ? [event.trained!.top1] : []),
        files: [...Deno.readDirSync(input.output)].map(({ name }) => name).toSorted(),
      };
    };
    const alone = await runBy(1);
    assertEquals([alone.steps.length, alone.trained.length, alone.files.length], [12, 3, 2]);
    for (const size of SIZES) {
      const { steps, trained, weights, files, last } = await runBy(size);
      assertEquals([files, trained, last.top1], [alone.files, alone.trained, alone.last.top1]);
      const lossesOf = (of: typeof steps) => of.map(({ loss }) => loss);
      assert(relativeError(lossesOf(steps), lossesOf(alone.steps)) < 1e-5);
      for (const [i, { top1 }] of steps.entries()) assertEquals(top1, alone.steps[i].top1);
      assertEquals([...weights.keys()], [...alone.weights.keys()]);
      for (const [key, values] of weights) {
        const error = relativeError(values, alone.weights.get(key)!);
        assert(error < 1e-4, `${key}: ${error}`);
      }
    }
  });
}

/** Weights and running statistics of a fine-tuning's checkpoint. */
async function weightsOf(checkpoint: string): Promise<Map<string, Float32Array>> {
  using file = await loadStateDict(checkpoint);
  const weights = new Map<string, Float32Array>();
  for (const [key, tensor] of file.tensors) {
    if (!key.endsWith("num_batches_tracked")) weights.set(key, Float32Array.from(await tensor.read()));
  }
  return weights;
}

Deno.test("2 ranks fine-tune with gradients that travel as float16", async () => {
  using folder = new RunFolder(35, 21);
  const runBy = async (compress: GradientCompression) => {
    const input = finetuneIn(folder, compress, { compress, epochs: 1 });
    const { results } = await runRanks<FinetuneEvent, FinetuneResult>(
      2,
      (settings) => finetune(input, settings),
    );
    return await weightsOf(results[0].checkpoint!);
  };
  assertRounded(await runBy("f16"), await runBy("none"));
});

Deno.test("a rank of a fine-tuning that is stopped has all save at the same step, and they go on to the same bits", async () => {
  using folder = new RunFolder(35, 21);
  const runBy = (input: FinetuneInput, stopAt?: number) => {
    const channel = crypto.randomUUID();
    const steps: number[][] = [[], []];
    const ended = steps.map(async (of, rank) => {
      const run = finetune(input, { ranks: { rank, size: 2, exchange: { channel } } });
      const result = run.result.catch((error) => error);
      try {
        for await (const event of run) {
          if (event.type !== "step") continue;
          of.push(event.step);
          if (rank === 1 && event.step === stopAt) run.stop("enough");
        }
      } catch {
        // it was stopped
      }
      return await result;
    });
    return { steps, ended: Promise.all(ended) };
  };
  const whole = await runBy(finetuneIn(folder, "whole", {})).ended;
  for (const stopAt of [6, 4]) { // within an epoch, and in the test behind one
    const input = finetuneIn(folder, `stopped at ${stopAt}`, {});
    const { steps, ended } = runBy(input, stopAt);
    const [first, second] = await ended as StoppedError[];
    assertInstanceOf(first, StoppedError);
    assertInstanceOf(first.cause, StoppedByRank);
    assertEquals([second.cause, second.checkpoint], ["enough", first.checkpoint]);
    assertEquals(steps[0], steps[1]);
    assert(steps[0].length < 12, `${steps[0].length} steps`);
    const [resumed] = await runBy({ ...input, resume: first.checkpoint }).ended;
    assertEquals(await weightsOf(resumed.checkpoint), await weightsOf(whole[0].checkpoint));
    assertEquals([resumed.last, resumed.best], [whole[0].last, whole[0].best]);
  }
});

Deno.test("a rank of a fine-tuning that is stopped before it begins has all end after the first step", async () => {
  using folder = new RunFolder(35, 21);
  const channel = crypto.randomUUID();
  const input = finetuneIn(folder, "early", {});
  const runs = [0, 1].map((rank) => finetune(input, { ranks: { rank, size: 2, exchange: { channel } } }));
  const ended = Promise.all(runs.map(({ result }) => result.catch((error) => error)));
  runs[1].stop("early");
  const [first, second] = (await ended) as StoppedError[];
  assertInstanceOf(first.cause, StoppedByRank);
  assertEquals([second.cause, second.checkpoint], ["early", first.checkpoint]);
  assertEquals(basename(first.checkpoint!), "finetune_checkpoint_0000.pth.tar");
});

/** Moments of a fine-tuning of two epochs at which a signal finds no step under way, and how the other rank ends then. */
const MOMENTS: Readonly<Record<string, [isDue: (event: FinetuneEvent) => boolean, other: string]>> = {
  "between a test and the checkpoint behind it": [
    (event) => event.type === "epoch" && event.epoch === 0,
    "ends with the next step",
  ],
  "between the last test and the checkpoint behind it": [
    (event) => event.type === "epoch" && event.epoch === 1,
    "comes to its end",
  ],
  "after the last checkpoint, while the one before it is removed": [
    (event) => event.type === "checkpoint" && event.path.includes("0001"),
    "comes to its end",
  ],
};

for (const [moment, [isDue, other]] of Object.entries(MOMENTS)) {
  Deno.test(`a rank of a fine-tuning that is stopped ${moment} has saved, and the other one ${other}`, async () => {
    using folder = new RunFolder(35, 21);
    const stop = async (stopped: number) => {
      using _ = slowClock();
      const options = {
        ...{ ...FINETUNE_SAMPLE_DEFAULTS, ...finetuneIn(folder, `${stopped}`, {}), epochs: 2 },
        ...{ arch: "tiny_convnet", which: "student", resume: null, evaluate: false, classes: null } as const,
        testData: join(folder.data, "test.tsv"),
      };
      const channel = crypto.randomUUID();
      return await Promise.all([0, 1].map((rank) => {
        const controller = new AbortController();
        const emit = (event: FinetuneEvent) => {
          if (rank === stopped && isDue(event)) controller.abort("enough");
        };
        const ranks = { rank, size: 2, exchange: { channel } };
        return runFinetune(options, emit, controller.signal, false, { ranks }).catch((error) => error);
      }));
    };
    for (const stopped of [0, 1]) {
      const ended = await stop(stopped) as (FinetuneResult & StoppedError)[];
      assertInstanceOf(ended[stopped], StoppedError);
      assertEquals(ended[stopped].cause, "enough");
      const { cause, checkpoint } = ended[1 - stopped];
      assertEquals(cause instanceof StoppedByRank, other === "ends with the next step");
      assertEquals(basename(checkpoint!), "finetune_checkpoint_0001.pth.tar");
      assertEquals(ended[stopped].checkpoint, checkpoint);
    }
  });
}
