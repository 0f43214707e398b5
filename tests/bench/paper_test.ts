/** `deno task bench:paper`: what it runs, and its whole way in a small size. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { Experiments } from "../../bench/experiments.ts";
import { preparePaperData } from "../../bench/paper_data.ts";
import { PAPER_SIZES, type PaperSize, planOf } from "../../bench/paper_sizes.ts";
import { paperSection } from "../../bench/paper_table.ts";
import { SAMPLE_DATA } from "../../data/sample.ts";
import { UserError } from "../../errors.ts";
import { ROOT } from "../docs/snippets.ts";

const PLUGIN = new URL("../actors/fixtures/tiny_encoder.ts", import.meta.url).href;
const ARCH = "tiny_convnet";

/** The size `full` with fewer and smaller images, encoders and batches; every kind of run is in it. */
function tinyOf(size: PaperSize): PaperSize {
  const small = { batchSize: 16, epochs: 1, limitSteps: 2 };
  const tiny = ({ work, title }: PaperSize["teacher"]): PaperSize["teacher"] => {
    assert(work.method === "moco");
    return {
      arch: ARCH,
      title,
      work: { ...work, options: { ...work.options, ...small, mocoK: 32, bnSplits: 2 } },
    };
  };
  return {
    ...size,
    images: { train: 40, test: 20 },
    teacher: tiny(size.teacher),
    worseTeacher: tiny(size.worseTeacher),
    students: [ARCH],
    seeds: 1,
    epochs: 1,
    moco: { ...size.moco, ...small, mocoK: 32, bnSplits: 2 },
    seed: { ...size.seed, ...small, queue: 32 },
    multiView: { smallViews: 1, smallSize: 16 },
    knnK: 3,
    linear: { ...size.linear, epochs: 1, schedule: [], batchSize: 20 },
    temperatures: [],
    queues: [],
    losses: ["seed", "in_batch"],
    bnSplits: [2],
  };
}

function experimentsIn(
  output: string,
  data: { train: string; test: string },
  size: PaperSize,
  signal?: AbortSignal,
) {
  const lines: string[] = [];
  const experiments = new Experiments({
    output,
    data: data.train,
    testData: data.test,
    knnK: size.knnK,
    linear: size.linear,
    training: { plugins: [PLUGIN] },
    signal,
    say: (text) => lines.push(text),
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
    assertEquals(usual.map(({ seeds }) => seeds), [size.seeds, size.seeds, size.seeds, size.seeds]);
  }
});

Deno.test("all kinds of runs of the full size are stopped, resumed and evaluated, and their table is made", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await import(PLUGIN);
    const size = tinyOf(PAPER_SIZES.full);
    const plan = planOf(size);
    const data = await preparePaperData(SAMPLE_DATA, folder, size, () => {});
    assertEquals(data.images, { train: 40, test: 20 });

    // The teacher is stopped, with a checkpoint.
    const stop = new AbortController();
    const stopped = experimentsIn(folder, data, size, stop.signal);
    const [teacher] = plan.steps;
    const first = stopped.experiments.run(teacher.experiment);
    stop.abort(new DOMException("stopped", "AbortError"));
    await assertRejects(() => first, Error);
    assertEquals(stopped.experiments.result("teacher"), undefined);
    assertEquals(paperSection(size, plan, stopped.experiments, data).rows, []);

    const { experiments } = experimentsIn(folder, data, size);
    for (const { experiment, seed } of plan.steps) {
      const { checkpoint, knn, linear } = await experiments.run(experiment, seed);
      assert(checkpoint.endsWith("checkpoint_0000.pth.tar"), checkpoint);
      for (const top1 of [knn, linear]) assert(top1 >= 0 && top1 <= 100);
    }
    const section = paperSection(size, plan, experiments, data);
    assertEquals(section.rows.map(({ name }) => name), plan.rows.map(({ title }) => title));
    assertMatch(section.rows[0].facts!["kNN top-1, %"], /^\d+\.\d$/);

    // Nothing is done again, and nothing of other settings is taken for the same.
    const again = experimentsIn(folder, data, size);
    for (const { experiment, seed } of plan.steps) await again.experiments.run(experiment, seed);
    assertEquals(again.lines, []);
    const longer = planOf({ ...size, epochs: 2 }).steps.find(({ experiment: { name } }) =>
      name.endsWith("-moco")
    )!;
    await assertRejects(() => again.experiments.run(longer.experiment), UserError, "other settings");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("bench:paper refuses flags and values that it does not know", async () => {
  const refused = async (...args: string[]) => {
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "-A", "--no-check", join(ROOT, "bench/paper.ts"), ...args],
      env: { NO_COLOR: "1" },
    }).output();
    assertEquals(code, 2);
    return new TextDecoder().decode(stderr).trim();
  };
  assertEquals(await refused("--size", "huge"), "error: --size: expected small or full, found huge");
  assertEquals(await refused("--seeds", "0"), "error: --seeds: expected a whole number from 1, found 0");
  assertMatch(await refused("--epoch", "3"), /^error: --epoch: unknown/);
});
