/** Vision transformers and ConvNeXts come back from an export as their authors released them, and remember their heads. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { buildTrainingCheckpoint } from "../../../methods/encoder_training/checkpoint.ts";
import { DISTILL_CHECKPOINT } from "../../../methods/seed/checkpoint.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { loadStateDict } from "../../../models/checkpoint/state_dict.ts";
import { TensorRef } from "../../../models/checkpoint/tensor_ref.ts";
import { TensorValue, type TorchDict, torchDict } from "../../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../../models/checkpoint/torch_writer.ts";
import { chooseInput, inputOf } from "../../../models/encoder_input.ts";
import { openEncoderSource } from "../../../models/encoder_source.ts";
import { exportEncoder, type ExportOptions } from "../../../models/export/export_encoder.ts";
import { IMAGENET_NORMALIZATION } from "../../../models/images.ts";
import { initialize } from "../../../models/initialize.ts";
import { inspectCheckpoint } from "../../../models/inspect.ts";
import { findEncoder, summarize } from "../../../models/registry.ts";
import { ropePeriods } from "../../../models/rotary_embedding.ts";
import { withGpu } from "../../kernels/check_op.ts";
import { referencePath } from "../../reference.ts";
import { vitTest } from "../../vit_files.ts";
import { withFolder } from "../checkpoint/fixtures.ts";
import { differenceOf, embedReference } from "../vit_reference.ts";
import { formulaTensors } from "./fixtures.ts";

const path = (name: string) => referencePath(`vit/checkpoints/${name}`);
const DEFAULTS = { format: "pth", part: "backbone", normalize: false, force: true } as const;

/** Tensors by name: element type, shape and the bytes' elements. */
async function contentOf(file: string): Promise<Map<string, unknown>> {
  using state = await loadStateDict(file);
  return await readAll(state.tensors);
}

async function readAll(tensors: Iterable<[string, TensorRef]>): Promise<Map<string, unknown>> {
  const read = [...tensors].toSorted(([a], [b]) => a < b ? -1 : 1).map(async ([key, tensor]) =>
    [key, { dtype: tensor.dtype, shape: [...tensor.shape], data: await tensor.readRaw() }] as const
  );
  return new Map(await Promise.all(read));
}

const RELEASES = [
  "dino_tiny.pth",
  "dinov2_tiny.pth",
  "dinov2_tiny_reg.pth",
  "dinov2_tiny_swiglu.pth",
  "dinov3_tiny.pth",
  "dinov3_tiny_swiglu.pth",
  "dinov3_tiny_7b.pth",
  "dinov3_tiny_convnext.pth",
  // The authors' `convert_to_deit.py` wrote it: what their `main_lincls.py` loads, all but the head.
  "mocov3_tiny_deit.pth",
];

for (const name of RELEASES) {
  vitTest(
    `an export of ${name} has all of its authors' tensors, bit for bit`,
    () =>
      withFolder(async (folder) => {
        const released = await contentOf(path(name));
        for (const format of ["pth", "safetensors"] as const) {
          for (const part of ["backbone", "encoder"] as const) {
            const output = `${folder}/${part}.${format}`;
            const result = await exportEncoder({ ...DEFAULTS, checkpoint: path(name), format, part, output });
            assertEquals(result.names, "plain");
            assertEquals(await contentOf(output), released);
          }
        }
      }),
  );
}

for (
  const [other, name] of [
    ["dinov2_tiny_hf.safetensors", "dinov2_tiny.pth"],
    ["dinov2_tiny_swiglu_timm.safetensors", "dinov2_tiny_swiglu.pth"],
    ["dinov2_tiny_training.pth", "dinov2_tiny.pth"],
    ["dinov3_tiny_hf.safetensors", "dinov3_tiny.pth"],
    ["dinov3_tiny_swiglu_timm.safetensors", "dinov3_tiny_swiglu.pth"],
    ["dinov3_tiny_convnext_hf.safetensors", "dinov3_tiny_convnext.pth"],
  ] as const
) {
  vitTest(
    `an export of ${other} has the names and shapes of the authors' release`,
    () =>
      withFolder(async (folder) => {
        const output = `${folder}/out.pth`;
        await exportEncoder({ ...DEFAULTS, checkpoint: path(other), heads: otherHeads(name), output });
        const [exported, released] = [await contentOf(output), await contentOf(path(name))];
        const shapesOf = (content: Map<string, unknown>) =>
          [...content].map(([key, tensor]) => [key, (tensor as { shape: number[] }).shape]);
        assertEquals(shapesOf(exported), shapesOf(released));
        // Biases of keys count for nothing, and other programs have none; timm has no token of masked patches.
        const isSame = (key: string) => !/qkv\.bias$|^mask_token$|periods$/.test(key);
        for (const [key, tensor] of released) if (isSame(key)) assertEquals(exported.get(key), tensor, key);
      }),
  );
}

for (const name of ["mocov3_tiny.pth.tar", "mocov3_tiny_conv.pth.tar"]) {
  vitTest(
    `an export of ${name} has what its authors' main_lincls.py keeps: all but the projector, bit for bit`,
    () =>
      withFolder(async (folder) => {
        const output = `${folder}/out.pth`;
        await exportEncoder({ ...DEFAULTS, checkpoint: path(name), output });
        using file = await openCheckpointFile(path(name));
        const state = (file.value as TorchDict).get("state_dict") as Map<string, TensorRef>;
        const prefix = "module.base_encoder.";
        const kept = [...state].filter(([key]) => key.startsWith(prefix) && !key.startsWith(`${prefix}head`));
        const expected = kept.map(([key, tensor]): [string, TensorRef] => [key.slice(prefix.length), tensor]);
        assertEquals(await contentOf(output), await readAll(expected));
      }),
  );
}

/** timm's `vit_tiny_patch16_224` with `num_classes=0`: its state_dict, in order. */
const TIMM_VIT_TINY: [key: string, shape: number[]][] = [
  ["cls_token", [1, 1, 192]],
  ["pos_embed", [1, 197, 192]],
  ["patch_embed.proj.weight", [192, 3, 16, 16]],
  ["patch_embed.proj.bias", [192]],
  ...Array.from({ length: 12 }, (_, i): [string, number[]][] => [
    [`blocks.${i}.norm1.weight`, [192]],
    [`blocks.${i}.norm1.bias`, [192]],
    [`blocks.${i}.attn.qkv.weight`, [576, 192]],
    [`blocks.${i}.attn.qkv.bias`, [576]],
    [`blocks.${i}.attn.proj.weight`, [192, 192]],
    [`blocks.${i}.attn.proj.bias`, [192]],
    [`blocks.${i}.norm2.weight`, [192]],
    [`blocks.${i}.norm2.bias`, [192]],
    [`blocks.${i}.mlp.fc1.weight`, [768, 192]],
    [`blocks.${i}.mlp.fc1.bias`, [768]],
    [`blocks.${i}.mlp.fc2.weight`, [192, 768]],
    [`blocks.${i}.mlp.fc2.bias`, [192]],
  ]).flat(),
  ["norm.weight", [192]],
  ["norm.bias", [192]],
];

Deno.test("an export of a vit_tiny student's backbone has the tensors of timm's vit_tiny_patch16_224, and no others", () =>
  withFolder(async (folder) => {
    const student = findEncoder("vit_tiny");
    const { state } = summarize(student, { kind: "mlp", dimension: 128, hidden: 192 });
    const values = initialize(state, 1);
    const checkpoint = `${folder}/checkpoint_0000.pth.tar`;
    const saved = buildTrainingCheckpoint(DISTILL_CHECKPOINT, {
      epoch: 1,
      arch: student.name,
      encoder: state.map(({ key, shape }) => ({ key, shape, data: values.get(key)! })),
      input: inputOf(student, { imageSize: 224 }),
      sgd: { lr: 0.03, momentum: 0.9, weightDecay: 1e-4 },
      momentum: new Map(),
    });
    await writeTorchFile(checkpoint, saved);
    for (const format of ["pth", "safetensors"] as const) {
      const output = `${folder}/student.${format}`;
      await exportEncoder({ ...DEFAULTS, checkpoint, format, output });
      using file = await openCheckpointFile(output);
      assert(file.value instanceof Map);
      // All that torch.load gives, or all tensors of the header.
      const tensors = format === "pth" ? file.value : file.value.get("state_dict");
      assert(tensors instanceof Map);
      const found = [...tensors].map(([key, tensor]) => {
        assert(tensor instanceof TensorRef, `${key}`);
        return [key, [...tensor.shape], tensor.dtype];
      });
      assertEquals(found, TIMM_VIT_TINY.map(([key, shape]) => [key, shape, "float32"]), format);
    }
  }));

function otherHeads(name: string): number | undefined {
  return name.includes("convnext") ? undefined : 2;
}

vitTest("--heads has to be given once: what is exported remembers them", () =>
  withFolder(async (folder) => {
    const checkpoint = path("dinov2_tiny.pth");
    const named = "dinov2_vit_p14_w64_b2_h2_f256_r0_g5";
    const exports: Pick<ExportOptions, "format" | "names">[] = [
      { format: "pth" },
      { format: "safetensors" },
      { format: "pth", names: "moco" },
      { format: "safetensors", names: "seed" },
    ];
    for (const [i, how] of exports.entries()) {
      const output = `${folder}/${i}.${how.format}`;
      await exportEncoder({ ...DEFAULTS, ...how, checkpoint, heads: 2, output });
      using source = await openEncoderSource(output, { part: "encoder" });
      assertEquals(source.encoder.name, named);
      const { encoders: [encoder] } = await inspectCheckpoint(output);
      assertEquals(encoder.recognized, [named]);
      // What is asked for wins.
      using asked = await openEncoderSource(output, { part: "encoder", heads: 4 });
      assertStringIncludes(asked.encoder.name, "_h4_");
    }
  }));

vitTest(
  "a name that says the heads is enough, as a checkpoint of a run has it",
  () =>
    withFolder(async (folder) => {
      const output = `${folder}/a.pth.tar`;
      await exportEncoder({
        ...DEFAULTS,
        checkpoint: path("dino_tiny.pth"),
        heads: 2,
        names: "moco",
        output,
      });
      const content = await contentOf(output);
      const tensors = torchDict([...content].map(([key, tensor]) => {
        const { dtype, shape, data } = tensor as {
          dtype: "float32";
          shape: number[];
          data: Float32Array<ArrayBuffer>;
        };
        return [`module.encoder_q.${key}`, new TensorValue(dtype, shape, data)];
      }));
      const arch = "dino_vit_p16_w64_b2_h2_f256_r0_g4";
      await writeTorchFile(output, torchDict([["arch", arch], ["state_dict", tensors]]));
      using source = await openEncoderSource(output, { part: "encoder" });
      assertEquals(source.encoder.name, arch);
    }),
);

vitTest(
  "the teacher in a checkpoint of a distillation keeps its heads and its authors' tensors",
  () =>
    withFolder(async (folder) => {
      using teacher = await openEncoderSource(path("dinov2_tiny.pth"), { heads: 2, part: "encoder" });
      const checkpoint = `${folder}/student.pth.tar`;
      const saved = buildTrainingCheckpoint(DISTILL_CHECKPOINT, {
        epoch: 1,
        arch: "resnet18",
        encoder: formulaTensors("resnet18"),
        beside: new Map([...teacher.tensors, ...teacher.unused]),
        besideInput: inputOf(teacher.encoder, { imageSize: 56 }, teacher.input),
        sgd: { lr: 0.03, momentum: 0.9, weightDecay: 1e-4 },
        momentum: new Map(),
      });
      await writeTorchFile(checkpoint, saved);
      const { encoders } = await inspectCheckpoint(checkpoint);
      assertEquals(encoders.at(-1)!.recognized, [teacher.encoder.name]);
      const output = `${folder}/teacher.pth`;
      const { encoder } = await exportEncoder({ ...DEFAULTS, checkpoint, which: "teacher", output });
      assertEquals(encoder, teacher.encoder.name);
      assertEquals(await contentOf(output), await contentOf(path("dinov2_tiny.pth")));
    }),
);

/** A file of transformers in a folder of its own, with what lies beside it. */
function withConfig(folder: string, name: string, config: object, images?: object): string {
  const file = `${folder}/model.safetensors`;
  Deno.copyFileSync(path(name), file);
  Deno.writeTextFileSync(`${folder}/config.json`, JSON.stringify(config));
  if (images) Deno.writeTextFileSync(`${folder}/preprocessor_config.json`, JSON.stringify(images));
  return file;
}

/** Adds to the metadata of a safetensors file. */
function addMetadata(file: string, metadata: Readonly<Record<string, string>>): void {
  const bytes = Deno.readFileSync(file);
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  header.__metadata__ = { ...header.__metadata__, ...metadata };
  const text = new TextEncoder().encode(JSON.stringify(header));
  const size = new Uint8Array(8);
  new DataView(size.buffer).setBigUint64(0, BigInt(text.length), true);
  Deno.writeFileSync(file, new Uint8Array([...size, ...text, ...bytes.subarray(8 + length)]));
}

vitTest(
  "config.json and preprocessor_config.json tell heads, periods and normalisation",
  () =>
    withFolder(async (folder) => {
      const config = { hidden_size: 64, num_attention_heads: 2, rope_theta: 50 };
      const images = { image_mean: [0.43, 0.411, 0.296], image_std: [0.213, 0.156, 0.143] };
      using source = await openEncoderSource(
        withConfig(folder, "dinov3_tiny_hf.safetensors", config, images),
        { part: "encoder" },
      );
      assertEquals(source.encoder.name, "dinov3_vit_p16_w64_b2_h2_f256_r4_g0");
      const { mean, deviation } = source.normalization;
      assertEquals([[...mean], [...deviation]], [images.image_mean, images.image_std]);
      const said = "mages are normalised by mean 0.43 0.411 0.296, std 0.213 0.156 0.143";
      for (const asked of [{}, { imageSize: 64 }]) {
        assertStringIncludes(chooseInput(source, asked).note!, said);
      }
      // What the file itself says of its images need not be all.
      const file = withConfig(folder, "dinov3_tiny_hf.safetensors", config, images);
      addMetadata(file, { seed_input: JSON.stringify({ image_size: 48 }) });
      using sized = await openEncoderSource(file, { part: "encoder" });
      assertEquals([sized.input?.imageSize, [...sized.normalization.mean]], [48, images.image_mean]);
      // The filter is taken from files that resize and crop as evaluations do; others squeeze images into a square.
      const filters = [[true, 2], [true, 3], [true, 1], [false, 2], [undefined, 2]] as const;
      const taken = [];
      for (const [do_center_crop, resample] of filters) {
        const more = { ...images, do_center_crop, resample };
        using source = await openEncoderSource(
          withConfig(folder, "dinov3_tiny_hf.safetensors", config, more),
          { part: "encoder" },
        );
        taken.push(chooseInput(source, {}).interpolation);
      }
      assertEquals(taken, ["bilinear", "bicubic", "bicubic", "bicubic", "bicubic"]);
      const periods = await source.read("rope_embed.periods");
      assertEquals(periods, Float32Array.from(ropePeriods(32, 50)));
      assert(periods[1] !== Math.fround(ropePeriods(32)[1]));

      const stages = { hidden_sizes: [16, 32, 48, 64] };
      using convNext = await openEncoderSource(
        withConfig(folder, "dinov3_tiny_convnext_hf.safetensors", stages, images),
        { part: "encoder" },
      );
      assertEquals([...convNext.normalization.mean], images.image_mean);

      // Of other weights, or of no use: nothing is taken.
      for (
        const wrong of [{ ...config, hidden_size: 32 }, {
          ...config,
          rope_theta: "50",
          num_attention_heads: -1,
        }]
      ) {
        const file = withConfig(folder, "dinov3_tiny_hf.safetensors", wrong);
        using other = await openEncoderSource(file, { part: "encoder", heads: 2 });
        assertEquals(await other.read("rope_embed.periods"), Float32Array.from(ropePeriods(32)));
      }
      Deno.writeTextFileSync(`${folder}/config.json`, "no JSON");
      using plain = await openEncoderSource(`${folder}/model.safetensors`, { part: "encoder" });
      assertStringIncludes(plain.encoder.name, "_h1_");
    }),
);

vitTest(
  "timm's config.json tells normalisation, where it is of these weights",
  () =>
    withFolder(async (folder) => {
      const pretrained = { mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.5], input_size: [3, 224, 224] };
      const config = { architecture: "vit_tiny", num_features: 64, pretrained_cfg: pretrained };
      const files = [
        "dino_tiny_timm",
        "dinov2_tiny_reg_timm",
        "dinov3_tiny_timm",
        "dinov3_tiny_convnext_timm",
      ];
      for (const name of files.map((file) => `${file}.safetensors`)) {
        const meanOf = async (beside: object, images?: object) => {
          using source = await openEncoderSource(withConfig(folder, name, beside, images), {
            part: "encoder",
          });
          const { mean, deviation } = source.normalization;
          return [[...mean], [...deviation]];
        };
        const { mean, std } = pretrained;
        assertEquals(await meanOf(config), [mean, std], name);
        const usual = [[...IMAGENET_NORMALIZATION.mean], [...IMAGENET_NORMALIZATION.deviation]];
        assertEquals(await meanOf({ ...config, num_features: 32 }), usual);
        assertEquals(await meanOf({ ...config, pretrained_cfg: { mean, std: [0.2, 0, 0.5] } }), usual);
        assertEquals(await meanOf(config, { image_mean: std, image_std: mean }), [std, mean]);
        const filtered = { ...config, pretrained_cfg: { ...pretrained, interpolation: "bilinear" } };
        using source = await openEncoderSource(withConfig(folder, name, filtered), { part: "encoder" });
        assertEquals([source.interpolation, source.input?.interpolation], ["bicubic", "bilinear"]);
        Deno.removeSync(`${folder}/preprocessor_config.json`);
      }
    }),
);

vitTest(
  "the periods of a checkpoint are those that its tokens are rotated by",
  () =>
    withGpu((gpu) =>
      withFolder(async (folder) => {
        const config = { hidden_size: 64, num_attention_heads: 2, rope_parameters: { rope_theta: 50 } };
        const file = withConfig(folder, "dinov3_tiny_hf.safetensors", config);
        const output = `${folder}/release.pth`;
        await exportEncoder({ ...DEFAULTS, checkpoint: file, output });
        using original = await openEncoderSource(path("dinov3_tiny.pth"), { part: "encoder" });
        using told = await openEncoderSource(file, { part: "encoder" });
        using exported = await openEncoderSource(output, { part: "encoder" });
        const [usual, other, again] = await Promise.all(
          [original, told, exported].map(({ encoder, read }) => embedReference(gpu, encoder, read, "48")),
        );
        assertEquals(again, other);
        assert(differenceOf(other, [...usual]) > 1e-3);
        assertEquals(await original.fingerprint() === await told.fingerprint(), false);
      })
    ),
);

vitTest(
  "a mean and a deviation that an export is given are those of every later task",
  () =>
    withFolder(async (folder) => {
      const [mean, std] = [[0.43, 0.411, 0.296], [0.213, 0.156, 0.143]] as const;
      for (const format of ["pth", "safetensors"] as const) {
        const output = `${folder}/a.${format}`;
        const { input } = await exportEncoder({
          ...DEFAULTS,
          checkpoint: path("dinov3_tiny.pth"),
          ...{ format, output, mean, std },
        });
        assertEquals([input.mean, input.std], [mean, std]);
        using source = await openEncoderSource(output, { part: "encoder" });
        assertEquals([[...source.normalization.mean], [...source.normalization.deviation]], [[...mean], [
          ...std,
        ]]);
      }
    }),
);

/** What an export lacks of a training's checkpoint, heads named by where they lie. */
const LEFT_OUT: Record<string, string[]> = {
  "mocov3_tiny.pth.tar": ["momentum_encoder", "predictor", "base_encoder.head"],
  "dinov2_tiny_training.pth": ["teacher.dino_head", "teacher.ibot_head"],
  "dino_tiny_full.pth": ["student", "teacher.head"],
  "dinov2_tiny.pth": [],
};

vitTest(
  "an export of a training's checkpoint says what is left out, MoCo-v3's projector too",
  () =>
    withFolder(async (folder) => {
      for (const [name, leftOut] of Object.entries(LEFT_OUT)) {
        for (const part of ["backbone", "encoder"] as const) {
          const output = `${folder}/${part}.pth`;
          const found = await exportEncoder({
            ...DEFAULTS,
            part,
            output,
            force: true,
            checkpoint: path(name),
          });
          assertEquals([found.leftOut, found.head?.kind ?? "none"], [leftOut, "none"], `${name}, ${part}`);
        }
      }
    }),
);
