// Runs whose steps take several batches: they end, stop and go on between steps alone.
import { assertEquals, assertGreater, assertNotEquals, assertRejects } from "@std/assert";
import { scheduleOf } from "../../../methods/encoder_training/options.ts";
import { join } from "node:path";
import { PAPER_DEFAULTS } from "../../../methods/seed/defaults.ts";
import type { DistillEvent } from "../../../methods/seed/events.ts";
import { runDistillation } from "../../../methods/seed/run.ts";
import { UserError } from "../../../errors.ts";
import { hear } from "../../actors/hear.ts";
import { digestFile, RunFolder } from "../../actors/small_run.ts";

/** Seven batches of four in an epoch: steps of three, three and one. */
const SETTINGS = { epochs: 2, seed: 3, accumulate: 3 };
const ROWS = 30;

/** Takes down at which steps measurements are told of, with their epochs. */
function statsInto(steps: string[]): (event: DistillEvent) => void {
  return hear<DistillEvent>({
    stats({ epoch, step, gradientNorms, weightNorms, deviceBytes, processBytes }) {
      assertEquals(Object.keys(gradientNorms), Object.keys(weightNorms));
      const norms = [gradientNorms, weightNorms].map((norms) => Math.hypot(...Object.values(norms)));
      for (const value of [...norms, deviceBytes, processBytes]) assertGreater(value, 0);
      steps.push(`${epoch} ${step}`);
    },
  });
}

Deno.test("runDistillation() with batches that accumulate ends and stops between steps, and is resumed to the same bits", async () => {
  using folder = new RunFolder(ROWS);
  const [looked, plainly, never]: string[][] = [[], [], []];
  const whole = await runDistillation(
    folder.options("whole", { ...SETTINGS, statsEvery: 4 }),
    statsInto(looked),
  );
  assertEquals(whole.steps, 14);
  // Steps end with batches 3, 6, 7, 10, 13 and 14: those that the batches 4, 8 and 12 belong to are measured.
  assertEquals(looked, ["0 6", "1 10", "1 13"]);
  const plain = await runDistillation(
    folder.options("plain", { ...SETTINGS, accumulate: 1, statsEvery: 4 }),
    statsInto(plainly),
  );
  assertEquals(plainly, ["0 4", "1 8", "1 12"]);
  assertNotEquals(await digestFile(whole.checkpoint), await digestFile(plain.checkpoint));

  // Four batches end within a step, which is made whole.
  const first = await runDistillation(
    folder.options("first", { ...SETTINGS, limitSteps: 4, statsEvery: 0 }),
    statsInto(never),
  );
  assertEquals([first.steps, never], [6, []]);
  const rest = await runDistillation(folder.options("rest", { ...SETTINGS, resume: first.checkpoint }));
  assertEquals(await digestFile(rest.checkpoint), await digestFile(whole.checkpoint));

  await assertRejects(
    () => runDistillation(folder.options("other", { ...SETTINGS, accumulate: 4, resume: first.checkpoint })),
    UserError,
    "6 batches so far, in the middle of a step of --accumulate 4",
  );

  // Stopped within a step: it is saved when that is done.
  const controller = new AbortController();
  const options = folder.options("stopped", SETTINGS);
  const stop = hear<DistillEvent>({
    step({ step }) {
      if (step === 8) controller.abort(new Error("enough"));
    },
  });
  await assertRejects(() => runDistillation(options, stop, controller.signal), Error, "enough");
  const checkpoints = [...Deno.readDirSync(options.output)].map(({ name }) => name)
    .filter((name) => name.endsWith(".pth.tar")).toSorted();
  const resumed = await runDistillation(
    folder.options("resumed", { ...SETTINGS, resume: join(options.output, checkpoints.at(-1)!) }),
  );
  assertEquals(await digestFile(resumed.checkpoint), await digestFile(whole.checkpoint));
});

Deno.test("a snapshot of a run that accumulates shows the image's own key", async () => {
  using folder = new RunFolder(64);
  const own: number[] = [];
  await runDistillation(
    folder.options("shown", { accumulate: 5, limitSteps: 10, seed: 1, queue: 64, insight: true }),
    hear<DistillEvent>({
      snapshot({ similarities }) {
        own.push(similarities.own);
      },
    }),
  );
  assertGreater(own.length, 0);
  assertEquals(own, own.map(() => 0)); // nothing is as similar to the image's embedding as itself
});

Deno.test("runDistillation() refuses a queue that the keys of a step do not fit into", async () => {
  using folder = new RunFolder(ROWS);
  const options = folder.options("out", { ...SETTINGS, accumulate: 5, queue: 16 });
  await assertRejects(
    () => runDistillation(options),
    UserError,
    "--queue 16 is too small: expected at least --batch-size times --accumulate, 20",
  );
});

Deno.test("scheduleOf() scales the rate by all images of a step, which ends with its epoch", () => {
  using folder = new RunFolder(1);
  const options = folder.options("out", { ...PAPER_DEFAULTS, batchSize: 64, accumulate: 4 });
  assertEquals(scheduleOf(options, 10).scale, 1);
  assertEquals(scheduleOf({ ...options, accumulate: 1 }, 10).scale, 0.25);
  assertEquals(scheduleOf({ ...options, accumulate: 8 }, 10).scale, 2);
  assertEquals(scheduleOf({ ...options, accumulate: 100 }, 10).scale, 2.5);
});
