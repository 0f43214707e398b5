/** `deno task bench:paper`: what it runs, and its whole way in a small size. */
import "../one_thread.ts";
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type ExperimentError, Experiments, type ExperimentsOptions } from "../../bench/experiments.ts";
import { runSteps } from "../../bench/paper.ts";
import { findPaperData, type PaperData, preparePaperData } from "../../bench/paper_data.ts";
import { parsePaperFlags } from "../../bench/paper_flags.ts";
import { PAPER_SIZES, type PaperSize, type PaperTeacher, planOf } from "../../bench/paper_sizes.ts";
import { paperSection } from "../../bench/paper_table.ts";
import { parseDistillFlags } from "../../cli/flags/distill_flags.ts";
import { SAMPLE_DATA } from "../../data/sample.ts";
import { UserError } from "../../errors.ts";
import { studentNames, teacherNames } from "../../models/registry.ts";
import { commandsOf } from "../docs/commands.ts";

const PLUGIN = new URL("../actors/fixtures/tiny_encoder.ts", import.meta.url).href;
const PROGRAM = fileURLToPath(new URL("../../bench/paper.ts", import.meta.url));
const ARCH = "tiny_convnet";

/** The size `full` with fewer images, smaller encoders and batches, and two steps. */
function tinyOf(size: PaperSize): PaperSize {
  const small = { batchSize: 16, epochs: 1, limitSteps: 2 };
  const tiny = <Teacher extends PaperTeacher>(teacher: Teacher): Teacher => {
    const { work } = teacher;
    assert(work.method === "moco");
    return {
      ...teacher,
      arch: ARCH,
      work: { ...work, options: { ...work.options, ...small, mocoK: 32, bnSplits: 2 } },
    };
  };
  return {
    ...size,
    images: { train: 40, test: 20 },
    teacher: tiny(size.teacher),
    otherTeacher: tiny(size.otherTeacher),
    students: [ARCH],
    seeds: 1,
    epochs: 1,
    moco: { ...size.moco, ...small, mocoK: 32, bnSplits: 2 },
    seed: { ...size.seed, ...small, queue: 32, loss: "in_batch" },
    multiView: { smallViews: 1, smallSize: 16 },
    knnK: 3,
    linear: { ...size.linear, epochs: 1, schedule: [1], batchSize: 20 },
    temperatures: [],
    queues: [],
    losses: ["seed", "in_batch"],
    mixups: [],
    bnSplits: [2],
  };
}

function experimentsIn(
  output: string,
  data: PaperData,
  { knnK, linear }: PaperSize,
  changes: Partial<ExperimentsOptions> = {},
) {
  const lines: string[] = [];
  const experiments = new Experiments({
    output,
    data: data.train,
    allData: data.all,
    testData: data.test,
    knnK,
    linear,
    training: { plugins: [PLUGIN] },
    say: (text) => lines.push(text),
    ...changes,
  });
  return { experiments, lines };
}

Deno.test("the plan of each size runs what it needs first, and nothing twice", () => {
  for (const size of Object.values(PAPER_SIZES)) {
    const { steps, rows } = planOf(size);
    const done = new Set<string>();
    for (const { experiment: { name, work }, seed } of steps) {
      const own = `${name}/${seed}`;
      assert(!done.has(own), `${own} is run twice`);
      if (work.method === "seed") assert(done.has(`${work.teacher}/0`), `${own} comes before its teacher`);
      done.add(own);
    }
    for (const { title, experiment, seeds } of rows) {
      assert(done.has(`${experiment}/${seeds - 1}`), `${title}: seed ${seeds - 1} is not run`);
    }
    const titles = rows.map(({ title }) => title);
    assertEquals(new Set(titles).size, titles.length);
    // The usual value of each ablation is the student's own run.
    const usual = rows.filter(({ experiment }) => experiment === `${size.students[0]}-seed`);
    assertEquals(usual.map(({ seeds }) => seeds), Array(5).fill(size.seeds));
  }
});

/** The options of a distillation with these flags, of one's own images. */
function optionsOf(flags: readonly string[]): Record<string, unknown> {
  const given = flags.includes("--data") ? [] : ["--data", "DATA", "--distill", "TEACHER"];
  const command = parseDistillFlags([...given, ...flags], {
    encoders: studentNames(),
    teachers: teacherNames(),
    folder: "/",
  });
  assert(command.help === undefined);
  return { ...command.options };
}

function assertHas(found: Record<string, unknown>, expected: object, what: string): void {
  for (const [name, value] of Object.entries(expected)) assertEquals(found[name], value, `${what}: ${name}`);
}

Deno.test("the flags in a row's title have the settings that it was measured with", () => {
  for (const { changes } of Object.values(PAPER_SIZES)) {
    for (const [flags, options] of Object.entries(changes)) {
      assertHas(optionsOf(flags.split(" ")), { lrPerStep: false, ...options }, flags);
    }
  }
});

Deno.test("the documented command of the vision transformer that teaches is that of the bench", () => {
  const [command] = commandsOf("docs/encoders.md").filter(({ task, args }) =>
    task === "distill" && args.includes("runs/vit")
  );
  const { work } = PAPER_SIZES.vit.teacher;
  assert(work.method === "seed");
  assertHas(optionsOf(command.args), work.options, "docs/encoders.md");
});

Deno.test("runs of the full size are stopped, resumed and evaluated, and their table is made", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await import(PLUGIN);
    const size = tinyOf(PAPER_SIZES.full);
    const plan = planOf(size);
    const data = await preparePaperData(SAMPLE_DATA, folder, size, () => {});
    assertEquals(data.images, { train: 40, test: 20 });

    // The teacher is stopped when it is trained, and has not been evaluated.
    const stop = new AbortController();
    const stopped = experimentsIn(folder, data, size, {
      signal: stop.signal,
      say: (text) => text.endsWith("evaluating") && stop.abort(new DOMException("stopped", "AbortError")),
    }).experiments;
    await assertRejects(() => stopped.run(plan.steps[0].experiment), Error, "stopped");
    assertEquals((await paperSection(size, plan, stopped, data, { shared: false })).rows, []);

    const { experiments, lines } = experimentsIn(folder, data, size);
    // One of each kind: a teacher by MoCo-v2, and a student by small views and a loss without a queue.
    const names = ["teacher", `${ARCH}-seed-multi-view`];
    const steps = plan.steps.filter(({ experiment: { name } }) => names.includes(name));
    assertEquals(steps.length, names.length);
    for (const { experiment, seed } of steps) {
      const { checkpoint, knn, linear } = await experiments.run(experiment, seed);
      assert(checkpoint.endsWith("checkpoint_0000.pth.tar"), checkpoint);
      for (const top1 of [knn, linear]) assert(top1 >= 0 && top1 <= 100);
    }
    assertEquals(lines.filter((line) => /^teacher.*training/.test(line)).length, 1); // finds it trained
    const section = await paperSection(size, plan, experiments, data, { shared: true });
    assertEquals(section.rows.map(({ name }) => name), [
      `teacher: ${ARCH}, MoCo-v2, 1 epoch`,
      `${ARCH}: SEED, multi-view`,
    ]);
    assertEquals(Object.keys(section.rows[0].facts!), [
      "kNN top-1, %",
      "linear top-1, %",
      "seeds",
      "parameters",
    ]);
    assertMatch(section.about, / 2 of \d+ runs are finished\.$/);
    assertMatch(section.rows[0].facts!["kNN top-1, %"], /^\d+\.\d$/);

    // Nothing is done again, and nothing of other settings is taken for the same.
    const again = experimentsIn(folder, data, size);
    for (const { experiment, seed } of steps) await again.experiments.run(experiment, seed);
    assertEquals(again.lines, []);
    const longer = planOf({ ...size, epochs: 2 }).steps.find(({ experiment: { name } }) =>
      name === names[1]
    )!;
    await assertRejects(() => again.experiments.run(longer.experiment), UserError, "other settings");

    // Nor is it shown under the settings of another plan: the student's are the same here, its teacher's are not.
    const rowsOf = async (changed: PaperSize, { experiments } = again) =>
      (await paperSection(changed, planOf(changed), experiments, data, { shared: true })).rows;
    const { work } = size.teacher;
    assert(work.method === "moco");
    const options = { ...work.options, epochs: 2 };
    assertEquals(await rowsOf({ ...size, teacher: { ...size.teacher, work: { ...work, options } } }), []);
    assertEquals((await rowsOf({ ...size, epochs: 2 })).map(({ name }) => name), [section.rows[0].name]);

    // Nor is it taken for one of other images. But folders from before do not say of which they are, and may have a title.
    const others = experimentsIn(folder, { ...data, train: data.test }, size);
    await assertRejects(() => others.experiments.run(steps[0].experiment), UserError, "or images");
    assertEquals(await rowsOf(size, others), []);
    for (const { experiment: { name }, seed } of steps) {
      const path = join(folder, name, `seed${seed}`, "experiment.json");
      const { data: _, name: __, arch, ...before } = JSON.parse(await Deno.readTextFile(path));
      assertEquals(before.title, undefined); // a teacher's title may be reworded
      await Deno.writeTextFile(path, JSON.stringify({ name, arch, title: "as it was", ...before }));
    }
    assertEquals((await rowsOf(size, others)).length, 2);
    for (const { experiment, seed } of steps) await others.experiments.run(experiment, seed);
    assertEquals(others.lines, []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a run that diverges is noted, and the others go on", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await import(PLUGIN);
    const tiny = tinyOf(PAPER_SIZES.full);
    const size = { ...tiny, moco: { ...tiny.moco, lr: 1e38 } };
    const plan = planOf(size);
    const data = await preparePaperData(SAMPLE_DATA, folder, size, () => {});
    const steps = [`${ARCH}-seed`, "teacher", `${ARCH}-moco`, `${ARCH}-seed`].map((wanted) =>
      plan.steps.find(({ experiment: { name } }) => name === wanted)!
    );
    const { experiments } = experimentsIn(folder, data, size);
    const failed: ExperimentError[] = [];
    await runSteps(steps, experiments, failed, () => {});
    assertEquals(failed.length, 2);
    assertMatch(failed[0].message, /^tiny_convnet-seed, seed 0: its teacher, teacher, has not been made$/);
    assertMatch(failed[1].message, /^tiny_convnet-moco, seed 0: .*training has diverged/);
    const { about, rows } = await paperSection(size, plan, experiments, data, { shared: true, failed });
    assertEquals(rows.slice(0, 2).map(({ name }) => name), [
      `teacher: ${ARCH}, MoCo-v2, 1 epoch`,
      `${ARCH}: SEED`,
    ]);
    assertMatch(about, / Failed: tiny_convnet-seed, seed 0; tiny_convnet-moco, seed 0\.$/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("images that were drawn from others are refused, and taken where their folder does not say so", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const size = { images: { train: 4, test: 2 } };
    const others = join(folder, "others"); // the same without a row
    await Deno.mkdir(others);
    for (const name of ["train.tsv", "test.tsv"]) {
      const rows = (await Deno.readTextFile(join(SAMPLE_DATA, name))).split("\n");
      await Deno.writeTextFile(join(others, name), rows.slice(1, 50).join("\n") + "\n");
    }
    const output = join(folder, "output");
    const prepare = (data: string) => preparePaperData(data, output, size, () => {});
    await prepare(SAMPLE_DATA);
    await assertRejects(() => prepare(others), UserError, "drawn from other images than those of");
    await assertRejects(() => findPaperData(others, output, size), UserError, "drawn from other images");
    assertEquals((await prepare(SAMPLE_DATA)).images, size.images);
    await Deno.remove(join(output, "images.json"));
    assertEquals((await prepare(others)).images, size.images);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("--table writes nothing where no run has begun, and says so", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const output = join(folder, "new");
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "-A", "--no-check", PROGRAM, "--table", "--output", output],
    }).output();
    assertMatch(
      new TextDecoder().decode(stderr),
      /^error: .*new\/cifar10: expected the images of runs, found none/,
    );
    assertEquals(code, 1);
    assertEquals([...Deno.readDirSync(folder)], []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("parsePaperFlags() reads a size and what differs from it", () => {
  const command = parsePaperFlags([
    "--students",
    "resnet18,resnet34",
    "--seeds",
    "2",
    "--epochs",
    "9",
    "--data",
    "/cifar",
  ]);
  assert(command.help === undefined);
  const { size, data, settings } = command;
  assertEquals([size.students, size.seeds, size.epochs], [["resnet18", "resnet34"], 2, 9]);
  assertEquals([size.ablationSeeds, size.images], [
    PAPER_SIZES.small.ablationSeeds,
    PAPER_SIZES.small.images,
  ]);
  assertEquals(data, "/cifar");
  assertEquals(settings, "--size small --students resnet18,resnet34 --seeds 2 --epochs 9");
});

Deno.test("--teacher-arch and --teacher-epochs choose what is pretrained", () => {
  const args = ["--size", "full", "--teacher-arch", "resnet18_cifar", "--teacher-epochs", "60"];
  const command = parsePaperFlags(args);
  assert(command.help === undefined);
  const { size, settings } = command;
  assertEquals(settings, args.join(" "));
  const { steps: [{ experiment }], rows: [{ title }] } = planOf(size);
  assertEquals(title, "teacher: resnet18_cifar, MoCo-v2, 60 epochs");
  const { work } = PAPER_SIZES.full.teacher;
  assert(experiment.work.method === "moco" && work.method === "moco");
  assertEquals([experiment.arch, experiment.work.options], ["resnet18_cifar", {
    ...work.options,
    epochs: 60,
  }]);
  // The worse one is the same encoder, pretrained for a tenth as long.
  const worseOf = (...args: string[]) => {
    const command = parsePaperFlags(["--size", "full", ...args]);
    assert(command.help === undefined);
    const { rows } = planOf(command.size);
    return rows.find(({ title }) => title.startsWith("worse teacher: "))!.title;
  };
  assertEquals(worseOf(), "worse teacher: resnet50_cifar, MoCo-v2, 20 epochs");
  assertEquals(worseOf(...args.slice(2)), "worse teacher: resnet18_cifar, MoCo-v2, 6 epochs");
  assertEquals(worseOf("--teacher-epochs", "4"), "worse teacher: resnet50_cifar, MoCo-v2, 1 epoch");
});

Deno.test("--ablation-seeds 0 leaves the ablations out, and the students' own runs in", () => {
  const command = parsePaperFlags(["--students", "resnet18,resnet34", "--ablation-seeds", "0"]);
  assert(command.help === undefined);
  const { steps, rows } = planOf(command.size);
  const own = ["fresh weights", "MoCo-v2 alone", "SEED", "SEED, multi-view"];
  assertEquals(rows.slice(1).map(({ title }) => title), [
    ...own.map((title) => `resnet18: ${title}`),
    ...own.map((title) => `resnet34: ${title}`),
  ]);
  assertEquals(steps.length, 1 + 2 * own.length * PAPER_SIZES.small.seeds);
});

Deno.test("the table says what fresh weights of an EfficientNet are worth", async () => {
  const aboutOf = async (students: string[]) => {
    const size = { ...PAPER_SIZES.small, students };
    const data = { images: { train: 4000, test: 1000 } } as PaperData;
    const { experiments } = experimentsIn("/nowhere", data, size);
    return (await paperSection(size, { steps: [], rows: [] }, experiments, data, { shared: true })).about;
  };
  assertMatch(
    await aboutOf(["resnet18", "efficientnet_b0"]),
    / after 125 batches, 28 % of them are the initial ones\. So its row is no baseline\. /,
  );
  assert(!(await aboutOf(["resnet18"])).includes("initial"));
});

Deno.test("parsePaperFlags() takes paths from the folder that they were typed in", () => {
  const before = Deno.env.get("INIT_CWD");
  Deno.env.set("INIT_CWD", "/typed/here");
  try {
    const command = parsePaperFlags(["--data", "cifar"]);
    assert(!("help" in command));
    assertEquals([command.data, command.output], ["/typed/here/cifar", "/typed/here/output/paper_small"]);
  } finally {
    if (before === undefined) Deno.env.delete("INIT_CWD");
    else Deno.env.set("INIT_CWD", before);
  }
});

Deno.test("parsePaperFlags() refuses flags and values that it does not know", () => {
  const refused = (args: string[], text: string) =>
    assertThrows(() => parsePaperFlags(args), UserError, text);
  refused(["--size", "huge"], "--size: expected small, full or vit, found huge");
  refused(["--seeds", "0"], "--seeds: expected a whole number from 1, found 0");
  refused(["--ablation-seeds", "few"], "--ablation-seeds: expected a whole number from 0, found few");
  refused(["--students", "resnet17"], 'there is no encoder "resnet17"');
  refused(["--epoch", "3"], "--epoch: unknown");
  refused(["--teacher-epochs", "9"], "--teacher-epochs: the teacher of --size small is not pretrained here");
  refused(["--size", "full", "--teacher-epochs", "0"], "--teacher-epochs: expected a whole number from 1");
  refused(["--size", "full", "--teacher-arch", "resnet17"], 'there is no encoder "resnet17"');
});
