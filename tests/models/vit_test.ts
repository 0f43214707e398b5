import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { UserError } from "../../errors.ts";
import { Graph } from "../../kernels/graph.ts";
import { TensorRef } from "../../models/checkpoint/tensor_ref.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";
import type { EncoderClues } from "../../models/encoder_family.ts";
import { chooseInput } from "../../models/encoder_input.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { FrozenEncoder } from "../../models/inference.ts";
import { hasFixedPositions } from "../../models/locate_encoder.ts";
import { explainHead, explainUnknown } from "../../models/near_miss.ts";
import { recognizeEncoders } from "../../models/recognize.ts";
import { FAMILIES, findEncoder, summarize, usualHead } from "../../models/registry.ts";
import { ParameterStore } from "../../models/parameter_store.ts";
import { ropePeriods } from "../../models/rotary_embedding.ts";
import { initialize } from "../../models/initialize.ts";
import { inspectCheckpoint } from "../../models/inspect.ts";
import { resolveTeacher } from "../../models/teacher.ts";
import { readVitShape } from "../../models/vit_shape.ts";
import { withGpu } from "../kernels/check_op.ts";
import { formulaTensor, referenceJson, referencePath } from "../reference.ts";
import { vitTest } from "../vit_files.ts";
import { formulaImages } from "./reference_encoder.ts";
import { withShapes } from "./shape_checkpoint.ts";
import { differenceOf, embedReference } from "./vit_reference.ts";

const path = (name: string) => referencePath(`vit/checkpoints/${name}`);

vitTest(
  "the released encoders of the families are found by their names, and are recognised by their shapes",
  () => {
    for (const encoder of FAMILIES.flatMap(({ released }) => released)) {
      assertEquals(findEncoder(encoder.name), encoder);
      const { state } = summarize(encoder, usualHead(encoder));
      const shapes = new Map(state.map(({ key, shape }) => [key, { shape }]));
      const recognized = recognizeEncoders(shapes, "encoder", { fixedPositions: encoder.ssl === "mocov3" });
      assertEquals(recognized.map(({ name }) => name), [encoder.name]);
    }
  },
);

vitTest("a vision transformer that was not released has a name that says its shape", () => {
  const name = "dinov3_vit_p16_w128_b3_h2_f256_r4_g0_gated_nobias";
  const encoder = findEncoder(name);
  assertEquals([encoder.name, encoder.features, encoder.ssl], [name, 128, "dinov3"]);
  const { state } = summarize(encoder, usualHead(encoder));
  const shapes = new Map(state.map(({ key, shape }) => [key, shape.join()]));
  assertEquals(shapes.get("storage_tokens"), "1,4,128");
  assertEquals(shapes.get("blocks.2.mlp.w1.weight"), "256,128");
  assertEquals([shapes.has("blocks.3.norm1.weight"), shapes.has("blocks.0.attn.qkv.bias")], [false, false]);
  for (const wrong of [name.replace("_h2", "_h3"), name.replace("_h2", ""), `${name}_more`]) {
    assertThrows(() => findEncoder(wrong), UserError);
  }
});

vitTest("an encoder says which images it takes, and which sizes are nearest", async () => {
  using source = await openEncoderSource(path("dinov2_tiny.pth"), { heads: 2, part: "encoder" });
  assertThrows(
    () => chooseInput(source, { imageSize: 100 }),
    UserError,
    "takes images whose sides are multiples of 14 pixels, found 100 x 100; the nearest to 100 are 98 and 112",
  );
  // Nobody says a size: the bundled images' is rounded up.
  assertEquals(chooseInput(source, {}, { imageSize: 32, from: "the bundled images" }).imageSize, 42);
  assertEquals(chooseInput(source, {}).imageSize, 70);
  using fixed = await openEncoderSource(path("mocov3_tiny.pth.tar"), { heads: 2, part: "encoder" });
  assertThrows(() => chooseInput(fixed, { imageSize: 48 }), UserError, "takes images of 64 x 64 pixels only");
  const graph = new Graph();
  const images = graph.source("images", [1, 56, 57, 3]);
  const { encoder } = source;
  assertThrows(
    () => encoder.trace(new EncoderBuilder(graph, "eval"), images, usualHead(encoder)),
    UserError,
    "the nearest to 57 are 56 and 70",
  );
});

vitTest(
  "of a pair of encoders the teacher is taken, of MoCo-v3's the one that its authors evaluate",
  async () => {
    using dino = await openEncoderSource(path("dino_tiny_full.pth"), { heads: 2, part: "encoder" });
    assertEquals([dino.prefix, dino.others], ["teacher.backbone.", ["student.backbone."]]);
    using moco = await openEncoderSource(path("mocov3_tiny.pth.tar"), { heads: 2, part: "encoder" });
    assertEquals([moco.prefix, moco.others], ["base_encoder.", ["momentum_encoder."]]);
  },
);

vitTest("parity: --weights momentum_encoder selects MoCo-v3's other encoder", () =>
  withGpu(async (gpu) => {
    for (const name of ["mocov3_tiny.pth.tar", "mocov3_tiny_conv.pth.tar"]) {
      const { outputs } = referenceJson(`vit/checkpoints/${name}.expected.json`);
      const choice = { heads: 2, weights: "momentum_encoder", part: "encoder" } as const;
      using source = await openEncoderSource(path(name), choice);
      const actual = await embedReference(gpu, source.encoder, source.read, "64");
      const difference = differenceOf(actual, outputs["64"].momentum_embedding.flat());
      assert(difference <= 2e-5, `${name}: ${difference}`);
    }
  }));

vitTest(
  "encoders that share their weights have positions for their own sizes of images",
  () =>
    withGpu(async (gpu) => {
      for (const name of ["dinov2_tiny.pth", "dinov3_tiny.pth"]) {
        using source = await openEncoderSource(path(name), { heads: 2, part: "encoder" });
        const { outputs } = referenceJson(`vit/checkpoints/${name}.expected.json`);
        const [small, large] = Object.keys(outputs).map(Number).filter(Number.isFinite);
        const { encoder, head } = source;
        const options = {
          encoder,
          head,
          batch: 2,
          imageSize: large,
          input: "normalized",
          output: "embedding",
        } as const;
        using frozen = await FrozenEncoder.create(gpu, options);
        await frozen.load(source.read);
        using other = await frozen.share({ batch: 2, imageSize: small });
        for (const [one, size] of [[other, small], [frozen, large]] as const) {
          const actual = await one.embed(formulaImages(`vit/input/${size}`, 2, size));
          const difference = differenceOf(actual, outputs[size].embedding.flat());
          assert(difference <= 2e-5, `${name} ${size}: ${difference}`);
        }
      }
    }),
);

vitTest(
  "a teacher that is a vision transformer is named by its file, and what contradicts it is refused",
  async () => {
    const file = path("dinov2_tiny_reg_hf.safetensors");
    const arch = "dinov2_vit_p14_w64_b2_h1_f256_r4_g5";
    assertEquals(await resolveTeacher(file), { arch, ssl: "dinov2" });
    assertEquals(await resolveTeacher(file, { arch, ssl: "dinov2" }), { arch, ssl: "dinov2" });
    await assertRejects(
      () => resolveTeacher(file, { arch: "dinov2_vits14" }),
      UserError,
      `holds a ${arch}, but --teacher-arch is dinov2_vits14; use --teacher-arch ${arch}`,
    );
    await assertRejects(
      () => resolveTeacher(file, { heads: 3 }),
      UserError,
      "is a vision transformer of width 64: say with --heads how many heads it has, a divisor of its width",
    );
    await assertRejects(() => resolveTeacher(file, { ssl: "dino" }), UserError, "--teacher-ssl is dino");
  },
);

vitTest("names that no format has are told from the nearest format's", async () => {
  using source = await openEncoderSource(path("dinov2_tiny.pth"), { heads: 2, part: "encoder" });
  const like = [...source.tensors.values()][0];
  assert(like instanceof TensorRef);
  const names = ["query", "key", "value"].flatMap((part) =>
    [0, 1].map((i): string => `encoder.layer.${i}.attention.attention.${part}.weight`)
  );
  const tensors = new Map([...names, "embeddings.word.weight"].map((name) => [name, like]));
  const text = explainUnknown(tensors, "backbone");
  assertStringIncludes(text, "its 7 names, such as");
  assertStringIncludes(
    text,
    "are most like those of DINOv2 in Hugging Face transformers, which has 6 of them",
  );
});

vitTest("an encoder that lacks tensors is compared with the encoder of its shape", async () => {
  using source = await openEncoderSource(path("dinov2_tiny.pth"), { heads: 2, part: "encoder" });
  const tensors = new Map([...source.tensors].filter(([key]) => key !== "blocks.1.mlp.fc2.bias"));
  assertEquals(recognizeEncoders(tensors, "backbone"), []);
  assertStringIncludes(
    explainUnknown(tensors, "backbone"),
    "the most similar is dinov2_vit_p14_w64_b2_h1_f256_r0_g5: 1 key is missing (blocks.1.mlp.fc2.bias)",
  );
  assertStringIncludes(
    explainHead(tensors, "torchvision"),
    "holds no encoder that is known; the most similar is dinov2_",
  );
});

vitTest("the periods of rotary positions are saved as they were loaded", () =>
  withGpu(async (gpu) => {
    const encoder = findEncoder("dinov3_vit_p16_w64_b1_h2_f64_r0_g0");
    const graph = new Graph();
    const builder = new EncoderBuilder(graph, "train");
    encoder.trace(builder, graph.source("images", [1, 32, 32, 3]), usualHead(encoder));
    using store = new ParameterStore(gpu, builder.parameters);
    const values = initialize(builder.state, 1);
    const periods = Float32Array.from(ropePeriods(32, 50));
    values.set("rope_embed.periods", periods);
    await store.load((key) => values.get(key)!);
    const saved = await store.save();
    assertEquals(saved.get("rope_embed.periods"), periods);
    assertEquals([...saved.keys()].toSorted(), builder.state.map(({ key }) => key).toSorted());
    // Whoever is given values may transfer them.
    structuredClone(saved, { transfer: [...saved.values()].map(({ buffer }) => buffer) });
    assertEquals((await store.save()).get("rope_embed.periods"), periods);
  }));

vitTest("the biases of DINOv3's keys count for nothing", () =>
  withGpu(async (gpu) => {
    using source = await openEncoderSource(path("dinov3_tiny.pth"), { part: "encoder" });
    const changed = (key: string) => async () => {
      const values = await source.read(key);
      if (!key.endsWith("qkv.bias")) return values;
      const noise = formulaTensor("noise", [values.length], "unit");
      return values.map((value, i) => i >= 64 && i < 128 ? noise[i] : value);
    };
    const [plain, noisy] = [
      await embedReference(gpu, source.encoder, source.read, "48"),
      await embedReference(gpu, source.encoder, (key) => changed(key)(), "48"),
    ];
    for (const [i, value] of plain.entries()) assertAlmostEquals(noisy[i], value, 0);
  }));

Deno.test("heads that leave each no length which attention takes are refused, with those that do named", async () => {
  for (
    const [arch, possible, impossible, multiple] of [
      ["dinov2_vit_p16_w64_b1_h1_f256_r0_g4", [1, 2, 16], [3, 32, 64], 4],
      ["dinov3_vit_p16_w64_b1_h1_f256_r0_g0", [1, 2, 8], [3, 16, 32], 8],
    ] as const
  ) {
    await withShapes(arch, { without: /periods/ }, async (file) => {
      for (const heads of possible) {
        using source = await openEncoderSource(file, { heads, part: "encoder" });
        assertStringIncludes(source.encoder.name, `_h${heads}_`);
      }
      for (const heads of impossible) {
        const says =
          "is a vision transformer of width 64: say with --heads how many heads it has, a divisor of its " +
          `width that leaves each a multiple of ${multiple} numbers`;
        for (const part of ["backbone", "encoder"] as const) {
          await assertRejects(() => openEncoderSource(file, { heads, part }), UserError, says);
        }
        await assertRejects(() => resolveTeacher(file, { heads }), UserError, says);
        const { encoders: [encoder] } = await inspectCheckpoint(file, { heads });
        assertEquals([encoder.recognized, encoder.nearest, encoder.otherModel], [[], undefined, says]);
      }
    });
  }
});

Deno.test("heads are told from the width where nothing says them: ViT-H's are of 80 numbers", () => {
  const tensorsOf = (width: number, dinov3: boolean) =>
    new Map(
      Object.entries({
        cls_token: [1, 1, width],
        ...dinov3 ? {} : { pos_embed: [1, 257, width] },
        "patch_embed.proj.weight": [width, 3, 14, 14],
        "blocks.0.attn.qkv.weight": [3 * width, width],
        "blocks.0.mlp.fc1.weight": [4 * width, width],
      }).map(([key, shape]) => [key, { shape }]),
    );
  const heads = (width: number, clues: EncoderClues = {}, dinov3 = false) =>
    readVitShape(tensorsOf(width, dinov3), clues)?.heads;
  assertEquals([384, 768, 1024, 1280].map((width) => heads(width)), [6, 12, 16, 16]);
  assertEquals([768, 1024, 1280].map((width) => heads(width, { fixedPositions: true })), [12, 16, 16]);
  assertEquals([1280, 4096].map((width) => heads(width, {}, true)), [20, 32]);
  assertEquals(heads(1280, { heads: 20 }), 20);
});

Deno.test("a vision transformer whose patch does not divide its authors' usual size takes the nearest one", async () => {
  for (
    const [arch, usual] of [
      ["dinov2_vit_p12_w64_b1_h1_f256_r0_g37", 228],
      ["dinov2_vit_p20_w64_b1_h1_f256_r0_g14", 220],
      ["dinov2_vit_p20_w64_b1_h1_f256_r0_g3", 60],
      ["dinov2_vit_p14_w64_b1_h1_f256_r0_g37", 224],
      ["dinov3_vit_p14_w64_b1_h1_f256_r4_g0", 252],
      ["dinov3_vit_p600_w64_b1_h1_f256_r4_g0", 600],
    ] as const
  ) {
    const encoder = findEncoder(arch);
    assertEquals(encoder.sizes?.usual, usual);
    await withShapes(arch, {}, async (file) => {
      using source = await openEncoderSource(file, { part: "encoder" });
      assertEquals([source.encoder.name, chooseInput(source, {}).imageSize], [arch, usual]);
      assertEquals((await inspectCheckpoint(file)).encoders[0].recognized, [arch]);
    });
  }
});

Deno.test("an encoder of MoCo-v3 with fresh weights has its table of positions, and is told by it", async () => {
  const encoder = findEncoder("mocov3_vit_p16_w96_b1_h12_f384_r0_g3");
  const { state } = summarize(encoder, usualHead(encoder));
  const values = initialize(state, 1);
  const tensors = new Map(state.map(({ key, shape }) => [key, TensorRef.of(values.get(key)!, shape)]));
  assert(await hasFixedPositions(tensors));
  assertEquals(initialize(state, 2).get("pos_embed"), values.get("pos_embed"));
});
