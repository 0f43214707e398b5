/** The widest teachers: gigabytes of weights in, and no second copy of them. */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { MemorySource } from "../../models/checkpoint/byte_source.ts";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import { TensorRef } from "../../models/checkpoint/tensor_ref.ts";
import { OrderedDict, TensorValue, type TorchValue } from "../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../models/checkpoint/torch_writer.ts";
import { findEncoder, summarize, usualHead } from "../../models/registry.ts";
import { relativeError } from "../kernels/check_op.ts";
import { IS_LONG } from "../long.ts";
import { referenceJson } from "../reference.ts";
import { withFolder } from "./checkpoint/fixtures.ts";
import type { Embedded } from "./embed_main.ts";
import { formulaReader } from "./reference_encoder.ts";

/** Writes an encoder's checkpoint as SWAV does; the formula gives one tensor at a time. Returns the weights' bytes. */
async function writeFormulaCheckpoint(path: string, arch: string): Promise<number> {
  const { state } = summarize(findEncoder(arch), usualHead(findEncoder(arch)), 64);
  const read = formulaReader(state);
  let total = 0;
  const dict = new OrderedDict(state.map(({ key, shape, kind }): [string, TorchValue] => {
    if (kind === "counter") return [`module.${key}`, new TensorValue("int64", [], BigInt64Array.of(0n))];
    const stride = shape.map((_, d) => shape.slice(d + 1).reduce((a, b) => a * b, 1));
    const bytes = shape[0] * stride[0] * 4;
    total += bytes;
    const open = () => Promise.resolve(new MemorySource(new Uint8Array(read(key).buffer)));
    const layout = { dtype: "float32", shape, stride, offset: 0 } as const;
    const fail = (problem: string) => new CheckpointError(path, problem);
    return [`module.${key}`, new TensorRef({ key, dtype: "float32", bytes, open }, layout, fail)];
  }));
  await writeTorchFile(path, dict);
  return total;
}

for (const arch of ["swav_resnet50w4", "swav_resnet50w5"]) {
  Deno.test({
    name: `parity: ${arch} loads from its file in less than 1.5 times the memory of its weights, and embeds`,
    ignore: !IS_LONG || Deno.build.os !== "linux",
    fn: () =>
      withFolder(async (folder) => {
        const path = `${folder}/${arch}.pth.tar`;
        const weightBytes = await writeFormulaCheckpoint(path, arch);
        const script = new URL("./embed_main.ts", import.meta.url).pathname;
        const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
          args: ["run", "--quiet", "-A", decodeURIComponent(script), arch, path],
        }).output();
        assert(success, new TextDecoder().decode(stderr));
        const { peakBytes, embedding }: Embedded = JSON.parse(new TextDecoder().decode(stdout));
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
