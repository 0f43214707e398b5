/** Features of vision transformers and ConvNeXts: class token, mean of the patch tokens, both. */
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LinearInput } from "../../methods/linear_probe/mod.ts";
import { distill, embed, knn, linearProbe } from "../../methods/runs.ts";
import { UserError } from "../../errors.ts";
import { buildInput, INPUT_KEY } from "../../models/checkpoint/saved_input.ts";
import { torchDict, type TorchValue } from "../../models/checkpoint/torch_value.ts";
import { type Encoder, type FeatureKind, FEATURES } from "../../models/encoder.ts";
import { inputOf } from "../../models/encoder_input.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { exportEncoder } from "../../models/export/export_encoder.ts";
import { chooseFeature, splitFeature } from "../../models/features.ts";
import { FrozenEncoder } from "../../models/inference.ts";
import { inspectCheckpoint } from "../../models/inspect.ts";
import type { ReadEntry } from "../../models/parameter_store.ts";
import { findEncoder, summarize } from "../../models/registry.ts";
import { resolveTeacher } from "../../models/teacher.ts";
import { openInitialCheckpoint } from "../../methods/encoder_training/initial_weights.ts";
import { drawTeacher } from "../actors/drawn_teacher.ts";
import { RunFolder, withInput } from "../actors/small_run.ts";
import { hostPrograms } from "../cli/run_program.ts";
import { withGpu } from "../kernels/check_op.ts";
import { formulaTensor, referenceJson, referencePath } from "../reference.ts";
import { vitTest } from "../vit_files.ts";
import { withShapes } from "./shape_checkpoint.ts";
import { differenceOf, embedReference, IMAGES, referenceImages } from "./vit_reference.ts";

const runProgram = hostPrograms();
const FOLDER = "vit/checkpoints";
const path = (name: string) => referencePath(`${FOLDER}/${name}`);

/** Rows of numbers. */
type Rows = Float64Array[];

const sum = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0);
const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i] * b[i];
  return total;
};

function layerNorm(row: Float64Array, weight: Float32Array, bias: Float32Array, epsilon: number) {
  const mean = sum(row) / row.length;
  const variance = sum(row.map((value) => (value - mean) ** 2)) / row.length;
  return row.map((value, i) => (value - mean) / Math.sqrt(variance + epsilon) * weight[i] + bias[i]);
}

function meanOf(rows: Rows): Float64Array {
  return rows[0].map((_, i) => sum(rows.map((row) => row[i])) / rows.length);
}

function linear(rows: Rows, weight: Float32Array, bias: Float32Array): Rows {
  const inputs = rows[0].length;
  return rows.map((row) =>
    Float64Array.from(bias, (b, o) => b + dot(row, weight.subarray(o * inputs, (o + 1) * inputs)))
  );
}

/** Error function (Abramowitz and Stegun 7.1.5, the series), to float64 for |x| < 4. */
function erf(x: number): number {
  let term = x;
  let total = x;
  for (let n = 1; n < 80; n++) {
    term *= -x * x / n;
    total += term / (2 * n + 1);
  }
  return Math.abs(x) > 4 ? Math.sign(x) : total * 2 / Math.sqrt(Math.PI);
}

function attend(qkv: Rows, heads: number, width: number): Rows {
  const length = width / heads;
  return qkv.map((row) => {
    const attended = new Float64Array(width);
    for (let head = 0; head < heads; head++) {
      const part = (of: Float64Array, which: number) =>
        of.subarray(which * width + head * length, which * width + (head + 1) * length);
      const scores = qkv.map((other) => Math.exp(dot(part(row, 0), part(other, 1)) / Math.sqrt(length)));
      const total = sum(scores);
      for (const [i, other] of qkv.entries()) {
        for (const [j, value] of part(other, 2).entries()) {
          attended[head * length + j] += scores[i] / total * value;
        }
      }
    }
    return attended;
  });
}

/** DINOv2 with registers in float64, at the size of its table of positions: tokens of an image after the last norm. */
async function dinov2Tokens(read: ReadEntry, image: number, side: number): Promise<Rows> {
  const [patch, width, blocks, heads, registers] = [14, 64, 2, 2, 4];
  const of = async (key: string) => await read(key) as Float32Array;
  const pixels = formulaTensor(`vit/input/${side}`, [IMAGES, 3, side, side], "image");
  const grid = side / patch;
  const cut = (row: number, column: number) =>
    Float64Array.from({ length: 3 * patch * patch }, (_, i) => {
      const [channel, y, x] = [Math.floor(i / patch ** 2), Math.floor(i / patch) % patch, i % patch];
      return pixels[((image * 3 + channel) * side + row * patch + y) * side + column * patch + x];
    });
  const patches = Array.from({ length: grid * grid }, (_, i) => cut(Math.floor(i / grid), i % grid));
  const embedded = linear(patches, await of("patch_embed.proj.weight"), await of("patch_embed.proj.bias"));
  const [cls, positions, storage] = await Promise.all(
    ["cls_token", "pos_embed", "register_tokens"].map(of),
  );
  const placed = (row: ArrayLike<number>, at: number) =>
    Float64Array.from(row, (value, i) => value + positions[at * width + i]);
  let x: Rows = [
    placed(cls, 0),
    ...Array.from(
      { length: registers },
      (_, i) => Float64Array.from(storage.subarray(i * width, (i + 1) * width)),
    ),
    ...embedded.map((row, i) => placed(row, i + 1)),
  ];
  const norm = async (rows: Rows, key: string) => {
    const [weight, bias] = [await of(`${key}.weight`), await of(`${key}.bias`)];
    return rows.map((row) => layerNorm(row, weight, bias, 1e-6));
  };
  const apply = async (rows: Rows, key: string) =>
    linear(rows, await of(`${key}.weight`), await of(`${key}.bias`));
  const added = async (rows: Rows, branch: Rows, key: string) => {
    const gamma = await of(key);
    return rows.map((row, i) => row.map((value, j) => value + gamma[j] * branch[i][j]));
  };
  for (let i = 0; i < blocks; i++) {
    const key = `blocks.${i}`;
    const attended = attend(await apply(await norm(x, `${key}.norm1`), `${key}.attn.qkv`), heads, width);
    x = await added(x, await apply(attended, `${key}.attn.proj`), `${key}.ls1.gamma`);
    const hidden = (await apply(await norm(x, `${key}.norm2`), `${key}.mlp.fc1`))
      .map((row) => row.map((value) => value * (1 + erf(value * Math.SQRT1_2)) / 2));
    x = await added(x, await apply(hidden, `${key}.mlp.fc2`), `${key}.ls2.gamma`);
  }
  return await norm(x, "norm");
}

Deno.test("chooseFeature() refuses to join tokens whose length is no multiple of 4", () => {
  const name = "dinov3_convnext_d1-1-1-1_w8-8-8-61";
  const encoder = findEncoder(name);
  for (const feature of ["cls", "mean"] as const) {
    assertEquals(chooseFeature(encoder, feature).features, 61);
    const error = assertThrows(() => chooseFeature(chooseFeature(encoder, feature), "cls+mean"), UserError);
    assertStringIncludes(error.message, "its tokens have 61 numbers");
  }
  assertThrows(() => findEncoder(`${name}_cls_mean`), UserError, "there is no encoder");
});

vitTest(
  "parity: class token, mean of the patches and both are those of a float64 loop",
  () =>
    withGpu(async (gpu) => {
      const [name, side, registers] = ["dinov2_tiny_reg.pth", 70, 4];
      using source = await openEncoderSource(path(name), { heads: 2, part: "encoder" });
      const { outputs } = referenceJson(`${FOLDER}/${name}.expected.json`);
      const tokens = await Promise.all([0, 1].map((image) => dinov2Tokens(source.read, image, side)));
      // The loop is right: its class tokens are those of the authors' code.
      const authors: number[][] = outputs[side].embedding;
      assert(differenceOf(tokens.flatMap(([cls]) => [...cls]), authors.flat()) <= 2e-6);
      const mean = (rows: Rows) => meanOf(rows.slice(1 + registers));
      const expected: Record<FeatureKind, (rows: Rows) => number[]> = {
        cls: ([cls]) => [...cls],
        mean: (rows) => [...mean(rows)],
        "cls+mean": (rows) => [...rows[0], ...mean(rows)],
      };
      for (const feature of FEATURES) {
        const encoder = chooseFeature(source.encoder, feature);
        const actual = await embedReference(gpu, encoder, source.read, String(side));
        const wanted = tokens.flatMap(expected[feature]);
        assertEquals(actual.length, wanted.length);
        const difference = differenceOf(actual, wanted);
        assert(difference <= 2e-5, `${feature}: ${difference}`);
      }
    }),
);

vitTest(
  "parity: the feature map of a vision transformer is its patch tokens, as a float64 loop has them",
  () =>
    withGpu(async (gpu) => {
      const [side, registers] = [70, 4];
      using source = await openEncoderSource(path("dinov2_tiny_reg.pth"), { heads: 2, part: "encoder" });
      const { encoder, head, read } = source;
      const shape = { batch: IMAGES, imageSize: side, input: "normalized", output: "embedding" } as const;
      using frozen = await FrozenEncoder.create(gpu, { encoder, head, ...shape, map: true });
      await frozen.load(read);
      const map = new Float32Array(IMAGES * 5 * 5 * 64);
      const embeddings = await frozen.embed(referenceImages(String(side)), undefined, map);
      const tokens = await Promise.all([0, 1].map((image) => dinov2Tokens(read, image, side)));
      assert(differenceOf(embeddings, tokens.flatMap(([cls]) => [...cls])) <= 2e-5);
      const patches = tokens.flatMap((rows) => rows.slice(1 + registers).flatMap((row) => [...row]));
      assert(differenceOf(map, patches) <= 2e-5);
      // Where a batch takes several runs, maps come back as embeddings do.
      const pixels = Uint8Array.from({ length: IMAGES * side * side * 4 }, (_, i) => i * 37 % 251);
      const target = { ...gpu.target, maxStorageBufferBindingSize: side * side * 4 * 4 + 256 };
      const maps = await Promise.all([gpu, { ...gpu, target }].map(async (gpu) => {
        using cut = await FrozenEncoder.create(gpu, { encoder, head, ...shape, input: "pixels", map: true });
        await cut.load(read);
        const into = new Float32Array(map.length);
        await cut.embed(pixels, undefined, into);
        return { into, imagesPerRun: cut.imagesPerRun };
      }));
      assertEquals(maps.map(({ imagesPerRun }) => imagesPerRun), [2, 1]);
      assert(differenceOf(maps[1].into, [...maps[0].into]) <= 1e-6);
    }),
);

vitTest(
  "the mean of a ConvNeXt is that of its normalised pixels, and its class token as before",
  () =>
    withGpu(async (gpu) => {
      const name = "dinov3_tiny_convnext.pth";
      using source = await openEncoderSource(path(name), { part: "encoder" });
      const { read, encoder } = source;
      // A map of one pixel has one norm, whichever way round.
      const one = await Promise.all(
        (["cls", "mean"] as const).map((kind) =>
          embedReference(gpu, chooseFeature(encoder, kind), read, "32")
        ),
      );
      assert(differenceOf(one[1], [...one[0]]) <= 2e-5);
      const [cls, mean, both] = await Promise.all(
        FEATURES.map((kind) => embedReference(gpu, chooseFeature(encoder, kind), read, "96")),
      );
      assert(differenceOf(mean, [...cls]) > 1e-3);
      const width = encoder.features;
      const joined = [0, 1].flatMap((image) =>
        [cls, mean].flatMap((rows) => [...rows.subarray(image * width, (image + 1) * width)])
      );
      assertEquals([...both], joined);
    }),
);

vitTest("a feature is part of an encoder's name, and encoders without tokens have none", () => {
  for (const name of ["dinov2_vits14", "dinov3_convnext_tiny", "dino_vit_p16_w64_b2_h1_f256_r0_g4"]) {
    const usual = findEncoder(name);
    for (const feature of FEATURES) {
      const encoder: Encoder = chooseFeature(usual, feature);
      assertEquals(findEncoder(encoder.name), encoder);
      assertEquals(encoder.features, feature === "cls+mean" ? 2 * usual.features : usual.features);
      assertEquals(splitFeature(encoder.name), { name, feature });
      assertEquals(chooseFeature(encoder, "cls"), usual);
    }
  }
  assertThrows(
    () => chooseFeature(findEncoder("resnet18"), "mean"),
    UserError,
    "resnet18 has no --feature mean: it has one pooled feature",
  );
});

Deno.test("a head is put behind the feature that it was trained on, and behind no other", async () => {
  using folder = new RunFolder(1);
  const arch = "dino_vit_p4_w64_b1_h1_f64_r0_g2";
  const head = { kind: "mlp", dimension: 8 } as const;
  const [cls, mean] = ["cls", "mean"].map((name) => join(folder.path, `${name}.pth`));
  await drawTeacher(cls, arch, head, 1);
  await withInput(cls, mean, { feature: "mean", heads: 1 });
  const open = async (path: string, options: { arch: string; isAsked?: boolean; feature?: FeatureKind }) => {
    using source = await openEncoderSource(path, { ...options, part: "encoder" });
    return source.encoder.name;
  };
  assertEquals(await open(cls, { arch }), arch);
  assertEquals(await open(mean, { arch, isAsked: true }), `${arch}_mean`);
  assertEquals(await open(mean, { arch: `${arch}_mean` }), `${arch}_mean`);
  for (
    const [path, options, problem] of [
      [cls, { arch, feature: "mean" }, "takes the feature cls, but mean is asked for"],
      [cls, { arch: `${arch}_mean` }, "takes the feature cls, but mean is asked for"],
      [mean, { arch, feature: "cls" }, "takes the feature mean, but cls is asked for"],
    ] as const
  ) {
    await assertRejects(() => open(path, options), UserError, `${path}: its head ${problem}`);
  }
  using backbone = await openEncoderSource(cls, { arch, feature: "mean", part: "backbone" });
  assertEquals(backbone.encoder.name, `${arch}_mean`);

  const takesHead = async (init: string, arch: string) => {
    using source = await openInitialCheckpoint({ arch, head, init });
    return source.takesHead;
  };
  assertEquals([await takesHead(cls, arch), await takesHead(mean, `${arch}_mean`)], [true, true]);
  assertEquals([await takesHead(cls, `${arch}_mean`), await takesHead(mean, arch)], [false, false]);
});

Deno.test("a ConvNeXt's norm of its last stage is its file's, whichever feature is asked for", async () => {
  const more = { "norms.3.weight": [64], "norms.3.bias": [64] };
  await withShapes("dinov3_convnext_d1-1-1-1_w16-32-48-64", { more }, async (path) => {
    for (const feature of FEATURES) {
      using source = await openEncoderSource(path, { feature, part: "backbone" });
      const found = ["weight", "bias"].map((name) => {
        const norm = source.unused.get(`norms.3.${name}`);
        return [norm?.shape.join(), norm === source.tensors.get(`norm.${name}`)];
      });
      assertEquals(found, [["64", false], ["64", false]], feature);
    }
  });
});

for (const feature of ["mean", "cls+mean"] as const) {
  Deno.test(`both encoders of a pretraining whose heads take ${feature} are recognised with it`, async () => {
    const encoder = findEncoder("vit_tiny_cifar").withFeature!(feature);
    const { name: arch, features } = encoder;
    const head = { kind: "mlp", dimension: 8 } as const;
    const views = { imageSize: 32, cropRatio: 1, interpolation: "bilinear" } as const;
    const more = Object.fromEntries(
      summarize(encoder, head).state.map(({ key, shape }) => [`module.encoder_k.${key}`, shape]),
    );
    const wrap = (dict: TorchValue) =>
      torchDict([
        ["epoch", 1],
        ["arch", arch],
        ["state_dict", dict],
        [INPUT_KEY, buildInput(inputOf(encoder, views))],
      ]);
    await withShapes(arch, { head, prefix: "module.encoder_q.", more, wrap }, async (path) => {
      const inspected = async (path: string) =>
        (await inspectCheckpoint(path)).encoders.map(({ recognized, part }) => [...recognized, part]);
      assertEquals(await inspected(path), [[arch, "encoder"], [arch, "encoder"]]);
      const teacher = { arch, ssl: "moco" } as const;
      assertEquals(await resolveTeacher(path), teacher);
      assertEquals(await resolveTeacher(path, { arch }), teacher);
      assertEquals(await resolveTeacher(path, { arch: "vit_tiny_cifar" }), teacher);
      assertEquals(await resolveTeacher(path, { weights: "encoder_k" }), teacher);
      await assertRejects(
        () => openEncoderSource(path, { stem: "imagenet", part: "encoder" }),
        UserError,
        `holds a ${arch}, which has no --stem imagenet`,
      );
      for (const [part, length] of [["encoder", 8], ["backbone", features]] as const) {
        const output = `${path}_${part}.pth`;
        const how = { format: "pth", part, normalize: false, force: false, output } as const;
        assertEquals((await exportEncoder({ ...how, checkpoint: path })).encoder, arch);
        using again = await openEncoderSource(output, { part, isAsked: true });
        assertEquals([again.encoder.features, again.encoder.feature], [features, feature]);
        assertEquals(part === "encoder" ? again.head.dimension : again.encoder.features, length);
      }
    });
  });
}

Deno.test("the checkpoint of a linear evaluation of cls+mean is recognised with its classifier", async () => {
  using folder = new RunFolder(12, 6);
  const [data, testData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const pretrained = join(folder.path, "teacher.pth");
  await drawTeacher(pretrained, "dino_vit_p4_w64_b1_h1_f64_r0_g2", { kind: "mlp", dimension: 8 }, 1);
  const { checkpoint } = await linearProbe({
    ...{ pretrained, data, testData, output: folder.makeOutput("linear"), feature: "cls+mean", heads: 1 },
    ...{ imageSize: 8, evalResize: "none", epochs: 1, batchSize: 4, workers: 1, cacheFeatures: true },
  }).result;
  const arch = "dino_vit_p4_w64_b1_h1_f64_r0_g2_cls_mean";
  const { encoders } = await inspectCheckpoint(checkpoint!);
  assertEquals(encoders.map(({ recognized, part }) => [...recognized, part]), [[arch, "encoder"]]);
  const output = join(folder.path, "classifier.onnx");
  const how = { format: "onnx", part: "encoder", normalize: false, force: false, output } as const;
  const { encoder, head } = await exportEncoder({ ...how, checkpoint: checkpoint! });
  assertEquals([encoder, head?.kind], [arch, "linear"]);
});

vitTest(
  "--feature changes what an encoder gives, in every task, and an exported file remembers it",
  async () => {
    using folder = new RunFolder(12, 6);
    const [data, testData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
    const teacher = path("dino_tiny.pth");
    const encoder = { imageSize: 32, heads: 2 };
    const views = { ...encoder, evalResize: "none" } as const;
    const rowsOf = async (pretrained: string, feature?: FeatureKind, arch?: string) => {
      const rows: number[] = [];
      for await (const event of embed({ pretrained, data, feature, arch, ...views })) {
        if (event.type === "rows") rows.push(...event.embeddings);
        if (event.type === "note") notes.push(event.text);
      }
      return rows;
    };
    const notes: string[] = [];
    const [cls, mean, both] = [
      await rowsOf(teacher),
      await rowsOf(teacher, "mean"),
      await rowsOf(teacher, "cls+mean"),
    ];
    assertEquals([cls.length, mean.length, both.length], [12 * 64, 12 * 64, 12 * 128]);
    assertEquals(both.slice(64, 128), mean.slice(0, 64));
    assert(differenceOf(mean, cls) > 1e-2);

    const output = join(folder.path, "mean.pth");
    const how = { format: "pth", part: "backbone", normalize: false, force: true, ...encoder } as const;
    const exported = await exportEncoder({ ...how, checkpoint: teacher, output, feature: "mean" });
    assertEquals([exported.input.feature, splitFeature(exported.encoder).feature], ["mean", "mean"]);
    assertEquals(await rowsOf(output), mean);
    assertEquals(await rowsOf(output, "cls"), cls);
    assertStringIncludes(notes.at(-1)!, `${output}: the feature is cls, as requested, and not mean`);
    // A name without a feature leaves that to the file too.
    const { name: plain } = splitFeature(exported.encoder);
    assertEquals(await rowsOf(output, undefined, plain), mean);
    assertEquals(await rowsOf(output, "cls", plain), cls);
    const rows = join(folder.path, "rows.jsonl");
    const { code, stderr } = await runProgram(
      fileURLToPath(new URL("../../cli/commands/embed.ts", import.meta.url)),
      ...["--pretrained", output, "--feature", "cls", "--image-size", "32", "--eval-resize", "none"],
      ...["-o", rows, data],
    );
    assertEquals(code, 0, stderr);
    const written = Deno.readTextFileSync(rows).trimEnd().split("\n").map((line) => JSON.parse(line));
    assertEquals(written.flatMap(({ embedding }) => embedding.map(Math.fround)), cls);

    const votes = (pretrained: string, feature?: FeatureKind) =>
      knn({ pretrained, data, testData, knnK: [3], feature, ...views }).result;
    assertEquals(await votes(output), await votes(teacher, "mean"));
    const probe = (into: string, input: Partial<LinearInput>) =>
      linearProbe({
        ...{ pretrained: output, data, testData, ...views, output: into },
        ...{ epochs: 1, batchSize: 4, workers: 1, cacheFeatures: true, ...input },
      }).result;
    const linear = folder.makeOutput("linear");
    const { checkpoint } = await probe(linear, {});
    await assertRejects(
      () => probe(linear, { epochs: 2, resume: checkpoint!, feature: "cls" }),
      UserError,
      "To resume, use --feature mean; to resume anyway",
    );
    using probed = await openEncoderSource(checkpoint!, { heads: 2, part: "backbone" });
    assertEquals(probed.encoder.name, exported.encoder);
    // A classifier knows one feature, whatever others are as long.
    const evaluated = { resume: checkpoint, pretrained: checkpoint, evaluate: true, arch: plain };
    await probe(folder.makeOutput("the same"), evaluated);
    await assertRejects(
      () => probe(folder.makeOutput("another"), { ...evaluated, feature: "cls" }),
      UserError,
      `--arch is ${plain}, was ${exported.encoder}`,
    );

    // The student's embeddings are as long as the teacher's feature, and the checkpoint says which that is.
    const { dim: _, teacherArch: __, teacherSsl: ___, ...run } = folder.options("student", {
      distill: teacher,
    });
    const taught = await distill({ ...run, ...views, feature: "cls+mean", limitSteps: 1 }).result;
    using student = await openEncoderSource(taught.checkpoint!, { part: "encoder" });
    assertEquals(student.head.dimension, 128);
    using saved = await openEncoderSource(taught.checkpoint!, {
      which: "teacher",
      heads: 2,
      part: "encoder",
    });
    assertEquals([saved.encoder.feature, saved.encoder.features], ["cls+mean", 128]);
    // The advice of a refusal is what flags take, whether the shapes differ or not.
    const again = { ...run, ...views, epochs: 2, limitSteps: 1, resume: taught.checkpoint! };
    for (const feature of [undefined, "mean"] as const) {
      const error = await assertRejects(() => distill({ ...again, feature }).result, UserError);
      assertMatch(
        error.message,
        /is from a different run: .*\. To resume, use --feature cls\+mean --dim 128$/,
      );
    }
    const { steps } = await distill({ ...again, feature: "cls+mean" }).result;
    assertEquals(steps, 1);
    assertEquals(await resolveTeacher(output, { heads: 2 }), { arch: exported.encoder, ssl: "dino" });
    assertEquals((await resolveTeacher(output, { arch: plain })).arch, exported.encoder);
    assertEquals((await resolveTeacher(output, { arch: plain, feature: "cls" })).arch, plain);
    assertEquals(
      (await resolveTeacher(output, { heads: 2, feature: "cls" })).arch,
      splitFeature(exported.encoder).name,
    );
  },
);
