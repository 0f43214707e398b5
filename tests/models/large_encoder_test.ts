/** The widest teachers: gigabytes of weights in, and no second copy of them. */
import { assert, assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import { describeAdapter } from "../../kernels/gpu.ts";
import { MemorySource } from "../../models/checkpoint/byte_source.ts";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import { rowMajor, TensorRef } from "../../models/checkpoint/tensor_ref.ts";
import { OrderedDict, TensorValue, type TorchValue } from "../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../models/checkpoint/torch_writer.ts";
import type { StateEntry } from "../../models/encoder_layers.ts";
import { elementCount } from "../../kernels/graph.ts";
import { findEncoder, summarize, usualHead } from "../../models/registry.ts";
import { relativeError } from "../kernels/check_op.ts";
import { IS_LONG } from "../long.ts";
import { referenceJson } from "../reference.ts";
import { skip } from "../skip.ts";
import { HAS_VIT_FILES } from "../vit_files.ts";
import { withFolder } from "./checkpoint/fixtures.ts";
import type { Embedded, EmbedTask } from "./embed_main.ts";
import { formulaReader } from "./reference_encoder.ts";
import { vitFormulaReader } from "./vit_reference.ts";

/**
 * Writes a checkpoint; `read` makes one entry at a time. Returns the weights' bytes.
 *
 * @param prefix goes in front of every key
 */
async function writeCheckpoint(
  path: string,
  state: readonly StateEntry[],
  read: (key: string) => Float32Array,
  prefix = "",
): Promise<number> {
  let total = 0;
  const dict = new OrderedDict(state.map(({ key, shape, kind }): [string, TorchValue] => {
    if (kind === "counter") return [prefix + key, new TensorValue("int64", [], BigInt64Array.of(0n))];
    const bytes = elementCount(shape) * 4;
    total += bytes;
    const open = () => Promise.resolve(new MemorySource(new Uint8Array(read(key).buffer)));
    const layout = { dtype: "float32", shape, stride: rowMajor(shape), offset: 0 } as const;
    const fail = (problem: string) => new CheckpointError(path, problem);
    return [prefix + key, new TensorRef({ key, dtype: "float32", bytes, open }, layout, fail)];
  }));
  await writeTorchFile(path, dict);
  return total;
}

/** Embeds in a process of its own. */
async function embedApart(task: EmbedTask): Promise<Embedded> {
  const script = new URL("./embed_main.ts", import.meta.url).pathname;
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", decodeURIComponent(script), JSON.stringify(task)],
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

for (const arch of ["swav_resnet50w4", "swav_resnet50w5"]) {
  Deno.test({
    name: `parity: ${arch} loads from its file in less than 1.5 times the memory of its weights, and embeds`,
    ignore: !IS_LONG || Deno.build.os !== "linux",
    fn: () =>
      withFolder(async (folder) => {
        const path = `${folder}/${arch}.pth.tar`;
        const { state } = summarize(findEncoder(arch), usualHead(findEncoder(arch)), 64);
        const weightBytes = await writeCheckpoint(path, state, formulaReader(state), "module.");
        const inputs = [{ name: "input/64", count: 2, size: 64 }] as const;
        const { peakBytes, embeddings: [embedding] } = await embedApart({ arch, path, inputs });
        // On a software adapter the device's memory is the process's own. Deno itself with a device open takes 0.16 GB
        // of it, which is not taken off here.
        const ratio = peakBytes / weightBytes;
        assert(ratio < 1.5, `${ratio.toFixed(2)} times the weights`);

        assertEquals(embedding.length, 2 * 128);
        for (const row of [embedding.slice(0, 128), embedding.slice(128)]) {
          assertAlmostEquals(Math.hypot(...row), 1, 1e-5);
        }
        // The reference has none of the widest.
        const expected = referenceJson("embeddings.json")[arch]?.eval64?.embedding.flat();
        if (expected !== undefined) assert(relativeError(embedding, expected) <= 1e-4);
      }),
  });
}

/** What an embedding of the reference's images is compared with: of the widest models it has the first numbers of a row. */
interface ReferenceRows {
  dim: number;
  values: number[][];
  max_abs: number[];
}

/** The largest difference from the reference's numbers, over the largest number of the same row. */
function differenceFrom({ dim, values, max_abs }: ReferenceRows, embedding: readonly number[]): number {
  return Math.max(
    ...values.flatMap((row, image) =>
      row.map((value, i) => Math.abs(embedding[image * dim + i] - value) / max_abs[image])
    ),
  );
}

const GIANT = "dinov2_vitg14";
/** What all but its weights may take. */
const OTHER_BYTES = 1e9;
/** How far float16 weights may move an embedding, over its largest number; 1.4e-2 was measured. */
const HALF_TOLERANCE = 3e-2;
const GIANT_TEST =
  `parity: ${GIANT} embeds by bindings of 128 MiB in its weights' memory and 1 GB, with --amp in half`;

Deno.test({
  name: GIANT_TEST,
  ignore: !IS_LONG || Deno.build.os !== "linux",
  fn: () =>
    withFolder(async (folder) => {
      const path = `${folder}/${GIANT}.pth`;
      const encoder = findEncoder(GIANT);
      const { state } = summarize(encoder, usualHead(encoder));
      const weightBytes = await writeCheckpoint(path, state, vitFormulaReader(encoder));
      assertAlmostEquals(weightBytes, 4.55e9, 0.01e9);
      // The reference has the second's embeddings.
      const inputs = [
        { name: "vit/input/224", count: 1, size: 224 },
        { name: "vit/input/98", count: 2, size: 98 },
      ] as const;
      const task = { arch: GIANT, path, inputs, maxBindingBytes: 2 ** 27 };
      const expected: ReferenceRows | undefined = HAS_VIT_FILES
        ? referenceJson("vit/vit.json")[GIANT].outputs["98"]
        : undefined;
      const embed = async (mixedPrecision: boolean, tolerance: number) => {
        const { peakBytes, deviceBytes, embeddings } = await embedApart({ ...task, mixedPrecision });
        const [bytes, most] = [peakBytes + deviceBytes, weightBytes / (mixedPrecision ? 2 : 1) + OTHER_BYTES];
        assert(
          bytes < most,
          `${mixedPrecision ? "float16" : "float32"}: ${bytes} bytes, allowed are ${most}`,
        );
        assertEquals(embeddings.map(({ length }) => length), [1, 2].map((n) => n * encoder.features));
        if (expected !== undefined) assertLess(differenceFrom(expected, embeddings[1]), tolerance);
        return embeddings[0];
      };

      const exact = await embed(false, 5e-5);
      if (!(await describeAdapter()).hasHalf) return skip(GIANT_TEST, "the adapter has no float16");
      assertLess(relativeError(await embed(true, HALF_TOLERANCE), exact), HALF_TOLERANCE);
    }),
});
