// Apart: its actors have Workers, as what is torn down with a Worker is what it is about.
// Every role breaks in the middle of a run: it goes on to the same bits, or must end within seconds and say who it was.
import { setOneThread } from "../../actors/one_thread.ts";
import {
  assert,
  assertEquals,
  assertLess,
  assertMatch,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { runDistillation } from "../../methods/seed/run.ts";
import type { DistillOptions } from "../../methods/seed/options.ts";
import { ActorCrash, type ActorRef, type ActorSystem, type Message } from "../../actors/runtime/mod.ts";
import { actorUrl } from "../../methods/catalog.ts";
import { UserError } from "../../errors.ts";
import { distill, embed } from "../../methods/runs.ts";
import { digestFile, RunFolder, sampleRows, TINY_ENCODER, TINY_TEACHER } from "./small_run.ts";
import { IS_LONG } from "../long.ts";
import { hear } from "./hear.ts";

setOneThread(false);

type Actors = ActorSystem["actors"];

/** Does something bad after the second step of a run that would take minutes; returns how the run ended. */
async function breakRun(
  options: DistillOptions,
  harm: (actors: Actors) => unknown,
): Promise<ActorCrash> {
  let actors: Actors | undefined;
  let isHarmed = false;
  let lastStep = 0;
  const crash = await assertRejects(() =>
    runDistillation(
      { ...options, epochs: 1000 },
      hear({
        actors: (event) => actors = event.actors,
        step({ step }) {
          lastStep = step;
          if (step !== 2) return;
          isHarmed = true;
          harm(actors!);
        },
      }),
    ), ActorCrash);
  assert(isHarmed && lastStep >= 2, "the run ended before it was harmed");
  // Of the thousand epochs: what was on its way, six batches of each reader, and as much again in mailboxes.
  assertLess(lastStep, 2 + 4 * 6 * options.workers);
  assertEquals(actors!.size, 0, "an actor is left");
  return crash;
}

/** Sends an actor what no sender of the pipeline would send. */
function sendNonsense(actors: Actors, actor: string, message: string): void {
  const ref = actors.get(actor)!.ref as ActorRef<Record<string, Message<unknown>>>;
  ref.tell(message, { views: new ArrayBuffer(3) }).catch(() => {}); // the run ends
}

Deno.test("a run ends with the reader's name when the TSV is cut short under it", async () => {
  using folder = new RunFolder(24);
  const train = join(folder.data, "train.tsv");
  const options = folder.options("out", { cache: "off" }); // else all rows have been read soon
  const crash = await breakRun(options, () => Deno.truncateSync(train, 2000));
  assertEquals(crash.actor, "tsv_reader");
  assert(crash.isUserError);
  assertMatch(crash.failure.message, /train\.tsv line \d+: .* It was truncated after it was opened/);
});

Deno.test("a run ends where a reader that is started again finds more rows than there were", async () => {
  using folder = new RunFolder(24);
  const train = join(folder.data, "train.tsv");
  const options = folder.options("out", { cache: "off" });
  const crash = await breakRun(options, (actors) => {
    Deno.writeTextFileSync(train, sampleRows("train.tsv", 2), { append: true });
    actors.get("tsv_reader")!.crash(new TypeError("bad luck"));
  });
  assertEquals(crash.actor, "tsv_reader");
  assert(crash.isUserError);
  assertMatch(crash.failure.message, /train\.tsv: has 26 rows now, and had 24 when the run began/);
});

/** Those of a run with two readers that are started again with the trainer. */
const RING = [
  "student_trainer",
  "queue_keeper",
  "teacher_encoder",
  "augmenter",
  "tsv_reader 0",
  "tsv_reader 1",
];

/** What a run was like. */
interface Told {
  digest: string;
  losses: number[];
  measured: number[];
  knn: unknown;
  warnings: string[];
}

/** A run whose actors crash after the steps that are said, one after the other. */
async function runWithCrashes(options: DistillOptions, victims: Record<number, string> = {}): Promise<Told> {
  let actors: Actors | undefined;
  let isOver = false;
  const losses: number[] = [];
  const measured: number[] = [];
  const warnings: string[] = [];
  const until = async (isSo: () => boolean | Promise<boolean>) => {
    while (!isOver && !await isSo()) await new Promise((resolve) => setTimeout(resolve, 10));
  };
  // One that is just being started again, since another crashed, has nothing to crash: each waits for the one before.
  let turn = Promise.resolve();
  const crash = async (victim: string, step: number) => {
    await until(async () => {
      const live = [...RING, victim].map((one) => actors!.get(one));
      const answers = live.map((actor) => actor?.stats() ?? Promise.reject(new Error("is down")));
      return (await Promise.allSettled(answers)).every(({ status }) => status === "fulfilled");
    });
    actors!.get(victim)?.crash(new TypeError(`bad luck in step ${step}`));
    await until(() => warnings.some((text) => text.includes(`bad luck in step ${step};`)));
  };
  const { checkpoint, knn } = await runDistillation(
    options,
    hear({
      actors: (event) => actors = event.actors,
      step({ step, loss }) {
        losses.push(loss);
        if (step in victims) turn = turn.then(() => crash(victims[step], step));
      },
      stats: ({ step }) => measured.push(step),
      warning: ({ text }) => warnings.push(text),
    }),
  );
  isOver = true;
  return { digest: await digestFile(checkpoint), losses, measured, knn, warnings };
}

/** Fails unless each victim crashed as often as it was made to. */
function requireCrashes(warnings: readonly string[], victims: Record<number, string>): void {
  for (const name of new Set(Object.values(victims))) {
    const count = warnings.filter((text) => text.startsWith(`actor "${name}" crashed`)).length;
    assertEquals(count, Object.values(victims).filter((victim) => victim === name).length, name);
  }
}

Deno.test("a run goes on when its actors crash, one after the other, and its weights are the same bits", async () => {
  using folder = new RunFolder(24, 8);
  const settings = {
    epochs: IS_LONG ? 7 : 4,
    workers: 2,
    testData: join(folder.data, "test.tsv"),
    knnEvery: 1,
    seed: 2,
    statsEvery: 5,
  };
  const unbroken = await runWithCrashes(folder.options("unbroken", { ...settings, maxRestarts: 0 }));
  assertEquals(unbroken.losses.length, 6 * settings.epochs);
  assertEquals(unbroken.measured, [5, 10, 15, 20, ...(IS_LONG ? [25, 30, 35, 40] : [])]);
  assertEquals(unbroken.warnings, []);
  const victims: Record<number, string> = {
    1: "student_trainer", // before there is a checkpoint
    7: "evaluator",
    13: "tsv_reader 1",
    19: "student_trainer",
  };
  // All of the pipeline are started again with any of them, so those between the readers and the trainer can wait.
  if (IS_LONG) Object.assign(victims, { 25: "teacher_encoder", 31: "augmenter", 37: "queue_keeper" });
  const options = folder.options("broken", { ...settings, maxRestarts: 10 });
  const { warnings, ...broken } = await runWithCrashes(options, victims);
  assertEquals({ ...broken, warnings: [] }, unbroken);
  requireCrashes(warnings, victims);
  assertMatch(
    warnings[0],
    new RegExp(`TypeError: bad luck in step 1; restarting these actors: ${RING.join(", ")} `),
  );
});

Deno.test(
  "crashes change no bit of a run with feature maps, a teacher at another size, mixup and accumulation",
  {
    ignore: !IS_LONG, // the plain run above is restarted in the same way
  },
  async () => {
    using folder = new RunFolder(24);
    const settings: Partial<DistillOptions> = {
      ...{ epochs: 3, workers: 2, seed: 2, loss: "tokens", teacherSize: 48, mixup: 1, accumulate: 2 },
    };
    const unbroken = await runWithCrashes(folder.options("unbroken", { ...settings, maxRestarts: 0 }));
    assertEquals(unbroken.losses.length, 18); // of every batch
    const victims = { 1: "augmenter", 4: "teacher_encoder", 8: "student_trainer", 12: "tsv_reader 1" };
    const options = folder.options("broken", { ...settings, maxRestarts: 10 });
    const { warnings, ...broken } = await runWithCrashes(options, victims);
    assertEquals({ ...broken, warnings: [] }, unbroken);
    requireCrashes(warnings, victims);
  },
);

for (
  const [actor, message] of [
    ["augmenter", "augment"],
    ["student_trainer", "train"],
  ]
) {
  Deno.test(`a run ends with the name of ${actor} when it crashes more often than is allowed`, async () => {
    using folder = new RunFolder(24);
    const options = folder.options("out", { maxRestarts: 0 });
    const crash = await breakRun(options, (actors) => sendNonsense(actors, actor, message));
    assertEquals(crash.actor, actor);
    assert(!crash.isUserError);
    assertMatch(crash.failure.stack!, /\.ts:\d+/);
    assertMatch(crash.message, new RegExp(`^actor "${actor}" crashed: `));
  });
}

Deno.test("an embedding goes on when its actors crash, and gives every row once, the same", async () => {
  using folder = new RunFolder(60);
  const rows = async (victims: string[]) => {
    const found: number[] = [];
    const sums: number[] = [];
    const run = embed({
      pretrained: TINY_TEACHER,
      arch: "tiny_convnet",
      plugins: [TINY_ENCODER],
      data: join(folder.data, "train.tsv"),
      imageSize: 32,
      batchSize: 8,
      workers: 2, // so that all is read before the first crash
    });
    let actors: Actors;
    for await (const event of run) {
      if (event.type === "actors") actors = event.actors;
      if (event.type !== "rows") continue;
      found.push(...event.rows);
      sums.push(event.embeddings.reduce((sum, value) => sum + value, 0));
      if (found.length >= 16) actors!.get(victims.shift()!)?.crash(new TypeError("bad luck"));
    }
    const { images } = await run.result;
    return { found, sums, images };
  };
  const whole = await rows([]);
  assertEquals(whole.found, Array.from({ length: 60 }, (_, row) => row));
  assertEquals(await rows(["feature_encoder", "tsv_reader 0"]), whole);
});

Deno.test("an embedding whose encoder crashes as it starts is begun again, and ends with what it crashed of twice", async () => {
  using folder = new RunFolder(8);
  /** Embeds with an encoder that throws in its first starts. */
  const embedAfter = (crashes: number) => {
    const [module, starts] = ["js", "txt"].map((extension) => join(folder.path, `${crashes}.${extension}`));
    const text = `import builtIn from ${JSON.stringify(actorUrl("encoder").href)};
      export default {
        start(config, context) {
          const starts = ${JSON.stringify(starts)};
          Deno.writeTextFileSync(starts, ".", { append: true });
          if (Deno.statSync(starts).size <= ${crashes}) throw new RangeError("my encoder is wrong");
          return builtIn.start(config, context);
        },
      };`;
    Deno.writeTextFileSync(module, text);
    return embed({
      pretrained: TINY_TEACHER,
      plugins: [TINY_ENCODER],
      data: join(folder.data, "train.tsv"),
      imageSize: 32,
      batchSize: 8,
      actors: { encoder: pathToFileURL(module).href },
    }).result;
  };
  assertEquals((await embedAfter(1)).images, 8);
  const crash = await assertRejects(() => embedAfter(9), ActorCrash);
  assertMatch(crash.message, /^actor "feature_encoder" crashed: RangeError: my encoder is wrong/);
  assertEquals(Deno.statSync(join(folder.path, "9.txt")).size, 2);
});

Deno.test("a run ends with the trainer's name when its checkpoint cannot be written", async () => {
  using folder = new RunFolder(24);
  const options = folder.options("out");
  const crash = await breakRun(options, () => Deno.removeSync(options.output, { recursive: true }));
  assertEquals(crash.actor, "student_trainer");
  assert(crash.isUserError);
  assertMatch(crash.failure.message, new RegExp(`${options.output}.*`));
});

Deno.test("a run ends with the loss and what to do when training diverges", async () => {
  using folder = new RunFolder(24);
  const crash = await assertRejects(() => runDistillation(folder.options("out", { lr: 1e30 })), ActorCrash);
  assertEquals(crash.actor, "student_trainer");
  assert(crash.isUserError);
  assertMatch(
    crash.failure.message,
    /^the (loss is (NaN|-?Infinity)|gradients are not finite) in epoch 0, batch \d+.*lower --lr \(now 1e\+30\)/,
  );
});

Deno.test("a program gets an actor's UserError as one, from the result and from a loop, with the actor's name", async () => {
  using folder = new RunFolder(24);
  const run = distill(folder.options("out", { lr: 1e30 }));
  const loop = assertRejects(() => Array.fromAsync(run), UserError);
  const error = await assertRejects(() => run.result, UserError);
  assertStrictEquals(await loop, error);
  assertMatch(error.message, /lower --lr \(now 1e\+30\).* \(in student_trainer\)$/);
  const { cause } = error;
  assert(cause instanceof ActorCrash);
  assertEquals([cause.actor, cause.isUserError], ["student_trainer", true]);
  assert(cause.cause instanceof UserError);
});
