/** Packed 8-bit pixels to normalised float32: the first kernel of every encoder. */
import { expectShape, type Op } from "../../graph.ts";
import { f32, LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import wgsl from "./normalize_pixels.wgsl" with { type: "text" };

/** Attributes of {@linkcode normalizePixels}: per channel, in units of [0, 1] as torchvision's `Normalize`. */
export interface NormalizePixelsAttributes {
  /** What is subtracted from red, green and blue. */
  mean: readonly [number, number, number];
  /** What they are divided by. */
  deviation: readonly [number, number, number];
}

/** u32 [n, h, w], red in the lowest byte -> [n, h, w, 3]: (value / 255 - mean) / deviation. */
export const normalizePixels: Op<NormalizePixelsAttributes> = {
  name: "normalize_pixels",

  shape([pixels]) {
    expectShape(
      "normalize_pixels",
      pixels.dtype === "u32" && pixels.shape.length === 3,
      "u32 [n, h, w]",
      pixels,
    );
    return [{ shape: [...pixels.shape, 3] }];
  },

  lower(lowering, node, { mean, deviation }) {
    const count = node.inputs[0].shape.reduce((a, b) => a * b, 1);
    lowering.dispatch({
      label: "normalize_pixels",
      source: LINEAR_MAIN + wgsl,
      bindings: [node.inputs[0], node.outputs[0]],
      uniforms: uniforms(
        ...mean.map(f32),
        count,
        ...deviation.map(f32),
      ),
      workgroups: linearWorkgroups(count, LINEAR_SIZE),
    });
  },
};
