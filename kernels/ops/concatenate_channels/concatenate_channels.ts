/** Tensors side by side along their channels, and some channels of a tensor. */
import { expectShape, type Lowering, type Op, padTo4, type Tensor } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import wgsl from "./copy_channels.wgsl" with { type: "text" };

/** [..., c1], [..., c2], ... -> [..., c1 + c2 + ...]. All but the last must have a multiple of four channels. */
export const concatenateChannels: Op<Record<never, never>> = {
  name: "concatenate_channels",

  shape(parts) {
    const outer = parts[0].shape.slice(0, -1);
    expectShape(
      "concatenate_channels",
      parts.every(({ shape }) => shape.slice(0, -1).join() === outer.join()),
      "tensors that differ in their channels alone",
      ...parts,
    );
    expectShape(
      "concatenate_channels",
      parts.slice(0, -1).every(({ shape }) => shape.at(-1)! % 4 === 0),
      "a multiple of four channels in all but the last",
      ...parts,
    );
    return [{ shape: [...outer, parts.reduce((sum, { shape }) => sum + shape.at(-1)!, 0)] }];
  },

  gradient(graph, node, [dy], needed) {
    let first = 0;
    return node.inputs.map(({ shape }, i) => {
      const attributes = { first, count: shape.at(-1)! };
      first += attributes.count;
      return needed[i] ? graph.apply(sliceChannels, [dy!], attributes) : undefined;
    });
  },

  lower(lowering, node) {
    let first = 0;
    for (const part of node.inputs) {
      copyChannels(lowering, "concatenate_channels", part, 0, node.outputs[0], first, part.shape.at(-1)!);
      first += part.shape.at(-1)!;
    }
  },
};

/** Attributes of {@linkcode sliceChannels}. */
export interface SliceChannelsAttributes {
  /** A multiple of four. */
  first: number;
  /** A multiple of four, unless the last channel is among them. */
  count: number;
}

/** [..., c] -> [..., count]: the channels from `first` on. */
export const sliceChannels: Op<SliceChannelsAttributes> = {
  name: "slice_channels",

  shape([x], { first, count }) {
    const end = first + count;
    const channels = x.shape.at(-1)!;
    expectShape(
      "slice_channels",
      first % 4 === 0 && (end === channels || (end < channels && count % 4 === 0)),
      `channels ${first} to ${end}, cut at multiples of four`,
      x,
    );
    return [{ shape: [...x.shape.slice(0, -1), count] }];
  },

  lower(lowering, node, { first, count }) {
    copyChannels(lowering, "slice_channels", node.inputs[0], first, node.outputs[0], 0, count);
  },
};

/** Copies `count` channels of every row, from channel `from` of x on, to channel `to` of y on. */
function copyChannels(
  lowering: Lowering,
  label: string,
  x: Tensor,
  from: number,
  y: Tensor,
  to: number,
  count: number,
): void {
  const quadsOf = (channels: number) => padTo4(channels) / 4;
  const rows = x.shape.slice(0, -1).reduce((product, length) => product * length, 1);
  const vec4s = quadsOf(count);
  lowering.dispatch({
    label,
    source: LINEAR_MAIN + wgsl,
    bindings: [x, y],
    uniforms: uniforms(rows, vec4s, quadsOf(x.shape.at(-1)!), from / 4, quadsOf(y.shape.at(-1)!), to / 4),
    workgroups: linearWorkgroups(rows * vec4s, LINEAR_SIZE),
  });
}
