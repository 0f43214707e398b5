import { assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import { crc32 } from "node:zlib";
import {
  formulaBits,
  type FormulaKind,
  formulaTensor,
  GOLDEN_SEED,
  REFERENCE_SEED,
  referenceJson,
} from "./reference.ts";

const FORMULA = referenceJson("formula.json");

Deno.test("parity: the formula hashes names and indexes as the reference does", () => {
  for (const [name, expected] of Object.entries(FORMULA.crc32)) assertEquals(crc32(name), expected, name);
  const first = FORMULA["u32_conv1.weight_first4"].map((_: number, i: number) =>
    formulaBits("conv1.weight", i)
  );
  assertEquals(first, FORMULA["u32_conv1.weight_first4"]);
});

Deno.test("parity: the formula gives the reference's tensors", () => {
  const cases = [
    ["conv1.weight_7x7x3x64_first4", formulaTensor("conv1.weight", [64, 3, 7, 7], "weight")],
    ["input64_first4", formulaTensor("input/64", [1, 3, 64, 64], "image")],
    ["bn1.running_var_first4", formulaTensor("bn1.running_var", [64], "var")],
  ] as const;
  for (const [name, tensor] of cases) {
    for (const [i, expected] of FORMULA[name].entries()) {
      assertAlmostEquals(tensor[i], expected, 1e-7 * Math.max(1, Math.abs(expected)), `${name}[${i}]`);
    }
  }
});

Deno.test("parity: the formula gives the reference's tensors of vision transformers", () => {
  const samples: Record<string, { shape: number[]; kind: FormulaKind; first4: number[] }> =
    referenceJson("vit/pieces.json").formula;
  for (const [name, { shape, kind, first4 }] of Object.entries(samples)) {
    const tensor = formulaTensor(name, shape, kind);
    for (const [i, expected] of first4.entries()) {
      assertAlmostEquals(tensor[i], expected, 1e-7 * Math.max(1, Math.abs(expected)), `${name}[${i}]`);
    }
  }
});

Deno.test("formulaTensor() follows the seed that it is given, and that of the reference without one", () => {
  const tensor = (seed?: number) => [...formulaTensor("input/8", [1, 3, 8, 8], "unit", seed)];
  for (const seed of [0, 7, 0xdeadbeef]) {
    const expected = tensor(seed).map((_, i) =>
      Math.fround(2 * (formulaBits("input/8", i, seed) >>> 8) / 16777216 - 1)
    );
    assertEquals(tensor(seed), expected);
  }
  assertEquals(REFERENCE_SEED, FORMULA.seed);
  assertEquals(tensor(), tensor(REFERENCE_SEED));
  assertNotEquals(tensor(GOLDEN_SEED), tensor(GOLDEN_SEED + 1));
});
