// The loss tokens by teachers of every kind: vision transformers, ConvNeXts, ResNets.
import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { distill } from "../../../methods/runs.ts";
import { SAMPLE_TEACHER } from "../../../data/sample.ts";
import { UserError } from "../../../errors.ts";
import { loadStateDict } from "../../../models/checkpoint/state_dict.ts";
import { openEncoderSource } from "../../../models/encoder_source.ts";
import { mapShape } from "../../../models/inference.ts";
import { findEncoder, listedEncoders } from "../../../models/registry.ts";
import { RunFolder } from "../../actors/small_run.ts";
import { referencePath } from "../../reference.ts";
import { vitTest } from "../../vit_files.ts";

const file = (name: string) => referencePath(`vit/checkpoints/${name}`);

/** Teachers, the size of their views, and how many numbers a pixel of their map has. */
const TEACHERS: [path: string, teacherSize: number, channels: number][] = [
  [file("dinov2_tiny_reg.pth"), 42, 64],
  [file("dinov3_tiny_convnext.pth"), 64, 64],
  [SAMPLE_TEACHER, 64, 512],
];

vitTest(
  "the loss tokens teaches by ViT, ConvNeXt and ResNet, and its layer is no part of the student",
  async () => {
    using folder = new RunFolder(8);
    for (const [i, [path, teacherSize, channels]] of TEACHERS.entries()) {
      const lossOf = async (loss: string) => {
        const { dim: _, teacherArch: __, teacherSsl: ___, ...run } = folder.options(`${loss} ${i}`, {
          ...{ distill: path, teacherSize, imageSize: 32, loss, limitSteps: 1 },
        });
        const heads = path.includes("dinov2") ? 2 : undefined;
        return await distill({ ...run, heads }).result;
      };
      const tokens = await lossOf("tokens");
      if (path === SAMPLE_TEACHER) assertNotEquals(tokens.firstLoss, (await lossOf("seed")).firstLoss);
      assert(Number.isFinite(tokens.firstLoss), path);
      using state = await loadStateDict(tokens.checkpoint);
      assertEquals(state.tensors.get("loss_tokens.weight")?.shape.slice(0, 2), [channels, 8]);
      using source = await openEncoderSource(tokens.checkpoint, { part: "encoder" });
      assertEquals([...source.tensors.keys()].filter((key) => key.startsWith("loss_")), []);
    }
  },
);

Deno.test("every encoder of the registry gives a feature map, of its feature's channels or its own", () => {
  const quick = listedEncoders().filter(({ name }) =>
    /^(resnet|mobile|efficientnet_b0|swav_resnet50$|simclr)/.test(name)
  );
  const shapes = Object.fromEntries(quick.map((encoder) => [encoder.name, mapShape(encoder, 64)]));
  assertEquals([shapes.resnet18, shapes.resnet50], [[2, 2, 512], [2, 2, 2048]]);
  assertEquals([shapes.mobilenetv3_small, shapes.efficientnet_b0], [[2, 2, 576], [2, 2, 1280]]);
  assertEquals([shapes.swav_resnet50, shapes.simclr_resnet50], [[2, 2, 2048], [2, 2, 2048]]);
  assertEquals(mapShape(findEncoder("dinov2_vits14_reg"), 98), [7, 7, 384]);
  assertEquals(mapShape(findEncoder("dinov3_convnext_tiny"), 96), [3, 3, 768]);
});

Deno.test("the loss tokens refuses an encoder that gives no feature map", async () => {
  using folder = new RunFolder(4);
  const plugins = [
    ...folder.options("plugins").plugins!,
    new URL("../../actors/fixtures/dropping_encoder.ts", import.meta.url).href,
  ];
  await assertRejects(
    () => distill(folder.options("run", { loss: "tokens", studentArch: "tiny_dropping", plugins })).result,
    UserError,
    "tiny_dropping gives no feature map, which this --loss compares",
  );
});
