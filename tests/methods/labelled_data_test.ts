import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { UserError } from "../../errors.ts";
import { TsvFile } from "../../data/tsv.ts";
import { findLabelledData } from "../../methods/labelled_data.ts";
import { finetune, knn, linearProbe } from "../../mod.ts";
import { hear } from "../actors/hear.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER, withOneClass } from "../actors/small_run.ts";

Deno.test("findLabelledData() counts the chosen images of more classes than a call takes arguments", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "seed-classes-" });
  try {
    const data = join(folder, "train.tsv");
    const classes = 150_000;
    const image = btoa("P6 1 1 255\n123");
    Deno.writeTextFileSync(
      data,
      Array.from({ length: classes }, (_, i) => `${i}\t${i}\t${image}\n`).join(""),
    );
    const testData = join(folder, "test.tsv");
    Deno.writeTextFileSync(testData, `0\t0\t${image}\n`);
    const notes: string[] = [];
    const share = { labelFraction: 0.5, seed: 0, evaluate: false, classes: null };
    const { trainImages } = await findLabelledData(
      { data, testData, ...share },
      hear({ note: ({ text }: { text: string }) => notes.push(text) }),
    );
    assertEquals(trainImages, classes);
    assertEquals(notes, [
      `--label-fraction 0.5: learning from ${classes} of ${classes} images, 1 of each of ${classes} classes, chosen by --seed 0`,
    ]);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("findLabelledData() refuses an image without a label, and counts those that a share of labels leaves out", async () => {
  using folder = new RunFolder(40, 10);
  const data = join(folder.path, "holes.tsv");
  const rows = Deno.readTextFileSync(join(folder.data, "train.tsv")).split("\n").filter(Boolean);
  const labelled = rows.map((row, i) => row.split("\t").with(1, String(i % 10 < 3 ? -1 : i % 7)).join("\t"));
  Deno.writeTextFileSync(data, labelled.map((row) => `${row}\n`).join(""));
  const testData = join(folder.path, "known.tsv");
  Deno.writeTextFileSync(testData, `${labelled[3]}\n`);
  const notes: string[] = [];
  const find = (labelFraction: number) =>
    findLabelledData(
      { data, testData, labelFraction, seed: 0, evaluate: false, classes: null },
      hear({ note: ({ text }: { text: string }) => notes.push(text) }),
    );
  await assertRejects(() => find(1), UserError, `${data} line 1: has label -1: expected 0 or above`);
  const { trainImages } = await find(0.999999);
  assertEquals(trainImages, 28);
  assertEquals(notes.length, 1);
  assertStringIncludes(notes[0], "learning from 28 of 40 images, ");
  assertStringIncludes(notes[0], "chosen by --seed 0; left out 12 without a label");
});

Deno.test("findLabelledData() and knn() warn of images whose classes no image to learn from has", async () => {
  using folder = new RunFolder(40, 30);
  const rowsOf = (split: string) =>
    Deno.readTextFileSync(join(folder.data, `${split}.tsv`)).split("\n").filter(Boolean)
      .map((row, i) => row.split("\t").with(1, String(i % 10)));
  const write = (name: string, rows: string[][]) => {
    const path = join(folder.path, name);
    Deno.writeTextFileSync(path, rows.map((row) => `${row.join("\t")}\n`).join(""));
    return path;
  };
  const few = write("few.tsv", rowsOf("train").filter(([, label]) => label < "5" && label !== "1"));
  const all = write("all.tsv", rowsOf("train"));
  const testData = write("classified.tsv", rowsOf("test"));
  const warningsOf = async (data: string, changes: { evaluate?: boolean; labelFraction?: number } = {}) => {
    const warnings: string[] = [];
    const usual = { labelFraction: 1, seed: 0, evaluate: false, classes: null };
    await findLabelledData({ data, testData, ...usual, ...changes }, (event) => {
      if (event.type === "warning") warnings.push(event.text);
    });
    return warnings;
  };
  const warning =
    `${testData}: 18 of 30 images are of classes that no image of ${few} has (1, 5 to 9), and count as errors`;
  assertEquals(await warningsOf(few), [warning]);
  assertEquals(await warningsOf(few, { labelFraction: 0.5 }), [warning]);
  assertEquals(await warningsOf(all), []);
  // Then nothing is known of what was learnt from.
  assertEquals(await warningsOf(few, { evaluate: true }), []);

  for (const [data, expected] of [[few, [warning]], [all, []]] as const) {
    const warnings: string[] = [];
    const encoder = { pretrained: TINY_TEACHER, plugins: [TINY_ENCODER], imageSize: 32 };
    await using run = knn({ ...encoder, data, testData, knnK: [1] });
    for await (const event of run) if (event.type === "warning") warnings.push(event.text);
    const [{ top1 }] = await run.result;
    if (data === few) assert(top1 <= 40, String(top1));
    assertEquals(warnings, [...expected]);
  }
});

Deno.test("findLabelledData() warns of test images that are those to learn from, and of one class, but not where nothing is learnt", async () => {
  using folder = new RunFolder(80, 12);
  const [data, testData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const warningsOf = async (data: string, testData: string, evaluate = false) => {
    const warnings: string[] = [];
    await findLabelledData(
      { data, testData, evaluate, labelFraction: 1, seed: 0, classes: null },
      hear({ warning: ({ text }: { text: string }) => warnings.push(text) }),
    );
    return warnings;
  };
  const copy = join(folder.path, "copy.tsv");
  Deno.copyFileSync(data, copy);
  const end =
    "that are learnt from, so the accuracy says nothing about others. Use other test images (--test-data)";
  assertEquals(await warningsOf(data, data), [`${data}: these are the images ${end}`]);
  assertEquals(await warningsOf(data, copy), [`${copy}: these are the images of ${data} ${end}`]);
  assertEquals(await warningsOf(data, testData), []);
  assertEquals(await warningsOf(data, data, true), []);

  const [ones, tests] = [data, testData].map(withOneClass);
  assertEquals(await warningsOf(ones, tests), [
    `${ones}: all images are of class 1, and so is every prediction: the accuracy says nothing. ` +
    "Use images of two classes or more",
  ]);
  assertEquals(await warningsOf(ones, tests, true), []);
});

Deno.test("findLabelledData() chooses no share of the labels where nothing is learnt, and speaks of none", async () => {
  using folder = new RunFolder(40, 10);
  const [data, testData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const notes: string[] = [];
  const { rows, trainImages } = await findLabelledData(
    { data, testData, labelFraction: 0.1, seed: 0, evaluate: true, classes: null },
    hear({ note: ({ text }: { text: string }) => notes.push(text) }),
  );
  assertEquals([rows, trainImages, notes], [undefined, 40, []]);
});

Deno.test("findLabelledData() reads the labels of a file in one pass, classes counted or given, and tells of it", async () => {
  using folder = new RunFolder(40, 10);
  const [data, testData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const [train, test] = [data, testData].map((path) => [Deno.statSync(path).size]);
  for (const path of [data, testData]) (await TsvFile.open(path)).close(); // so that the rows are known
  const reading = async (changes: { classes?: number; evaluate?: boolean; labelFraction?: number }) => {
    const passed: number[][] = [];
    await findLabelledData(
      { data, testData, evaluate: false, labelFraction: 1, seed: 0, classes: null, ...changes },
      hear({ progress: ({ done, total }) => done === total && passed.push([total]) }),
    );
    return passed;
  };
  assertEquals(await reading({}), [train, test]);
  assertEquals(await reading({ labelFraction: 0.5 }), [train, test]);
  assertEquals(await reading({ classes: 10 }), [train, test]);
  assertEquals(await reading({ evaluate: true }), [train, test]);
  assertEquals(await reading({ evaluate: true, classes: 10 }), [test]);
});

Deno.test("findLabelledData() opens the images to classify before it reads labels of those to learn from", async () => {
  using folder = new RunFolder(40);
  const data = join(folder.data, "train.tsv");
  (await TsvFile.open(data)).close();
  const types: string[] = [];
  await assertRejects(
    () =>
      findLabelledData(
        {
          data,
          testData: join(folder.data, "none.tsv"),
          evaluate: false,
          labelFraction: 1,
          seed: 0,
          classes: null,
        },
        ({ type }) => types.push(type),
      ),
    UserError,
    "none.tsv",
  );
  assertEquals(types, []);
});

Deno.test("linearProbe() and finetune() evaluate no classifier that was never trained", async () => {
  using folder = new RunFolder(8, 8);
  const [data, testData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const files = { data, testData, pretrained: TINY_TEACHER, plugins: [TINY_ENCODER] };
  for (const method of [linearProbe, finetune]) {
    for (const resume of [null, "auto"]) {
      const output = join(folder.path, "output");
      const options = { ...files, output, resume, imageSize: 32, batchSize: 4, workers: 1, evaluate: true };
      await assertRejects(
        () => method(options).result,
        UserError,
        "evaluate: expected the checkpoint of a trained classifier in resume, found none",
      );
    }
  }
});
