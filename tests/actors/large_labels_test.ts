/** Labels that are no numbers of classes: ids of somebody's database, up to the largest int32. */
import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { indexLabels } from "../../actors/evaluator.ts";
import { runLinearEvaluation } from "../../methods/linear_probe/run.ts";
import { LINEAR_DEFAULTS } from "../../methods/linear_probe/options.ts";
import { UserError } from "../../errors.ts";
import { RunFolder } from "./small_run.ts";

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
        ...{ trainData, testData, output: folder.makeOutput("linear"), batchSize: 2, epochs: 1 },
        ...{ workers: 1, resume: null, evaluate: false, classes: null },
      }),
    UserError,
    `found ${LARGEST}, which would make ${LARGEST + 1} classes`,
  );
});
