import { assert, assertEquals, assertNotEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { UserError } from "../../errors.ts";
import { chooseHeldOut, findVote, HELD_OUT, testDataOf, testDataOfTraining } from "../../methods/held_out.ts";
import { TestFolder } from "../data/folder.ts";
import { TsvFile } from "../../data/tsv.ts";
import { distill, knn } from "../../mod.ts";
import { hear } from "../actors/hear.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";

/** 40 images of class 0, 20 of class 1, 4 of class 2, and 3 without a label. */
const LABELS = Int32Array.from({ length: 67 }, (_, row) => row < 40 ? 0 : row < 60 ? 1 : row < 64 ? 2 : -1);

const rowsOf = (labels: Int32Array, seed = 0) => {
  const rows = chooseHeldOut(labels, seed);
  assert(typeof rows !== "string", `${rows}`);
  return rows;
};

Deno.test("chooseHeldOut() classifies a tenth of each class by all other labelled images, and none of a small class", () => {
  const { bankRows, queryRows } = rowsOf(LABELS);
  assertEquals([...queryRows].map((row) => LABELS[row]), [0, 0, 0, 0, 1, 1]);
  assertEquals(
    [...bankRows, ...queryRows].toSorted((a, b) => a - b),
    Array.from({ length: 64 }, (_, row) => row),
  );
  assertEquals([...bankRows], [...bankRows].toSorted((a, b) => a - b));
});

Deno.test("chooseHeldOut() follows the seed", () => {
  assertEquals(rowsOf(LABELS, 3), rowsOf(LABELS, 3));
  assertNotEquals(rowsOf(LABELS, 3), rowsOf(LABELS, 4));
});

Deno.test("chooseHeldOut() says why labels do not suffice", () => {
  assertEquals(chooseHeldOut(Int32Array.of(-1, -1), 0), "no class labels");
  assertEquals(chooseHeldOut(new Int32Array(50), 0), "labels of one class only");
  assertEquals(chooseHeldOut(Int32Array.of(0, 0, 0, 0, 1, 1, 1, 1), 0), "fewer than 5 images of each class");
  assertEquals([...rowsOf(Int32Array.of(0, 0, 0, 0, 0, 1)).queryRows].length, 1);
});

Deno.test("testDataOf() finds the test set of a folder, and of a folder without one or of a file none", async () => {
  using both = new RunFolder(2, 2);
  using alone = new RunFolder(2);
  assertEquals(await testDataOf(both.data), join(both.data, "test.tsv"));
  assertEquals(await testDataOf(alone.data), HELD_OUT);
  assertEquals(await testDataOf(join(both.data, "train.tsv")), HELD_OUT);
});

Deno.test("testDataOfTraining() finds the test set of a folder that is named", async () => {
  using folder = new RunFolder(2, 2);
  const { data } = folder;
  const test = join(data, "test.tsv");
  for (const testData of [data, test, undefined]) {
    assertEquals(await testDataOfTraining({ data, testData }), test);
  }
  assertEquals(await testDataOfTraining({ data, images: 9, testData: data }), test);
  for (const testData of [null, HELD_OUT]) {
    assertEquals(await testDataOfTraining({ data, testData }), testData);
  }
});

Deno.test("findVote() notes that a folder named as a split is taken for a class", async () => {
  using folder = new TestFolder();
  for (const path of ["car", "train"]) {
    Deno.mkdirSync(join(folder.path, path));
    for (let i = 0; i < 5; i++) folder.write(`${path}/${i}.jpg`, "");
  }
  const notes: string[] = [];
  await findVote({ data: folder.path, seed: 0 }, (event) => event.type === "note" && notes.push(event.text));
  assertEquals(notes.length, 2);
  assertStringIncludes(notes[0], `${folder.path}: taken for classes like the folders beside them: train/`);
});

Deno.test("findVote() refuses data in which there is nothing to classify", async () => {
  using folder = new RunFolder(4);
  const { message } = await assertRejects(
    () => findVote({ data: folder.data, seed: 0 }, () => {}),
    UserError,
  );
  assertEquals(
    message,
    `there are no test images, and ${folder.data}/train.tsv has fewer than 5 images of each class: expected some images of two classes or more to classify`,
  );
});

/** Takes events of a run, and keeps what is told of reading: [bytes, of so many]. */
function hearReading() {
  const passed: number[][] = [];
  const listen = hear<{ type: "progress"; phase: string; done: number; total: number }>({
    progress: ({ phase, done, total }) => phase === "reading" && passed.push([done, total]),
  });
  return { passed, listen: listen as (event: { type: string }) => void };
}

Deno.test("labels of rows are not read to hold some out where a sample has none", async () => {
  using folder = new RunFolder(8);
  const train = join(folder.data, "train.tsv");
  Deno.writeTextFileSync(train, Deno.readTextFileSync(train).replace(/\t\d+\t/g, "\t-1\t"));
  (await TsvFile.open(train)).close(); // so that the rows are known
  const { passed, listen } = hearReading();
  const { message } = await assertRejects(
    () => findVote({ data: folder.data, seed: 0 }, listen),
    UserError,
  );
  assertStringIncludes(message, `there are no test images, and ${train} has no class labels`);
  const notes: string[] = [];
  await using run = distill(folder.options("unlabelled", { testData: undefined, limitSteps: 1 }));
  for await (const event of run) {
    listen(event);
    if (event.type === "note") notes.push(event.text);
  }
  assertEquals(notes.filter((text) => text.startsWith("no kNN")), [`no kNN: ${train} has no class labels`]);
  assertEquals(passed, []);
});

Deno.test("knn() reads labels once to hold some out, and once of each other data, and tells of it", async () => {
  using folder = new RunFolder(24, 12);
  folder.relabel();
  const [train, test] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  for (const path of [train, test]) (await TsvFile.open(path)).close(); // so that the rows are known
  const reading = async (data: string, testData?: string) => {
    const { passed, listen } = hearReading();
    const encoder = { pretrained: TINY_TEACHER, plugins: [TINY_ENCODER], imageSize: 32 };
    await using run = knn({ ...encoder, data, testData, knnK: [1] });
    for await (const event of run) listen(event);
    const [{ top1 }] = await run.result;
    return { passed, top1 };
  };
  const [ofTrain, ofTest] = [train, test].map((path) => Deno.statSync(path).size).map((size) => [size, size]);
  assertEquals((await reading(train)).passed, [ofTrain]);
  assertEquals((await reading(train, test)).passed, [ofTrain, ofTest]);
  assertEquals(await reading(train, train), { passed: [ofTrain], top1: 100 });
});

Deno.test("findVote() ends with the reason of its signal while it reads labels", async () => {
  using folder = new RunFolder(24);
  folder.relabel();
  (await TsvFile.open(join(folder.data, "train.tsv"))).close();
  const controller = new AbortController();
  const reason = new Error("enough");
  const error = await assertRejects(() =>
    findVote(
      { data: folder.data, seed: 0 },
      ({ type }) => type === "progress" && controller.abort(reason),
      controller.signal,
    )
  );
  assertEquals(error, reason);
});
