// `--stem cifar`: the encoders with first layers for images of 32 pixels, and how a checkpoint remembers them.
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { join } from "node:path";
import { UserError } from "../../errors.ts";
import { Graph } from "../../kernels/graph.ts";
import { conv2d } from "../../kernels/ops/conv2d/conv2d.ts";
import { depthwiseConv2d } from "../../kernels/ops/depthwise_conv2d/depthwise_conv2d.ts";
import { chooseViews } from "../../methods/encoder_views.ts";
import { distill, embed } from "../../methods/runs.ts";
import { StudentStep } from "../../methods/seed/step.ts";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import { loadStateDict } from "../../models/checkpoint/state_dict.ts";
import { torchDict } from "../../models/checkpoint/torch_value.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";
import type { Stem } from "../../models/encoder.ts";
import { chooseInput, stemOf } from "../../models/encoder_input.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { exportEncoder } from "../../models/export/export_encoder.ts";
import { inspectCheckpoint } from "../../models/inspect.ts";
import { FrozenEncoder } from "../../models/inference.ts";
import {
  ENCODERS,
  encodersOfAllStems,
  findEncoder,
  stemNameOf,
  summarize,
  usualHead,
} from "../../models/registry.ts";
import { resolveTeacher } from "../../models/teacher.ts";
import { RunFolder } from "../actors/small_run.ts";
import { relativeError, withGpu } from "../kernels/check_op.ts";
import { IS_LONG } from "../long.ts";
import { formulaTensor, GOLDEN_SEED } from "../reference.ts";
import { formulaImages, formulaReader, REFERENCE_HEAD } from "./reference_encoder.ts";
import { withShapes } from "./shape_checkpoint.ts";

/** How it was made is said in it. */
const GOLDEN = JSON.parse(Deno.readTextFileSync(new URL("../golden/cifar_stem.json", import.meta.url)));

for (const [name, expected] of Object.entries<number[][]>(GOLDEN.embeddings)) {
  Deno.test(`parity: ${name} embeds images of 32 pixels as PyTorch does`, {
    ignore: name === "efficientnet_b0_cifar" && !IS_LONG, // its padding is in every run of the tests
  }, () =>
    withGpu(async (gpu) => {
      const encoder = findEncoder(name);
      using frozen = await FrozenEncoder.create(gpu, {
        ...{
          encoder,
          head: usualHead(encoder),
          input: "normalized",
          batch: 2,
          imageSize: 32,
          output: "embedding",
        },
      });
      const read = formulaReader(summarize(encoder, usualHead(encoder), 64).state, "", GOLDEN_SEED);
      await frozen.load((key) =>
        key.endsWith(".running_var") ? read(key).map((value) => Math.fround(value) * 1.3) : read(key)
      );
      const error = relativeError(
        await frozen.embed(formulaImages("input/32", 2, 32, GOLDEN_SEED)),
        expected.flat(),
      );
      assert(error <= 2e-5, `relative error ${error}`);
    }));
}

/** Rows of the formula, each of length 1. */
function unitRows(name: string, rows: number): Float32Array<ArrayBuffer> {
  const values = Float32Array.from(formulaTensor(name, [rows, 128], "unit", GOLDEN_SEED));
  for (let row = 0; row < rows; row++) {
    const norm = Math.hypot(...values.subarray(row * 128, (row + 1) * 128));
    for (let i = 0; i < 128; i++) values[row * 128 + i] /= norm;
  }
  return values;
}

Deno.test("parity: a training step of resnet18_cifar has PyTorch's loss, gradients and running statistics", {
  ignore: !IS_LONG, // steps of a ResNet with the other stem are in every run of the tests, in methods/seed/step_test.ts
}, () =>
  withGpu(async (gpu) => {
    const { loss: wanted, gradients, running } = GOLDEN.step;
    using student = await StudentStep.create(gpu, {
      ...{ encoder: findEncoder("resnet18", "cifar"), head: REFERENCE_HEAD, batch: 8, imageSize: 32 },
      ...{ input: "normalized", queueSize: 64, temperature: 0.2, teacherTemperature: 0.01 },
      ...{ momentum: 0.9, weightDecay: 0 },
    });
    await student.parameters.load(formulaReader(student.state, "", GOLDEN_SEED));
    student.queues[0].load(unitRows("queue", 64));
    const { loss } = await student.run({
      images: formulaImages("input/step0", 8, 32, GOLDEN_SEED),
      teacher: unitRows("teacher", 8),
      learningRate: 0,
      queuePointer: 0,
    });
    assertAlmostEquals(loss, wanted, 1e-5 * wanted);
    const found = await student.parameters.saveArena("gradient");
    assertEquals([...found.keys()].toSorted(), Object.keys(gradients).toSorted());
    const largest = Math.max(...Object.values<[number, number]>(gradients).map(([, norm]) => norm));
    // PyTorch's own float32 is up to 8e-4 from its float64 in norm.
    for (const [key, gradient] of found) {
      assertAlmostEquals(normOf(gradient), gradients[key][1], 3e-3 * gradients[key][1] + 1e-6 * largest, key);
    }
    const values = await student.parameters.save();
    for (const [key, [sum, norm]] of Object.entries<[number, number]>(running)) {
      const tolerance = 1e-4 * norm * Math.sqrt(values.get(key)!.length);
      assertAlmostEquals(values.get(key)!.reduce((a, b) => a + b, 0), sum, tolerance, key);
      assertAlmostEquals(normOf(values.get(key)!), norm, 1e-4 * norm, key);
    }
  }));

function normOf(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}

Deno.test("an EfficientNet's padding with the stem for CIFAR is the original's for images of twice the size", () => {
  const graph = new Graph();
  const encoder = findEncoder("efficientnet_b1_cifar");
  const images = graph.source("images", [1, 64, 64, 3]);
  encoder.trace(new EncoderBuilder(graph, "eval"), images, usualHead(encoder));
  const pads = graph.nodes
    .filter(({ op, inputs: [, weight] }) => (op === conv2d || op === depthwiseConv2d) && weight.shape[0] > 1)
    .map(({ attributes }) => {
      const { padTop, padBottom } = attributes as { padTop: number; padBottom: number };
      return [padTop, padBottom];
    });
  assertEquals(pads, GOLDEN.pads);
});

Deno.test("findEncoder() gives an encoder the stem that is asked for, and no other encoder changes", () => {
  assertEquals(findEncoder("resnet18", "cifar"), findEncoder("resnet18_cifar"));
  assertEquals(findEncoder("resnet18_cifar", "cifar"), findEncoder("resnet18_cifar"));
  assertEquals(findEncoder("resnet18", "imagenet"), findEncoder("resnet18"));
  assertStringIncludes(
    assertThrows(() => findEncoder("swav_resnet50", "cifar"), UserError).message,
    "swav_resnet50 has no --stem cifar; these have: resnet18, ",
  );
  assertStringIncludes(
    assertThrows(() => findEncoder("resnet18_cifar", "imagenet"), UserError).message,
    "--stem imagenet contradicts resnet18_cifar",
  );
  assertEquals(findEncoder("resnet18", "cifar_pad2"), findEncoder("resnet18_cifar_pad2"));
  assertStringIncludes(
    assertThrows(() => findEncoder("resnet18_cifar", "cifar_pad2"), UserError).message,
    "--stem cifar_pad2 contradicts resnet18_cifar, whose stem is cifar: name the encoder without _cifar",
  );
  for (const name of ["mobilenetv3_small", "vit_tiny"]) {
    assertStringIncludes(
      assertThrows(() => findEncoder(name, "cifar_pad2"), UserError).message,
      `${name} has no --stem cifar_pad2; these have: resnet18, resnet34, resnet50, resnet101, resnet152`,
    );
  }
  for (const encoder of encodersOfAllStems()) {
    const [, suffix] = /(_cifar(?:_pad2)?)?$/.exec(encoder.name)!;
    assertEquals(suffix === undefined, ENCODERS.includes(encoder));
    assertEquals(stemNameOf(encoder), suffix?.slice(1) ?? "imagenet");
    if (suffix === undefined) assert(stemOf(encoder).includes("/2"), encoder.name);
    else {assertEquals(
        stemOf(encoder),
        suffix === "_cifar" ? "conv 3x3/1" : "conv 3x3/1 padding 2",
        encoder.name,
      );}
    assertEquals(
      findEncoder(encoder.name).features,
      findEncoder(encoder.name.replace(suffix ?? "", "")).features,
    );
  }
});

Deno.test("a ResNet with the stem for CIFAR is recognised by its first convolution, in every program's file", async () => {
  const wrap = (arch: string) => (dict: Parameters<typeof torchDict>[0][number][1]) =>
    torchDict([["epoch", 3], ["arch", arch], ["state_dict", dict]]);
  const moco = { prefix: "module.encoder_q.", wrap: wrap("resnet50") };
  await withShapes("resnet50_cifar", moco, async (path) => {
    using source = await openEncoderSource(path, { part: "encoder" });
    assertEquals(source.encoder.name, "resnet50_cifar");
    const teacher = { arch: "resnet50_cifar", ssl: "moco" } as const;
    for (const arch of [null, "resnet50", "resnet50_cifar"]) {
      assertEquals(await resolveTeacher(path, { arch }), teacher);
    }
    // Whoever says that it has padding 2 is believed: nothing in the file does.
    using padded = await openEncoderSource(path, { part: "encoder", stem: "cifar_pad2" });
    assertEquals(padded.encoder.name, "resnet50_cifar_pad2");
    assertStringIncludes(
      (await assertRejects(() => resolveTeacher(path, { arch: "resnet18" }), UserError)).message,
      "holds a resnet50_cifar, but --teacher-arch is resnet18",
    );
    assertStringIncludes(
      (await assertRejects(
        () => openEncoderSource(path, { part: "encoder", stem: "imagenet" }),
        CheckpointError,
      )).message,
      "holds a resnet50_cifar, which has no --stem imagenet; leave --stem out",
    );
    assertEquals((await inspectCheckpoint(path)).encoders[0].recognized, ["resnet50_cifar"]);
  });
  await withShapes("resnet50", moco, async (path) => {
    assertEquals(await resolveTeacher(path), { arch: "resnet50", ssl: "moco" });
  });
});

Deno.test("a ResNet of solo-learn's for CIFAR has padding 2 in its first convolution, unless something says otherwise", async () => {
  const isHead = /^fc\./;
  const nameOf = async (path: string, options: { arch?: string; stem?: Stem; weights?: string } = {}) => {
    using source = await openEncoderSource(path, { part: "backbone", ...options });
    return [source.encoder.name, chooseInput(source, { imageSize: 32 }).note?.slice(path.length + 2)];
  };
  const said = "its stem is cifar_pad2, as solo-learn's for CIFAR";
  const soloLearn = {
    prefix: "backbone.",
    without: isHead,
    more: { "classifier.weight": [10, 512], "projector.0.weight": [64, 512] },
  };
  await withShapes("resnet18_cifar", soloLearn, async (path) => {
    const place = "the encoder is under backbone.*";
    assertEquals(await nameOf(path), ["resnet18_cifar_pad2", `${place}; ${said}`]);
    assertEquals(await nameOf(path, { weights: "backbone" }), ["resnet18_cifar_pad2", `${place}; ${said}`]);
    assertEquals(await nameOf(path, { stem: "cifar" }), ["resnet18_cifar", place]);
    assertEquals(await nameOf(path, { arch: "resnet18_cifar" }), ["resnet18_cifar", place]);
    const feature = "pooled";
    for (const arch of [null, "resnet18", "resnet18_cifar_pad2"]) {
      assertEquals((await resolveTeacher(path, { arch, feature })).arch, "resnet18_cifar_pad2");
    }
    const { encoders, note } = await inspectCheckpoint(path);
    assertEquals([encoders[0].recognized, note], [["resnet18_cifar_pad2"], `${place}; ${said}`]);
    // What is exported says its stem, and needs no names to tell it.
    const output = `${path}.pth`;
    const options = { format: "pth", part: "backbone", normalize: false, force: false } as const;
    await exportEncoder({ ...options, checkpoint: path, output });
    assertEquals((await nameOf(output))[0], "resnet18_cifar_pad2");
    await assertRejects(
      () => nameOf(output, { arch: "resnet18_cifar" }),
      CheckpointError,
      'begins with "conv 3x3/1 padding 2", but resnet18_cifar begins with conv 3x3/1',
    );
  });
  // With a momentum encoder beside it, which is the one that is taken.
  const momentum = Object.fromEntries(
    summarize(findEncoder("resnet18_cifar"), { kind: "none", dimension: 512 }, 32).state
      .map(({ key, shape }) => [`momentum_backbone.${key}`, shape]),
  );
  await withShapes("resnet18_cifar", { ...soloLearn, more: momentum }, async (path) => {
    assertEquals((await nameOf(path))[0], "resnet18_cifar_pad2");
    const { encoders } = await inspectCheckpoint(path);
    assertEquals(encoders.map(({ name, recognized }) => [name, recognized]), [
      ["momentum_backbone", ["resnet18_cifar_pad2"]],
      ["backbone", ["resnet18_cifar_pad2"]],
    ]);
  });
  // Until June 2022 it called them encoders, as many programs do: they are its own beside a classifier.
  const { more: heads } = soloLearn;
  const sides = Object.fromEntries(
    Object.entries(momentum).map(([key, shape]) => [key.replace("backbone", "encoder"), shape]),
  );
  const classifier = { "classifier.weight": heads["classifier.weight"] };
  const cases: [more: Record<string, readonly number[]>, stem: string][] = [
    [heads, "_pad2"],
    [{ ...sides, ...classifier }, "_pad2"],
    [sides, ""],
    [classifier, ""],
  ];
  for (const [more, stem] of cases) {
    await withShapes("resnet18_cifar", { prefix: "encoder.", without: isHead, more }, async (path) => {
      const [name, note] = await nameOf(path);
      assertEquals(
        [name, note?.includes(said)],
        [`resnet18_cifar${stem}`, stem !== ""],
        Object.keys(more)[0],
      );
    });
  }
  // Another program's, and solo-learn's for larger images.
  await withShapes("resnet18_cifar", { prefix: "backbone.", without: isHead }, async (path) => {
    assertEquals(await nameOf(path), ["resnet18_cifar", "the encoder is under backbone.*"]);
  });
  await withShapes("resnet18", soloLearn, async (path) => {
    assertEquals(await nameOf(path), ["resnet18", "the encoder is under backbone.*"]);
  });
});

Deno.test("an encoder with a stem for CIFAR takes images of 32 pixels, uncropped, where its file says no size", async () => {
  const isHead = /^fc\./;
  const solo = {
    prefix: "backbone.",
    without: isHead,
    more: { "classifier.weight": [10, 512], "projector.0.weight": [64, 512] },
  };
  const inputOf = async (path: string, options: { arch?: string; stem?: Stem } = {}, asked = {}) => {
    using source = await openEncoderSource(path, { part: "backbone", ...options });
    const { imageSize, cropRatio, note } = chooseInput(source, asked);
    return [imageSize, cropRatio, note!.includes("assumed to be normalised by ImageNet's mean and std")];
  };
  await withShapes("resnet18_cifar", solo, async (path) => {
    assertEquals(await inputOf(path), [32, 1, true]);
    assertEquals(await inputOf(path, { stem: "cifar" }), [32, 1, true]);
    assertEquals(await inputOf(path, {}, { imageSize: 64 }), [64, undefined, false]);
    assertEquals(await inputOf(path, {}, { cropRatio: "auto" }), [32, undefined, true]);
    using source = await openEncoderSource(path, { part: "backbone" });
    const { imageSize, evalResize, note } = chooseViews(source, {}, "/data/images");
    assertEquals([imageSize, evalResize], [32, "none"]);
    assertStringIncludes(note!, "using 32 x 32 pixels, the size of CIFAR's images, which its stem is for");
    // What is exported with a normalisation says it, and nothing is assumed.
    const output = `${path}.pth`;
    const options = { format: "pth", part: "backbone", normalize: false, force: false } as const;
    await exportEncoder({ ...options, checkpoint: path, output, imageSize: 32, std: [0.247, 0.243, 0.261] });
    assertEquals(await inputOf(output), [32, 1, false]);
  });
  await withShapes(
    "resnet18",
    solo,
    async (path) => assertEquals(await inputOf(path), [224, undefined, false]),
  );
  await withShapes("mobilenetv3_small", { prefix: "backbone." }, async (path) => {
    assertEquals(await inputOf(path), [224, undefined, false]);
    assertEquals(await inputOf(path, { stem: "cifar" }), [32, 1, true]);
  });
});

Deno.test("of encoders that have the same tensors with either stem, the checkpoint's word decides, or --stem", async () => {
  const says = (stem: string) => ({
    prefix: "module.encoder_q.",
    wrap: (dict: Parameters<typeof torchDict>[0][number][1]) =>
      torchDict([["state_dict", dict], ["seed_input", torchDict([["stem", stem]])]]),
  });
  const nameOf = async (path: string, options: { arch?: string; stem?: "imagenet" | "cifar" } = {}) => {
    using source = await openEncoderSource(path, { part: "backbone", ...options });
    return source.encoder.name;
  };
  for (const base of ["mobilenetv3_small", "efficientnet_b0"]) {
    await withShapes(base, {}, async (path) => {
      assertEquals(await nameOf(path), base);
      assertEquals(await nameOf(path, { stem: "cifar" }), `${base}_cifar`);
      assertEquals(await nameOf(path, { arch: base, stem: "cifar" }), `${base}_cifar`);
      assertEquals((await inspectCheckpoint(path)).encoders[0].recognized, [base]);
    });
    await withShapes(base, says("conv 3x3/1"), async (path) => {
      assertEquals(await nameOf(path), `${base}_cifar`);
      assertEquals(await resolveTeacher(path, { arch: base }), { arch: `${base}_cifar`, ssl: "moco" });
      assertEquals((await inspectCheckpoint(path)).encoders[0].recognized, [`${base}_cifar`]);
      const { message } = await assertRejects(() => nameOf(path, { arch: base }), CheckpointError);
      assertStringIncludes(message, `begins with "conv 3x3/1", but ${base} begins with conv 3x3/2`);
    });
    await withShapes(base, says("conv 3x3/2"), async (path) => assertEquals(await nameOf(path), base));
  }
});

Deno.test("a student with --stem cifar is saved, embedded, exported and taught with as such, and nobody says so again", async () => {
  using folder = new RunFolder(8, 4);
  const input = {
    studentArch: "mobilenetv3_small",
    stem: "cifar",
    imageSize: 16,
    evalResize: "none",
    limitSteps: 1,
  } as const;
  const { checkpoint } = await distill(folder.options("run", input)).result;
  {
    using state = await loadStateDict(checkpoint);
    assertEquals([state.arch, state.input?.stem], ["mobilenetv3_small_cifar", "conv 3x3/1"]);
  }
  const rowsOf = async (pretrained: string, stem?: "cifar") => {
    const rows: number[] = [];
    await using run = embed({ pretrained, stem, data: join(folder.data, "train.tsv") });
    for await (const { embeddings } of run.batches()) rows.push(...embeddings);
    return rows;
  };
  const rows = await rowsOf(checkpoint);
  const output = join(folder.path, "plain.pth"); // a bare state_dict, which names no encoder
  const options = { format: "pth", part: "backbone", normalize: false, force: false } as const;
  const { encoder } = await exportEncoder({ ...options, checkpoint, output });
  assertEquals(encoder, "mobilenetv3_small_cifar");
  assertEquals(await rowsOf(output), rows);
  assertEquals(await rowsOf(output, "cifar"), rows);
  assertEquals(await resolveTeacher(checkpoint), { arch: "mobilenetv3_small_cifar", ssl: "moco" });
});
