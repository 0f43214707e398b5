/** Compares weights whose gradients travelled as float16 with others. */
import { assert, assertEquals } from "@std/assert";
import { relativeError } from "../../kernels/check_op.ts";

type Weights = ReadonlyMap<string, Float32Array>;

/** Fails where they are not near the others, or where nothing shows that anything was rounded. */
export function assertRounded(weights: Weights, others: Weights): void {
  assertEquals([...weights.keys()], [...others.keys()]);
  const errors = [...weights].map(([key, values]) => relativeError(values, others.get(key)!));
  const largest = Math.max(...errors);
  assert(largest > 1e-7 && largest < 1e-3, `${largest}`);
}
