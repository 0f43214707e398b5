// Encoders under the names that other programs give them: each layout as its program writes it.
import { assertEquals, assertFalse, assertRejects, assertStringIncludes } from "@std/assert";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import { buildInput, INPUT_KEY, TEACHER_INPUT_KEY } from "../../models/checkpoint/saved_input.ts";
import { OrderedDict, TensorValue, torchDict, type TorchValue } from "../../models/checkpoint/torch_value.ts";
import { UserError } from "../../errors.ts";
import { openEncoder } from "../../models/locate_encoder.ts";
import { resolveTeacher } from "../../models/teacher.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { chooseInput } from "../../models/encoder_input.ts";
import { exportEncoder } from "../../models/export/export_encoder.ts";
import { inspectCheckpoint } from "../../models/inspect.ts";
import { elementCount } from "../../kernels/graph.ts";
import { sineCosinePositions } from "../../models/position_embedding.ts";
import { findEncoder, summarize, usualHead } from "../../models/registry.ts";
import { writeTorchFile } from "../../models/checkpoint/torch_writer.ts";
import { withFolder } from "./checkpoint/fixtures.ts";

/** A ResNet-18's backbone under a prefix; `rename` gives its layers other names. Values are zeros in half precision. */
function backbone(
  prefix: string,
  rename = (key: string) => key,
  arch = "resnet18",
): [string, TensorValue][] {
  const encoder = findEncoder(arch);
  return summarize(encoder, usualHead(encoder), 64).state.filter(({ key }) => !key.startsWith("fc."))
    .map(({ key, shape }) => tensor(prefix + rename(key), shape));
}

function tensor(key: string, shape: readonly number[]): [string, TensorValue] {
  return [key, new TensorValue("float16", shape, new Uint16Array(elementCount(shape)))];
}

const withCheckpoint = (value: TorchValue, body: (path: string) => Promise<void>) =>
  withFolder(async (folder) => {
    await writeTorchFile(`${folder}/c.ckpt`, value);
    await body(`${folder}/c.ckpt`);
  });

const dict = (...entries: [string, TensorValue][][]) => new OrderedDict(entries.flat());
const lightning = (state: OrderedDict) =>
  torchDict([["epoch", 3], ["global_step", 9], ["state_dict", state]]);

/** `nn.Sequential(*list(resnet18().children())[:-1])`, as lightly's examples have it. */
const CHILDREN = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"];
const numbered = (key: string) => {
  const [child, ...rest] = key.split(".");
  return [CHILDREN.indexOf(child), ...rest].join(".");
};

const LAYOUTS: readonly { name: string; value: TorchValue; prefix: string; others: string[] }[] = [
  {
    name: "solo-learn, BYOL",
    value: lightning(dict(
      backbone("backbone."),
      [tensor("classifier.weight", [10, 512]), tensor("projector.0.weight", [64, 512])],
      backbone("momentum_backbone."),
      [tensor("momentum_projector.0.weight", [64, 512])],
    )),
    prefix: "momentum_backbone.",
    others: ["backbone."],
  },
  {
    name: "solo-learn, SimCLR",
    value: lightning(dict(backbone("backbone."), [tensor("projector.0.weight", [64, 512])])),
    prefix: "backbone.",
    others: [],
  },
  {
    name: "lightly, MoCo",
    value: lightning(dict(
      backbone("backbone.", numbered),
      [tensor("projection_head.layers.0.weight", [64, 512])],
      backbone("backbone_momentum.", numbered),
    )),
    prefix: "backbone_momentum.",
    others: ["backbone."],
  },
  { name: "Lightning", value: lightning(dict(backbone("model."))), prefix: "model.", others: [] },
  {
    name: "Lightning, torch.compile deeper than the top",
    value: lightning(dict(backbone("model._orig_mod.encoder.module."))),
    prefix: "model.encoder.",
    others: [],
  },
  {
    name: "Lightning, FSDP with checkpointed activations",
    value: lightning(
      dict(
        backbone(
          "model._fsdp_wrapped_module.",
          (key) => key.replace(/^(layer\d\.\d)/, "$1._fsdp_wrapped_module._checkpoint_wrapped_module"),
        ),
      ),
    ),
    prefix: "model.",
    others: [],
  },
  {
    name: "BYOL",
    value: dict(
      backbone("online_backbone."),
      [tensor("online_projector.0.weight", [64, 512])],
      backbone("target_backbone."),
    ),
    prefix: "target_backbone.",
    others: ["online_backbone."],
  },
  {
    name: "Lightning, a MoCo deeper than the top",
    value: lightning(dict(backbone("model.encoder_q."), backbone("model.encoder_k."))),
    prefix: "model.encoder_k.",
    others: ["model.encoder_q."],
  },
  {
    name: "a MoCo of backbones and projectors",
    value: dict(
      backbone("encoder_q.backbone."),
      [tensor("encoder_q.projector.0.weight", [64, 512])],
      backbone("encoder_k.backbone."),
      [tensor("encoder_k.projector.0.weight", [64, 512])],
    ),
    prefix: "encoder_k.backbone.",
    others: ["encoder_q.backbone."],
  },
  {
    name: "DINO with a ResNet",
    value: torchDict([
      ["student", dict(backbone("module.backbone."), [tensor("module.head.mlp.0.weight", [64, 512])])],
      ["teacher", dict(backbone("backbone."), [tensor("head.mlp.0.weight", [64, 512])])],
      ["epoch", 7],
      ["dino_loss", dict([tensor("center", [1, 64])])],
    ]),
    prefix: "teacher.backbone.",
    others: ["student.backbone."],
  },
];

for (const { name, value, prefix, others } of LAYOUTS) {
  Deno.test(`an encoder is found as ${name} names it, and others are left out by name`, () =>
    withCheckpoint(value, async (path) => {
      using source = await openEncoderSource(path, { part: "backbone" });
      assertEquals([source.encoder.name, source.prefix, source.others], ["resnet18", prefix, others]);
      assertEquals(source.tensors.size, 120);
      const { note } = chooseInput(source, { imageSize: 32 });
      const left = others.length === 0 ? "" : `; ignored ${others.join(", ")}, which --weights can select`;
      assertEquals(note, `${path}: the encoder is under ${prefix}*${left}`);
      // With --weights it is the one that is named, with or without what wraps it.
      for (const weights of [...others, prefix, prefix.replace(/\.$/, ""), `module.${prefix}`]) {
        using state = await openEncoder(path, weights);
        assertEquals(state.prefix, others.includes(weights) ? weights : prefix);
        assertEquals(state.others, []);
      }
      const { encoders } = await inspectCheckpoint(path);
      assertEquals(
        encoders.map((found) => [found.name, found.recognized[0]]),
        [prefix, ...others].map((found) => [found.slice(0, -1), "resnet18"]),
      );
    }));
}

/** Places without the max pooling and with an `nn.Flatten`, as MoCo's demo on CIFAR-10 numbers them. */
const CIFAR_CHILDREN = ["conv1", "bn1", "relu", ...CHILDREN.slice(4), "avgpool", "flatten", "fc"];
const numberedForCifar = (key: string) => {
  const [child, ...rest] = key.split(".");
  return [CIFAR_CHILDREN.indexOf(child), ...rest].join(".");
};

Deno.test("numbered children without max pooling are a ResNet for CIFAR, and a Linear behind them its head", async (t) => {
  const children = (prefix: string) => backbone(prefix, numberedForCifar, "resnet18_cifar");
  const head = (prefix: string) => [tensor(`${prefix}9.weight`, [32, 512]), tensor(`${prefix}9.bias`, [32])];
  await t.step("MoCo's demo on CIFAR-10", () => {
    const sides = ["encoder_q.net.", "encoder_k.net."];
    const state = dict(
      ...sides.flatMap((prefix) => [children(prefix), head(prefix)]),
      [tensor("queue", [32, 4096])],
    );
    return withCheckpoint(torchDict([["epoch", 1], ["state_dict", state]]), async (path) => {
      for (const part of ["backbone", "encoder"] as const) {
        using source = await openEncoderSource(path, { part });
        const { encoder, prefix, others } = source;
        // Its notebook evaluates encoder_q.
        assertEquals([encoder.name, prefix, others], ["resnet18_cifar", sides[0], [sides[1]]]);
        assertEquals(source.tensors.size, part === "backbone" ? 120 : 122);
        assertEquals([source.head.kind, source.head.dimension], ["linear", 32]);
        const [mean, std] = [[0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.201]];
        assertEquals<object>(source.normalization, { mean, deviation: std });
        const { note, ...input } = chooseInput(source, {});
        assertEquals<object>(input, { imageSize: 32, cropRatio: 1, interpolation: "bilinear" });
        const words = `by mean ${mean.join(" ")}, std ${std.join(" ")}, as in MoCo's notebook for CIFAR-10`;
        assertStringIncludes(note!, words);
        assertFalse(note!.includes("assumed"), note);
      }
      using slow = await openEncoderSource(path, { part: "backbone", weights: "encoder_k.net" });
      assertEquals([slow.prefix, slow.normalization.deviation], [sides[1], [0.2023, 0.1994, 0.201]]);
      const output = `${path}.pth`;
      const options = { format: "pth", part: "backbone", normalize: false, force: false } as const;
      const { input } = await exportEncoder({ ...options, checkpoint: path, output });
      assertEquals([input.imageSize, input.cropRatio, input.std], [32, 1, [0.2023, 0.1994, 0.201]]);
    });
  });
  await t.step(
    "a SimCLR for CIFAR",
    () =>
      withCheckpoint(dict(children("f."), [tensor("g.0.weight", [64, 512])]), async (path) => {
        using source = await openEncoderSource(path, { part: "backbone" });
        assertEquals([source.encoder.name, source.prefix, source.hasHead], ["resnet18_cifar", "f.", false]);
      }),
  );
});

Deno.test("a ResNet is refused where Lightning Bolts says another pooling than its first layers have", async (t) => {
  const bolts = (arch: string, maxpool1: boolean) =>
    torchDict([
      [
        "state_dict",
        dict(backbone("encoder.", undefined, arch), [tensor("projection.model.0.weight", [64, 512])]),
      ],
      ["hyper_parameters", torchDict([["first_conv", arch === "resnet18"], ["maxpool1", maxpool1]])],
    ]);
  for (const [arch, usual] of [["resnet18", true], ["resnet18_cifar", false]] as const) {
    await t.step(arch, async () => {
      await withCheckpoint(bolts(arch, usual), async (path) => {
        using source = await openEncoderSource(path, { part: "backbone" });
        assertEquals(source.encoder.name, arch);
      });
      await withCheckpoint(bolts(arch, !usual), async (path) => {
        const { message } = await assertRejects(
          () => openEncoderSource(path, { part: "backbone" }),
          CheckpointError,
        );
        assertStringIncludes(message, `has "maxpool1": ${!usual} in its hyper_parameters`);
        assertStringIncludes(
          message,
          `but ${arch} begins with ${usual ? "conv 7x7/2, max pool" : "conv 3x3/1,"}`,
        );
      });
    });
  }
});

Deno.test("--weights that lead to no encoder are refused, with those that do", () =>
  withCheckpoint(LAYOUTS[0].value, async (path) => {
    const { message } = await assertRejects(() => openEncoder(path, "teacher"), CheckpointError);
    assertStringIncludes(
      message,
      'has no known encoder under "teacher"; expected --weights "backbone." or "momentum_backbone."',
    );
  }));

Deno.test("averaged weights beside the usual ones are named, and --weights takes them", async () => {
  const [first, ...rest] = backbone("");
  const { shape } = first[1];
  // 7 in half precision
  const sevens = new TensorValue("float16", shape, new Uint16Array(elementCount(shape)).fill(0x4700));
  const value = torchDict([["state_dict", dict([first, ...rest])], [
    "state_dict_ema",
    dict([[first[0], sevens], ...rest]),
  ]]);
  await withCheckpoint(value, async (path) => {
    const read = async (weights?: string) => {
      using state = await openEncoder(path, weights);
      return [(await state.tensors.get("conv1.weight")!.read())[0], state.prefix, state.others];
    };
    assertEquals(await read(), [0, "", ["state_dict_ema."]]);
    assertEquals(await read("state_dict_ema"), [7, "state_dict_ema.", []]);
    const { encoders, note } = await inspectCheckpoint(path);
    assertEquals(encoders.map(({ recognized }) => recognized[0]), ["resnet18", "resnet18"]);
    assertEquals(note, "ignored state_dict_ema., which --weights can select");
  });
});

Deno.test("names that frameworks have keep their meaning: MoCo's encoder_q, unless --weights says encoder_k", async (t) => {
  const fast = backbone("module.encoder_q.");
  await t.step(
    "the momentum encoder is left out with a word",
    () =>
      withCheckpoint(dict(fast, backbone("module.encoder_k.")), async (path) => {
        using usual = await openEncoderSource(path, { part: "backbone" });
        assertEquals([usual.framework, usual.prefix, usual.others], ["moco", "encoder_q.", ["encoder_k."]]);
        const { note } = chooseInput(usual, { imageSize: 32 });
        assertEquals(
          note,
          `${path}: the encoder is under encoder_q.*, which MoCo's main_lincls.py and the original SEED load; its ` +
            "momentum encoder is ignored, --weights module.encoder_k selects it",
        );
        for (const weights of ["module.encoder_k", "encoder_k", "encoder_k."]) {
          using slow = await openEncoder(path, weights);
          assertEquals([slow.prefix, slow.others], ["encoder_k.", []]);
        }
        const { encoders } = await inspectCheckpoint(path);
        assertEquals(encoders.map(({ name }) => name), ["encoder_q", "encoder_k"]);
        const slow = await inspectCheckpoint(path, { weights: "module.encoder_k" });
        assertEquals([slow.encoders.map(({ name }) => name), slow.note], [
          ["encoder_k"],
          "the encoder is under encoder_k.*",
        ]);
      }),
  );
  await t.step("without one, or with a part of one, there is nothing to say", async () => {
    for (const beside of [[], [tensor("module.encoder_k.conv1.weight", [64, 3, 7, 7])]]) {
      await withCheckpoint(dict(fast, beside), async (path) => {
        using usual = await openEncoderSource(path, { part: "backbone" });
        assertEquals([usual.others, chooseInput(usual, { imageSize: 32 }).note], [undefined, undefined]);
      });
    }
  });
  await t.step("layers that are compiled or wrapped by themselves change nothing", async () => {
    const parts = (key: string) => key.replace(/^(layer1)\.(0)/, "$1._orig_mod.$2.module");
    for (
      const [fast, slow, framework] of [["encoder_q", "encoder_k", "moco"], ["student", "teacher", "seed"]]
    ) {
      const both = dict(backbone(`module.${fast}.`, parts), backbone(`module.${slow}.`, parts));
      await withCheckpoint(both, async (path) => {
        using usual = await openEncoderSource(path, { part: "backbone" });
        assertEquals([usual.framework, usual.prefix], [framework, `${fast}.`]);
        const { encoders } = await inspectCheckpoint(path);
        assertEquals(encoders.map(({ name, recognized }) => [name, recognized[0]]), [[fast, "resnet18"], [
          slow,
          "resnet18",
        ]]);
      });
    }
  });
});

Deno.test("the teacher of a distillation's checkpoint has its own words, by --weights as by --which", async () => {
  const value = torchDict([
    ["epoch", 7],
    ["arch", "resnet34"],
    ["state_dict", dict(backbone("module.student."), backbone("module.teacher."))],
    [INPUT_KEY, buildInput({ imageSize: 32 })],
    [TEACHER_INPUT_KEY, buildInput({ imageSize: 64, mean: [0.1, 0.2, 0.3], std: [1, 1, 1] })],
  ]);
  await withCheckpoint(value, async (path) => {
    using student = await openEncoder(path, "student");
    assertEquals([student.arch, student.epoch, student.input?.imageSize], ["resnet34", 7, 32]);
    for (const weights of ["teacher", "module.teacher"]) {
      using teacher = await openEncoder(path, weights);
      assertEquals([teacher.arch, teacher.epoch, teacher.input?.imageSize], [undefined, undefined, 64]);
      assertEquals(teacher.input?.mean, [0.1, 0.2, 0.3]);
    }
  });
});

Deno.test("of another program's student and teacher side by side, a note says that the student is taken", async () => {
  const pair = [...backbone("student."), ...backbone("teacher.")];
  const read = async (value: TorchValue, which?: "teacher") => {
    let found: unknown[] = [];
    await withCheckpoint(value, async (path) => {
      using source = await openEncoderSource(path, { part: "backbone", which });
      const { note } = chooseInput(source, { imageSize: 32 });
      const { encoders } = await inspectCheckpoint(path);
      assertEquals(encoders.map(({ name, recognized }) => [name, recognized[0]]), [
        ["student", "resnet18"],
        ["teacher", "resnet18"],
      ]);
      found = [source.prefix, note?.slice(path.length + 2)];
    });
    return found;
  };
  const note = "the encoder is under student.*; ignored teacher., which --weights can select";
  assertEquals(await read(lightning(dict(pair))), ["student.", note]);
  assertEquals(await read(lightning(dict(pair)), "teacher"), ["teacher.", undefined]);
  // SEED's own say which is meant by what lies beside them.
  const queue = [tensor("queue", [64, 8])];
  assertEquals(await read(lightning(dict(pair, queue))), ["student.", undefined]);
  const resumed = torchDict([["state_dict", dict(pair)], ["seed_resume", torchDict([])]]);
  assertEquals(await read(resumed), ["student.", undefined]);
});

Deno.test("a student that no plugin has registered is refused by its name, and the teacher is not taken for it", async (t) => {
  const layers = ["stem", "mix", "last"].map((layer, i) =>
    tensor(`module.student.${layer}.weight`, [8, i === 0 ? 3 : 8, 4, 4])
  );
  const wrapped = [...backbone("module.student.net."), tensor("module.student.mix.weight", [8, 512])];
  const said: [string, TorchValue][] = [["epoch", 7], ["arch", "tiny_mixer"]];
  const ours: [string, TorchValue] = ["seed_resume", torchDict([])];
  const cases: readonly [string, [string, TensorValue][], [string, TorchValue][]][] = [
    ["of a run", layers, [...said, ours]],
    ["of a run, around a known encoder", wrapped, [...said, ours]],
    ["of another program", layers, said],
  ];
  for (const [name, student, root] of cases) {
    await t.step(name, () =>
      withCheckpoint(
        torchDict([...root, ["state_dict", dict(student, backbone("module.teacher."))]]),
        async (path) => {
          for (const which of [undefined, "student"] as const) {
            const { message } = await assertRejects(
              () => openEncoderSource(path, { part: "backbone", which }),
              CheckpointError,
              'holds no backbone of a known encoder (it says "tiny_mixer")',
            );
            assertStringIncludes(
              message,
              'load the plugin that registers "tiny_mixer" (--plugin; in a program, plugins)',
            );
          }
          await assertRejects(() => resolveTeacher(path, { feature: "pooled" }), UserError, '"tiny_mixer"');
          using teacher = await openEncoderSource(path, { part: "backbone", which: "teacher" });
          assertEquals([teacher.encoder.name, teacher.prefix], ["resnet18", "teacher."]);
          const { encoders } = await inspectCheckpoint(path);
          assertEquals(encoders.map(({ name, recognized }) => [name, recognized[0]]), [
            ["student", undefined],
            ["teacher", "resnet18"],
          ]);
        },
      ));
  }
});

Deno.test("a file that has two tensors of one name is refused", () =>
  withCheckpoint(dict(backbone(""), backbone("module.").slice(0, 1)), async (path) => {
    for (const weights of [undefined, "module"]) {
      await assertRejects(
        () => openEncoder(path, weights),
        CheckpointError,
        'has two tensors named "conv1.weight"; save only the one to use',
      );
    }
  }));

/** A vision transformer of 3 heads with positions of its own, for 4 x 4 patches. */
function visionTransformer(positions: ArrayLike<number>): OrderedDict {
  const encoder = findEncoder("dino_vit_p16_w192_b1_h3_f768_r0_g4");
  return new OrderedDict(
    summarize(encoder, usualHead(encoder)).state.map(({ key, shape }) =>
      key === "pos_embed"
        ? [key, new TensorValue("float32", shape, Float32Array.from(positions))]
        : tensor(key, shape)
    ),
  );
}

Deno.test("fixed positions are MoCo-v3's where they are its whole table, not where the class token's are zeros", async () => {
  const mocov3 = sineCosinePositions(192, [4, 4]);
  // MAE's `get_2d_sincos_pos_embed()`: sine and cosine of the column, then of the row.
  const mae = mocov3.map((_, i, table) => table[i - i % 192 + (i + 96) % 192]);
  const learned = mocov3.map((_, i) => i < 192 ? 0 : Math.sin(i));
  const rounded = mocov3.map((value) => Math.round(value * 256) / 256);
  const found = async (positions: ArrayLike<number>) => {
    let seen: unknown[] = [];
    await withCheckpoint(visionTransformer(positions), async (path) => {
      using source = await openEncoderSource(path, { part: "backbone" });
      const { name, heads, sizes } = source.encoder;
      assertEquals((await inspectCheckpoint(path)).encoders[0].recognized, [name]);
      seen = [name, heads, sizes?.fixed ?? false];
    });
    return seen;
  };
  const ofMocoV3 = ["mocov3_vit_p16_w192_b1_h12_f768_r0_g4", 12, true];
  for (const positions of [mocov3, rounded]) assertEquals(await found(positions), ofMocoV3);
  const ofOthers = ["dino_vit_p16_w192_b1_h3_f768_r0_g4", 3, false];
  for (const positions of [mae, learned, mocov3.fill(0)]) assertEquals(await found(positions), ofOthers);
});

Deno.test("a vision transformer whose heads nothing tells is found under any prefix, and takes --heads", async (t) => {
  const arch = "dino_vit_p16_w96_b1_h3_f384_r0_g4";
  const parts = (prefix: string) => backbone(prefix, undefined, arch);
  const head = (name: string) => [tensor(name, [64, 96])];
  const layouts: [name: string, value: TorchValue, prefix: string][] = [
    [
      "DINO",
      torchDict([
        ["student", dict(parts("module.backbone."), head("module.head.mlp.0.weight"))],
        ["teacher", dict(parts("backbone."), head("head.mlp.0.weight"))],
      ]),
      "teacher.backbone.",
    ],
    ["Lightning", lightning(dict(parts("backbone."), head("projector.0.weight"))), "backbone."],
    ["MoCo", lightning(dict(parts("module.encoder_q."), parts("module.encoder_k."))), "encoder_q."],
  ];
  for (const [name, value, prefix] of layouts) {
    await t.step(name, () =>
      withCheckpoint(value, async (path) => {
        for (const weights of [undefined, prefix]) {
          using source = await openEncoderSource(path, { part: "encoder", heads: 3, weights });
          assertEquals([source.encoder.name, source.prefix], [arch, prefix]);
          const teacher = await resolveTeacher(path, { heads: 3, weights });
          assertEquals(teacher, { arch, ssl: "dino" });
          const { encoders } = await inspectCheckpoint(path, { heads: 3, weights });
          assertEquals([encoders[0].name, encoders[0].recognized], [prefix.slice(0, -1), [arch]]);
          const { message } = await assertRejects(
            () => openEncoderSource(path, { part: "backbone", weights }),
            CheckpointError,
          );
          assertStringIncludes(message, "is a vision transformer of width 96: say with --heads how many");
        }
      }));
  }
});

Deno.test("a file of many convolutions of RGB is searched in a moment", () => {
  const many = Array.from({ length: 20_000 }, (_, i) => tensor(`a${i}.conv1.weight`, [1, 3, 1, 1]));
  return withCheckpoint(dict(many), async (path) => {
    const start = performance.now();
    await assertRejects(() => openEncoderSource(path, { part: "backbone" }), CheckpointError);
    const seconds = (performance.now() - start) / 1000;
    assertEquals(seconds < 30, true, `${seconds} s`);
  });
});
