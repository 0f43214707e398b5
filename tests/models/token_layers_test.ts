// Layers that transformers have: norms and LayerScale, tokens, residuals behind a linear layer.
import { assert, assertEquals, assertLess, assertThrows } from "@std/assert";
import { differentiate } from "../../kernels/autodiff.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { Graph, type Tensor } from "../../kernels/graph.ts";
import { padRows, unpadRows } from "../../kernels/layout.ts";
import { conv2d } from "../../kernels/ops/conv2d/conv2d.ts";
import { mean } from "../../kernels/ops/mean/mean.ts";
import { prependTokens } from "../../kernels/ops/prepend_tokens/prepend_tokens.ts";
import { scaledResidual } from "../../kernels/ops/scaled_residual/scaled_residual.ts";
import { Program } from "../../kernels/program.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";
import type { EncoderMode } from "../../models/encoder_layers.ts";
import { ParameterStore } from "../../models/parameter_store.ts";
import { relativeError, withGpu } from "../kernels/check_op.ts";
import { ACTIVATION_FUNCTIONS } from "../kernels/ops/activation_functions.ts";
import { formulaTensor } from "../reference.ts";
import { formulaReader } from "./reference_encoder.ts";

const [IMAGES, PATCHES, WIDTH, HIDDEN] = [2, 3, 6, 9];
const INITIAL = { draw: "truncated_normal", deviation: 0.02 } as const;

/** Tokens in front of patches [n, patches, 1, width], then x + gamma * feedForward(norm(x)). */
function traceBlock(b: EncoderBuilder, patches: Tensor): Tensor {
  const token = b.tokens("cls_token", [1, 1, WIDTH], INITIAL);
  const positions = b.tokens("pos_embed", [1, 1 + PATCHES, WIDTH], INITIAL);
  const norm = b.layerNorm("norm", WIDTH, 1e-6);
  const up = b.linear("fc1", WIDTH, HIDDEN, INITIAL, { zeroBias: { first: 2, count: 5 } });
  const down = b.linear("fc2", HIDDEN, WIDTH, INITIAL);
  const scale = b.layerScale("ls.gamma", WIDTH, 1e-5);
  const x = b.graph.apply(prependTokens, [patches, token, positions], {});
  const hidden = b.convolve(b.normalize(x, norm), up, { activation: "gelu" });
  return b.convolveAndAdd(hidden, down, x, { scale });
}

/** The same in float64, from the entries' values. */
function blockOf(read: (key: string) => ArrayLike<number>, patches: Float32Array): number[] {
  const count = 1 + PATCHES;
  const of = (key: string, i: number) => read(key)[i];
  const result: number[] = [];
  for (let row = 0; row < IMAGES * count; row++) {
    const [image, token] = [Math.floor(row / count), row % count];
    const x = Array.from(
      { length: WIDTH },
      (_, c) =>
        (token === 0 ? of("cls_token", c) : patches[(image * PATCHES + token - 1) * WIDTH + c]) +
        of("pos_embed", token * WIDTH + c),
    );
    const mean = x.reduce((a, b) => a + b, 0) / WIDTH;
    const variance = x.reduce((a, b) => a + (b - mean) ** 2, 0) / WIDTH;
    const normed = x.map((value, c) =>
      (value - mean) / Math.sqrt(variance + 1e-6) * of("norm.weight", c) + of("norm.bias", c)
    );
    const hidden = Array.from({ length: HIDDEN }, (_, o) => {
      const bias = o >= 2 && o < 7 ? 0 : of("fc1.bias", o);
      return ACTIVATION_FUNCTIONS.gelu(
        normed.reduce((sum, value, c) => sum + value * of("fc1.weight", o * WIDTH + c), bias),
      );
    });
    for (let c = 0; c < WIDTH; c++) {
      const y = hidden.reduce(
        (sum, value, o) => sum + value * of("fc2.weight", c * HIDDEN + o),
        of("fc2.bias", c),
      );
      result.push(x[c] + of("ls.gamma", c) * y);
    }
  }
  return result;
}

const SHAPE = [IMAGES, PATCHES, 1, WIDTH];
const INPUT = formulaTensor("patches", SHAPE, "unit");

interface Run {
  values: Float32Array;
  ops: string[];
  /** What the store reads back, of a trained one. */
  saved: Map<string, Float32Array> | undefined;
  read: (key: string) => Float32Array;
}

async function runBlock(gpu: Gpu, mode: EncoderMode, maxWeightBytes?: number): Promise<Run> {
  const graph = new Graph();
  const patches = graph.source("patches", SHAPE);
  const b = new EncoderBuilder(graph, mode, { maxWeightBytes });
  const output = traceBlock(b, patches);
  const read = formulaReader(b.state);
  using store = new ParameterStore(gpu, b.parameters);
  await store.load(read);
  using program = await Program.compile(gpu, {
    label: "test",
    graph,
    inputs: [patches],
    outputs: [output],
    bound: store.bindings(),
  });
  program.write(patches, padRows(INPUT, SHAPE));
  program.run();
  const values = unpadRows(await program.read(output), output.shape);
  const saved = mode === "train" ? await store.save() : undefined;
  return { values, ops: graph.nodes.map(({ op }) => op.name), saved, read };
}

Deno.test("a transformer's layers are the same in train mode, in eval mode and in float64", () =>
  withGpu(async (gpu) => {
    const [trained, frozen] = [await runBlock(gpu, "train"), await runBlock(gpu, "eval")];
    const expected = blockOf(trained.read, INPUT);
    assertLess(relativeError(trained.values, expected), 2e-6);
    assertLess(relativeError(frozen.values, expected), 2e-6);
    // LayerScale, the residual and GELU cost no pass of their own where nothing is trained.
    assertEquals(frozen.ops, ["prepend_tokens", "layer_norm", "conv2d", "conv2d"]);
    assertEquals(trained.ops, [
      "prepend_tokens",
      "layer_norm",
      "multiply", // biases that are zero
      "conv2d",
      "activate",
      "conv2d",
      "scaled_residual",
    ]);
    // What is read back is what was loaded, but for the biases that are zero.
    for (const [key, values] of trained.saved!) {
      const given = trained.read(key);
      if (key === "fc1.bias") given.fill(0, 2, 7);
      assertEquals(values, given as typeof values, key);
    }
  }));

Deno.test("biases that are zero are not trained, whatever they were loaded as", () =>
  withGpu(async (gpu) => {
    const graph = new Graph();
    const patches = graph.source("patches", SHAPE);
    const b = new EncoderBuilder(graph, "train");
    const loss = graph.apply(mean, [traceBlock(b, patches)], {});
    const { tensor: bias } = b.parameters.find(({ keys }) => keys.includes("fc1.bias"))!;
    const [gradient] = differentiate(graph, loss, [bias]);
    using store = new ParameterStore(gpu, b.parameters);
    await store.load(formulaReader(b.state));
    using program = await Program.compile(gpu, {
      label: "test",
      graph,
      inputs: [patches],
      outputs: [gradient],
      bound: store.bindings(),
    });
    program.write(patches, padRows(INPUT, SHAPE));
    program.run();
    const values = unpadRows(await program.read(gradient), [HIDDEN]);
    assertEquals(Array.from(values, (value) => value === 0), [0, 0, 1, 1, 1, 1, 1, 0, 0].map(Boolean));
  }));

Deno.test("weights with LayerScale folded in are cut where they are too large to bind", () =>
  withGpu(async (gpu) => {
    const [whole, cut] = [await runBlock(gpu, "eval"), await runBlock(gpu, "eval", 150)];
    assertEquals(whole.ops.includes("concatenate_channels"), false);
    assertEquals(cut.ops.filter((name) => name === "concatenate_channels").length, 2);
    assertLess(relativeError(cut.values, blockOf(cut.read, INPUT)), 2e-6);
  }));

for (const hasScale of [true, false]) {
  const title = hasScale ? "with LayerScale" : "without LayerScale";
  Deno.test(`convolveAndAdd() drops what it adds for a share of the images, ${title}`, () =>
    withGpu(async (gpu) => {
      const [images, rate] = [64, 0.25];
      const graph = new Graph();
      const x = graph.source("x", [images, 1, 1, 4]);
      const dropoutSeed = graph.source("seed", [2], "u32");
      const b = new EncoderBuilder(graph, "train", { dropoutSeed });
      const layer = b.linear("fc", 4, 4, undefined, { bias: false });
      const scale = hasScale ? b.layerScale("gamma", 4, 1) : undefined;
      const added = b.convolveAndAdd(x, layer, x, { scale });
      const dropped = b.convolveAndAdd(x, layer, x, { scale, rate });
      assertEquals(b.state.map(({ key }) => key), ["fc.weight", ...hasScale ? ["gamma"] : []]);
      using store = new ParameterStore(gpu, b.parameters);
      await store.load(formulaReader(b.state));
      using program = await Program.compile(gpu, {
        label: "test",
        graph,
        inputs: [x, dropoutSeed],
        outputs: [added, dropped],
        bound: store.bindings(),
      });
      const values = formulaTensor("x", x.shape, "unit");
      program.write(x, Float32Array.from(values));
      program.write(dropoutSeed, Uint32Array.of(1, 2));
      program.run();
      const [all, some] = [await program.read(added), await program.read(dropped)];
      let kept = 0;
      for (let image = 0; image < images; image++) {
        const of = (from: ArrayLike<number>) => Array.from(from).slice(4 * image, 4 * image + 4);
        const [residual, whole, found] = [of(values), of(all), of(some)];
        const isKept = relativeError(found, residual) > 1e-3;
        kept += Number(isKept);
        const share = isKept ? 1 / (1 - rate) : 0;
        assertLess(
          relativeError(found, residual.map((value, i) => value + (whole[i] - value) * share)),
          1e-5,
        );
      }
      assert(kept > 36 && kept < 60, `${kept} of ${images}`);
    }));
}

Deno.test("a residual behind a trained linear layer is added in its own kernel, and ends a block", () => {
  const graph = new Graph();
  const b = new EncoderBuilder(graph, "train");
  const x = graph.source("x", [2, 5, 1, 8]);
  b.convolveAndAdd(x, b.linear("fc", 8, 8), x);
  assertEquals(graph.nodes.map(({ op, attributes }) => [op, op.endsBlock!(attributes as never)]), [[
    conv2d,
    true,
  ]]);
  b.convolveAndAdd(x, b.linear("fc2", 8, 8), x, { scale: b.layerScale("gamma", 8, 1) });
  assertEquals(graph.nodes.map(({ op, attributes }) => [op, op.endsBlock!(attributes as never)]), [
    [conv2d, true],
    [conv2d, false],
    [scaledResidual, true],
  ]);
});

Deno.test("made() makes a tensor of several entries, and a constant of none, which is not read back", () =>
  withGpu(async (gpu) => {
    const graph = new Graph();
    const b = new EncoderBuilder(graph, "eval");
    const keys = ["cls_token", "register_tokens"];
    for (const [i, key] of keys.entries()) b.value(key, [1, 1 + i, 4], INITIAL);
    const tokens = b.made("tokens", [3, 4], {
      keys,
      toDevice: (parts) => padRows(parts.flatMap((part) => [...part]), [3, 4]),
    });
    const constant = b.made("ones", [5], { keys: [], toDevice: () => padRows([1, 1, 1, 1, 1], [5]) });
    assertEquals(b.made("ones", [5], { keys: [], toDevice: () => padRows([2, 2, 2, 2, 2], [5]) }), constant);
    assertThrows(
      () => b.made("ones", [6], { keys: [], toDevice: () => new Float32Array(8) }),
      Error,
      "ones is [5] already, and cannot be [6]",
    );
    assertEquals(b.state.map(({ key }) => key), keys);
    assertEquals(b.parameters.map(({ tensor, kind }) => [tensor, kind]), [[tokens, "parameter"], [
      constant,
      "running",
    ]]);
    using store = new ParameterStore(gpu, b.parameters.filter(({ tensor }) => tensor === constant));
    await store.load(() => {
      throw new Error("a constant reads nothing");
    });
    assertEquals(await store.save(), new Map());
  }));
