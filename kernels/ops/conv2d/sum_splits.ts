/** The second half of a product whose sum was cut: adds the parts, then does what else happens to the product. */
import { type Lowering, paddedCount, padTo4, type Tensor } from "../../graph.ts";
import { uniforms } from "../../wgsl.ts";
import { sumKernel, sumPartials } from "../sum_partials/sum_partials.ts";
import { declareBindings, type Epilogue, store } from "./generator.ts";

/**
 * `result = f(parts[0] + parts[1] + ... + bias? + addend?)`; parts are laid out one after the other, each like the result.
 *
 * @param extra what the epilogue reads: the bias and the addend, those that there are
 */
export function sumSplits(
  lowering: Lowering,
  parts: Tensor,
  splits: number,
  epilogue: Epilogue,
  extra: readonly Tensor[],
  result: Tensor,
): void {
  if (extra.length === 0 && epilogue.activation === undefined) {
    return sumPartials(lowering, parts, splits, result);
  }
  const vec4s = paddedCount(result) / 4;
  const channels = result.shape.at(-1)!;
  lowering.dispatch({
    label: "conv2d sum",
    ...sumKernel(lowering.target, vec4s, splits, {
      params: "out_vec4s: u32, out_channels: u32",
      bindings: declareBindings(["parts"], epilogue),
      store: `let vec4_index = i % p.out_vec4s; ${store(epilogue, "sum", "i", "vec4_index")}`,
    }),
    bindings: [parts, ...extra, result],
    uniforms: uniforms(vec4s, splits, padTo4(channels) / 4, channels),
  });
}
