import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { UserError } from "../../errors.ts";
import { findLabelledData } from "../../methods/labelled_data.ts";
import { finetune, linearProbe } from "../../mod.ts";
import { hear } from "../actors/hear.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";

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
