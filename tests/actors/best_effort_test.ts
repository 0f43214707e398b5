/** What only observes a run fails, by name: the run goes on to the same bits. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { BestEffort } from "../../actors/best_effort.ts";
import { NeighboursReporter } from "../../actors/diagnostics.ts";
import { describeFailure } from "../../actors/runtime/failure.ts";
import { ActorCrash, ActorStopped, ActorSystem } from "../../actors/runtime/mod.ts";
import { UserError } from "../../errors.ts";
import { type ActorRole, distill, type DistillOptions, spawnActor } from "../../mod.ts";
import { digestFile, RunFolder } from "./small_run.ts";

Deno.test("BestEffort warns of each name once, says what is a bug, and lets nothing through", async () => {
  const warnings: string[] = [];
  const effort = new BestEffort((text) => {
    warnings.push(text);
    throw new Error("the log is full");
  });
  const fail = (error: unknown) => () => {
    throw error;
  };
  assertEquals(effort.attempt("sums", () => 3), 3);
  assertEquals(await effort.attempt("sums", () => Promise.resolve(4)), 4);
  assertEquals(effort.attempt("the page", fail(new UserError("it is taken"))), undefined);
  assertEquals(await effort.attempt("the page", () => Promise.reject(new UserError("again"))), undefined);
  assertEquals(await effort.attempt("maps", () => Promise.reject(new TypeError("x is null"))), undefined);
  assertEquals(effort.attempt("looks", fail(new ActorStopped("monitor"))), undefined);
  assertEquals(effort.attempt("events", fail(new Deno.errors.BrokenPipe("it is gone"))), undefined);
  const [name, shown] = ["a\nloss\x1b[2J", String.raw`a\nloss\u001b[2J`];
  const crash = new ActorCrash({ actor: "reader", failure: describeFailure(new UserError(name)) });
  for (const [i, error] of [new UserError(name), new Deno.errors.NotFound(name), crash].entries()) {
    effort.attempt(`name ${i}`, fail(error));
    assertEquals(warnings.pop(), `name ${i} failed, and the run continues: ${shown}`);
  }
  assertEquals(warnings.length, 3);
  assertEquals(warnings[0], "the page failed, and the run continues: it is taken");
  assertMatch(
    warnings[1],
    /^maps failed, and the run continues: this is a bug .*\nTypeError: x is null\n {4}at /,
  );
  assertEquals(warnings[2], "events failed, and the run continues: it is gone");
  effort.endRun();
  effort.attempt("the report", fail(new UserError("the disk is full")));
  assertEquals(warnings[3], "the report failed: the disk is full");
});

const MOD = new URL("../../mod.ts", import.meta.url).href;
const ERRORS = new URL("../../errors.ts", import.meta.url).href;

/** Writes a module in the place of a built-in actor: its start is given another config, its handlers are changed. */
function writeActor(folder: RunFolder, role: ActorRole, parts: { config?: string; handlers?: string }) {
  const path = join(folder.path, `failing_${role}.ts`);
  Deno.writeTextFileSync(
    path,
    `import { actorUrl, defineActor } from ${JSON.stringify(MOD)};
import { UserError } from ${JSON.stringify(ERRORS)};
const { default: builtIn } = await import(actorUrl(${JSON.stringify(role)}).href);
const deaf = (ref, type) => ({
  name: ref.name,
  tell: (name, event) => event.type === type ? Promise.reject(new Error("no " + type)) : ref.tell(name, event),
});
export default defineActor(async (config, context) => {
  const behaviour = await builtIn.start({ ...config, ${parts.config ?? ""} }, context);
  return { ...behaviour, handlers: { ...behaviour.handlers, ${parts.handlers ?? ""} } };
});
`,
  );
  return { [role]: pathToFileURL(path).href };
}

async function run(folder: RunFolder, name: string, changes: Partial<DistillOptions>) {
  const failed: string[] = [];
  const told = new Set<string>();
  await using distillation = distill(folder.options(name, { epochs: 2, limitSteps: 7, ...changes }));
  for await (const event of distillation) {
    told.add(event.type);
    if (event.type === "warning" && event.text.includes("the run continues")) failed.push(event.text);
  }
  const { checkpoint, knn } = await distillation.result;
  return { digest: await digestFile(checkpoint), knn, failed: failed.toSorted(), told };
}

Deno.test("a run goes on without what only observes it: snapshots, views, the probe set", async () => {
  using folder = new RunFolder(16, 8);
  const { digest } = await run(folder, "plain", {});
  const blindEvaluator = writeActor(folder, "evaluator", {
    handlers: `findNeighbours() { throw new UserError("no images to look at"); }`,
  });
  const noProbeSet = "the probe set failed, and the run continues: no images to look at";

  const blind = await run(folder, "blind", {
    insight: true,
    actors: {
      ...writeActor(folder, "student_trainer", { config: `monitor: deaf(config.monitor, "snapshot")` }),
      ...writeActor(folder, "augmenter", {
        config: `viewer: config.viewer && deaf(config.viewer, "views")`,
      }),
      ...blindEvaluator,
    },
  });
  assertEquals([blind.digest, blind.knn], [digest, null]);
  for (const type of ["snapshot", "views", "neighbours"]) assertEquals(blind.told.has(type), false, type);
  assertEquals(blind.failed.length, 3, blind.failed.join("\n"));
  assertEquals(blind.failed[0], noProbeSet);
  assertMatch(
    blind.failed[1],
    /^the snapshot of a step failed, and the run continues: this is a bug .*\nError: no snapshot/,
  );
  assertMatch(
    blind.failed[2],
    /^the views of the first batch failed, and the run continues: .*\nError: no views/,
  );

  // kNN needs no probe set: its actors are started again for it alone.
  const evaluated = await run(folder, "evaluated", {
    insight: true,
    testData: join(folder.data, "test.tsv"),
    actors: blindEvaluator,
  });
  assertEquals([evaluated.digest, evaluated.failed], [digest, [noProbeSet]]);
  assertEquals(Object.keys(evaluated.knn!), ["teacher", "before", "after"]);
});

Deno.test("a cartographer that crashes again and again is given up, and no other actor ends by it", async () => {
  using folder = new RunFolder(1);
  const system = new ActorSystem();
  await system.run(async () => {
    // Each time of another error: of one that is the same it is given up at once.
    const { promise: givenUp, resolve } = Promise.withResolvers<ActorCrash>();
    let restarts = 0;
    const neighboursReporter = new NeighboursReporter(system, {
      data: { path: "images" },
      seed: 1,
      actors: writeActor(folder, "projector", {
        handlers: `project() { throw new Error("no paper " + crypto.randomUUID()); }`,
      }),
      emit() {},
      onRestart: () => void restarts++,
      onGiveUp: resolve,
    });
    const survey = {
      rows: [0],
      labels: [0],
      features: new Float32Array(4),
      dimension: 4,
      neighbours: new Uint32Array(),
      similarities: new Float32Array(),
      k: 0,
    };
    await assertRejects(
      () => neighboursReporter.report({ of: "student", step: 1 }, survey),
      ActorCrash,
      "no paper",
    );
    assertEquals([(await givenUp).actor, restarts, system.actors.size], ["projector", 3, 0]);
    await assertRejects(
      () => neighboursReporter.report({ of: "student", step: 2 }, survey),
      ActorCrash,
      "no paper",
    );
    // Its name is free again, and the system goes on.
    const { ref } = spawnActor(system, "projector", undefined);
    const { umap } = await ref.ask("project", { features: new Float32Array(4), dimension: 4, seed: 1 });
    assertEquals(umap, null);
  });
});
