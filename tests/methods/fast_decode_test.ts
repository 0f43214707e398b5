// `--fast-decode` in every task: what is done is what would be done with the smaller images.
import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { decodeImage } from "../../data/decode.ts";
import { Random } from "../../data/random.ts";
import { loadSharp } from "../../data/sharp.ts";
import { distill, embed, finetune, knn, linearProbe, pretrain } from "../../methods/runs.ts";
import type { DistillInput } from "../../methods/seed/mod.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";

const SIZE = 32;
/** Twice as large as a view when they are halved, and not when they are quartered. */
const [WIDTH, HEIGHT] = [170, 2 * 2 * SIZE + 3];
const ROWS = 12;

/** Writes JPEGs to one folder, and to another as PNGs what is decoded of them at half their size. */
async function writeBoth(jpegs: string, pngs: string): Promise<void> {
  const sharp = await loadSharp();
  for (const [name, rows] of [["train", ROWS], ["test", 3 * ROWS]] as const) {
    const lines: [string, string] = ["", ""];
    for (let row = 0; row < rows; row++) {
      const random = new Random(row, "photo", name);
      const noise = Uint8Array.from({ length: 80 * 60 * 3 }, () => random.uniform(0, 255));
      const jpeg = await sharp(noise, { raw: { width: 80, height: 60, channels: 3 } })
        .resize(WIDTH, HEIGHT, { fit: "fill" }).jpeg({ quality: 90 }).toBuffer();
      const { width, height, pixels } = await decodeImage(jpeg, { leastSide: 2 * SIZE });
      assertEquals([width, height], [WIDTH >> 1, HEIGHT >> 1]);
      const png = await sharp(pixels, { raw: { width, height, channels: 4 } }).removeAlpha().png().toBuffer();
      for (const [i, bytes] of [jpeg, png].entries()) {
        lines[i] += `${row}\t${row % 3}\t${bytes.toString("base64")}\n`;
      }
    }
    for (const [i, folder] of [jpegs, pngs].entries()) {
      Deno.writeTextFileSync(join(folder, `${name}.tsv`), lines[i]);
    }
  }
}

Deno.test("--fast-decode decodes JPEGs at half their size, in every task and by every cache", async () => {
  using folder = new RunFolder(1);
  const [jpegs, pngs] = ["jpegs", "pngs"].map((name) => folder.makeOutput(name));
  await writeBoth(jpegs, pngs);
  const shared = { plugins: [TINY_ENCODER], imageSize: SIZE };
  let runs = 0;
  const output = () => folder.makeOutput(`run ${runs++}`);
  const training = () => ({
    ...shared,
    output: output(),
    testData: null,
    epochs: 2,
    workers: 2,
    insight: false,
  });
  const of = (data: string) => ({ data: join(data, "train.tsv"), testData: join(data, "test.tsv") });

  let cache = "";
  const taught = async (data: string, changes: Partial<DistillInput>) => {
    const run = distill({
      ...training(),
      ...{ data, distill: TINY_TEACHER, studentArch: "tiny_convnet", batchSize: 4, queue: 8, ...changes },
    });
    for await (const event of run) if (event.type === "plan") cache = event.cache;
    const { firstLoss, lastLoss } = await run.result;
    return [firstLoss, lastLoss];
  };
  const smaller = await taught(pngs, {});
  const file = join(folder.path, "images.cache");
  for (
    const [where, told] of [["off", /^off/], ["memory", /^200 kB of memory for train\.tsv$/], [
      file,
      /with 0 of 12/,
    ], [
      file,
      /with 12 of 12/,
    ]] as const
  ) {
    assertEquals(await taught(jpegs, { fastDecode: true, cache: where }), smaller, where);
    assertMatch(cache, told);
  }
  // A file of other pixels is made anew.
  const whole = await taught(jpegs, { cache: file });
  assertMatch(cache, /with 0 of 12/);
  assertNotEquals(whole, smaller);

  const encoder = { ...shared, pretrained: TINY_TEACHER };
  const tasks: Record<string, (data: string, fastDecode: boolean) => Promise<unknown>> = {
    async embed(data, fastDecode) {
      const rows: number[] = [];
      for await (const event of embed({ ...encoder, data: of(data).data, fastDecode })) {
        if (event.type === "rows") rows.push(...event.embeddings);
      }
      return rows;
    },
    knn: (data, fastDecode) =>
      knn({ ...encoder, ...of(data), knnK: [1, 2, 3, 4, 5, 6, 7, 8], fastDecode }).result,
    async pretrain(data, fastDecode) {
      const moco = { arch: "tiny_convnet", batchSize: 4, mocoK: 8, mocoDim: 8 };
      return (await pretrain({ ...training(), ...moco, data, fastDecode }).result).lastLoss;
    },
    async linearProbe(data, fastDecode) {
      const given = {
        ...encoder,
        ...of(data),
        output: output(),
        epochs: 2,
        batchSize: 4,
        lr: [0.1],
        workers: 1,
      };
      const { scores: [{ last }] } = await linearProbe({ ...given, fastDecode }).result;
      return last;
    },
    async finetune(data, fastDecode) {
      const given = { ...encoder, ...of(data), output: output(), epochs: 2, batchSize: 4, workers: 1 };
      return (await finetune({ ...given, fastDecode }).result).last;
    },
  };
  for (const [name, task] of Object.entries(tasks)) {
    assertEquals(await task(jpegs, true), await task(pngs, false), name);
  }
  for (const name of ["embed", "knn"]) {
    assertNotEquals(await tasks[name](jpegs, false), await tasks[name](pngs, false), name);
  }
});
