// --max-pixels reaches whoever decodes: an image that is larger is broken, and named.
import { assert, assertMatch } from "@std/assert";
import { join } from "node:path";
import { loadSharp } from "../../data/sharp.ts";
import { runDistillation } from "../../methods/seed/run.ts";
import { runEmbedding } from "../../methods/embedding.ts";
import { runKnnEvaluation } from "../../methods/knn.ts";
import { runLinearEvaluation } from "../../methods/linear_probe/run.ts";
import { LINEAR_DEFAULTS } from "../../methods/linear_probe/options.ts";
import { drawTeacher } from "./drawn_teacher.ts";
import { RunFolder, TINY_ENCODER } from "./small_run.ts";

const sharp = await loadSharp();

/** The images of the sample have 1,024 pixels, and one that is put among them has 2,000. */
const MAX_PIXELS = 1500;

Deno.test("an image of more pixels than --max-pixels is broken to every task that decodes", async () => {
  using folder = new RunFolder(12, 8);
  const [train, test] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const large = await sharp({ create: { width: 50, height: 40, channels: 3, background: "red" } }).png()
    .toBuffer();
  for (const path of [train, test]) {
    Deno.writeTextFileSync(path, `large\t0\t${new Uint8Array(large).toBase64()}\n`, { append: true });
  }
  const path = join(folder.path, "encoder.pth.tar");
  await drawTeacher(path, "tiny_convnet", { kind: "mlp", dimension: 20 }, 5);
  const encoder = { path, arch: "tiny_convnet", which: "student" } as const;
  const common = { imageSize: 24, maxPixels: MAX_PIXELS, plugins: [TINY_ENCODER] };
  const warnings = new Map<string, string[]>();
  const hear = (task: string) => (event: { type: string; text?: string }) => {
    if (event.type === "warning") warnings.set(task, [...warnings.get(task) ?? [], event.text!]);
  };

  const distilling = { ...common, distill: path, teacherArch: "tiny_convnet", dim: 20 };
  await runDistillation(folder.options("run", { ...distilling, testData: test, knnK: 3 }), hear("distill"));
  await runLinearEvaluation({
    ...{ ...LINEAR_DEFAULTS, ...common, pretrained: path, arch: "tiny_convnet", which: "student" },
    ...{ data: train, testData: test, output: folder.makeOutput("linear"), batchSize: 8, epochs: 1 },
    ...{ warmupEpochs: 0, workers: 1, resume: null, evaluate: false, classes: null },
  }, hear("lincls"));
  await runKnnEvaluation(
    encoder,
    { ...common, bankData: train, queryData: test, ks: [3], temperature: 1 },
    hear("knn"),
  );
  const embedding = {
    ...common,
    data: train,
    encoder,
    part: "backbone",
    dimension: 64,
    neighbours: null,
  } as const;
  await runEmbedding({ ...embedding, batchSize: 8, workers: 1 }, hear("embed"));

  for (const task of ["distill", "lincls", "knn", "embed"]) {
    const found = (warnings.get(task) ?? []).filter((text) => text.includes("1500"));
    assert(found.length > 0, `${task}: ${warnings.get(task)}`);
    assertMatch(found[0], /at most 1500 pixels, found 50 x 40 = 2000/);
  }
});
