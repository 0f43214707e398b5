/** Labels that are no numbers of classes: ids of somebody's database, up to the largest int32. */
import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { indexLabels } from "../../actors/evaluator.ts";
import { runLinearEvaluation } from "../../methods/linear_probe/run.ts";
import { LINEAR_DEFAULTS } from "../../methods/linear_probe/options.ts";
import { UserError } from "../../errors.ts";
import { runKnnEvaluation } from "../../methods/knn.ts";
import { DEFAULT_MAX_PIXELS } from "../../data/decode.ts";
import { RunFolder, sampleRows, TINY_ENCODER } from "./small_run.ts";

const LARGEST = 2 ** 31 - 1;

Deno.test("indexLabels() keeps numbers of classes, and numbers large labels by their order", () => {
  const few = indexLabels([3, 0, 3]);
  assertEquals([few.classes, few.indexOf(3)], [4, 3]);
  const large = indexLabels([LARGEST, 7, 70_000, 7]);
  assertEquals([large.classes, ...[7, 70_000, LARGEST].map(large.indexOf)], [3, 0, 1, 2]);
});

Deno.test("a linear evaluation refuses labels that would make billions of classes, and names the largest", async () => {
  using folder = new RunFolder(4, 4);
  const [trainData, testData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  Deno.writeTextFileSync(
    trainData,
    Deno.readTextFileSync(trainData).replace(/^([^\t]*)\t\d+\t/, `$1\t${LARGEST}\t`),
  );
  await assertRejects(
    () =>
      runLinearEvaluation({
        ...{ ...LINEAR_DEFAULTS, pretrained: null, arch: "resnet18", which: "student", imageSize: 32 },
        ...{ data: trainData, testData, output: folder.makeOutput("linear"), batchSize: 2, epochs: 1 },
        ...{ workers: 1, resume: null, evaluate: false, classes: null },
      }),
    UserError,
    `found ${LARGEST}, hence ${LARGEST + 1} classes`,
  );
});

Deno.test("kNN tells the largest labels apart, and no label needs billions of classes", async () => {
  using folder = new RunFolder(16);
  const bankData = join(folder.data, "train.tsv");
  const queryData = join(folder.data, "test.tsv");
  // Every image's nearest neighbour is itself. Of 16 queries, 5 say that they are of the neighbouring class.
  const write = (path: string, label: (row: number) => number) => {
    const rows = sampleRows("train.tsv", 16).trimEnd().split("\n");
    Deno.writeTextFileSync(
      path,
      rows.map((row, i) => row.replace(/\t\d+\t/, `\t${label(i)}\t`) + "\n").join(""),
    );
  };
  write(bankData, (row) => LARGEST - row % 3);
  write(queryData, (row) => LARGEST - (row < 5 ? row + 1 : row) % 3);
  const [{ top1 }] = await runKnnEvaluation({ arch: "tiny_convnet", seed: 1 }, {
    ...{ bankData, queryData, imageSize: 16, maxPixels: DEFAULT_MAX_PIXELS },
    ...{ ks: [1], temperature: 0.07, plugins: [TINY_ENCODER] },
  });
  assertEquals(top1, 100 * 11 / 16);
});
