// Checkpoints that hold an encoder with something beside it, or one that is nearly known.
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { dirname } from "node:path";
import { examine } from "../../cli/commands/doctor.ts";
import { UserError } from "../../errors.ts";
import { OrderedDict, torchDict, type TorchValue } from "../../models/checkpoint/torch_value.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import type { EncoderPart } from "../../models/encoder_parts.ts";
import { inspectCheckpoint } from "../../models/inspect.ts";
import { globalAveragePool, projectionHead, registerEncoder } from "../../parts.ts";
import { resolveTeacher } from "../../models/teacher.ts";
import { type ShapeOptions, withShapes } from "./shape_checkpoint.ts";

/** SimSiam's projector has three layers, each with a batch norm; its predictor two. */
const SIMSIAM: ShapeOptions = {
  without: /^fc\./,
  more: {
    ...Object.fromEntries(
      [0, 3, 6].map((layer) => [`projector.${layer}.weight`, [64, layer === 0 ? 512 : 64]]),
    ),
    ...Object.fromEntries(
      [1, 4, 7].flatMap((layer) =>
        ["weight", "bias", "running_mean", "running_var"].map((name) => [`projector.${layer}.${name}`, [64]])
      ),
    ),
    "predictor.0.weight": [16, 64],
    "predictor.3.weight": [64, 16],
  },
};

/** What thop's `profile` leaves in a model, and an averaged model's count. */
const TALLIES: ShapeOptions = {
  more: { total_ops: [1], "layer1.0.conv1.total_ops": [1], "layer1.0.total_params": [1], n_averaged: [] },
};

async function refused(path: string, part: EncoderPart, arch?: string): Promise<string> {
  const { message } = await assertRejects(() => openEncoderSource(path, { arch, part }), UserError);
  assert(message.startsWith(`${path}: `), message);
  return message.slice(path.length + 2);
}

Deno.test("a backbone is taken out of a file with heads of other kinds, which are named", async () => {
  await withShapes("resnet18", SIMSIAM, async (path) => {
    using source = await openEncoderSource(path, { part: "backbone" });
    assertEquals([source.encoder.name, source.hasHead], ["resnet18", false]);
    assertEquals(source.beside, ["projector", "predictor"]);
    assertEquals(source.tensors.size, 120);
    const { encoders: [encoder] } = await inspectCheckpoint(path);
    assertEquals([encoder.recognized[0], encoder.part], ["resnet18", "backbone"]);
    assertEquals(encoder.otherHeads, ["projector", "predictor"]);
    for (
      const message of [
        await refused(path, "encoder"),
        (await assertRejects(() => resolveTeacher(path), UserError)).message,
      ]
    ) {
      assertStringIncludes(message, "whose heads projector, predictor are of unknown kinds");
      assertStringIncludes(message, "its backbone, a resnet18, can be evaluated and exported");
    }
  });
  // Three layers under the usual name.
  const fc = { ...SIMSIAM.more, "fc.0.weight": [8, 512], "fc.3.weight": [8, 8], "fc.6.weight": [8, 8] };
  await withShapes("resnet18", { ...SIMSIAM, more: fc }, async (path) => {
    using source = await openEncoderSource(path, { part: "backbone" });
    assertEquals([source.encoder.name, source.beside], ["resnet18", ["projector", "predictor", "fc"]]);
  });
});

Deno.test("a head may be on another encoder than its method's own, which is then a teacher of that method", async () => {
  const head = { kind: "mlp_bn", dimension: 128, hidden: 64 } as const;
  const teacher = { arch: "resnet18", ssl: "simclr" } as const;
  await withShapes("resnet18", { head }, async (path) => {
    for (const part of ["backbone", "encoder"] as const) {
      using source = await openEncoderSource(path, { part });
      assertEquals([source.encoder.name, source.head.kind], ["resnet18", "mlp_bn"]);
    }
    for (
      const request of [{}, { arch: "resnet18" }, { ssl: "simclr" }, teacher, { feature: "pooled" }] as const
    ) assertEquals(await resolveTeacher(path, request), teacher);
    const { message } = await assertRejects(() => resolveTeacher(path, { arch: "resnet34" }), UserError);
    assertStringIncludes(
      message,
      "holds a resnet18, but --teacher-arch is resnet34; use --teacher-arch resn",
    );
    const { encoders: [encoder] } = await inspectCheckpoint(path);
    assertEquals([encoder.recognized, encoder.part], [["resnet18"], "encoder"]);
  });
  // That of ResNet-50 is SimCLR's own, and no other.
  await withShapes("resnet50", { head }, async (path) => {
    assertEquals(await resolveTeacher(path), { arch: "simclr_resnet50", ssl: "simclr" });
    assertEquals((await inspectCheckpoint(path)).encoders[0].recognized, ["simclr_resnet50"]);
  });
});

Deno.test("a backbone is taken out of a file with another method's head, which its encoder has not", async () => {
  const more = Object.fromEntries(
    ["0.weight", "0.bias", "2.weight", "2.bias"].map((key) => [
      `projection_head.${key}`,
      key.endsWith("weight") ? [512, 512] : [512],
    ]),
  );
  await withShapes("resnet18", { without: /^fc\./, more }, async (path) => {
    using source = await openEncoderSource(path, { part: "backbone" });
    assertEquals([source.encoder.name, source.beside], ["resnet18", ["projection_head"]]);
    const { encoders: [encoder] } = await inspectCheckpoint(path);
    assertEquals([encoder.recognized[0], encoder.part], ["resnet18", "backbone"]);
    assertEquals(encoder.otherHeads, ["projection_head"]);
    assertEquals(await resolveTeacher(path, { feature: "pooled" }), { arch: "resnet18", ssl: "swav" });
    const differs =
      "4 keys are missing (fc.0.weight, fc.0.bias, fc.2.weight, fc.2.bias); 4 keys are unexpected";
    const { message } = await assertRejects(() => resolveTeacher(path), UserError);
    assertStringIncludes(message, "or distil the pooled feature of its backbone with --feature");
    assertStringIncludes(await refused(path, "encoder"), `the most similar is resnet18: ${differs}`);
    assertStringIncludes(await refused(path, "encoder", "resnet18"), differs);
  });
});

Deno.test("the decoder that MAE trains beside an encoder is left out by name", async () => {
  const decoder = {
    mask_token: [1, 1, 8],
    decoder_pos_embed: [1, 17, 8],
    "decoder_embed.weight": [8, 192],
    "decoder_blocks.0.attn.qkv.weight": [24, 8],
    "decoder_pred.weight": [768, 8],
  };
  const arch = "dino_vit_p16_w192_b1_h3_f768_r0_g4";
  const left = ["mask_token", "decoder_pos_embed", "decoder_embed", "decoder_blocks", "decoder_pred"];
  for (const wrap of [undefined, (dict: TorchValue) => torchDict([["model", dict], ["epoch", 799]])]) {
    await withShapes(arch, { more: decoder, wrap }, async (path) => {
      for (const part of ["backbone", "encoder"] as const) {
        using source = await openEncoderSource(path, { part });
        assertEquals([source.encoder.name, source.beside], [arch, left]);
      }
      assertEquals((await inspectCheckpoint(path)).encoders[0].recognized, [arch]);
    });
  }
  await withShapes("dinov2_vits14", { more: { decoder_pos_embed: [1, 17, 8] } }, async (path) => {
    assertStringIncludes(await refused(path, "backbone"), "1 key is unexpected (decoder_pos_embed)");
  });
});

Deno.test("classifiers of the repositories that SEED's encoders are from are left out by name", async () => {
  for (
    const [arch, classifier, width] of [
      ["efficientnet_b0", "_fc", 1280], // lukemelas/EfficientNet-PyTorch
      ["mobilenetv3_small", "classifier.3", 1024], // d-li14/mobilenetv3.pytorch
      ["mobilenetv3_large", "classifier.3", 1280],
    ] as const
  ) {
    const more = { [`${classifier}.weight`]: [1000, width], [`${classifier}.bias`]: [1000] };
    await withShapes(arch, { without: /^fc\./, more }, async (path) => {
      using source = await openEncoderSource(path, { part: "backbone" });
      assertEquals([source.encoder.name, source.otherHeads, source.beside], [arch, [classifier], [
        classifier,
      ]]);
      const { encoders: [encoder] } = await inspectCheckpoint(path);
      assertEquals([encoder.recognized[0], encoder.otherHeads], [arch, [classifier]]);
      assertStringIncludes(await refused(path, "encoder"), `${classifier} is of unknown kinds`);
    });
  }
  // What is no matrix may be a part of the backbone, and what lies before its last layer is.
  const maps = { without: /^fc\./, more: { "classifier.3.weight": [10, 1024, 1, 1] } };
  await withShapes("mobilenetv3_small", maps, async (path) => {
    assertStringIncludes(await refused(path, "backbone"), "1 key is unexpected (classifier.3.weight)");
  });
});

Deno.test("what tools count in a model is passed over, with its head or without", async () => {
  await withShapes("resnet18", TALLIES, async (path) => {
    for (const part of ["backbone", "encoder"] as const) {
      using source = await openEncoderSource(path, { part });
      assertEquals([source.encoder.name, source.hasHead], ["resnet18", true]);
      assertEquals(source.beside, ["total_ops", "total_params", "n_averaged"]);
    }
    assertEquals(await resolveTeacher(path), { arch: "resnet18", ssl: "moco" });
    const { encoders: [encoder], beside } = await inspectCheckpoint(path);
    assertEquals([encoder.recognized[0], beside], ["resnet18", ["total_ops", "total_params", "n_averaged"]]);
  });
});

Deno.test("layers that a backbone may depend on are not passed over", async () => {
  for (
    const [key, shape] of [
      ["layer1.0.se.fc.weight", [4, 64]],
      ["neck.0.weight", [64, 512]],
      ["attnpool.q_proj.weight", [64, 512]],
      ["projector.0.weight", [64, 512, 1, 1]],
    ] as const
  ) {
    await withShapes("resnet18", { without: /^fc\./, more: { [key]: shape } }, async (path) => {
      const message = await refused(path, "backbone");
      assertStringIncludes(message, `the most similar is resnet18: 1 key is unexpected (${key})`);
    });
  }
  await withShapes("mobilenetv3_small", { without: /^fc\./ }, async (path) => {
    using source = await openEncoderSource(path, { part: "backbone" });
    assertEquals([source.encoder.name, source.beside], ["mobilenetv3_small", []]);
    assertStringIncludes(await refused(path, "encoder"), "without a known projection head");
  });
});

Deno.test("of a network with another first convolution it says what differs, and not to choose what was right", async () => {
  const other = { without: /^conv1\./, more: { "conv1.weight": [64, 3, 5, 5] } };
  const differs = "1 key is of another shape (conv1.weight is [64,3,5,5], not [64,3,7,7])";
  await withShapes("resnet18", other, async (path) => {
    for (const part of ["backbone", "encoder"] as const) {
      const message = await refused(path, part);
      assertStringIncludes(message, `holds no ${part} of a known encoder; the most similar is resnet18`);
      assertStringIncludes(message, differs);
      const chosen = await refused(path, part, "resnet18");
      assertStringIncludes(chosen, `does not fit the encoder chosen: ${differs}`);
      assertStringIncludes(chosen, "use a checkpoint of resnet18, or load your own with --plugin");
      assert(!chosen.includes("choose the architecture"), chosen);
      assertStringIncludes(
        await refused(path, part, "resnet34"),
        "The most similar is resnet18: choose the architecture and head that it was trained with",
      );
    }
    const { message } = await assertRejects(() => resolveTeacher(path), UserError);
    assertStringIncludes(message, `the most similar is resnet18: ${differs}`);
  });
});

/** Nearly known encoders: with norms of another kind, other names of shortcuts, and torchvision's MobileNetV3. */
const NEARLY: readonly ShapeOptions[] = [
  { without: /^fc\.|running_|num_batches/ },
  { without: /^fc\.|downsample/, more: { "layer2.0.shortcut.0.weight": [128, 64, 1, 1] } },
  {
    without: /./,
    more: { "features.0.0.weight": [16, 3, 3, 3], "features.1.block.0.0.weight": [16, 1, 3, 3] },
  },
];

Deno.test("what is nearly known is compared without what stands before its names", async () => {
  for (const { more = {}, ...options } of NEARLY) {
    const said: string[][] = [];
    for (const prefix of ["", "backbone.", "module.model.encoder.", "module.encoder_q."]) {
      const renamed = Object.fromEntries(Object.entries(more).map(([key, shape]) => [prefix + key, shape]));
      const beside: ShapeOptions["more"] = prefix === "" ? {} : { "projector.0.weight": [64, 512] };
      const wrap = (dict: TorchValue) => torchDict([["state_dict", dict]]);
      await withShapes(
        "resnet18",
        { ...options, prefix, more: { ...renamed, ...beside }, wrap },
        async (path) => {
          const { encoders: [encoder] } = await inspectCheckpoint(path);
          assertEquals(encoder.name, prefix.replace(/^module\./, "").slice(0, -1));
          said.push([
            await refused(path, "backbone"),
            (await refused(path, "encoder")).replace("is a moco checkpoint", "is a torchvision checkpoint"),
            encoder.nearest?.problems ?? encoder.otherModel!,
          ]);
        },
      );
    }
    assert(
      said[0].every((text) => /most similar is resnet18|is missing|are missing|is torchvision's/.test(text)),
    );
    for (const texts of said) assertEquals(texts, said[0]);
  }
});

Deno.test("of several dicts with nothing that is known, the slow one or the largest is compared", async () => {
  for (
    const [sizes, compared] of [
      [{ encoder: 108, target_encoder: 107 }, "target_encoder"],
      [{ first: 50, second: 108 }, "second"],
    ] as const
  ) {
    const wrap = (dict: OrderedDict) =>
      torchDict([
        ...Object.entries(sizes).map(([name, size]) =>
          [name, new OrderedDict([...dict].slice(0, size))] as const
        ),
        ["epoch", 3],
      ]);
    await withShapes("resnet18", { without: /^(fc|layer4\.1)\./, wrap }, async (path) => {
      const where = Object.entries(sizes).map(([name, size]) => `${size} entries in "${name}"`).join(", ");
      const expected =
        `holds 2 dicts of weights (${where}), none of them called state_dict or model, nor is an ` +
        `encoder in them known. Of "${compared}": the most similar is resnet18: 10 keys are missing (layer4.1.`;
      for (const part of ["backbone", "encoder"] as const) {
        assertStringIncludes(await refused(path, part), expected);
      }
      assertStringIncludes((await inspectCheckpoint(path)).noEncoder!, expected);
    });
  }
});

Deno.test("without a head, --feature is advised where the backbone is known, and only there", async () => {
  for (const [without, isKnown] of [[/^fc\./, true], [/^(fc|layer4\.1)\./, false]] as const) {
    await withShapes("resnet18", { without }, async (path) => {
      const { message } = await assertRejects(() => resolveTeacher(path), UserError);
      assertStringIncludes(message, "is a torchvision checkpoint without a known projection head");
      assertEquals(message.includes("use it with --feature"), isKnown);
      assertEquals(message.includes("nor is its backbone known; the most similar is resnet18: "), !isKnown);
    });
  }
});

Deno.test("MobileNetV3 and EfficientNet of torchvision and timm are said to be other models than those known here", async () => {
  const pointwise = { "conv_stem.weight": [16, 3, 3, 3], "blocks.1.0.conv_pw.weight": [72, 16, 1, 1] };
  const models = [
    ["timm's MobileNetV3", "mobilenetv3.py", "mobilenetv3_small", {
      ...pointwise,
      "conv_head.weight": [1024, 576, 1, 1],
      "conv_head.bias": [1024],
      "classifier.weight": [1000, 1024],
    }],
    ["timm's EfficientNet", "efficientnet.py", "efficientnet_b0", {
      ...pointwise,
      "conv_head.weight": [1280, 320, 1, 1],
      "bn2.weight": [1280],
      "classifier.weight": [1000, 1280],
    }],
    ["torchvision's MobileNetV3", "mobilenetv3.py", "mobilenetv3_small", {
      "features.0.0.weight": [16, 3, 3, 3],
      "features.1.block.0.0.weight": [16, 1, 3, 3],
      "classifier.0.weight": [1024, 576],
      "classifier.3.weight": [1000, 1024],
    }],
    ["torchvision's EfficientNet", "efficientnet.py", "efficientnet_b0", {
      "features.0.0.weight": [32, 3, 3, 3],
      "features.1.0.block.0.0.weight": [32, 1, 3, 3],
      "classifier.1.weight": [1000, 1280],
    }],
  ] as const;
  for (const [model, file, arch, more] of models) {
    const wraps: ShapeOptions["wrap"][] = [undefined, (dict) => torchDict([["model", dict]])];
    for (const wrap of wraps) {
      await withShapes(arch, { without: /./, more, wrap }, async (path) => {
        const expected = `is ${model}, which differs from the original SEED's ${file}`;
        for (const name of [undefined, arch]) {
          for (const part of ["backbone", "encoder"] as const) {
            const message = await refused(path, part, name);
            assert(message.startsWith(expected), message);
            assertStringIncludes(
              message,
              "use a checkpoint of the latter, or load your own with --plugin",
            );
          }
        }
        const { message } = await assertRejects(() => resolveTeacher(path), UserError);
        assertStringIncludes(message, expected);
        const { encoders: [encoder] } = await inspectCheckpoint(path);
        assertStringIncludes(encoder.otherModel!, expected);
      });
    }
  }
});

Deno.test("a plugin's encoder with the names of torchvision's MobileNetV3 is opened by its file and by its name", async () => {
  registerEncoder({
    name: "own_mobilenet",
    family: "example",
    roles: ["student"],
    ssl: "moco",
    head: "linear",
    features: 8,
    trace(builder, images, head) {
      let x = images;
      for (const [key, inputs] of [["features.0", 3], ["features.1.block.0", 8]] as const) {
        const shape = { inputs, outputs: 8, kernel: 3, stride: 2, padding: 1 };
        const convolution = builder.convolution(`${key}.0`, shape);
        const norm = builder.batchNorm(`${key}.1`, 8);
        x = builder.convolveAndNormalize(x, convolution, norm, { activation: "relu" });
      }
      const feature = builder.graph.apply(globalAveragePool, [x], {});
      return { feature, embedding: projectionHead(builder, "fc", 8, head)(feature) };
    },
  });
  await withShapes("own_mobilenet", {}, async (path) => {
    for (const arch of [undefined, "own_mobilenet"]) {
      for (const part of ["backbone", "encoder"] as const) {
        using source = await openEncoderSource(path, { arch, part });
        assertEquals(source.encoder.name, "own_mobilenet");
      }
    }
    assertStringIncludes(
      await refused(path, "backbone", "mobilenetv3_small"),
      "is torchvision's MobileNetV3",
    );
    assertEquals((await inspectCheckpoint(path)).encoders[0].otherModel, undefined);
  });
});

Deno.test("doctor says of a teacher that is nearly known what a run would say", async () => {
  const cases: [arch: string, options: ShapeOptions, hint: string][] = [
    ["resnet18", SIMSIAM, "whose heads projector, predictor are of unknown kinds"],
    ["resnet18", { without: /^(fc|layer4\.1)\./ }, "without a known projection head"],
    ["resnet18", { without: /^layer4\.1\./ }, "the most similar is resnet18: "],
    [
      "resnet18",
      { without: /./, more: { "features.1.block.0.0.weight": [16, 1, 3, 3] } },
      "is torchvision's MobileNetV3, which differs from the original SEED's mobilenetv3.py",
    ],
  ];
  for (const [arch, options, hint] of cases) {
    await withShapes(arch, options, async (distill) => {
      const { message } = await assertRejects(() => resolveTeacher(distill), UserError);
      assertStringIncludes(message, hint);
      const finding = (await examine({ data: null, distill, output: dirname(distill) })).find(({ what }) =>
        what === "teacher"
      )!;
      assertEquals([finding.what, finding.state, finding.found], ["teacher", "problem", message]);
    });
  }
});
