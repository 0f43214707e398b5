/** The same images as a TSV file, as a folder of images and as binary files of CIFAR: nothing else may differ. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { testDataOf } from "../../methods/held_out.ts";
import type { DistillOptions } from "../../methods/seed/options.ts";
import { runDistillation } from "../../methods/seed/run.ts";
import { runKnnEvaluation } from "../../methods/knn.ts";
import { decodeImage } from "../../data/decode.ts";
import { findDataset, resolveDataset } from "../../data/open_dataset.ts";
import { UserError } from "../../errors.ts";
import { RunFolder, sampleRows } from "./small_run.ts";
import { hear } from "./hear.ts";

/** The binary files of CIFAR-10. */
const CIFAR_FILES = {
  train: [1, 2, 3, 4, 5].map((number) => `data_batch_${number}.bin`),
  test: ["test_batch.bin"],
};

/** Writes images of the sample, ordered by class, in three kinds; the keys are made the folder's. */
async function writeKinds(folder: RunFolder): Promise<Record<"tsv" | "images" | "cifar", string>> {
  const kinds = Object.fromEntries(
    ["tsv", "images", "cifar"].map((kind) => [kind, folder.makeOutput(kind)]),
  ) as Record<"tsv" | "images" | "cifar", string>;
  for (const split of ["train", "test"] as const) {
    const rows = sampleRows(`${split}.tsv`, 60).trim().split("\n").map((line) => line.split("\t"))
      .sort((a, b) => Number(a[1]) - Number(b[1]));
    assertEquals(new Set(rows.map(([, label]) => label)).size, 10, "the folder must have every class");
    const records: number[][] = [];
    for (const [i, [, label, image]] of rows.entries()) {
      const bytes = Uint8Array.fromBase64(image);
      const folderOfClass = join(kinds.images, split, `class${label}`);
      Deno.mkdirSync(folderOfClass, { recursive: true });
      Deno.writeFileSync(join(folderOfClass, `${String(i).padStart(4, "0")}.png`), bytes);
      const { width, pixels } = await decodeImage(bytes);
      assertEquals(width, 32);
      const record = [Number(label)];
      for (const channel of [0, 1, 2]) {
        for (let pixel = 0; pixel < 1024; pixel++) record.push(pixels[4 * pixel + channel]);
      }
      records.push(record);
    }
    Deno.writeTextFileSync(
      join(kinds.tsv, `${split}.tsv`),
      rows.map((row) => row.join("\t") + "\n").join(""),
    );
    const batches = CIFAR_FILES[split];
    const each = records.length / batches.length;
    for (const [i, name] of batches.entries()) {
      const bytes = Uint8Array.from(records.slice(i * each, (i + 1) * each).flat());
      Deno.writeFileSync(join(kinds.cifar, name), bytes);
    }
  }
  return kinds;
}

Deno.test("a folder of images and CIFAR's binary files train as the TSV of the same images, to the last bit", async () => {
  using folder = new RunFolder(4);
  const kinds = await writeKinds(folder);
  const results = new Map<string, unknown>();
  for (const [kind, data] of Object.entries(kinds)) {
    const losses: number[] = [];
    const testData = await findDataset(data, "test");
    assert(testData !== undefined);
    const { knn } = await runDistillation(
      folder.options(`${kind}_run`, { data, testData, limitSteps: 3, workers: 2 }),
      hear({ step: ({ loss }) => losses.push(loss), warning: ({ text }) => assert(false, text) }),
    );
    assertEquals(losses.length, 3);
    results.set(kind, { losses, knn });
  }
  assertEquals(results.get("images"), results.get("tsv"));
  assertEquals(results.get("cifar"), results.get("tsv"));
});

Deno.test("test images of other classes end no training that found them itself, and are refused where they were named", async () => {
  using folder = new RunFolder(4);
  const data = folder.makeOutput("kaggle");
  for (const [i, line] of sampleRows("train.tsv", 8).trim().split("\n").entries()) {
    for (const path of [`train/${i % 2 === 0 ? "cat" : "dog"}`, "test/unknown", "other/unknown"]) {
      Deno.mkdirSync(join(data, path), { recursive: true });
      Deno.writeFileSync(join(data, path, `${i}.png`), Uint8Array.fromBase64(line.split("\t")[2]));
    }
  }
  const notes: string[] = [];
  const settings = { data, testData: await testDataOf(data) };
  const train = (name: string, changes: Partial<DistillOptions> = {}) =>
    runDistillation(
      folder.options(name, { ...settings, ...changes }),
      hear({ note: ({ text }) => notes.push(text) }),
    );
  const { steps, knn } = await train("found");
  assertEquals([steps, knn], [2, null]);
  const problem = `${join(data, "test")}: expected the classes of ${
    join(data, "train")
  }, but "cat" is missing`;
  assert(notes.some((text) => text.startsWith(`no kNN: ${problem}`)), notes.join("\n"));
  const error = await assertRejects(() => train("named", { testData: join(data, "other") }), UserError);
  assertMatch(
    error.message,
    /^--test-data: .*other: expected the classes of .* Leave --test-data out to train without these images\.$/,
  );
});

Deno.test("images without classes train without a kNN, which is said", async () => {
  using folder = new RunFolder(4, 4);
  const data = folder.makeOutput("flat");
  for (const [i, line] of sampleRows("train.tsv", 8).trim().split("\n").entries()) {
    Deno.writeFileSync(join(data, `${i}.png`), Uint8Array.fromBase64(line.split("\t")[2]));
  }
  const notes: string[] = [];
  const options = folder.options("run", { data, testData: join(folder.data, "test.tsv") });
  const { steps, knn } = await runDistillation(options, hear({ note: ({ text }) => notes.push(text) }));
  assertEquals([steps, knn], [2, null]);
  assert(notes.includes(`no kNN: ${data} has no class labels`), notes.join("\n"));
  await assertRejects(
    () =>
      runKnnEvaluation({ arch: "tiny_convnet", seed: 0 }, {
        bankData: data,
        queryData: data,
        imageSize: 32,
        ks: [1],
        temperature: 0.07,
      }),
    UserError,
    "expected class labels (in a folder of images: one subfolder per class), found none",
  );
});

Deno.test("a test set of other classes is refused", async () => {
  using folder = new RunFolder(4);
  const { images } = await writeKinds(folder);
  Deno.renameSync(join(images, "test/class3"), join(images, "test/klass3"));
  const evaluate = async () =>
    await runKnnEvaluation({ arch: "tiny_convnet", seed: 0 }, {
      bankData: await resolveDataset(images, "train"),
      queryData: await resolveDataset(images, "test"),
      imageSize: 32,
      ks: [1],
      temperature: 0.07,
    });
  await assertRejects(evaluate, UserError, `but "class3" is missing`);
});
