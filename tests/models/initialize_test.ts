import { assert, assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import type { Initial, StateEntry } from "../../models/encoder_layers.ts";
import type { HeadKind } from "../../models/heads.ts";
import { initialize, initializeQueue } from "../../models/initialize.ts";
import { findEncoder, summarize } from "../../models/registry.ts";

const COUNT = 40_000;

function entry(key: string, initial: Initial): StateEntry {
  return { key, shape: [COUNT / 100, 100], kind: "parameter", initial };
}

/** Mean and standard deviation. */
function moments(values: Float32Array): [mean: number, deviation: number] {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return [mean, Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length)];
}

Deno.test("initialize() draws each entry as PyTorch does: deviation, bounds, constants", () => {
  const values = initialize([
    entry("kaiming", { draw: "kaiming_fan_out", fanOut: 50 }),
    entry("normal", { draw: "normal", deviation: 0.01 }),
    entry("uniform", { draw: "uniform", bound: 0.3 }),
    entry("constant", { draw: "constant", value: 7 }),
    { key: "counter", shape: [], kind: "counter", initial: { draw: "constant", value: 0 } },
  ], 3);
  assertEquals([...values.keys()], ["kaiming", "normal", "uniform", "constant"]);
  // Of so many values the deviation is right to 1 / sqrt(2 n) = 0.35 %; five times that.
  for (
    const [key, wanted] of [["kaiming", Math.sqrt(2 / 50)], ["normal", 0.01], [
      "uniform",
      0.3 / Math.sqrt(3),
    ]] as const
  ) {
    const [mean, deviation] = moments(values.get(key)!);
    assertAlmostEquals(mean, 0, 5 * wanted / Math.sqrt(COUNT), key);
    assertAlmostEquals(deviation / wanted, 1, 0.018, key);
  }
  assert(values.get("uniform")!.every((value) => Math.abs(value) <= 0.3));
  assert(values.get("constant")!.every((value) => value === 7));
});

Deno.test("initialize() draws truncated normals as trunc_normal_ does: what is beyond the cut again", () => {
  const values = initialize([
    entry("usual", { draw: "truncated_normal", deviation: 0.02 }),
    entry("cut", { draw: "truncated_normal", deviation: 1, cut: 1 }),
    entry("at 2", { draw: "truncated_normal", deviation: 1.5 }),
  ], 3);
  // Of a unit normal within +-b, the variance is 1 - 2 b density(b) / (2 Phi(b) - 1).
  const deviations = { usual: 0.02, cut: Math.sqrt(0.2911251), "at 2": 1.5 * Math.sqrt(0.4650536) };
  for (const [key, wanted] of Object.entries(deviations)) {
    const [mean, deviation] = moments(values.get(key)!);
    assertAlmostEquals(mean, 0, 5 * wanted / Math.sqrt(COUNT), key);
    assertAlmostEquals(deviation / wanted, 1, 0.018, key);
  }
  for (const [key, cut] of [["cut", 1], ["at 2", 2]] as const) {
    const largest = Math.max(...values.get(key)!.map(Math.abs));
    assert(largest <= cut && largest > 0.999 * cut, `${key}: ${largest}`);
  }
});

Deno.test("parity: the head of a fresh MobileNetV3 is drawn as the original's, whose own fc is the last layer", () => {
  // Deviations of mobilenetv3.py's `_initialize_weights()` and of the layer of nn.Linear's own that builder.py puts in front.
  const [normal, zero] = [{ draw: "normal", deviation: 0.01 }, { draw: "constant", value: 0 }] as const;
  for (const [name, features] of [["mobilenetv3_small", 1024], ["mobilenetv3_large", 1280]] as const) {
    const uniform = { draw: "uniform", bound: 1 / Math.sqrt(features) } as const;
    const heads = {
      linear: { "fc.weight": normal, "fc.bias": zero },
      mlp: { "fc.0.weight": uniform, "fc.0.bias": uniform, "fc.2.weight": normal, "fc.2.bias": zero },
    };
    for (const [kind, wanted] of Object.entries(heads)) {
      const { state } = summarize(findEncoder(name), { kind: kind as HeadKind, dimension: 128 }, 32);
      const drawn = state.filter(({ key }) => key.startsWith("fc.")).map((
        { key, initial },
      ) => [key, initial]);
      assertEquals(Object.fromEntries(drawn), wanted, name);
    }
  }
});

/** Values of some entries of a fresh encoder, in the order of its state_dict. */
function draw(name: string, keys: readonly string[]): [key: string, values: Float32Array][] {
  const { state } = summarize(findEncoder(name), { kind: "linear", dimension: 128 });
  const values = [...initialize(state.filter(({ key }) => keys.includes(key)), 3)];
  assertEquals(values.length, keys.length);
  return values;
}

/** Fails where values are not uniform between plus and minus 1 / sqrt(fanIn), as those of PyTorch's layers are. */
function assertUniform(values: Float32Array, fanIn: number, key: string): void {
  const bound = 1 / Math.sqrt(fanIn);
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  assert(largest <= bound && largest > bound * (1 - 10 / values.length), `${key}: up to ${largest}`);
  // Of a uniform sample the deviation is right to sqrt(0.2 / n); five times that.
  const [, deviation] = moments(values);
  assertAlmostEquals(deviation * Math.sqrt(3) / bound, 1, 5 * Math.sqrt(0.2 / values.length), key);
}

/** Fails where values do not have the deviation of a normal distribution. */
function assertNormal(values: Float32Array, wanted: number, key: string): void {
  const [mean, deviation] = moments(values);
  assertAlmostEquals(mean, 0, 5 * wanted / Math.sqrt(values.length), key);
  assertAlmostEquals(deviation / wanted, 1, 5 / Math.sqrt(2 * values.length), key);
}

Deno.test("parity: a fresh EfficientNet's convolutions are drawn as nn.Conv2d draws its own, which the original leaves", () => {
  const fanIns: Record<string, number> = {
    "_conv_stem.weight": 27, // 3 channels, 3 x 3
    "_blocks.0._depthwise_conv.weight": 9,
    "_blocks.3._depthwise_conv.weight": 25,
    "_blocks.15._expand_conv.weight": 192,
    "_blocks.15._se_reduce.weight": 1152,
    "_blocks.15._se_reduce.bias": 1152,
    "_blocks.15._se_expand.weight": 48,
    "_blocks.15._se_expand.bias": 48,
    "_blocks.15._project_conv.weight": 1152,
  };
  for (const [key, values] of draw("efficientnet_b0", Object.keys(fanIns))) {
    assertUniform(values, fanIns[key], key);
  }
});

Deno.test("parity: a fresh MobileNetV3 is drawn by the original's _initialize_weights()", () => {
  const deviations: Record<string, number> = {
    "features.0.0.weight": Math.sqrt(2 / 144), // 16 outputs, 3 x 3
    "features.1.conv.0.weight": Math.sqrt(2 / 144), // 16 channels apart, 3 x 3
    "features.4.conv.3.weight": Math.sqrt(2 / 1800), // 72 channels apart, 5 x 5
    "features.15.conv.0.weight": Math.sqrt(2 / 960),
    "features.15.conv.5.fc.0.weight": 0.01,
    "features.15.conv.5.fc.2.weight": 0.01,
    "features.15.conv.7.weight": Math.sqrt(2 / 160),
  };
  for (const [key, values] of draw("mobilenetv3_large", Object.keys(deviations))) {
    assertNormal(values, deviations[key], key);
  }
  const zeros = ["features.15.conv.5.fc.0.bias", "features.15.conv.5.fc.2.bias", "classifier.0.bias"];
  for (const [key, values] of draw("mobilenetv3_large", zeros)) {
    assert(values.every((value) => value === 0), key);
  }
});

Deno.test("parity: a fresh vit_tiny is drawn as DeiT's: normals of 0.02, and the patches' nn.Conv2d as it comes", () => {
  const layers = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"].map((layer) => `blocks.11.${layer}`);
  const normals = ["cls_token", "pos_embed", ...layers.map((layer) => `${layer}.weight`)];
  for (const [key, values] of draw("vit_tiny", normals)) assertNormal(values, 0.02, key);
  for (const [key, values] of draw("vit_tiny", layers.map((layer) => `${layer}.bias`))) {
    assert(values.every((value) => value === 0), key);
  }
  for (const [key, values] of draw("vit_tiny", ["patch_embed.proj.weight", "patch_embed.proj.bias"])) {
    assertUniform(values, 768, key); // 3 channels, 16 x 16
  }
});

Deno.test("initialize() gives what follows from seed and key alone", () => {
  const [a, b] = ["a", "b"].map((key) => entry(key, { draw: "normal", deviation: 1 }));
  const both = initialize([a, b], 3);
  assertEquals(initialize([b], 3).get("b"), both.get("b"));
  assertNotEquals(both.get("a"), both.get("b"));
  assertNotEquals(initialize([b], 4).get("b"), both.get("b"));
});

Deno.test("initializeQueue() draws unit rows, others for each name and seed", () => {
  const queue = initializeQueue(50, 12, 3);
  for (let row = 0; row < 50; row++) {
    assertAlmostEquals(Math.hypot(...queue.subarray(12 * row, 12 * row + 12)), 1, 1e-6);
  }
  assertEquals(initializeQueue(50, 12, 3), queue);
  assertNotEquals(initializeQueue(50, 12, 3, "small queue"), queue);
  assertNotEquals(initializeQueue(50, 12, 4), queue);
});
