import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { BestEffort } from "../../../actors/best_effort.ts";
import type { NeighboursReport, ProbeSet } from "../../../actors/diagnostics.ts";
import { OutputFolder } from "../../../cli/output/output_folder.ts";
import { quoteCommand, RunRecorder } from "../../../cli/output/run_recorder.ts";
import { RecordedRun } from "../../ui/recorded_run.ts";
import { withFolder } from "../../models/checkpoint/fixtures.ts";

/** A probe set of so many images. */
function probeSetOf(count: number, data = "/data/test.tsv"): ProbeSet {
  return {
    data,
    rows: Array.from({ length: count }, (_, i) => i),
    labels: new Array(count).fill(0),
    views: { pixels: new Uint8Array(count * 8 * 8 * 4), count, size: 8, isLocal: false },
  };
}

/** Neighbours in it, of one image each. */
function neighboursOf(count: number, of: "teacher" | "student", step: number): NeighboursReport {
  const neighbours = new Uint32Array(count);
  const maps = { pca: new Float32Array(2 * count), umap: null };
  const isBeginning = of === "student" && step === 0;
  return { of, step, isBeginning, k: 1, neighbours, similarities: new Float32Array(count), maps };
}

Deno.test("RunRecorder removes the neighbours of a probe set that a resumed run has another one for", async () => {
  await withFolder(async (path) => {
    /** Has a recorder of its own take something, as each start of a run does, and lists the records. */
    const record = async (take: (recorder: RunRecorder) => void) => {
      using folder = OutputFolder.open(path, "auto");
      const said: string[] = [];
      const effort = new BestEffort((text) => said.push(text));
      const options = { task: "distill", args: [], adapter: "an adapter", inputs: [], started: 0, effort };
      const recorder = new RunRecorder(folder, options);
      take(recorder);
      await recorder.finish({ status: "finished" });
      assertEquals(said, []);
      return [...Deno.readDirSync(join(path, "insight"))].map(({ name }) => name).toSorted();
    };
    const all = ["before.json", "gallery.json", "student.json", "teacher.json"];
    const first = await record((recorder) => {
      recorder.probeSet(probeSetOf(6));
      recorder.neighbours(neighboursOf(6, "teacher", 0));
      recorder.neighbours(neighboursOf(6, "student", 0));
      recorder.neighbours(neighboursOf(6, "student", 2));
    });
    assertEquals(first, all);
    assertEquals(await record((recorder) => recorder.probeSet(probeSetOf(6))), all, "the same images");
    const second = await record((recorder) => {
      recorder.probeSet(probeSetOf(60));
      recorder.neighbours(neighboursOf(60, "teacher", 0));
    });
    assertEquals(second, ["gallery.json", "teacher.json"]);
    assertEquals(await record((recorder) => recorder.probeSet(probeSetOf(60, "/data/other.tsv"))), [
      "gallery.json",
    ]);
  });
});

Deno.test("RunRecorder removes what is of steps after those that a run goes on from", async () => {
  using run = new RecordedRun();
  await run.writeAll(); // a snapshot of step 190, and neighbours of steps 0 and 200
  run.kill();
  using folder = OutputFolder.open(run.path, "auto");
  const effort = new BestEffort((text) => assertEquals(text, ""));
  const left = async (firstStep: number) => {
    const options = { task: "distill", args: [], adapter: "an adapter", inputs: [], started: 0, effort };
    const recorder = new RunRecorder(folder, options);
    recorder.plan({ images: 1, steps_per_epoch: 100, total_steps: 300, first_step: firstStep, epochs: 3 });
    await recorder.finish({ status: "finished" });
    return [...Deno.readDirSync(join(run.path, "insight"))].map(({ name }) => name).toSorted();
  };
  const all = ["before.json", "gallery.json", "look.json", "student.json", "teacher.json"];
  assertEquals(await left(200), all);
  assertEquals(await left(190), all.filter((name) => name !== "student.json"));
  assertEquals(await left(100), ["before.json", "gallery.json", "teacher.json"]);
});

Deno.test("RunRecorder files the neighbours of a run's beginning by what it is, whatever its step", async () => {
  await withFolder(async (path) => {
    using folder = OutputFolder.open(path);
    const effort = new BestEffort((text) => assertEquals(text, ""));
    const options = { task: "distill", args: [], adapter: "an adapter", inputs: [], started: 0, effort };
    const recorder = new RunRecorder(folder, options);
    recorder.neighbours(neighboursOf(6, "student", 8));
    recorder.neighbours({ ...neighboursOf(6, "student", 4), isBeginning: true });
    await recorder.finish({ status: "finished" });
    const steps = ["before", "student"].map((name) =>
      JSON.parse(Deno.readTextFileSync(join(path, "insight", `${name}.json`))).step
    );
    assertEquals(steps, [4, 8]);
  });
});

Deno.test("RunRecorder writes anew the report of the run that its folder lies in, and no other page of that name", async () => {
  await withFolder(async (path) => {
    const report = join(path, "report.html");
    Deno.writeTextFileSync(report, "a comparison of runs");
    /** Has a run end in a folder in there. */
    const finish = async (name: string) => {
      using folder = OutputFolder.open(join(path, name));
      folder.begin({}, null);
      const effort = new BestEffort((text) => assertEquals(text, ""));
      const options = { task: "lincls", args: [], adapter: "an adapter", inputs: [], started: 0, effort };
      const recorder = new RunRecorder(folder, options);
      recorder.plan({ images: 1, steps_per_epoch: 1, total_steps: 1, first_step: 0, epochs: 1 });
      await recorder.finish({ status: "finished" });
      return Deno.readTextFileSync(report);
    };
    assertEquals(await finish("first"), "a comparison of runs", "no run.json");
    Deno.writeTextFileSync(join(path, "run.json"), '{"name":"somebody\'s own"}');
    assertEquals(await finish("second"), "a comparison of runs", "a run.json that is no record");
    Deno.copyFileSync(join(path, "first", "run.json"), join(path, "run.json"));
    assertStringIncludes(await finish("third"), '"name":"third"');
  });
});

Deno.test("quoteCommand() gives a line that does the same from the project's folder", () => {
  const args = ["--data", "my images", "--output=runs/a"];
  const project = join(import.meta.dirname!, "..", "..", "..");
  const line = "deno task distill --data 'my images' --output=runs/a";
  assertEquals(quoteCommand("distill", args, project), line);
  assertEquals(quoteCommand("distill", args, project + "/"), line);
  assertEquals(quoteCommand("distill", args, "/home/me"), `INIT_CWD=/home/me ${line}`);
  assertEquals(quoteCommand("distill", args, "/home/me", 1), `INIT_CWD=/home/me ${line}`);
  const ranked = `INIT_CWD=/home/me mpirun -n 4 --bind-to none ${line}`;
  assertEquals(quoteCommand("distill", args, "/home/me", 4), ranked);
  assertEquals(quoteCommand("distill", args, "/it's mine"), `INIT_CWD='/it'\\''s mine' ${line}`);
});

Deno.test("RunRecorder records the folder that the command's paths are meant from", async () => {
  const before = Deno.env.get("INIT_CWD");
  Deno.env.set("INIT_CWD", "/home/me");
  try {
    await withFolder(async (path) => {
      using folder = OutputFolder.open(join(path, "out"));
      const effort = new BestEffort((text) => assertEquals(text, ""));
      const options = { task: "distill", args: ["."], adapter: "an adapter", inputs: [], started: 0, effort };
      const recorder = new RunRecorder(folder, options);
      recorder.plan({ images: 1, steps_per_epoch: 1, total_steps: 1, first_step: 0, epochs: 1 });
      await recorder.finish({ status: "finished" });
      const { command } = JSON.parse(Deno.readTextFileSync(join(path, "out", "run.json")));
      assertEquals(command, "INIT_CWD=/home/me deno task distill .");
    });
  } finally {
    if (before === undefined) Deno.env.delete("INIT_CWD");
    else Deno.env.set("INIT_CWD", before);
  }
});
