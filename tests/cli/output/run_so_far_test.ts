import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { SAMPLE_DATA } from "../../../data/sample.ts";
import { fingerprintDataset, fingerprintFile } from "../../../data/fingerprint.ts";
import { openDataset, resolveDataset } from "../../../data/open_dataset.ts";
import { HELD_OUT } from "../../../methods/held_out.ts";
import { PAPER_DEFAULTS } from "../../../methods/seed/defaults.ts";
import type { DistillOptions } from "../../../methods/seed/options.ts";
import { parseDistillFlags } from "../../../cli/flags/distill_flags.ts";
import { isUnfinished, readRunSoFar, readStartsBefore } from "../../../cli/output/run_so_far.ts";
import { snakeCase } from "../../../cli/output/snake_case.ts";
import { earlierRecordOf, RecordedRun, recordOf, stepOf } from "../../ui/recorded_run.ts";

/** What is printed as an error meanwhile. */
async function said(work: () => Promise<void>): Promise<string[]> {
  const lines: string[] = [];
  const original = console.error;
  console.error = (line: string) => lines.push(line);
  try {
    await work();
  } finally {
    console.error = original;
  }
  return lines;
}

async function fingerprintOf(data: string): Promise<string> {
  using dataset = await openDataset(await resolveDataset(data, "train"));
  return await fingerprintDataset(dataset);
}

function optionsOf(run: RecordedRun): DistillOptions {
  const command = parseDistillFlags(["--output", run.path], {
    encoders: [PAPER_DEFAULTS.studentArch],
    folder: run.path,
    now: new Date(),
  });
  if (command.help !== undefined) throw new Error("help came instead of options");
  const { options } = command;
  return {
    ...options,
    dim: 128,
    imageSize: 32,
    evalResize: "auto",
    teacherArch: "resnet50",
    teacherSsl: "moco",
    resume: join(run.path, "a.pth.tar"),
    limitSteps: 9,
  };
}

Deno.test("a resumed run goes by its checkpoint alone where run.json cannot be read, and says so", async () => {
  using run = new RecordedRun();
  const path = join(run.path, "run.json");
  const resume = join(run.path, "a.pth.tar");
  for (
    const [text, problem] of [
      ["null", "expected an object, found null"],
      ["[]", "expected an object, found a list"],
      ["{", "expected JSON, found {"],
      [
        '{"task":"distill","status":1}',
        'expected ("running" | "finished" | "interrupted" | "failed"), found 1',
      ],
    ]
  ) {
    Deno.writeTextFileSync(path, text);
    const lines = await said(async () => {
      assertEquals(await isUnfinished("distill", run.path, resume), false);
    });
    assertEquals(lines.length, 1);
    assertEquals(lines[0].replace(" in the field status", ""), `warning: ${path} is ignored: ${problem}`);
  }
});

Deno.test("a resumed run takes the losses that can be read, and no settings from a config.json that cannot", async () => {
  using run = new RecordedRun();
  run.write("run.json", recordOf());
  run.write("config.json", null);
  Deno.writeTextFileSync(
    join(run.path, "metrics.jsonl"),
    `null\n{"step":1,"loss":2}\n{"step":2,"loss":"3"}\n${JSON.stringify(stepOf(3))}\n`,
  );
  const lines = await said(async () => {
    assertEquals(await readRunSoFar("distill", optionsOf(run)), {
      accuracies: [],
      losses: [{ step: 1, loss: 2 }, { step: 3, loss: stepOf(3).loss }],
      isUnfinished: true,
    });
  });
  assertEquals(lines, [
    `warning: ${join(run.path, "config.json")} is ignored: expected an object, found null`,
  ]);
});

Deno.test("evaluations on held-out labels are known to a resumed run of the same seed and data, and of no other", async () => {
  using run = new RecordedRun();
  const score = { of: "student", by: "knn", step: 8, top1: 30, top5: 90, held_out: true };
  Deno.writeTextFileSync(join(run.path, "scores.jsonl"), JSON.stringify(score) + "\n");
  const options = { ...optionsOf(run), testData: HELD_OUT };
  run.write(
    "config.json",
    Object.fromEntries(Object.entries(options).map(([name, value]) => [snakeCase(name), value])),
  );
  const images = { role: "images", path: options.data, fingerprint: await fingerprintOf(options.data) };
  const known = async (changes: Partial<DistillOptions>) =>
    (await readRunSoFar("distill", { ...options, ...changes }))!.accuracies;
  run.write("run.json", { ...recordOf(), inputs: [images] });
  assertEquals(await known({}) as unknown[], [score]);
  assertEquals(await known({ seed: options.seed + 1 }), []);
  assertEquals(await known({ testData: join(options.data, "test.tsv") }), []);
  run.write("run.json", { ...recordOf(), inputs: [{ ...images, fingerprint: "0" }] });
  assertEquals(await known({}), []);
});

Deno.test("evaluations are made again where a resumed run would make others", async () => {
  using run = new RecordedRun();
  const score = { of: "student", by: "knn", step: 8, top1: 30, top5: 90 };
  Deno.writeTextFileSync(join(run.path, "scores.jsonl"), JSON.stringify(score) + "\n");
  const options = { ...optionsOf(run), testData: join(SAMPLE_DATA, "test.tsv") };
  run.write(
    "config.json",
    Object.fromEntries(Object.entries(options).map(([name, value]) => [snakeCase(name), value])),
  );
  run.write("run.json", { ...recordOf(), inputs: [] });
  const known = async (changes: Partial<DistillOptions>) =>
    (await readRunSoFar("distill", { ...options, ...changes }))!.accuracies as unknown[];
  assertEquals(await known({}), [score]);
  assertEquals(await known({ lr: 1, workers: 3, seed: options.seed + 1 }), [score]);
  const others: Partial<DistillOptions>[] = [
    { evalResize: "torchvision" },
    { knnImages: 7 },
    { weights: "module.teacher" },
    { teacherSize: 64 },
    { fastDecode: true },
  ];
  for (const changes of others) assertEquals(await known(changes), [], JSON.stringify(changes));
  // It chooses the images of a sample.
  const sampled = { ...options, knnImages: 100 };
  run.write(
    "config.json",
    Object.fromEntries(Object.entries(sampled).map(([name, value]) => [snakeCase(name), value])),
  );
  assertEquals(await known({ knnImages: 100 }), [score]);
  assertEquals(await known({ knnImages: 100, seed: options.seed + 1 }), []);
  run.write(
    "config.json",
    Object.fromEntries(Object.entries(options).map(([name, value]) => [snakeCase(name), value])),
  );
  for (const [role, fingerprint] of [["images", "0"], ["test images", "0"]]) {
    run.write("run.json", { ...recordOf(), inputs: [{ role, path: options.data, fingerprint }] });
    assertEquals(await known({}), [], role);
  }
});

Deno.test("a resumed run knows its evaluations where the same images and teacher lie at another path", async () => {
  using run = new RecordedRun();
  using elsewhere = new RecordedRun();
  const score = { of: "student", by: "knn", step: 8, top1: 30, top5: 90 };
  Deno.writeTextFileSync(join(run.path, "scores.jsonl"), JSON.stringify(score) + "\n");
  const options = { ...optionsOf(run), data: SAMPLE_DATA, testData: join(SAMPLE_DATA, "test.tsv") };
  const write = (changes: Partial<DistillOptions> = {}) =>
    run.write(
      "config.json",
      Object.fromEntries(
        Object.entries({ ...options, ...changes }).map(([name, value]) => [snakeCase(name), value]),
      ),
    );
  write();
  for (const name of ["train.tsv", "train.lineidx", "test.tsv", "test.lineidx"]) {
    Deno.symlinkSync(join(SAMPLE_DATA, name), join(elsewhere.path, name));
  }
  const distill = join(elsewhere.path, "teacher.pth.tar");
  Deno.symlinkSync(options.distill, distill);
  const moved = { data: elsewhere.path, testData: join(elsewhere.path, "test.tsv"), distill };
  const known = async (changes: Partial<DistillOptions>) =>
    (await readRunSoFar("distill", { ...options, ...changes }))!.accuracies as unknown[];
  const images = { role: "images", path: options.data, fingerprint: await fingerprintOf(options.data) };
  const tests = { role: "test images", path: "", fingerprint: await fingerprintOf(options.testData) };
  const teacher = { role: "teacher", path: "", fingerprint: await fingerprintFile(distill) };
  run.write("run.json", { ...recordOf(), inputs: [images, tests, teacher] });
  assertEquals(await known(moved), [score]);
  assertEquals((await readRunSoFar("distill", { ...options, ...moved }))!.knnEvery, options.knnEvery);
  assertEquals((await readRunSoFar("distill", { ...options, knnK: 3 }))!.knnEvery, undefined);
  assertEquals(await known({ ...moved, resumeAnyway: true }), [score]);
  assertEquals(await known({ distill: join(SAMPLE_DATA, "test.tsv"), resumeAnyway: true }), []);
  assertEquals(await known({ testData: HELD_OUT }), []);
  assertEquals(await known({ testData: null }), []);
  write({ testData: null });
  assertEquals(await known({}), []);
  write();
  // Of images whose content is not known the path has to do.
  run.write("run.json", { ...recordOf(), inputs: [] });
  assertEquals(await known({}), [score]);
  assertEquals(await known({ distill }), [score]);
  assertEquals(await known({ distill, resumeAnyway: true }), []);
  assertEquals(await known({ data: moved.data }), []);
  assertEquals(await known({ testData: moved.testData }), []);
});

Deno.test("a run that is resumed in another folder keeps the losses of its beginning, and scores are made again", async () => {
  using run = new RecordedRun();
  await run.writeAll();
  run.addSteps(1, 3);
  using elsewhere = new RecordedRun();
  const options = { ...optionsOf(run), output: elsewhere.path };
  assertEquals(await readRunSoFar("distill", options), {
    accuracies: [],
    losses: [1, 2, 3].map((step) => ({ step, loss: stepOf(step).loss })),
    isUnfinished: false,
  });
  assertEquals(await isUnfinished("distill", elsewhere.path, options.resume), false);
});

Deno.test("readStartsBefore() adds up the starts of a run; one that was killed took until its last step", async () => {
  using run = new RecordedRun();
  const resume = join(run.path, "a.pth.tar");
  assertEquals(await readStartsBefore("distill", resume), undefined);
  run.write("run.json", { ...recordOf(), started_at: "2026-11-01T00:01:00Z", seconds: 50 });
  assertEquals(await readStartsBefore("distill", null), undefined);
  assertEquals(await readStartsBefore("lincls", resume), undefined);
  assertEquals(await readStartsBefore("distill", resume), {
    started_at: "2026-11-01T00:01:00Z",
    seconds: 50,
  });
  const before = { started_at: "2026-10-30T00:00:00Z", seconds: 100 };
  const killed = { ...recordOf(), started_at: "2026-11-01T00:01:00Z", seconds: undefined, before };
  run.write("run.json", killed);
  assertEquals(
    await readStartsBefore("distill", resume),
    { ...before, seconds: 100 },
    "before its first step",
  );
  const at = (seconds: number) => Date.parse(killed.started_at) / 1000 + seconds;
  const addStep = (step: number, time: number | undefined) =>
    Deno.writeTextFileSync(
      join(run.path, "metrics.jsonl"),
      `${JSON.stringify({ ...stepOf(step), time })}\n`,
      {
        append: true,
      },
    );
  addStep(1, at(-3600));
  assertEquals(
    await readStartsBefore("distill", resume),
    { ...before, seconds: 100 },
    "a step of an earlier start",
  );
  for (const [step, time] of [at(20), at(30), undefined].entries()) addStep(2 + step, time);
  for (const copied of ["2026-11-09T00:00:00Z", "2026-01-01T00:00:00Z"].map((date) => new Date(date))) {
    Deno.utimeSync(join(run.path, "metrics.jsonl"), copied, copied);
    assertEquals(await readStartsBefore("distill", resume), { ...before, seconds: 130 }, `copied ${copied}`);
  }
  run.write("run.json", { ...earlierRecordOf(), seconds: 1 });
  assertEquals(await readStartsBefore("distill", resume), {
    started_at: "2026-01-01T00:00:00.000Z",
    seconds: 10,
  });
});
