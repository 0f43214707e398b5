/** Scales the channels of each picture by factors of its own: the end of squeeze-and-excite (Hu et al. 2018). */
import { expectShape, type Op, padTo4, type Tensor } from "../../graph.ts";
import { PIXEL_STRIPS, pixelStrips } from "../../pixel_strips.ts";
import { rowSums } from "../../row_sums.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, storage, uniforms } from "../../wgsl.ts";
import { type Activation, activationWgsl, keepsZero } from "../activation/activation.ts";
import { sumPartials } from "../sum_partials/sum_partials.ts";
import wgsl from "./scale_channels.wgsl" with { type: "text" };
import gradientWgsl from "./scale_channels_gradient.wgsl" with { type: "text" };
import scaleGradientWgsl from "./scale_channels_gradient_scale.wgsl" with { type: "text" };

/** Pixels that one invocation of the sum over a picture takes at most. */
const PIXELS_PER_CHUNK = 256;

/** Attributes of {@linkcode scaleChannels}. */
export interface ScaleChannelsAttributes {
  /** Applied to the product; f(0) must be 0. */
  activation?: Activation;
}

function sizesOf(x: Tensor): { images: number; pixels: number; quads: number } {
  const [images, height, width, channels] = x.shape;
  return { images, pixels: height * width, quads: padTo4(channels) / 4 };
}

/** y = f(x * scale): x [n, h, w, c], scale [n, 1, 1, c]. */
export const scaleChannels: Op<ScaleChannelsAttributes> = {
  name: "scale_channels",

  shape([x, scale], { activation }) {
    const wanted = [x.shape[0], 1, 1, x.shape[3]];
    expectShape(
      "scale_channels",
      x.shape.length === 4 && scale.shape.join() === wanted.join(),
      "x [n, h, w, c] and scale [n, 1, 1, c]",
      x,
      scale,
    );
    if (!keepsZero(activation)) {
      throw new Error(`scale_channels: ${activation} is to be applied as an op of its own`);
    }
    return [{ shape: x.shape }];
  },

  gradient(graph, node, [dy]) {
    const attributes = node.attributes as ScaleChannelsAttributes;
    return graph.applyAll(scaleChannelsGradient, [...node.inputs, dy!], attributes);
  },

  lower(lowering, node, { activation }) {
    const { images, pixels, quads } = sizesOf(node.inputs[0]);
    const { words, workgroups } = pixelStrips(lowering.target, images, pixels, quads);
    lowering.dispatch({
      label: "scale_channels",
      source: LINEAR_MAIN + PIXEL_STRIPS + activationWgsl(activation) + wgsl,
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: uniforms(...words),
      workgroups,
    });
  },
};

/** Inputs x, scale, dy; outputs dx = dz * scale and dscale = sum over pixels of dz * x, dz = dy * f'(x * scale). */
const scaleChannelsGradient: Op<ScaleChannelsAttributes> = {
  name: "scale_channels_gradient",

  shape: ([x, scale]) => [{ shape: x.shape }, { shape: scale.shape }],

  lower(lowering, node, { activation }) {
    const [dx, dscale] = node.outputs;
    const { images, pixels, quads } = sizesOf(dx);
    const prelude = LINEAR_MAIN + activationWgsl(activation);
    const { words, workgroups } = pixelStrips(lowering.target, images, pixels, quads);
    lowering.dispatch({
      label: "scale_channels_gradient",
      source: prelude + PIXEL_STRIPS + gradientWgsl,
      bindings: [...node.inputs, dx],
      uniforms: uniforms(...words),
      workgroups,
    });
    if (!lowering.target.isSoftware) {
      lowering.dispatch({
        label: "scale_channels_gradient scale",
        // Every picture is a part.
        ...rowSums(images * pixels, quads, { perPart: pixels, parts: images }, {
          declarations: activationWgsl(activation) + storage(1, "x") + storage(2, "scale") +
            storage(3, "dy") +
            storage(4, "result", "read_write"),
          sums: ["sum"],
          begin: "let factor = scale[part * p.quads + quad];",
          add: "sum += dy[at] * activation_slope(x[at] * factor) * x[at];",
          store: "result[part * p.quads + quad] = sum;",
        }),
        bindings: [...node.inputs, dscale],
      });
      return;
    }
    const chunks = Math.ceil(pixels / PIXELS_PER_CHUNK);
    const result = chunks === 1
      ? dscale
      : lowering.scratch({ shape: [chunks, ...dscale.shape] }, "partial scale gradients");
    lowering.dispatch({
      label: "scale_channels_gradient scale",
      source: prelude + scaleGradientWgsl,
      bindings: [...node.inputs, result],
      uniforms: uniforms(images, pixels, quads, Math.ceil(pixels / chunks), chunks),
      workgroups: linearWorkgroups(chunks * images * quads, LINEAR_SIZE),
    });
    if (chunks > 1) sumPartials(lowering, result, chunks, dscale);
  },
};
