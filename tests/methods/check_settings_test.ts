// A run says at its start which settings do not suit its data.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { type CheckedSettings, checkSettings, type DataCounts } from "../../methods/check_settings.ts";
import { distill, linearProbe } from "../../methods/runs.ts";
import { PAPER_DEFAULTS, SAMPLE_DEFAULTS, sampleOptions } from "../../methods/seed/defaults.ts";
import type { DistillOptions } from "../../methods/seed/options.ts";
import { scheduleOf } from "../../methods/encoder_training/options.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";

/** Nothing is to be said of these. */
const SOUND: CheckedSettings = {
  ...{ batchSize: 32, epochs: 200, learningRates: [0.1], scale: 1, warmupEpochs: 5, queue: 1024 },
};
const DATA: DataCounts = { images: 4000, batchesPerEpoch: 125 };

Deno.test("checkSettings() has nothing to say of the demo, and of the paper on ImageNet only its learning rate where it is scaled", () => {
  assertEquals(checkSettings(SOUND, DATA), []);
  const options = sampleOptions({ output: "x" }) as DistillOptions; // complete: all is bundled
  const demo = {
    ...SAMPLE_DEFAULTS,
    learningRates: [options.lr],
    scale: scheduleOf(options, DATA.batchesPerEpoch).scale,
  };
  assertEquals(checkSettings(demo, DATA), []);
  const paper = { ...PAPER_DEFAULTS, learningRates: [0.03], scale: 1 };
  assertEquals(checkSettings(paper, { images: 1_281_167, batchesPerEpoch: 5004 }), []);
});

Deno.test("checkSettings() says that a queue is larger than the data, and the largest that suits it", () => {
  const small = { images: 200, batchesPerEpoch: 6 };
  assertEquals(checkSettings(SOUND, small), [
    "the queue of 1024 keys is larger than the 200 images: it holds about 5.1 keys of each, so an image is compared " +
    "with itself, and the loss may rise. Use --queue 32, at most a quarter of the images",
  ]);
  const of = (queue: number, changes: Partial<CheckedSettings> = {}, images = 200) =>
    checkSettings({ ...SOUND, queue, ...changes }, { images, batchesPerEpoch: 6 });
  assertEquals(of(200, { batchSize: 8 }), []);
  assertStringIncludes(of(208, { batchSize: 8 })[0], "Use --queue 48, at most a quarter");
  assertStringIncludes(
    of(256, { batchSize: 64 })[0],
    "Use --queue 64 and a smaller --batch-size, or more images",
  );
  // A queue holds all batches of a step.
  assertStringIncludes(
    of(256, { batchSize: 16, accumulate: 4 })[0],
    "Use --queue 64 and a smaller --batch-size",
  );
  assertEquals(checkSettings({ ...SOUND, queue: undefined }, small), []); // a method without one
});

Deno.test("checkSettings() says that a warm-up does not end before the run, where it changes the learning rate", () => {
  const of = (warmupEpochs: number, scale: number) =>
    checkSettings({ ...SOUND, epochs: 20, warmupEpochs, scale }, DATA).filter((note) =>
      note.startsWith("the warm-up")
    );
  assertEquals(of(20, 0.5), [
    "the warm-up of 20 epochs takes the whole run of 20: the learning rate never reaches its scaled value. Use " +
    "--warmup-epochs 2, or more --epochs",
  ]);
  assertEquals([of(19, 0.5), of(20, 1)], [[], []]);
  const byStep = { ...SOUND, epochs: 20, warmupEpochs: 20, lrPerStep: true };
  assertStringIncludes(checkSettings(byStep, DATA)[0], "the learning rate never reaches its scaled value"); // it begins at 0
  // It also puts off a schedule that falls after it alone.
  const falling = { ...SOUND, epochs: 20, warmupEpochs: 20, fallsAfterWarmup: true };
  assertStringIncludes(
    checkSettings(falling, DATA)[0],
    "the warm-up of 20 epochs takes the whole run of 20: the learning rate never begins to fall. Use --warmup-epochs 2",
  );
  assertEquals(checkSettings({ ...falling, warmupEpochs: 19 }, DATA), []);
});

Deno.test("checkSettings() says that a run has few steps, unless that is what was asked for", () => {
  const of = (epochs: number, changes: Partial<CheckedSettings> = {}, batchesPerEpoch = 6) =>
    checkSettings({ ...SOUND, epochs, ...changes }, { images: 4000, batchesPerEpoch });
  assertEquals(of(4), [
    "24 steps in the whole run (4 epochs) are few to learn from. Use --epochs 17 or more, or a smaller --batch-size",
  ]);
  assertEquals([of(17), of(4, { limitSteps: 3 })], [[], []]);
  assertStringIncludes(of(17, { accumulate: 4 })[0], "34 steps"); // two of an epoch, the second a smaller one
  assertStringIncludes(of(1, {}, 1)[0], "1 step in the whole run (1 epoch) is few");
});

Deno.test("checkSettings() says what a learning rate is after scaling", () => {
  const of = (changes: Partial<CheckedSettings>) => checkSettings({ ...SOUND, ...changes }, DATA);
  assertEquals(of({ scale: 0.125 }), [
    "learning rate 0.1 becomes 0.0125 after 5 epochs of warm-up: --scale-lr multiplies it by 32 / 256, --no-scale-lr " +
    "does not",
  ]);
  const several = { learningRates: [1, 30], scale: 0.5, warmupEpochs: 0, batchSize: 64, accumulate: 2 };
  assertStringIncludes(
    of(several)[0],
    "learning rate 1 becomes 0.5, 30 becomes 15: --scale-lr multiplies it by 128 / 256",
  );
});

Deno.test("checkSettings() says that more batches accumulate than an epoch has, and scales by those that do", () => {
  const few = { images: 640, batchesPerEpoch: 10 };
  const of = (accumulate: number) =>
    checkSettings({ ...SOUND, batchSize: 64, queue: undefined, accumulate, scale: 2.5 }, few);
  const [note, rate, ...none] = of(100);
  assertEquals(
    note,
    "--accumulate 100 is more than the 10 batches of an epoch, which make one step: it does what --accumulate 10 does",
  );
  assertStringIncludes(rate, "--scale-lr multiplies it by 640 / 256");
  assertEquals(none, []);
  assertEquals(of(10), [rate]);
});

Deno.test("checkSettings() names what AdamW is given, and says where a view has few patches", () => {
  const settings = { ...SOUND, optimizer: "adamw", weightDecay: 0.05 };
  const [adamw, ...none] = checkSettings({ ...settings, patches: 16 }, DATA);
  assertStringIncludes(adamw, "AdamW with learning rate 0.1 and weight decay 0.05; --optimizer, --lr");
  assertEquals(none, []);
  const [, few] = checkSettings({ ...settings, patches: 4 }, DATA);
  assertStringIncludes(few, "4 patches of a view are few: --stem cifar has patches of 4 pixels");
});

Deno.test("the plan of a distillation and of a linear evaluation has the notes on their settings", async () => {
  using folder = new RunFolder(8, 4);
  const input = folder.options("run", { scaleLr: true, queue: 16, epochs: 1, warmupEpochs: 1 });
  const found: (readonly string[])[] = [];
  for await (const event of distill(input)) if (event.type === "plan") found.push(event.notes);
  assertEquals(found[0].map((note) => note.split(" ").slice(0, 3).join(" ")), [
    "the queue of",
    "the warm-up of",
    "2 steps in",
    "learning rate 0.03",
  ]);
  await using other = distill({ ...input, loss: "cosine", output: folder.makeOutput("cosine") });
  for await (const event of other) {
    if (event.type !== "plan") continue;
    assertStringIncludes(event.notes[0], "the warm-up of"); // it reads no queue
    break;
  }
  const linear = {
    ...{
      pretrained: TINY_TEACHER,
      data: folder.data,
      output: folder.makeOutput("linear"),
      plugins: [TINY_ENCODER],
    },
    ...{
      epochs: 1,
      batchSize: 4,
      workers: 1,
      cacheFeatures: true,
      imageSize: 16,
      warmupEpochs: 0,
      lr: [1, 2],
    },
  };
  for await (const event of linearProbe(linear)) if (event.type === "plan") found.push(event.notes);
  assertEquals(found[1].map((note) => note.split(":")[0]), [
    "2 steps in the whole run (1 epoch) are few to learn from. Use --epochs 50 or more, or a smaller --batch-size",
    "learning rate 1 becomes 0.01563, 2 becomes 0.03125",
  ]);
});
