// Runs with decoded images kept in memory, in a file, and nowhere.
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { UserError } from "../../errors.ts";
import type { LinearEvent } from "../../methods/linear_probe/events.ts";
import { LINEAR_SAMPLE_DEFAULTS, type LinearOptions } from "../../methods/linear_probe/options.ts";
import { runLinearEvaluation } from "../../methods/linear_probe/run.ts";
import type { DistillEvent } from "../../methods/seed/events.ts";
import type { DistillOptions } from "../../methods/seed/options.ts";
import { runDistillation } from "../../methods/seed/run.ts";
import { hear } from "../actors/hear.ts";
import { digestFile, RunFolder, sampleRows, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";

const ROWS = 24;

/** What a run says of where it keeps images, its notes and warnings, and the SHA-256 of its weights. */
async function run(options: DistillOptions) {
  const [plans, notes, warnings]: string[][] = [[], [], []];
  const listen = hear<DistillEvent>({
    plan: ({ cache }) => plans.push(cache),
    note: ({ text }) => notes.push(text),
    warning: ({ text }) => warnings.push(text),
  });
  const { checkpoint, knn } = await runDistillation(options, listen);
  return { cache: plans[0], notes, warnings, digest: await digestFile(checkpoint), knn };
}

Deno.test("a distillation has the same weights wherever it keeps decoded images", async () => {
  using folder = new RunFolder(ROWS, 8);
  // A row that is broken, which another one replaces.
  const train = join(folder.data, "train.tsv");
  Deno.writeTextFileSync(train, sampleRows("train.tsv", ROWS) + "a\t1\tAAAA\n");
  const file = join(folder.path, "images.cache");
  const settings = { epochs: 2, workers: 2, seed: 4, testData: join(folder.data, "test.tsv"), knnEvery: 0 };
  const of = (name: string, changes: Partial<DistillOptions>) =>
    run(folder.options(name, { ...settings, ...changes }));
  const plain = await of("off", { cache: "off" });
  assertEquals(plain.cache, "off");
  const broken = (warnings: string[]) => warnings.filter((text) => /line 25: .*1 so far/.test(text)).length;
  assertEquals([plain.warnings.length, broken(plain.warnings)], [1, 1]);
  for (
    const [name, cache, told] of [
      ["auto", "auto", /^77 kB of memory for train\.tsv; 25 kB of memory for test\.tsv$/],
      ["memory", "memory", /^77 kB of memory for train\.tsv; /],
      ["file", file, /images\.cache, with 0 of 25 images; 25 kB of memory for test\.tsv$/],
      ["file again", file, /images\.cache, with 24 of 25 images; /],
    ] as const
  ) {
    const kept = await of(name, { cache, workers: name === "file" ? 3 : 1 });
    assertMatch(kept.cache, told);
    assertEquals([kept.digest, kept.knn, broken(kept.warnings)], [plain.digest, plain.knn, 1], name);
  }

  // Other images under the same name.
  Deno.writeTextFileSync(train, sampleRows("train.tsv", ROWS + 1));
  const other = await of("other", { cache: file, epochs: 1 });
  assertMatch(other.cache, /with 0 of 25 images/);
  assert(other.notes.some((text) => /had decoded images of other data, .* made anew/.test(text)));
  assertEquals(other.digest, (await of("other off", { cache: "off", epochs: 1 })).digest);
  // What is no such file stays as it is.
  await assertRejects(() => of("wrong", { cache: train }), UserError, "expected a file of decoded images");
  assertEquals(Deno.readTextFileSync(train), sampleRows("train.tsv", ROWS + 1));
});

Deno.test("a distillation whose images are kept reads its TSV in the first epoch only", async () => {
  using folder = new RunFolder(ROWS);
  const train = join(folder.data, "train.tsv");
  const options = folder.options("whole", { epochs: 6, cache: "memory" });
  const whole = await run(options);
  let isCut = false;
  const { checkpoint } = await runDistillation(
    folder.options("cut", { epochs: 6, cache: "memory" }),
    hear<DistillEvent>({
      step({ epoch }) {
        if (epoch !== 1 || isCut) return; // all images of epoch 0 have been packed
        isCut = true;
        Deno.truncateSync(train, 2000);
      },
    }),
  );
  assertEquals([isCut, await digestFile(checkpoint)], [true, whole.digest]);
});

Deno.test("a linear evaluation keeps the images of both sets, unless it reads each once", async () => {
  using folder = new RunFolder(ROWS, 8);
  const file = join(folder.path, "images.cache");
  const cacheOf = async (name: string, changes: Partial<LinearOptions>) => {
    let told = "";
    await runLinearEvaluation(
      {
        ...LINEAR_SAMPLE_DEFAULTS,
        ...{ pretrained: TINY_TEACHER, arch: "tiny_convnet", which: "student", plugins: [TINY_ENCODER] },
        data: join(folder.data, "train.tsv"),
        testData: join(folder.data, "test.tsv"),
        output: folder.makeOutput(name),
        ...{ workers: 2, epochs: 1, batchSize: 8, lr: [0.1], cacheFeatures: false },
        ...{ resume: null, evaluate: false, classes: null },
        ...changes,
      },
      hear<LinearEvent>({ plan: ({ cache }) => told = cache }),
    );
    return told;
  };
  assertEquals(await cacheOf("auto", {}), "74 kB of memory for train.tsv; 25 kB of memory for test.tsv");
  assertEquals(await cacheOf("once", { cacheFeatures: true }), "off: each image is read once");
  assertMatch(
    await cacheOf("file", { cache: file, cacheFeatures: true }),
    /with 0 of 24 images; each image is read once$/,
  );
  assertMatch(
    await cacheOf("again", { cache: file }),
    /with 24 of 24 images; 25 kB of memory for test\.tsv$/,
  );
});
