/**
 * Where the original implementation's numbers are, and the formula that makes its inputs.
 *
 * The folder is `SEED_REFERENCE`, by default `../shared/reference` beside the checkout; where that is missing,
 * `tests/golden/` holds a copy of what the tests need.
 */
import { crc32 } from "node:zlib";
import { mix32 } from "../data/random.ts";

function exists(path: URL): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

function referenceFolder(): URL {
  const given = Deno.env.get("SEED_REFERENCE");
  if (given !== undefined) return new URL(`file://${Deno.realPathSync(given)}/`);
  const beside = new URL("../../shared/reference/", import.meta.url);
  return exists(beside) ? beside : new URL("./golden/", import.meta.url);
}

/** Folder of the reference numbers. */
export const REFERENCE: URL = referenceFolder();

/** Path of one reference file, e.g. `preprocess/a.png`. */
export function referencePath(name: string): string {
  return decodeURIComponent(new URL(name, REFERENCE).pathname);
}

/** One reference file, parsed. */
// deno-lint-ignore no-explicit-any
export function referenceJson(name: string): any {
  return JSON.parse(Deno.readTextFileSync(referencePath(name)));
}

/** Seed of the formula's tensors in the reference's files. */
export const REFERENCE_SEED: number = referenceJson("formula.json").seed;

/** Seed of the formula's tensors in the files that `tests/golden/` has beside the reference's. */
export const GOLDEN_SEED = 0;

/** Raw 32-bit hash of element `i` of the tensor `name`. */
export function formulaBits(name: string, i: number, seed = REFERENCE_SEED): number {
  return mix32(Math.imul(i, 0x9e3779b1) + (crc32(name) ^ seed));
}

export type FormulaKind = "weight" | "gamma" | "small" | "var" | "image" | "unit";

/** The tensor that the formula gives for a name, in PyTorch's layout. */
export function formulaTensor(
  name: string,
  shape: readonly number[],
  kind: FormulaKind,
  seed = REFERENCE_SEED,
): Float32Array {
  const size = shape.reduce((a, b) => a * b, 1);
  const stream = crc32(name) ^ seed;
  const bound = Math.sqrt(6 / shape.slice(1).reduce((a, b) => a * b, 1));
  const values = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const u = (mix32(Math.imul(i, 0x9e3779b1) + stream) >>> 8) / 16777216;
    switch (kind) {
      case "weight":
        values[i] = (2 * u - 1) * bound;
        break;
      case "gamma":
      case "var":
        values[i] = 0.5 + u;
        break;
      case "small":
        values[i] = 0.2 * u - 0.1;
        break;
      case "image":
        values[i] = 4 * u - 2;
        break;
      case "unit":
        values[i] = 2 * u - 1;
    }
  }
  return values;
}

/** The kind that the formula uses for a state_dict key. */
export function formulaKind(key: string, shape: readonly number[]): FormulaKind {
  if (key.endsWith(".bias") || key.endsWith("running_mean")) return "small";
  if (key.endsWith("running_var")) return "var";
  return shape.length === 1 ? "gamma" : "weight";
}
