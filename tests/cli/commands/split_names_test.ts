// Tasks on images with classes that are named as splits are, beside others: of vehicles, say.
import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { fingerprintDataset } from "../../../data/fingerprint.ts";
import { openDataset } from "../../../data/open_dataset.ts";
import { RunFolder, sampleRows, TINY_ENCODER, TINY_TEACHER } from "../../actors/small_run.ts";
import { hostPrograms } from "../run_program.ts";

const runProgram = hostPrograms();
const run = (task: string, ...args: string[]) =>
  runProgram(fileURLToPath(new URL(`../../../cli/commands/${task}.ts`, import.meta.url)), ...args);
const TINY = ["--pretrained", TINY_TEACHER, "--image-size", "32", "--plugin", TINY_ENCODER];

/** Of which both sets have images: within them, two are named as splits. */
const CLASSES = ["car", "test", "train"];

/** Writes images of each class to `train/` and `val/` of a new folder, and returns its path. */
function writeSplits(folder: RunFolder): string {
  const data = join(folder.path, "vehicles");
  for (const [split, file, count] of [["train", "train.tsv", 4], ["val", "test.tsv", 2]] as const) {
    const rows = sampleRows(file, count * CLASSES.length).trim().split("\n");
    for (const [i, row] of rows.entries()) {
      const path = join(data, split, CLASSES[i % CLASSES.length]);
      Deno.mkdirSync(path, { recursive: true });
      Deno.writeFileSync(join(path, `${i}.png`), Uint8Array.fromBase64(row.split("\t")[2]));
    }
  }
  return data;
}

/** The images that a run should record. */
async function imagesOf(role: string, data: string, split: string) {
  using dataset = await openDataset(join(data, split));
  return { role, fingerprint: await fingerprintDataset(dataset) };
}

/** The images that a run has recorded. */
function recordedImages(output: string) {
  const { inputs } = JSON.parse(Deno.readTextFileSync(join(output, "run.json")));
  return inputs.slice(0, 2).map(({ role, fingerprint }: Record<string, string>) => ({ role, fingerprint }));
}

Deno.test("knn counts the images of classes that are named as splits", async () => {
  using folder = new RunFolder(1);
  const data = writeSplits(folder);
  for (const flags of [[data], [data, "--test-data", data]]) {
    const ended = await run("knn", ...TINY, "-k", "1", "--json", ...flags);
    assertEquals(ended.code, 0, ended.stderr);
    assertEquals(JSON.parse(ended.stdout).images, { bank: 12, queries: 6, held_out: false });
  }
});

Deno.test("distill and pretrain evaluate on the images of classes that are named as splits", async () => {
  using folder = new RunFolder(1);
  const data = writeSplits(folder);
  const shared = "--image-size 32 -b 4 -j 1 --epochs 1 --knn-k 1 --no-insight".split(" ");
  const plugin = ["-a", "tiny_convnet", "--plugin", TINY_ENCODER];
  const tasks = [["distill", "--distill", TINY_TEACHER, "--queue", "8"], ["pretrain", "--moco-k", "8"]];
  for (const [task, ...own] of tasks) {
    for (const [i, test] of [[], ["--test-data", data]].entries()) {
      const output = join(folder.path, `${task}${i}`);
      const ended = await run(
        task,
        ...own,
        ...shared,
        ...plugin,
        ...test,
        "--output",
        output,
        "--data",
        data,
      );
      assertEquals(ended.code, 0, ended.stderr);
      assertMatch(ended.stdout, /^images +12 in /m);
      assertMatch(ended.stdout, /^cache .*for train; .* for val$/m);
      assertEquals(recordedImages(output), [
        await imagesOf("images", data, "train"),
        await imagesOf("test images", data, "val"),
      ]);
    }
  }
});

Deno.test("embed writes the images of classes that are named as splits, with their labels", async () => {
  using folder = new RunFolder(1);
  const data = writeSplits(folder);
  for (const [split, each] of [["train", 4], ["test", 2]] as const) {
    const path = join(folder.path, `${split}.jsonl`);
    const ended = await run("embed", ...TINY, "--split", split, "-o", path, data);
    assertEquals([ended.code, ended.stderr], [0, ""]);
    const rows = Deno.readTextFileSync(path).trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(rows.map(({ label }) => label), CLASSES.flatMap((_, label) => Array(each).fill(label)));
    assertEquals(
      rows.map(({ name }) => name.split("/")[0]),
      CLASSES.flatMap((name) => Array(each).fill(name)),
    );
  }
});

Deno.test("lincls learns classes that are named as splits, and records which images they are of", async () => {
  using folder = new RunFolder(1);
  const data = writeSplits(folder);
  for (const method of [[], ["--finetune"]]) {
    const output = join(folder.path, `out${method}`);
    const flags = ["--epochs", "1", "-b", "4", "-j", "1", "--output", output];
    const ended = await run("lincls", ...TINY, ...method, ...flags, data);
    assertEquals(ended.code, 0, ended.stderr);
    assertMatch(ended.stdout, /^images +12 training, 6 test, 32 x 32$/m);
    assertMatch(ended.stdout, /\b3 classes$/m);
    assertEquals(recordedImages(output), [
      await imagesOf("images", data, "train"),
      await imagesOf("test images", data, "val"),
    ]);
  }
});
