/** The released vision transformers and ConvNeXts on the formula's weights, against what their authors' code gives. */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { recognizeEncoders } from "../../models/recognize.ts";
import { findEncoder, summarize, usualHead } from "../../models/registry.ts";
import { withGpu } from "../kernels/check_op.ts";
import { IS_LONG } from "../long.ts";
import { referenceJson } from "../reference.ts";
import { HAS_VIT_FILES, vitTest } from "../vit_files.ts";
import { differenceOf, embedReference, referenceImages, vitFormulaReader } from "./vit_reference.ts";

/** One model of the reference. */
interface Model {
  config: { heads?: number };
  parameters: number;
  state_dict: [string, number[]][];
  outputs: Record<
    string,
    { dim: number; values: number[][]; max_abs: number[]; sum: number[]; norm: number[] }
  >;
}

const MODELS: Record<string, Model> = HAS_VIT_FILES ? referenceJson("vit/vit.json") : {};

/** Models whose float32 is farther from float64 in the original already. */
const TOLERANCES: Record<string, number> = { dinov3_vits16plus: 5e-5, dinov2_vitg14: 5e-5 };

/** One of each family, and of each part that only some have; the rest is for `test:long`: seconds each. */
const QUICK: Record<string, readonly string[]> = {
  dinov2_vits14: ["98x154"],
  dinov2_vits14_reg: ["98"],
  dinov2_swiglu_tiny: ["98"],
  dino_vits16: ["96x128"],
  mocov3_vit_small: ["96"],
  dinov3_vits16: ["96x128"],
  dinov3_convnext_tiny: ["96"],
};

/** The encoder that a model's shapes are recognised as; its table of positions may be for another size. */
function recognize(name: string, size?: string) {
  const { config, state_dict } = MODELS[name];
  const isFixed = name.startsWith("mocov3");
  const shapes = new Map(state_dict.map(([key, shape]) => [key, { shape }]));
  if (isFixed && size !== undefined) {
    const [, , width] = shapes.get("pos_embed")!.shape;
    shapes.set("pos_embed", { shape: [1, 1 + (Number(size) / 16) ** 2, width] });
  }
  // Nothing tells the heads of the tiny model, which was not released.
  const heads = name.includes("tiny") ? config.heads : undefined;
  const [encoder] = recognizeEncoders(shapes, "encoder", { heads, fixedPositions: isFixed });
  return encoder;
}

for (const [name, { state_dict, parameters }] of Object.entries(MODELS)) {
  Deno.test(`parity: ${name} is recognised by its original's state_dict, and has all that embeddings need`, () => {
    const encoder = recognize(name);
    if (name !== "dinov2_swiglu_tiny") assertEquals(encoder.name, name);
    const { state } = summarize(encoder, usualHead(encoder));
    const unused = new Map(encoder.unused!.map((entry) => [entry.key, entry]));
    const isNeeded = (key: string) => !encoder.ignores!.test(key) && !unused.has(key);
    assertEquals(
      state.map(({ key, shape }) => [key, [...shape]]),
      state_dict.filter(([key]) => isNeeded(key)),
    );
    const isKept = ([key]: [string, number[]]) => unused.has(key);
    for (const [key, shape] of state_dict.filter(isKept)) assertEquals([...unused.get(key)!.shape], shape);
    // What a file may lack is made for it.
    for (const { key } of unused.values().filter(({ otherwise }) => otherwise !== undefined)) {
      assert(state_dict.some(([own]) => own === key), key);
    }
    const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
    const others = state_dict.filter(([key]) => !isNeeded(key)).reduce(
      (sum, [, shape]) => sum + size(shape),
      0,
    );
    const own = state.reduce((sum, { shape }) => sum + size(shape), 0);
    assert(own <= parameters && parameters <= own + others, `${own} of ${parameters}`);
  });
}

for (const [name, { outputs }] of Object.entries(MODELS)) {
  for (const [size, expected] of Object.entries(outputs)) {
    Deno.test({
      name: `parity: ${name} embeds images of ${size} pixels as the original does`,
      ignore: !QUICK[name]?.includes(size) && !IS_LONG,
      fn: () =>
        withGpu(async (gpu) => {
          const encoder = recognize(name, size);
          const actual = await embedReference(gpu, encoder, vitFormulaReader(encoder), size);
          const { dim, values, max_abs, sum, norm } = expected;
          const tolerance = TOLERANCES[name] ?? 2e-5;
          for (const [image, row] of values.entries()) {
            const own = actual.subarray(image * dim, (image + 1) * dim);
            // Of the widest models the reference has the first numbers only, and sum and norm of all.
            const largest = max_abs[image];
            const difference = differenceOf(own, row) * Math.max(...row.map(Math.abs)) / largest;
            assert(difference <= tolerance, `image ${image}: ${difference}`);
            const off = Math.abs(own.reduce((a, b) => a + b, 0) - sum[image]);
            assert(off <= tolerance * largest * dim, `image ${image}: the sum is ${off} off`);
            const length = Math.abs(Math.hypot(...own) - norm[image]);
            assert(
              length <= tolerance * largest * Math.sqrt(dim),
              `image ${image}: the norm is ${length} off`,
            );
          }
        }),
    });
  }
}

Deno.test("parity: the formula's weights of a vision transformer are the reference's, by their names alone", () => {
  const read = vitFormulaReader(findEncoder("dinov2_vits14"));
  const { "vit/input/96": image, ...samples }: Record<string, { first4: number[] }> =
    referenceJson("vit/pieces.json").formula;
  for (const [key, { first4 }] of Object.entries(samples)) {
    for (const [i, expected] of first4.entries()) {
      assertAlmostEquals(read(key)[i], expected, 1e-7 * Math.max(1, Math.abs(expected)), `${key}[${i}]`);
    }
  }
  // [2, 96, 96, 3], padded to four channels: the red of the first pixels.
  const images = referenceImages("96");
  for (const [i, expected] of image.first4.entries()) {
    assertAlmostEquals(images[4 * i], expected, 1e-6, `pixel ${i}`);
  }
});

// In place of all tests of models, where these are missing.
vitTest("parity: models of every family embed images as their originals do", () => {
  for (
    const name of [
      "dino_vits16",
      "dinov2_vits14",
      "dinov3_vits16",
      "dinov3_convnext_tiny",
      "mocov3_vit_small",
    ]
  ) {
    assert(name in MODELS, name);
  }
});
