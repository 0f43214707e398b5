import { assertEquals, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { loadSharp } from "../../data/sharp.ts";
import { runEmbedding } from "../../methods/embedding.ts";
import { runKnnEvaluation } from "../../methods/knn.ts";
import { resolveEvaluationResize, shorterSide } from "../../actors/evaluation_resize.ts";
import { SAMPLE_DATA } from "../../data/sample.ts";
import { TestFolder } from "../data/folder.ts";
import { drawTeacher } from "./drawn_teacher.ts";
import { RunFolder, TINY_ENCODER } from "./small_run.ts";
import { hear } from "./hear.ts";

const sharp = await loadSharp();

/** A TSV of gray images of these sizes. */
async function dataOf(
  folder: TestFolder,
  name: string,
  sizes: (readonly [number, number])[],
): Promise<string> {
  const rows = await Promise.all(sizes.map(async ([width, height], i) => {
    const image = await sharp({ create: { width, height, channels: 3, background: "gray" } }).png()
      .toBuffer();
    return `${i}\t0\t${image.toString("base64")}\n`;
  }));
  return folder.write(name, rows.join(""));
}

Deno.test("shorterSide() is torchvision's 256 for 224, or the view's own", () => {
  assertEquals([224, 64, 56, 32, 16].map((size) => shorterSide(size, "torchvision")), [256, 73, 64, 37, 18]);
  assertEquals([224, 32].map((size) => shorterSide(size, "none")), [224, 32]);
  assertEquals(shorterSide(224, "torchvision-bicubic"), 256);
  assertEquals(shorterSide(224, "none-bicubic"), 224);
});

Deno.test("resolveEvaluationResize() takes small images whole only where all of them have the view's size", async () => {
  using folder = new TestFolder();
  const same = await dataOf(folder, "same.tsv", [[32, 32], [32, 32], [32, 32]]);
  const mixed = await dataOf(folder, "mixed.tsv", [[32, 32], [32, 40], [32, 32]]);
  const large = await dataOf(folder, "large.tsv", [[64, 64], [64, 64]]);
  // A JPEG that ends before it says its size.
  const cut = `3\t0\t${Uint8Array.of(0xff, 0xd8, 0xff, 0xe0).toBase64()}\n`;
  const broken = folder.write("broken.tsv", Deno.readTextFileSync(same) + cut);
  assertEquals(await resolveEvaluationResize("auto", same, 32), "none");
  assertEquals(await resolveEvaluationResize("auto", broken, 32), "none");
  assertEquals(await resolveEvaluationResize(undefined, `${SAMPLE_DATA}/test.tsv`, 32), "none");
  assertEquals(await resolveEvaluationResize("auto", same, 16), "torchvision");
  assertEquals(await resolveEvaluationResize("auto", mixed, 32), "torchvision");
  assertEquals(await resolveEvaluationResize("auto", large, 64), "torchvision");
  assertEquals(await resolveEvaluationResize("auto", undefined, 32), "torchvision");
  assertEquals(await resolveEvaluationResize("torchvision", same, 32), "torchvision");
  assertEquals(await resolveEvaluationResize("none", large, 64), "none");
  assertEquals(await resolveEvaluationResize("auto-bicubic", same, 32), "none-bicubic");
  assertEquals(await resolveEvaluationResize("auto-bicubic", mixed, 32), "torchvision-bicubic");
  assertEquals(await resolveEvaluationResize("none-bicubic", large, 64), "none-bicubic");
});

Deno.test("features of images of the view's size follow the rule, which the data decides where none is named", async () => {
  using folder = new RunFolder(8, 8);
  const [train, test] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const path = join(folder.path, "encoder.pth.tar");
  await drawTeacher(path, "tiny_convnet", { kind: "mlp", dimension: 20 }, 5);
  const encoder = { path, arch: "tiny_convnet", which: "student" } as const;
  const common = { encoder, imageSize: 32, plugins: [TINY_ENCODER] };
  const embedBy = async (evalResize?: "none" | "torchvision") => {
    const features: number[] = [];
    const one = { ...common, data: train, part: "backbone", dimension: 64, neighbours: null } as const;
    await runEmbedding(
      { ...one, batchSize: 8, workers: 1, ...evalResize && { evalResize } },
      hear({
        rows: ({ embeddings }) => void features.push(...embeddings),
      }),
    );
    return features;
  };
  const [byDefault, none, torchvision] = [
    await embedBy(),
    await embedBy("none"),
    await embedBy("torchvision"),
  ];
  assertEquals(byDefault, none);
  assertNotEquals(none, torchvision);

  const plans: string[] = [];
  for (const evalResize of ["auto", "torchvision"] as const) {
    const voters = { bankData: train, queryData: test, ks: [3], temperature: 1, evalResize };
    await runKnnEvaluation(
      encoder,
      { ...common, ...voters },
      hear({
        plan: ({ evalResize }) => void plans.push(evalResize),
      }),
    );
  }
  assertEquals(plans, ["none", "torchvision"]);
});
