import {
  assert,
  assertEquals,
  assertLess,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import type { ActorSystem } from "../../../actors/runtime/mod.ts";
import { StoppedError } from "../../../actors/stopped_error.ts";
import { UserError } from "../../../errors.ts";
import { samplePretrainOptions } from "../../../methods/moco/defaults.ts";
import type { EncoderTrainingPlan } from "../../../methods/encoder_training/events.ts";
import type { PretrainInput } from "../../../methods/moco/mod.ts";
import type { PretrainOptions } from "../../../methods/moco/options.ts";
import { distill, knn, pretrain } from "../../../methods/runs.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { writeTorchFile } from "../../../models/checkpoint/torch_writer.ts";
import type { TorchDict } from "../../../models/checkpoint/torch_value.ts";
import { openEncoderSource } from "../../../models/encoder_source.ts";
import { digestFile, RunFolder, sampleRows, TINY_ENCODER } from "../../actors/small_run.ts";

const BATCHES = 4;

/** Options of a small pretraining that writes to a new folder. */
function optionsOf(folder: RunFolder, name: string, changes: Partial<PretrainOptions> = {}): PretrainOptions {
  return samplePretrainOptions({
    arch: "tiny_convnet",
    data: folder.data,
    testData: null,
    output: folder.makeOutput(name),
    plugins: [TINY_ENCODER],
    workers: 1,
    epochs: 2,
    batchSize: 8,
    mocoK: 24,
    knnK: 5,
    insight: false,
    ...changes,
  }) as PretrainOptions; // complete: with testData, and of an encoder that is imported
}

/** Runs a pretraining to its end, or until a step after which it is stopped. */
async function runToEnd(options: PretrainInput, stopAfter = Infinity) {
  const run = pretrain(options);
  const losses: number[] = [];
  const accuracies: [of: string, step: number][] = [];
  const top1: number[] = [];
  const notes: string[] = [];
  let plan: EncoderTrainingPlan | undefined;
  const listen = async () => {
    for await (const event of run) {
      if (event.type === "plan") plan = event;
      if (event.type === "note") notes.push(event.text);
      if (event.type === "knn") {
        accuracies.push([event.of, event.step]);
        top1.push(event.top1);
      }
      if (event.type !== "step") continue;
      losses.push(event.loss);
      if (event.step === stopAfter) run.stop().catch(() => {});
    }
  };
  await listen().catch(() => {}); // the result rejects too
  return { losses, accuracies, top1, notes, plan, result: run.result };
}

Deno.test("pretrain() gives the same bits for any number of readers, and when it is stopped and resumed", async () => {
  using folder = new RunFolder(8 * BATCHES);
  const epochs = 4;
  const whole = await runToEnd(optionsOf(folder, "whole", { epochs }));
  const { checkpoint } = await whole.result;
  assertEquals(whole.losses.length, epochs * BATCHES);
  assert(whole.losses.every((loss) => Number.isFinite(loss) && loss > 0));

  const options = optionsOf(folder, "stopped", { epochs, workers: 2 });
  const stopped = await runToEnd(options, BATCHES + 1);
  const error = await assertRejects(() => stopped.result, StoppedError);
  assertLess(stopped.losses.length, epochs * BATCHES);
  const resumed = await runToEnd(optionsOf(folder, "resumed", { epochs, resume: error.checkpoint }));
  const end = await resumed.result;
  assertEquals([...stopped.losses, ...resumed.losses], whole.losses);
  assertEquals(await digestFile(end.checkpoint), await digestFile(checkpoint));

  const other = await assertRejects(
    () => pretrain(optionsOf(folder, "other", { epochs, resume: error.checkpoint, mocoT: 0.07 })).result,
    UserError,
  );
  assertStringIncludes(other.message, "--moco-t 0.2");
  const { message: augmented } = await assertRejects(
    () => pretrain(optionsOf(folder, "v1", { epochs, resume: error.checkpoint, augPlus: false })).result,
    UserError,
  );
  assertStringIncludes(augmented, "--no-aug-plus is given, was --aug-plus. To resume, use --aug-plus;");

  // A file that lacks one of the two encoders is refused before anything is started.
  const half = join(folder.path, "half.pth.tar");
  {
    using file = await openCheckpointFile(error.checkpoint!);
    const root = file.value as TorchDict;
    const weights = root.get("state_dict") as TorchDict;
    weights.delete([...weights.keys()].find((key) => String(key).startsWith("module.encoder_k.fc"))!);
    await writeTorchFile(half, root);
  }
  const { message: lacking } = await assertRejects(
    () => pretrain(optionsOf(folder, "lacking", { epochs, resume: half })).result,
    UserError,
  );
  assertMatch(
    lacking,
    /does not fit the encoder that the flags describe: module\.encoder_k\.fc\S* is missing/,
  );
});

Deno.test("a pretraining names its own flag where its queue is too small for a step", async () => {
  using folder = new RunFolder(8 * BATCHES);
  const options = optionsOf(folder, "short");
  const { batchSize, mocoK } = options;
  const { message } = await assertRejects(
    () => pretrain({ ...options, accumulate: mocoK / batchSize + 1 }).result,
    UserError,
  );
  assertStringIncludes(message, `--moco-k ${mocoK} is too small: expected at least --batch-size times`);
});

Deno.test("a pretrained encoder is evaluated next to training, teaches a student, and either of its sides can be chosen", async () => {
  using folder = new RunFolder(8 * BATCHES);
  const testData = join(folder.path, "test.tsv");
  Deno.writeTextFileSync(testData, sampleRows("test.tsv", 12));
  const { accuracies, result } = await runToEnd(optionsOf(folder, "run", { testData, knnEvery: 1 }));
  const { checkpoint, knn: found } = await result;
  assertEquals(accuracies, [["student", 0], ["student", BATCHES], ["student", 2 * BATCHES]]);
  assertEquals(Object.keys(found!).toSorted(), ["after", "before"]);

  const encoder = { pretrained: checkpoint, plugins: [TINY_ENCODER], data: folder.data, testData, knnK: [5] };
  const [accuracy] = await knn(encoder).result;
  assertEquals(accuracy, found!.after);
  const sides = ["module.encoder_q", "module.encoder_k"];
  const fingerprints = await Promise.all(sides.map(async (weights) => {
    using source = await openEncoderSource(checkpoint, { arch: "tiny_convnet", weights, part: "backbone" });
    assertEquals(source.input?.imageSize, 32);
    return await source.fingerprint();
  }));
  assertEquals(new Set(fingerprints).size, 2);

  const student = await distill({
    data: folder.data,
    testData: null,
    distill: checkpoint,
    output: folder.makeOutput("student"),
    studentArch: "tiny_convnet",
    plugins: [TINY_ENCODER],
    batchSize: 8,
    queue: 16,
    epochs: 1,
    insight: false,
  }).result;
  assertEquals(student.steps, BATCHES);
});

Deno.test("where there is no test set, kNN uses held-out labels: the weights are the same, and a resumed run is evaluated alike", async () => {
  using folder = new RunFolder(8 * BATCHES);
  folder.relabel();
  const settings = { epochs: 3, knnEvery: 1, seed: 5 };
  const withoutTestData = (name: string, changes: Partial<PretrainOptions> = {}): PretrainInput => {
    const { testData: _, ...input } = optionsOf(folder, name, { ...settings, ...changes });
    return input;
  };
  const whole = await runToEnd(withoutTestData("whole"));
  const { checkpoint, knn: found } = await whole.result;
  const plain = await runToEnd(optionsOf(folder, "plain", settings));
  assertEquals(await digestFile((await plain.result).checkpoint), await digestFile(checkpoint));
  assertEquals([whole.accuracies.length, plain.accuracies.length], [4, 0]);
  assertEquals(whole.plan!.knn, { bank: 28, queries: 4, heldOut: true });
  assertEquals(whole.notes.filter((note) => note.includes("held-out")), [
    `no test images, so kNN uses held-out labels of ${folder.data}/train.tsv: 4 images, 10 % of each class, chosen by --seed 5, are ` +
    "classified by the other 28",
    "training finished; classifying images with held-out labels with weighted kNN",
  ]);

  const stopped = await runToEnd(withoutTestData("stopped"), BATCHES + 1);
  const { checkpoint: resume } = await assertRejects(() => stopped.result, StoppedError);
  const resumed = await runToEnd(withoutTestData("resumed", { resume }));
  assertEquals((await resumed.result).knn, found);
  // Nothing is known of those before the stop: they are found out again.
  assertEquals(resumed.accuracies, whole.accuracies);
  assertEquals(resumed.top1, whole.top1);

  const encoder = { pretrained: checkpoint, plugins: [TINY_ENCODER], data: folder.data, knnK: [5] };
  assertEquals(await knn({ ...encoder, seed: 5 }).result, [found!.after]);
});

for (const actor of ["moco_trainer", "augmenter"]) {
  Deno.test(`a pretraining goes on after its ${actor} has crashed, to the same bits`, async () => {
    using folder = new RunFolder(8 * BATCHES);
    const whole = await (await runToEnd(optionsOf(folder, "whole"))).result;
    const run = pretrain(optionsOf(folder, "crashed"));
    const steps: number[] = [];
    let actors: ActorSystem["actors"] | undefined;
    let restarts = 0;
    for await (const event of run) {
      if (event.type === "actors") actors = event.actors;
      if (event.type === "warning") restarts++;
      if (event.type !== "step") continue;
      steps.push(event.step);
      if (event.step !== BATCHES + 1) continue;
      actors!.get(actor)!.crash(new TypeError("bad luck"));
    }
    const { checkpoint } = await run.result;
    assertEquals(restarts, 1);
    assertEquals(steps, Array.from({ length: 2 * BATCHES }, (_, i) => i + 1));
    assertEquals(await digestFile(checkpoint), await digestFile(whole.checkpoint));
  });
}
