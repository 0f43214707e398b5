// Views of a batch that are more than one binding holds.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { evaluationBatchSize } from "../../actors/evaluation.ts";
import { EpochOrder } from "../../data/sampler.ts";
import { UserError } from "../../errors.ts";
import { describeAdapter } from "../../kernels/gpu.ts";
import { embed, knn, linearProbe } from "../../methods/runs.ts";
import { runDistillation } from "../../methods/seed/run.ts";
import { IS_LONG } from "../long.ts";
import { hear } from "./hear.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "./small_run.ts";

/** Side of views of which 100 take more than the 128 MiB that every device binds. */
const LARGE = 580;

Deno.test("evaluationBatchSize() is 100, or a part of it whose views every device binds", () => {
  const sizes = [32, 224, 579, LARGE, 640, 1024, 2899];
  assertEquals(sizes.map(evaluationBatchSize), [100, 100, 100, 50, 50, 25, 2]);
  for (const size of sizes) assertEquals(100 % evaluationBatchSize(size), 0);
});

Deno.test("kNN evaluates views of which one binding does not hold 100", async () => {
  using folder = new RunFolder(8);
  const data = join(folder.data, "train.tsv");
  const views = { imageSize: LARGE, evalResize: "none" } as const;
  const run = knn({
    pretrained: TINY_TEACHER,
    plugins: [TINY_ENCODER],
    ...views,
    data,
    testData: data,
    knnK: [1],
  });
  // Each image is its own nearest neighbour.
  assertEquals((await run.result).map(({ top1 }) => top1), [100]);
});

Deno.test("a distillation looks at such views too, and its probe set has the rows that it has at any size", {
  ignore: !IS_LONG, // the kNN above goes the same way
}, async () => {
  const [count, seed] = [60, 3];
  using folder = new RunFolder(count);
  const found: number[][] = [];
  await runDistillation(
    folder.options("run", { imageSize: LARGE, insight: true, seed, limitSteps: 1 }),
    hear({ "probe-set": ({ rows }) => void found.push(rows) }),
  );
  const order = new EpochOrder(count, seed, 0, 100, { dropLast: false });
  assertEquals(found, [[...order.batch(0)]]);
});

Deno.test("a batch of views that one binding does not hold is refused, and the error says what to change", async () => {
  using folder = new RunFolder(8, 4);
  const { maxBindingBytes } = await describeAdapter();
  const imageSize = 512;
  const batchSize = Math.floor(maxBindingBytes / (4 * imageSize ** 2)) + 1;
  const refuse = async ({ result }: { result: Promise<unknown> }) => {
    const { message } = await assertRejects(() => result, UserError);
    assertStringIncludes(message, `${batchSize} views of 512 x 512 pixels take `);
    assertStringIncludes(message, "use a smaller --batch-size, --image-size, --teacher-size or --small-size");
  };
  const large = { imageSize, batchSize };
  await refuse(linearProbe({ ...folder.labelledOptions("lincls"), ...large }));
  const { pretrained, plugins, data } = folder.labelledOptions("embed");
  await refuse(embed({ pretrained, plugins, data, ...large }));
});
