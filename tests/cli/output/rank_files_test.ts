import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { ActorSystem } from "../../../actors/runtime/mod.ts";
import { RankFiles, type RankFilesOptions } from "../../../cli/output/rank_files.ts";
import { RunReader } from "../../../ui/run_reader.ts";

const RUNTIME = new URL("../../../actors/runtime/mod.ts", import.meta.url).href;

/** Stands in the place of the exchange: it answers, and waits for nobody. */
const EXCHANGE = `data:text/javascript,${
  encodeURIComponent(
    `import { defineActor } from "${RUNTIME}"; export default defineActor(() => ({ handlers: { agree() {} } }));`,
  )
}`;

/** Runs one actor, told of to the files of rank 1 of 2; returns the warnings. */
async function runAsRank(
  output: string,
  during: (files: RankFiles) => void = () => {},
  how: Parameters<RankFiles["finish"]>[0] = "finished",
): Promise<string[]> {
  const warnings: string[] = [];
  const options: RankFilesOptions = {
    output,
    batchSize: 8,
    ranks: { rank: 1, size: 2 },
    facts: { host: "node7", adapter: "Radeon" },
    step: { actor: "gradient_exchange", message: "agree" },
    warn: (text) => warnings.push(text),
  };
  using files = new RankFiles(options);
  const system = new ActorSystem({
    onTrace: (actor, spans) => files.take({ type: "trace", actor, spans }),
  });
  await system.run(async () => {
    const exchange = system.spawn("gradient_exchange", EXCHANGE, {});
    files.take({ type: "warning", text: "a row\nis broken" });
    files.take({ type: "warning", text: "a step was skipped", isCommon: true });
    files.take({ type: "actors", actors: system.actors });
    await exchange.ready;
    for (const step of [1, 2]) files.take({ type: "step", epoch: step - 1, step });
    during(files);
  });
  files.take({
    type: "profile",
    spans: new Map([
      ["gradient_exchange", [{ kind: "message", name: "agree", startMs: 0, durationMs: 5 }]],
    ]),
    programs: [],
  });
  await files.finish(how);
  return warnings;
}

Deno.test("RankFiles keeps a rank's log, records and profile under names of their own", async () => {
  const output = Deno.makeTempDirSync();
  try {
    assertEquals(await runAsRank(output), ["a row\nis broken"]);
    const names = [...Deno.readDirSync(output)].map(({ name }) => name).toSorted();
    assertEquals(names.filter((name) => name !== "actors_rank1.jsonl"), [
      "actors_rank1.json",
      "log_rank1.txt",
      "profile_rank1.json",
    ]);
    const log = Deno.readTextFileSync(join(output, "log_rank1.txt")).replaceAll(/^\S+Z /gm, "").split("\n");
    assertEquals(log.slice(0, 6), [
      "rank 1 of 2 on node7, Radeon",
      "warning: a row",
      "| is broken",
      "warning: a step was skipped",
      "epoch 0 ended with step 1",
      "epoch 1 ended with step 2",
    ]);
    assertMatch(log.at(-2)!, /^finished: 2 steps in \d+s; 0\.0 % of the time in waits for other ranks, /);
    assertStringIncludes(Deno.readTextFileSync(join(output, "profile_rank1.json")), '"traceEvents"');
    const told = (await new RunReader(output, 0).poll()).filter((message) => message.kind === "rank");
    assertEquals(told.map(({ record: { rank, actors } }) => [rank, actors.map(({ name }) => name)]), [[
      { rank: 1, size: 2, host: "node7", adapter: "Radeon", images_per_second: null },
      ["gradient_exchange"],
    ]]);
    // Another start goes on with the log.
    await runAsRank(output, () => {}, "interrupted");
    assertMatch(Deno.readTextFileSync(join(output, "log_rank1.txt")), /Z epoch 1 got to step 2\n/);
    assertEquals(
      Deno.readTextFileSync(join(output, "log_rank1.txt")).match(/ (finished|interrupted): /g)?.length,
      2,
    );
  } finally {
    Deno.removeSync(output, { recursive: true });
  }
});

Deno.test("RankFiles makes no folder: one that is not there is one warning", async () => {
  const parent = Deno.makeTempDirSync();
  try {
    const warnings = await runAsRank(join(parent, "run"));
    assertEquals(warnings.length, 2, warnings.join("\n"));
    assertMatch(
      warnings[1],
      /rank 1 failed, and the run continues: .*run: expected the folder .* none on node7/,
    );
    assertEquals([...Deno.readDirSync(parent)], []);
  } finally {
    Deno.removeSync(parent, { recursive: true });
  }
});

Deno.test("RankFiles writes nothing of a run that cannot begin", async () => {
  const output = Deno.makeTempDirSync();
  try {
    using files = new RankFiles({
      ...{ output, batchSize: 8, ranks: { rank: 1, size: 2 }, facts: { host: "node7", adapter: "Radeon" } },
      warn: () => {},
    });
    files.log("the batch size is odd");
    await files.finish("failed");
    assertEquals([...Deno.readDirSync(output)], []);
  } finally {
    Deno.removeSync(output, { recursive: true });
  }
});
