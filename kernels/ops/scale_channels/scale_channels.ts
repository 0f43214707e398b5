/** Scales the channels of each image by factors of its own: the end of squeeze-and-excite (Hu et al. 2018). */
import { expectShape, type Op, padTo4, type Tensor } from "../../graph.ts";
import { PIXEL_STRIPS, pixelStrips } from "../../pixel_strips.ts";
import { cutImages, imageSums } from "../../row_sums.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, storage, uniforms } from "../../wgsl.ts";
import { type Activation, activationWgsl, keepsZero } from "../activation/activation.ts";
import { sumInParts } from "../sum_partials/sum_partials.ts";
import wgsl from "./scale_channels.wgsl" with { type: "text" };
import gradientWgsl from "./scale_channels_gradient.wgsl" with { type: "text" };

/** Pixels of an image that one invocation of the gradient on a software adapter takes at most. */
const PIXELS_PER_CHUNK = 256;

/** Attributes of {@linkcode scaleChannels}. */
export interface ScaleChannelsAttributes {
  /** Makes the factors of `scale`; it is taken as it is where this is left out. */
  gate?: Activation;
  /** Applied to the product; f(0) must be 0. */
  activation?: Activation;
}

function sizesOf(x: Tensor): { images: number; pixels: number; vec4s: number } {
  const [images, height, width, channels] = x.shape;
  return { images, pixels: height * width, vec4s: padTo4(channels) / 4 };
}

/** y = f(x * gate(scale)): x [n, h, w, c], scale [n, 1, 1, c]. */
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

  lower(lowering, node, { gate, activation }) {
    const { images, pixels, vec4s } = sizesOf(node.inputs[0]);
    const { words, workgroups } = pixelStrips(lowering.target, images, pixels, vec4s);
    lowering.dispatch({
      label: "scale_channels",
      source: LINEAR_MAIN + PIXEL_STRIPS + activationWgsl(activation, { gate }) + wgsl,
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: uniforms(...words),
      workgroups,
    });
  },
};

/**
 * Inputs x, scale, dy; outputs dx = dz * gate(scale) and dscale = gate'(scale) * sum over pixels of dz * x, where
 * dz = dy * f'(x * gate(scale)). Both in one pass over x and dy.
 */
const scaleChannelsGradient: Op<ScaleChannelsAttributes> = {
  name: "scale_channels_gradient",

  shape: ([x, scale]) => [{ shape: x.shape }, { shape: scale.shape }],

  lower(lowering, node, { gate, activation }) {
    const { isSoftware } = lowering.target;
    const [dx, dscale] = node.outputs;
    const { images, pixels, vec4s } = sizesOf(dx);
    const functions = activationWgsl(activation, { gate });
    const parts = cutImages(images, pixels, vec4s);
    const chunks = isSoftware ? Math.ceil(pixels / PIXELS_PER_CHUNK) : parts.ofImage;
    sumInParts(lowering, chunks, dscale, "partial scale gradients", (sums) =>
      lowering.dispatch({
        label: "scale_channels_gradient",
        ...isSoftware
          ? {
            source: LINEAR_MAIN + functions + gradientWgsl,
            uniforms: uniforms(images, pixels, vec4s, Math.ceil(pixels / chunks), chunks),
            workgroups: linearWorkgroups(chunks * images * vec4s, LINEAR_SIZE),
          }
          : imageSums(images, pixels, vec4s, parts, {
            declarations: functions + GRADIENT_BINDINGS,
            sums: ["sum"],
            begin: "let factor = gate(scale[channels]);",
            add: `let value = x[at];
      let dz = activation_gradient(dy[at], value * factor);
      if (own < p.vec4s) { dx[at] = dz * factor; }
      sum += dz * value;`,
            store: "dscale[sum_at] = gate_gradient(sum, scale[channels]);",
          }),
        bindings: [...node.inputs, dx, sums],
      }));
  },
};

/** Of the gradient for GPUs, as `scale_channels_gradient.wgsl` has them. */
const GRADIENT_BINDINGS = storage(1, "x") + storage(2, "scale") + storage(3, "dy") +
  storage(4, "dx", "read_write") + storage(5, "dscale", "read_write");
