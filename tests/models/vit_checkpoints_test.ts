/** Tiny checkpoints in every format, as their programs wrote them, against the embeddings that the authors' code gives. */
import { assert } from "@std/assert";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { withGpu } from "../kernels/check_op.ts";
import { referenceJson, referencePath } from "../reference.ts";
import { HAS_VIT_FILES, vitTest } from "../vit_files.ts";
import { differenceOf, embedReference } from "./vit_reference.ts";

const FOLDER = "vit/checkpoints";
const TOLERANCE = 2e-5;

const files = HAS_VIT_FILES ? [...Deno.readDirSync(referencePath(FOLDER))] : [];
const checkpoints = files.map(({ name }) => name)
  .filter((name) => name.endsWith(".expected.json"))
  .map((name) => name.replace(".expected.json", "")).toSorted();

for (const name of checkpoints) {
  vitTest(
    `parity: ${name} embeds images of every size as its authors' code does`,
    () =>
      withGpu(async (gpu) => {
        const path = referencePath(`${FOLDER}/${name}`);
        const { heads, outputs } = referenceJson(`${FOLDER}/${name}.expected.json`);
        using source = await openEncoderSource(path, { heads, part: "encoder" });
        for (const [size, { embedding }] of Object.entries<{ embedding: number[][] }>(outputs)) {
          const actual = await embedReference(gpu, source.encoder, source.read, size);
          const difference = differenceOf(actual, embedding.flat());
          assert(difference <= TOLERANCE, `${size}: ${difference}`);
        }
      }),
  );
}

// In place of all tests above, where the checkpoints are missing.
vitTest(
  "parity: checkpoints in every format embed images as their authors' code does",
  () => assert(checkpoints.length >= 34),
);
