import {
  assertAlmostEquals,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import { loadFrozenEncoder } from "../../../actors/load_encoder.ts";
import { UserError } from "../../../errors.ts";
import { distill } from "../../../methods/runs.ts";
import { exportEncoder } from "../../../models/export/export_encoder.ts";
import { loadStateDict } from "../../../models/checkpoint/state_dict.ts";
import { RunFolder, TINY_TEACHER } from "../../actors/small_run.ts";
import { withGpu } from "../../kernels/check_op.ts";

Deno.test("a teacher without a head gives its pooled feature with --feature, and one with a head too", async () => {
  using folder = new RunFolder(12);
  const headless = join(folder.path, "backbone.pth");
  await exportEncoder({
    ...{ checkpoint: TINY_TEACHER, output: headless, format: "pth", part: "backbone" },
    ...{ imageSize: 32, normalize: false, force: false },
  });
  const lossOf = async (name: string, changes: Parameters<RunFolder["options"]>[1]) => {
    const result = await distill(folder.options(name, { limitSteps: 2, dim: 8, ...changes })).result;
    return { loss: result.firstLoss, checkpoint: result.checkpoint };
  };
  const refused = await assertRejects(() => lossOf("refused", { distill: headless }), UserError);
  assertStringIncludes(refused.message, "as a teacher, use it with --feature");
  const wrong = await assertRejects(
    () => lossOf("wrong", { distill: headless, feature: "pooled", dim: 128 }),
    UserError,
  );
  assertStringIncludes(wrong.message, "its features have length 8, but --dim is 128; use --dim 8");

  const alone = await lossOf("alone", { distill: headless, feature: "pooled" });
  assertEquals((await lossOf("head", { feature: "pooled" })).loss, alone.loss);
  const { loss: ofEmbeddings } = await lossOf("embedding", { dim: 128 });
  assertNotEquals(ofEmbeddings, alone.loss);
  using state = await loadStateDict(alone.checkpoint);
  assertEquals([...state.beside.keys()].some((key) => key.startsWith("teacher.fc")), false);
  assertEquals(state.tensors.get("fc.2.weight")?.shape, [8, 8]);
});

Deno.test("images without a reader that makes them are refused in one sentence", async () => {
  using folder = new RunFolder(4);
  const options = folder.options("out", { images: 320 });
  await assertRejects(
    () => distill(options).result,
    UserError,
    "images: expected a reader that makes them beside it, actors.tsv_reader, found none; name its module, or leave images out " +
      `to read those of ${folder.data}`,
  );
});

Deno.test("views that are too small for the student are refused before anything is started", async () => {
  using folder = new RunFolder(4);
  const student = { imageSize: 32, studentArch: "efficientnet_b0" };
  const least = "efficientnet_b0 takes images of 32 x 32 pixels or more, found 16 x 16";
  for (
    const [changes, flag] of [
      [{ ...student, smallViews: 1, smallSize: 16 }, "--small-size"],
      [{ ...student, imageSize: 16 }, "--image-size"],
    ] as const
  ) {
    await assertRejects(
      () => distill(folder.options(flag, changes)).result,
      UserError,
      `${least} (${flag})`,
    );
  }
});

Deno.test("a normalised feature is the pooled one over its length", () =>
  withGpu(async (gpu) => {
    const shape = { batch: 2, imageSize: 16 };
    const images = Uint8Array.from({ length: 2 * 16 * 16 * 4 }, (_, i) => i * 37 % 251);
    const embed = async (output: "feature" | "normalized_feature") => {
      using frozen = await loadFrozenEncoder(gpu, { path: TINY_TEACHER }, { ...shape, output });
      return await frozen.embed(images);
    };
    const [feature, normalized] = [await embed("feature"), await embed("normalized_feature")];
    for (let row = 0; row < 2; row++) {
      const values = feature.subarray(row * 8, row * 8 + 8);
      const length = Math.hypot(...values);
      for (const [i, value] of values.entries()) {
        assertAlmostEquals(normalized[row * 8 + i], value / length, 1e-6);
      }
    }
  }));
