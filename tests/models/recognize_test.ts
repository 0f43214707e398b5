// Which encoder a file holds, where it has a classifier in place of a head: as fine-tunings and linear evaluations write it.
import { assertEquals } from "@std/assert";
import { elementCount, Graph } from "../../kernels/graph.ts";
import { l2Normalize } from "../../kernels/ops/l2_normalize/l2_normalize.ts";
import { buildLinearCheckpoint } from "../../methods/linear_probe/checkpoint.ts";
import { FEATURES } from "../../models/encoder.ts";
import { inputOf } from "../../models/encoder_input.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { inputJson } from "../../models/checkpoint/saved_input.ts";
import { loadStateDict, plainKey } from "../../models/checkpoint/state_dict.ts";
import { writeTorchFile } from "../../models/checkpoint/torch_writer.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";
import { partsOf } from "../../models/encoder_parts.ts";
import { exportEncoder } from "../../models/export/export_encoder.ts";
import { traceOnnxModel } from "../../models/export/onnx_model.ts";
import { pythonLines } from "../../models/export/python_lines.ts";
import { inspectCheckpoint } from "../../models/inspect.ts";
import { findEncoder, listedEncoders, stemsOf, summarize, usualHead } from "../../models/registry.ts";
import { writeSparse } from "./checkpoint/sparse_file.ts";
import { IS_LONG } from "../long.ts";
import { withFolder } from "./checkpoint/fixtures.ts";

/** A DINO encoder of each shape and stem that a student has. */
const OF_STUDENTS = [
  "p16_w192_b12_h3_f768_r0_g14",
  "p16_w384_b12_h6_f1536_r0_g2",
  "p4_w192_b12_h3_f768_r0_g8",
]
  .map((shape) => findEncoder(`dino_vit_${shape}`));

Deno.test("every encoder comes back under its own name from a file with a classifier, which says it", () =>
  withFolder(async (folder) => {
    const path = `${folder}/classified.safetensors`;
    const encoders = [...listedEncoders().flatMap((usual) => [...stemsOf(usual).values()]), ...OF_STUDENTS]
      .flatMap((encoder) =>
        encoder.withFeature === undefined ? [encoder] : FEATURES.map((kind) => encoder.withFeature!(kind))
      );
    for (const encoder of encoders) {
      const head = usualHead(encoder);
      const shapes = summarize(encoder, head).state
        .filter(({ key, kind }) => kind !== "counter" && !/^(module\.)?(fc|projection_head)\./.test(key))
        .map(({ key, shape }) => [`module.${key}`, shape] as const);
      const classifier = [["module.fc.weight", [10, encoder.features]], ["module.fc.bias", [10]]] as const;
      const size = {
        imageSize: encoder.sizes?.usual ?? 224,
        cropRatio: 0.875,
        interpolation: "bicubic",
      } as const;
      const words = { arch: encoder.name, epoch: "1", seed_input: inputJson(inputOf(encoder, size)) };
      writeSparse(path, [...shapes, ...classifier], words);
      using source = await openEncoderSource(path, { part: "backbone" });
      assertEquals(source.encoder.name, encoder.name);
    }
  }));

/** The checkpoint of a linear evaluation of an encoder, whose weights are zeros. */
function linearCheckpoint(arch: string, classes: number) {
  const encoder = findEncoder(arch);
  const backbone = partsOf(encoder, usualHead(encoder)).backbone.filter(({ kind }) => kind !== "counter")
    .map(({ key, shape }) => ({
      key: plainKey(key),
      dtype: "float16" as const,
      shape,
      data: new Uint16Array(elementCount(shape)),
    }));
  const { features } = encoder;
  const values = new Map([
    ["fc.weight", new Float32Array(classes * features)],
    ["fc.bias", new Float32Array(classes)],
  ]);
  return buildLinearCheckpoint({
    ...{ epoch: 1, arch, backbone, classes, features, chosen: 0 },
    probes: [{ lr: 30, best: 50, values, momentum: new Map() }],
    sgd: { lr: 30, momentum: 0.9, weightDecay: 0 },
  });
}

for (const arch of ["simclr_resnet50", "swav_resnet50", "swav_resnet50w2"]) {
  Deno.test(`the classifier of a linear evaluation of ${arch} is exported as logits`, () =>
    withFolder(async (folder) => {
      const path = `${folder}/model_best.pth.tar`;
      await writeTorchFile(path, linearCheckpoint(arch, 12));
      for (const asked of [{}, { arch, isAsked: true }]) {
        using source = await openEncoderSource(path, { ...asked, part: "encoder" });
        const { encoder, head, beside } = source;
        assertEquals([encoder.name, head.kind, head.dimension, beside], [arch, "linear", 12, []]);
        const traced = traceOnnxModel({
          ...{ encoder, head, part: "encoder", normalize: false },
          input: inputOf(encoder, { imageSize: 64 }),
        });
        assertEquals(traced.graph.node.filter(({ opType }) => opType === "ReduceL2"), []);
        const keys = traced.weights.flatMap(({ keys }) => keys).map(plainKey);
        assertEquals(keys.slice(-2), ["fc.weight", "fc.bias"]);
        const lines = pythonLines({
          ...{ format: "pth", part: "encoder", normalize: false, files: ["a.pth"], names: "plain" },
          ...{ encoder: encoder.name, head },
        });
        assertEquals(
          lines.filter((line) => line.includes(".fc") || line.includes("head")),
          arch === "swav_resnet50w2" ? [] : ["model.fc = torch.nn.Linear(2048, 12)"],
        );
      }
      const { encoders: [{ recognized: [name], part }] } = await inspectCheckpoint(path);
      assertEquals([name, part], [arch, "encoder"]);
    }));
}

for (const arch of ["simclr_resnet50", "swav_resnet50", "swav_resnet50w2"]) {
  Deno.test(`the classifier of a linear evaluation of ${arch} is still one in its exports`, () =>
    withFolder(async (folder) => {
      const checkpoint = `${folder}/model_best.pth.tar`;
      await writeTorchFile(checkpoint, linearCheckpoint(arch, 12));
      const formats = [["pth", "plain"], ["pth", "moco"], ["safetensors", "plain"]] as const;
      // The wide one's files take seconds each.
      for (const [format, names] of arch.endsWith("50") || IS_LONG ? formats : formats.slice(0, 1)) {
        const output = `${folder}/${names}.${format}`;
        const options = { format, names, output, normalize: false, force: false };
        await exportEncoder({ checkpoint, part: "encoder", ...options });
        for (const asked of [{}, { arch, isAsked: true }]) {
          using source = await openEncoderSource(output, { ...asked, part: "encoder" });
          const { encoder, head, beside } = source;
          assertEquals(
            [encoder.name, head.kind, head.dimension, head.isClassifier, beside],
            [arch, "linear", 12, true, []],
          );
          const input = inputOf(encoder, { imageSize: 64 });
          const { graph } = traceOnnxModel({ encoder, head, part: "encoder", normalize: false, input });
          assertEquals(graph.node.filter(({ opType }) => opType === "ReduceL2"), []);
        }
      }
      const backbone = `${folder}/backbone.pth`;
      const options = { format: "pth", output: backbone, normalize: false, force: false } as const;
      await exportEncoder({ checkpoint, part: "backbone", ...options });
      using state = await loadStateDict(backbone);
      assertEquals(state.isClassifier, false);
    }));
}

Deno.test("a linear head of SimCLR's and SWAV's that is no classifier gives normalised embeddings", () => {
  for (const arch of ["simclr_resnet50", "swav_resnet50"]) {
    const graph = new Graph();
    const images = graph.source("images", [1, 64, 64, 3]);
    const head = { kind: "linear", dimension: 12 } as const;
    const { embedding } = findEncoder(arch).trace(new EncoderBuilder(graph, "eval"), images, head);
    assertEquals(embedding.producer?.op, l2Normalize);
  }
});
