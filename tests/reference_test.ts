import { assertAlmostEquals, assertEquals } from "@std/assert";
import { crc32 } from "node:zlib";
import { formulaBits, formulaTensor, referenceJson } from "./reference.ts";

const FORMULA = referenceJson("formula.json");

Deno.test("parity: the formula hashes names and indexes as the reference does", () => {
  for (const [name, expected] of Object.entries(FORMULA.crc32)) assertEquals(crc32(name), expected, name);
  const first = FORMULA["u32_conv1.weight_first4"].map((_: number, i: number) =>
    formulaBits("conv1.weight", i, FORMULA.seed)
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
