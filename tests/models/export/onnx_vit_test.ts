/** Vision transformers and ConvNeXts as ONNX models, run by onnxruntime. */
import { assert, assertEquals } from "@std/assert";
import { openEncoderSource } from "../../../models/encoder_source.ts";
import { chooseFeature } from "../../../models/features.ts";
import { exportEncoder } from "../../../models/export/export_encoder.ts";
import { withGpu } from "../../kernels/check_op.ts";
import { formulaTensor, referenceJson, referencePath } from "../../reference.ts";
import { vitTest } from "../../vit_files.ts";
import { withFolder } from "../checkpoint/fixtures.ts";
import { differenceOf, embedReference, IMAGES, sizeNamed } from "../vit_reference.ts";
import { decodeOnnx, runOnnx } from "./onnx_runtime.ts";

const TOLERANCE = 2e-5;

/** One of each kind of block, norm and position. */
const CHECKPOINTS = [
  "dino_tiny.pth",
  "dinov2_tiny.pth",
  "dinov2_tiny_reg.pth",
  "dinov2_tiny_swiglu.pth",
  "dinov2_width128.pth",
  "dinov3_tiny.pth",
  "dinov3_tiny_swiglu.pth",
  "dinov3_tiny_7b.pth",
  "dinov3_tiny_convnext.pth",
  "mocov3_tiny.pth.tar",
  "mocov3_tiny_conv.pth.tar",
];

for (const name of CHECKPOINTS) {
  vitTest(
    `parity: onnxruntime embeds images with an exported ${name} as its authors' code does`,
    () =>
      withFolder(async (folder) => {
        const path = `vit/checkpoints/${name}`;
        const { heads, outputs } = referenceJson(`${path}.expected.json`);
        // A model is for one size of square images.
        const squares = Object.entries<{ embedding: number[][] }>(outputs).filter(([size]) =>
          !size.includes("x")
        );
        assert(squares.length > 0);
        for (const [size, { embedding }] of squares) {
          const [imageSize] = sizeNamed(size);
          const output = `${folder}/${size}.onnx`;
          const { files } = await exportEncoder({
            checkpoint: referencePath(path),
            output,
            format: "onnx",
            part: "encoder",
            heads,
            imageSize,
            normalize: false,
            force: false,
          });
          assertEquals(files, [output]);
          const shape = [IMAGES, 3, imageSize, imageSize];
          const model = Deno.readFileSync(output);
          const outputs = await runOnnx(model, formulaTensor(`vit/input/${size}`, shape, "image"), shape);
          assertEquals(outputs.embedding.shape, [IMAGES, embedding[0].length]);
          const difference = differenceOf(outputs.embedding.data, embedding.flat());
          assert(difference <= TOLERANCE, `${size}: ${difference}`);
          assertEquals(decodeOnnx(model).opsetImport, [{ domain: "", version: 17 }]);
        }
      }),
  );
}

for (
  const [name, size, heads] of [["dinov2_tiny_reg.pth", 56, 2], [
    "dinov3_tiny_convnext.pth",
    96,
    undefined,
  ]] as const
) {
  for (const feature of ["mean", "cls+mean"] as const) {
    vitTest(
      `onnxruntime gives the feature ${feature} of ${name} that this program gives`,
      () =>
        withGpu((gpu) =>
          withFolder(async (folder) => {
            const checkpoint = referencePath(`vit/checkpoints/${name}`);
            const output = `${folder}/model.onnx`;
            const how = { format: "onnx", part: "encoder", normalize: false, force: false } as const;
            await exportEncoder({ ...how, checkpoint, output, heads, feature, imageSize: size });
            using source = await openEncoderSource(checkpoint, { part: "encoder", heads });
            const encoder = chooseFeature(source.encoder, feature);
            const expected = await embedReference(gpu, encoder, source.read, `${size}`);
            const shape = [IMAGES, 3, size, size];
            const images = formulaTensor(`vit/input/${size}`, shape, "image");
            const { embedding } = await runOnnx(Deno.readFileSync(output), images, shape);
            assertEquals(embedding.shape, [IMAGES, encoder.features]);
            assert(differenceOf(embedding.data, [...expected]) <= TOLERANCE);
          })
        ),
    );
  }
}
