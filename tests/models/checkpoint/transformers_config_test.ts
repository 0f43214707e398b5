// What Hugging Face and timm keep beside a file: of ResNets too, and beside PyTorch's own container.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CheckpointError } from "../../../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { listTensors } from "../../../models/checkpoint/state_dict.ts";
import { writeSafetensors } from "../../../models/checkpoint/safetensors.ts";
import { torchDict } from "../../../models/checkpoint/torch_value.ts";
import { chooseInput } from "../../../models/encoder_input.ts";
import { openEncoderSource } from "../../../models/encoder_source.ts";
import { IMAGENET_NORMALIZATION } from "../../../models/images.ts";
import { inspectCheckpoint } from "../../../models/inspect.ts";
import { withFolder } from "./fixtures.ts";
import { writeShapes } from "../shape_checkpoint.ts";

const HALVES = [0.5, 0.5, 0.5];
const PRETRAINED = { mean: HALVES, std: HALVES, interpolation: "bicubic", input_size: [3, 224, 224] };
const CLASSIFIER = { "fc.weight": [10, 512], "fc.bias": [10] };
/** Tensors of timm's ResNet-18, and of a blurred one. */
const TIMM = { without: /^fc\./, more: CLASSIFIER };

/** Writes a ResNet-18 as timm keeps it on Hugging Face's hub. */
async function writeTimm(folder: string, config: object): Promise<string> {
  const path = `${folder}/model.safetensors`;
  await writeShapes(`${folder}/resnet18.pth`, "resnet18", TIMM);
  using file = await openCheckpointFile(`${folder}/resnet18.pth`);
  await writeSafetensors(path, listTensors(file));
  writeConfig(folder, config);
  return path;
}

function writeConfig(folder: string, config: object): void {
  Deno.writeTextFileSync(`${folder}/config.json`, JSON.stringify(config));
}

Deno.test("timm's config.json tells mean, deviation and filter of a ResNet, where it is of these weights", () =>
  withFolder(async (folder) => {
    const config = { architecture: "resnet18", num_features: 512, pretrained_cfg: PRETRAINED };
    const path = await writeTimm(folder, config);
    const { mean: usualMean, deviation: usualStd } = IMAGENET_NORMALIZATION;
    const ofTheseWeights: unknown[] = [HALVES, HALVES, "bicubic"];
    const ofOthers: unknown[] = [[...usualMean], [...usualStd], "bilinear"];
    for (
      const [beside, expected] of [[config, ofTheseWeights], [
        { ...config, num_features: 2048 },
        ofOthers,
      ]] as const
    ) {
      writeConfig(folder, beside);
      for (const part of ["backbone", "encoder"] as const) {
        using source = await openEncoderSource(path, { part });
        const { mean, deviation } = source.normalization;
        assertEquals([[...mean], [...deviation], chooseInput(source, {}).interpolation], expected);
      }
    }
  }));

Deno.test("a ResNet that timm blurs or averages is refused where a file names it", async (t) => {
  const refusal = (name: string) =>
    `is of timm's "${name}", which has the tensors of a resnet18, but blurs or averages where it halves a map`;
  const refused = async (path: string, name: string, arch?: string) => {
    for (const part of ["backbone", "encoder"] as const) {
      const { message } = await assertRejects(() => openEncoderSource(path, { arch, part }), CheckpointError);
      assertStringIncludes(message, refusal(name));
    }
  };
  await t.step("by its training", () =>
    withFolder(async (folder) => {
      const path = `${folder}/model_best.pth.tar`;
      const write = (arch: string) =>
        writeShapes(path, "resnet18", {
          ...TIMM,
          wrap: (dict) => torchDict([["epoch", 3], ["arch", arch], ["state_dict", dict]]),
        });
      for (const name of ["resnetblur18", "resnetaa18.a1h_in1k"]) {
        await write(name);
        await refused(path, name);
        await refused(path, name, "resnet18");
      }
      await write("resnet18");
      using source = await openEncoderSource(path, { part: "backbone" });
      assertEquals(source.encoder.name, "resnet18");
    }));
  await t.step("by its config.json", () =>
    withFolder(async (folder) => {
      const config = { architecture: "resnetblur18", num_features: 512, pretrained_cfg: PRETRAINED };
      await refused(await writeTimm(folder, config), "resnetblur18");
    }));
});

Deno.test("config.json and preprocessor_config.json are read beside pytorch_model.bin, and beside no other name", () =>
  withFolder(async (folder) => {
    writeConfig(folder, { hidden_size: 192, num_attention_heads: 6 });
    const images = { image_mean: HALVES, image_std: HALVES };
    Deno.writeTextFileSync(`${folder}/preprocessor_config.json`, JSON.stringify(images));
    const usual = [...IMAGENET_NORMALIZATION.mean];
    for (const [name, heads, mean] of [["pytorch_model.bin", 6, HALVES], ["model.pth", 3, usual]] as const) {
      const path = `${folder}/${name}`;
      await writeShapes(path, "dino_vit_p16_w192_b1_h3_f768_r0_g4");
      using source = await openEncoderSource(path, { part: "encoder" });
      assertEquals([source.encoder.heads, [...source.normalization.mean]], [heads, mean]);
      assertEquals((await inspectCheckpoint(path)).encoders[0].recognized, [source.encoder.name]);
    }
  }));
