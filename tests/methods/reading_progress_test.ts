// A broken image never comes; what shows a reading waits for its total, so that is told when the reading has ended.
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import type { ProgressEvent } from "../../actors/events.ts";
import { FINETUNE_SAMPLE_DEFAULTS } from "../../methods/finetune/options.ts";
import { runFinetune } from "../../methods/finetune/run.ts";
import { knn } from "../../methods/runs.ts";
import { LINEAR_SAMPLE_DEFAULTS } from "../../methods/linear_probe/options.ts";
import { runLinearEvaluation } from "../../methods/linear_probe/run.ts";
import { ReadingProgress } from "../../methods/reading_progress.ts";
import { runDistillation } from "../../methods/seed/run.ts";
import { hear } from "../actors/hear.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";

/** Images to learn from, and 10 to classify, of which the second one is broken. */
class BrokenTestImage extends RunFolder {
  constructor() {
    super(24, 10);
    const path = join(this.data, "test.tsv");
    const rows = Deno.readTextFileSync(path).split("\n");
    rows[1] = [...rows[1].split("\t").slice(0, -1), btoa("no image")].join("\t");
    Deno.writeTextFileSync(path, rows.join("\n"));
  }
}

/** What is told of readings, without those of files. */
function collect(told: string[]): { progress(event: ProgressEvent): void } {
  return {
    progress({ phase, of, done, total }) {
      if (phase !== "reading") told.push(`${of ?? phase} ${done}/${total}`);
    },
  };
}

const ends = (told: readonly string[]): string[] => told.filter((text) => /(\d+)\/\1$/.test(text));

function labelledOptions(folder: RunFolder, name: string) {
  return {
    ...folder.labelledOptions(name),
    epochs: 2,
    batchSize: 4,
    resume: null,
    evaluate: false,
    classes: null,
  } as const;
}

for (const cacheFeatures of [false, true]) {
  const title = cacheFeatures ? "what it keeps" : "each test";
  Deno.test(`lincls tells the end of ${title} where a test image is broken`, async () => {
    using folder = new BrokenTestImage();
    const options = { ...LINEAR_SAMPLE_DEFAULTS, ...labelledOptions(folder, "run"), cacheFeatures };
    const told: string[] = [];
    await runLinearEvaluation({ ...options, plugins: [TINY_ENCODER], lr: [0.1] }, hear(collect(told)));
    const expected = cacheFeatures
      ? ["features 24/24", "features 10/10"]
      : ["evaluation 10/10", "evaluation 10/10"];
    assertEquals(ends(told), expected);
    assertEquals(told.filter((text) => text.endsWith(" 9/10")).length, cacheFeatures ? 1 : 2);
  });
}

Deno.test("lincls --finetune tells the end of each test where a test image is broken", async () => {
  using folder = new BrokenTestImage();
  const options = { ...FINETUNE_SAMPLE_DEFAULTS, ...labelledOptions(folder, "run") };
  const told: string[] = [];
  await runFinetune({ ...options, plugins: [TINY_ENCODER] }, hear(collect(told)));
  assertEquals(ends(told), ["evaluation 10/10", "evaluation 10/10"]);
});

Deno.test("distill tells the end of each evaluation where a test image is broken", async () => {
  using folder = new BrokenTestImage();
  const told: string[] = [];
  const options = folder.options("run", { testData: join(folder.data, "test.tsv") });
  await runDistillation(options, hear(collect(told)));
  assertEquals(ends(told), ["teacher 34/34", "student 34/34", "student 34/34"]);
});

Deno.test("knn tells its end where an image is broken", async () => {
  using folder = new BrokenTestImage();
  const told: string[] = [];
  const { data } = folder;
  const run = knn({ pretrained: TINY_TEACHER, arch: "tiny_convnet", plugins: [TINY_ENCODER], data });
  const { progress } = collect(told);
  for await (const event of run) if (event.type === "progress") progress(event);
  assertEquals(ends(told), ["evaluation 34/34"]);
});

Deno.test("ReadingProgress tells nothing twice, and nothing after its end", () => {
  const told: number[] = [];
  const progress = new ReadingProgress({ phase: "evaluation", total: 10 }, ({ done }) => told.push(done));
  progress.add(6);
  progress.add(6); // of several ranks, each is taken for all
  progress.add(6);
  progress.reach(2); // anew, after a crash
  progress.end();
  progress.add(1);
  progress.reach(9);
  assertEquals(told, [6, 10, 2, 10]);
});
