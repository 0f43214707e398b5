// `--amp` of the tasks whose encoder stays as it is.
import { assertLess, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { UserError } from "../../errors.ts";
import { describeAdapter } from "../../kernels/gpu.ts";
import { embed, knn, linearProbe } from "../../methods/runs.ts";
import { TensorValue, torchDict } from "../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../models/checkpoint/torch_writer.ts";
import { initialize } from "../../models/initialize.ts";
import { findEncoder, summarize, usualHead } from "../../models/registry.ts";
import { RunFolder } from "../actors/small_run.ts";
import { relativeError } from "../kernels/check_op.ts";
import { skip } from "../skip.ts";

const ENCODER = findEncoder("dino_vit_p4_w64_b1_h1_f64_r0_g2");
const SHAPE = { arch: ENCODER.name, imageSize: 8 };

/** Writes the encoder; with an outlier, one of its weights is too large for float16. */
async function writeEncoder(path: string, outlier?: number): Promise<string> {
  const { state } = summarize(ENCODER, usualHead(ENCODER));
  const values = initialize(state, 1);
  if (outlier !== undefined) values.get("blocks.0.mlp.fc1.weight")![5] = outlier;
  const entries = state.map(({ key, shape }) =>
    [key, new TensorValue("float32", shape, values.get(key)!)] as const
  );
  await writeTorchFile(path, torchDict(entries));
  return path;
}

const NAME = "--amp keeps a frozen encoder in float16, in every task";
Deno.test(NAME, async () => {
  if (!(await describeAdapter()).hasHalf) return skip(NAME, "the adapter has no float16");
  using folder = new RunFolder(12, 6);
  const [data, testData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const pretrained = await writeEncoder(join(folder.path, "encoder.pth"));
  const rowsOf = async (amp: boolean) => {
    const rows: number[] = [];
    for await (const event of embed({ pretrained, data, amp, ...SHAPE })) {
      if (event.type === "rows") rows.push(...event.embeddings);
    }
    return rows;
  };
  const [exact, half] = [await rowsOf(false), await rowsOf(true)];
  assertNotEquals(half, exact);
  assertLess(relativeError(half, exact), 4e-3);

  // What only float32 can hold shows who reads the weights as float16.
  const wide = await writeEncoder(join(folder.path, "wide.pth"), 1e5);
  const tasks = {
    embed: (amp: boolean) => embed({ pretrained: wide, data, amp, ...SHAPE }).result,
    knn: (amp: boolean) => knn({ pretrained: wide, data, testData, knnK: [3], amp, ...SHAPE }).result,
    linearProbe: (amp: boolean) =>
      linearProbe({
        ...{ pretrained: wide, data, testData, amp, ...SHAPE, output: folder.makeOutput(`linear ${amp}`) },
        ...{ epochs: 1, batchSize: 4, workers: 1, cacheFeatures: true },
      }).result,
  };
  for (const [name, task] of Object.entries(tasks)) {
    await task(false);
    const { message } = await assertRejects(
      () => task(true),
      UserError,
      "leave --amp out",
      name,
    );
    assertMatch(message, /blocks\.0\.mlp\.fc1\.weight: 100000 is too large for float16/);
  }
});
