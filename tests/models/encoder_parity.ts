/** The encoders against the original's numbers; registered by several files, which run side by side. */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { Graph } from "../../kernels/graph.ts";
import { unpadRows } from "../../kernels/layout.ts";
import { Program } from "../../kernels/program.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";
import { FrozenEncoder } from "../../models/inference.ts";
import { ParameterStore } from "../../models/parameter_store.ts";
import type { Encoder } from "../../models/encoder.ts";
import { ENCODERS, summarize, usualHead } from "../../models/registry.ts";
import { relativeError, withGpu } from "../kernels/check_op.ts";
import { IS_LONG } from "../long.ts";
import { GOLDEN_SEED, referenceJson } from "../reference.ts";
import { formulaEncoder, formulaImages, formulaReader } from "./reference_encoder.ts";

const ARCHITECTURES = referenceJson("architectures.json");
const EMBEDDINGS = referenceJson("embeddings.json");

/**
 * How far the reference's float32 embeddings are from the same computation in float64, where that is much: with the
 * formula's running statistics activations grow very large, and squeeze-and-excite magnifies their rounding from block
 * to block. What these cannot show, {@linkcode CALM} does.
 */
const REFERENCE_ERROR: Record<string, number> = {
  mobilenetv3_large: 2.6e-4,
  efficientnet_b3: 3.2e-3,
  efficientnet_b4: 0.11,
  efficientnet_b5: 0.12,
  efficientnet_b6: 0.51,
  efficientnet_b7: 0.59,
};

/** Nets deeper than 60 layers are allowed more in eval mode. */
const evalTolerance = (name: string) =>
  Math.max(/resnet(101|152)|efficientnet_b[1-7]/.test(name) ? 3e-3 : 1e-4, 4 * (REFERENCE_ERROR[name] ?? 0));

/**
 * Of EfficientNet-B4 to B7 the reference's embeddings say nothing: an error of 0.44 to 2.36 would be allowed, and zeros have
 * one of 1. {@linkcode CALM} has the same encoders, at the same size.
 */
const isTelling = (name: string) => evalTolerance(name) < 0.1;

/** Float64 embeddings with running variances so much larger that activations stay small. */
const CALM = JSON.parse(await Deno.readTextFile(new URL("../golden/calm_embeddings.json", import.meta.url)));

/**
 * In train mode batch statistics of 32 values, and of 8 in SimCLR's and SWAV's heads, magnify rounding from layer to layer: the reference's own float32 is 1.4e-4
 * (ResNet-101), 5.9e-4 (ResNet-152), 0.8e-4 (SimCLR) and 1.2e-4 (SWAV) away from the same computation in float64, and
 * PyTorch on another machine 2.8e-4 from it.
 */
const trainTolerance = (name: string) =>
  /resnet(101|152)/.test(name) ? 1e-3 : /simclr|swav/.test(name) ? 4e-4 : 1e-4;

/**
 * One encoder of each kind of block is in every run of the tests, in eval mode and in train mode. The rest repeats it with more
 * blocks or other widths, for seconds each: it is for `test:long`. So are sizes other than 64 pixels, but of EfficientNet: its
 * padding alone depends on the size.
 */
const QUICK: Readonly<Record<string, readonly string[]>> = {
  resnet18: ["eval64", "train64"],
  resnet50: ["eval64"],
  mobilenetv3_small: ["eval64", "calm", "train64"],
  efficientnet_b0: ["eval64", "eval224", "calm", "train64"],
  simclr_resnet50: ["eval64"],
  swav_resnet50: ["eval64", "train64"],
};

const isLong = (name: string, test: string) => !QUICK[name]?.includes(test) && !IS_LONG;

/** The kinds of blocks, which are tested apart: encoders of one share kernels, which are compiled once a file. */
export type EncoderBlocks = "basic" | "bottleneck" | "mobile";

function blocksOf({ name }: Encoder): EncoderBlocks {
  return /^(mobile|efficient)net/.test(name)
    ? "mobile"
    : /^resnet(18|34)$/.test(name)
    ? "basic"
    : "bottleneck";
}

/** Registers the tests of the encoders of one kind of block. */
export function testEncoders(blocks: EncoderBlocks): void {
  const encoders = ENCODERS.filter((encoder) => blocksOf(encoder) === blocks);
  for (const encoder of encoders) {
    Deno.test(`parity: ${encoder.name} has the original's state_dict, parameters and multiply-accumulates`, () => {
      const { state, parameters, multiplyAccumulates } = summarize(encoder, usualHead(encoder));
      const expected = ARCHITECTURES[encoder.name];
      assertEquals(state.map(({ key, shape }) => [key, [...shape]]), expected.state_dict);
      assertEquals(parameters, expected.params);
      // The reference has none of the widest.
      if (expected.macs224 !== undefined) assertEquals(multiplyAccumulates, expected.macs224);
    });
  }

  for (const encoder of encoders) {
    const { name } = encoder;
    for (const size of [64, 96, 224]) {
      const expected = EMBEDDINGS[name]?.[`eval${size}`];
      if (expected === undefined) continue;
      if (!isTelling(name)) {
        assert(CALM.encoders[name] !== undefined && size === 64, `${name} at ${size} pixels is not compared`);
        continue;
      }
      Deno.test({
        name: `parity: ${name} embeds ${size} pixel images as the original does in eval mode`,
        ignore: isLong(name, `eval${size}`),
        fn: () =>
          withGpu(async (gpu) => {
            const { batch, embedding } = expected;
            using frozen = await formulaEncoder(gpu, name, { batch, imageSize: size, output: "embedding" });
            const actual = await frozen.embed(formulaImages(`input/${size}`, batch, size));
            const error = relativeError(actual, embedding.flat());
            assert(error <= evalTolerance(name), `relative error ${error}`);
          }),
      });
    }

    const calm = CALM.encoders[name];
    if (calm !== undefined) {
      Deno.test({
        name: `parity: ${name} in eval mode equals PyTorch's float64 closely where activations stay small`,
        ignore: isLong(name, "calm"),
        fn: () =>
          withGpu(async (gpu) => {
            using frozen = await FrozenEncoder.create(gpu, {
              encoder,
              head: usualHead(encoder),
              input: "normalized",
              batch: 2,
              imageSize: 64,
              output: "embedding",
            });
            const read = formulaReader(summarize(encoder, usualHead(encoder), 64).state, "", GOLDEN_SEED);
            await frozen.load((key) =>
              key.endsWith(".running_var")
                ? read(key).map((value) => Math.fround(value) * CALM.running_var_factor)
                : read(key)
            );
            const actual = await frozen.embed(formulaImages("input/64", 2, 64, GOLDEN_SEED));
            const error = relativeError(actual, calm.flat());
            assert(error <= 2e-5, `relative error ${error}`);
          }),
      });
    }

    const train = EMBEDDINGS[name]?.train64;
    if (train === undefined) continue;
    Deno.test({
      name:
        `parity: ${name} embeds images as the original does in train mode, and updates its running statistics`,
      ignore: isLong(name, "train64"),
      fn: () =>
        withGpu(async (gpu) => {
          const graph = new Graph();
          const images = graph.source("images", [train.batch, 64, 64, 3]);
          const builder = new EncoderBuilder(graph, "train");
          const { embedding } = encoder.trace(builder, images, usualHead(encoder));
          using store = new ParameterStore(gpu, builder.parameters);
          await store.load(formulaReader(builder.state));
          using program = await Program.compile(gpu, {
            label: name,
            graph,
            inputs: [images],
            outputs: [embedding],
            bound: store.bindings(),
          });
          program.write(images, formulaImages("input/64", train.batch, 64));
          program.run();
          const actual = unpadRows(await program.read(embedding), [train.batch, 128]);
          const rows = train.embedding.length;
          const error = relativeError(actual.subarray(0, rows * 128), train.embedding.flat());
          assert(error <= trainTolerance(name), `relative error ${error}`);

          const values = await store.save();
          for (const [key, [sum, norm]] of Object.entries<[number, number]>(train.running_stats_sum_norm)) {
            const value = values.get(key)!;
            const tolerance = 1e-4 * Math.max(1, norm * Math.sqrt(value.length));
            assertAlmostEquals(value.reduce((a, b) => a + b, 0), sum, tolerance, `${key}: sum`);
            assertAlmostEquals(Math.hypot(...value), norm, 1e-4 * norm, `${key}: norm`);
          }
        }),
    });
  }
}
