// Crashes that come again on the way back to where they were, each long after the one before.
import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { ActorCrash } from "../../actors/runtime/mod.ts";
import { type ActorRole, distill, embed, finetune, knn, linearProbe } from "../../mod.ts";
import { slowClock } from "../actors/slow_clock.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";

const MOD = new URL("../../mod.ts", import.meta.url).href;

/**
 * Writes an actor that crashes some times, always of the same error.
 *
 * @param places at which message of its life, counted from 1, it crashes each time
 */
function writeActor(
  folder: RunFolder,
  role: ActorRole,
  message: string,
  places: readonly number[],
): { [role: string]: string } {
  const [path, mark] = [`${role}.ts`, `${role} crashes`].map((name) => join(folder.path, name));
  Deno.writeTextFileSync(mark, "");
  Deno.writeTextFileSync(
    path,
    `import { actorUrl, defineActor } from ${JSON.stringify(MOD)};
const { default: builtIn } = await import(actorUrl(${JSON.stringify(role)}).href);
const [MARK, PLACES] = ${JSON.stringify([mark, places])};
export default defineActor(async (config, context) => {
  const behaviour = await builtIn.start(config, context);
  let messages = 0;
  return {
    ...behaviour,
    handlers: {
      ...behaviour.handlers,
      async ${message}(...args) {
        if (++messages === PLACES[Deno.readTextFileSync(MARK).length]) {
          Deno.writeTextFileSync(MARK, "x", { append: true });
          throw new RangeError("no memory");
        }
        return await behaviour.handlers.${message}(...args);
      },
    },
  };
});
`,
  );
  return { [role]: pathToFileURL(path).href };
}

/** Runs that train on or embed 40 images, and the actor that each is about. */
const runs: Record<
  string,
  [role: ActorRole, message: string, restarts: number, run: (folder: RunFolder, actors: object) => Run]
> = {
  "distill()": [
    "student_trainer",
    "train",
    2,
    (folder, actors) => distill(folder.options("out", { actors, maxRestarts: 2 })),
  ],
  "distill(), evaluated": [
    "evaluator",
    "encode",
    2,
    (folder, actors) =>
      distill(
        folder.options("out", {
          actors,
          maxRestarts: 2,
          testData: join(folder.data, "test.tsv"),
          limitSteps: 1,
        }),
      ),
  ],
  "linearProbe()": [
    "linear_trainer",
    "consume",
    3,
    (folder, actors) =>
      linearProbe({ ...folder.labelledOptions("out"), actors, imageSize: 32, batchSize: 4, epochs: 1 }),
  ],
  "finetune()": [
    "finetune_trainer",
    "encode",
    3,
    (folder, actors) =>
      finetune({ ...folder.labelledOptions("out"), actors, imageSize: 32, batchSize: 4, epochs: 1 }),
  ],
  "knn()": ["evaluator", "encode", 3, (folder, actors) => {
    const { output: _, ...options } = folder.labelledOptions("out");
    const { workers: __, which: ___, ...others } = options;
    return knn({ ...others, actors, imageSize: 32, knnK: [5] });
  }],
  "embed()": [
    "encoder",
    "encode",
    3,
    (folder, actors) =>
      embed({
        ...{ pretrained: TINY_TEACHER, plugins: [TINY_ENCODER], data: folder.data, actors },
        ...{ imageSize: 32, batchSize: 4, workers: 1 },
      }),
  ],
};

/** A run, as a program sees it. */
type Run = AsyncIterable<{ type: string }> & { result: Promise<unknown> };

for (const [name, [role, message, restarts, run]] of Object.entries(runs)) {
  Deno.test(`${name} ends with a crash that comes again and again at the same place, whatever the time between`, async () => {
    using folder = new RunFolder(40, 8);
    using _ = slowClock();
    const place = name.includes("distill") || name === "knn()" ? 1 : 3;
    const actors = writeActor(folder, role, message, Array.from({ length: 30 }, () => place));
    const warnings: string[] = [];
    const running = run(folder, actors);
    const crash = await assertRejects(async () => {
      for await (const event of running) {
        if (event.type === "warning") warnings.push((event as unknown as { text: string }).text);
      }
      await running.result;
    }, ActorCrash);
    assertEquals(crash.failure.message, "no memory");
    const told = warnings.map((text) => /; this crash came (\d+) times without progress\)$/.exec(text)?.[1]);
    // What was under way at the first ones came further now and then.
    assertEquals(told.at(-1), `${restarts}`);
  });
}

const progresses: Record<string, (folder: RunFolder) => { [role: string]: string }> = {
  "a crash comes later than before": (folder) =>
    writeActor(folder, "student_trainer", "train", [3, 6, 9, 12, 15]),
  "its teacher crashes while the trainer does again what was lost": (folder) => ({
    ...writeActor(folder, "student_trainer", "train", [20]),
    ...writeActor(folder, "encoder", "encode", Array.from({ length: 8 }, () => 6)),
  }),
};

for (const [title, actorsIn] of Object.entries(progresses)) {
  Deno.test(`distill() goes on as often as ${title}`, async () => {
    using folder = new RunFolder(120);
    using _ = slowClock();
    const steps: number[] = [];
    const run = distill(folder.options("out", { actors: actorsIn(folder), maxRestarts: 2 }));
    for await (const event of run) if (event.type === "step") steps.push(event.step);
    assertEquals(steps, Array.from({ length: 30 }, (_, i) => i + 1));
  });
}
