import { Graph } from "../../../kernels/graph.ts";
import type { Activation } from "../../../kernels/ops/activation/activation.ts";
import {
  depthwiseConv2d,
  type DepthwiseConv2dAttributes,
} from "../../../kernels/ops/depthwise_conv2d/depthwise_conv2d.ts";
import { assertThrows } from "@std/assert";
import { add } from "../../../kernels/ops/add/add.ts";
import { IS_LONG } from "../../long.ts";
import { asHardware, checkOp, randomValues, withGpu } from "../check_op.ts";
import { ACTIVATION_FUNCTIONS } from "./activation_functions.ts";

/** Stride, then padding: top, left, bottom, right. */
const geometry = (stride: number, top: number, left = top, bottom = top, right = left) => ({
  stride,
  padTop: top,
  padLeft: left,
  padBottom: bottom,
  padRight: right,
});

interface Case {
  x: [number, number, number, number];
  kernel: [number, number];
  attributes: DepthwiseConv2dAttributes;
}

/** The definition, in float64. */
function reference(
  { x: shape, kernel, attributes }: Case,
  x: Float64Array,
  w: Float64Array,
  bias?: Float64Array,
) {
  const [n, height, width, channels] = shape;
  const [kh, kw] = kernel;
  const { stride, padTop, padLeft, padBottom, padRight, activation } = attributes;
  const ho = Math.floor((height + padTop + padBottom - kh) / stride) + 1;
  const wo = Math.floor((width + padLeft + padRight - kw) / stride) + 1;
  const y = new Float64Array(n * ho * wo * channels);
  for (let i = 0; i < y.length; i++) {
    const c = i % channels;
    const ox = Math.floor(i / channels) % wo;
    const oy = Math.floor(i / channels / wo) % ho;
    const image = Math.floor(i / channels / wo / ho);
    let sum = bias?.[c] ?? 0;
    for (let ky = 0; ky < kh; ky++) {
      for (let kx = 0; kx < kw; kx++) {
        const [iy, ix] = [oy * stride + ky - padTop, ox * stride + kx - padLeft];
        if (iy < 0 || ix < 0 || iy >= height || ix >= width) continue;
        sum += x[((image * height + iy) * width + ix) * channels + c] * w[(ky * kw + kx) * channels + c];
      }
    }
    y[i] = activation === undefined ? sum : ACTIVATION_FUNCTIONS[activation as Activation](sum);
  }
  return y;
}

// Windows of 3x3 with stride 1 are in rows of 7, which are one kernel; the weight gradient in parts has others.
const CASES: Case[] = [
  { x: [1, 1, 1, 1], kernel: [3, 3], attributes: geometry(1, 1) },
  { x: [3, 1, 1, 17], kernel: [5, 5], attributes: geometry(1, 2) },
  { x: [2, 5, 7, 3], kernel: [3, 3], attributes: geometry(1, 1) },
  { x: [1, 8, 18, 8], kernel: [3, 3], attributes: geometry(2, 0, 0, 1, 1) },
  { x: [2, 10, 9, 4], kernel: [5, 5], attributes: geometry(2, 2) },
  { x: [1, 7, 13, 2], kernel: [2, 3], attributes: geometry(3, 1, 2, 0, 1) },
  { x: [2, 6, 7, 7], kernel: [3, 3], attributes: { ...geometry(1, 1), bias: true } },
  { x: [2, 6, 7, 7], kernel: [3, 3], attributes: { ...geometry(1, 1), bias: true, activation: "relu" } },
];

/** Windows and strides of those above in strips of other widths, each a text that is compiled. */
const LONG_CASES: Case[] = [
  { x: [2, 2, 2, 3], kernel: [5, 5], attributes: geometry(2, 2) },
  { x: [2, 9, 21, 5], kernel: [5, 5], attributes: geometry(1, 2) },
  { x: [2, 7, 19, 4], kernel: [3, 3], attributes: geometry(2, 1) },
  { x: [2, 8, 11, 6], kernel: [5, 5], attributes: geometry(2, 1, 1, 2, 2) },
];

for (const test of [...CASES, ...LONG_CASES]) {
  const { x, kernel, attributes } = test;
  const { stride, padTop, padLeft, padBottom, padRight } = attributes;
  const pads = [padTop, padLeft, padBottom, padRight];
  const epilogue = `${attributes.bias ? " + bias" : ""}${
    attributes.activation ? ` + ${attributes.activation}` : ""
  }`;
  const title = `depthwiseConv2d [${x}] by ${kernel.join("x")}, stride ${stride}, padding ${pads}${epilogue}`;
  Deno.test(`${title} equals a float64 loop, and so do its gradients`, {
    ignore: LONG_CASES.includes(test) && !IS_LONG,
  }, () =>
    withGpu((gpu) => {
      const w = [...kernel, x[3]];
      return checkOp(gpu, {
        inputs: [
          { shape: x, values: randomValues("x", x), gradient: true },
          { shape: w, values: randomValues("w", w), gradient: true },
          ...(attributes.bias
            ? [{ shape: [x[3]], values: randomValues("bias", [x[3]]), gradient: true }]
            : []),
        ],
        build: (graph, inputs) => graph.apply(depthwiseConv2d, inputs, attributes),
        reference: (...values) => reference(test, values[0], values[1], values[2]),
      });
    }));
}

for (const activation of ["sigmoid", "hard_sigmoid", "swish", "hard_swish"] as const) {
  Deno.test(`depthwiseConv2d applies ${activation} in its epilogue, and pad lanes stay zero`, () =>
    withGpu((gpu) => {
      const test: Case = { x: [2, 5, 7, 5], kernel: [3, 3], attributes: { ...geometry(1, 1), activation } };
      return checkOp(gpu, {
        inputs: [
          { shape: test.x, values: randomValues("x", test.x) },
          { shape: [3, 3, 5], values: randomValues("w", [3, 3, 5]) },
        ],
        build: (graph, inputs) => graph.apply(depthwiseConv2d, inputs, test.attributes),
        reference: (x, w) => reference(test, x, w),
      });
    }));
}

Deno.test("depthwiseConv2d's weight gradient is the same sum in the parts that a GPU takes", () =>
  withGpu((gpu) => {
    const test: Case = { x: [5, 12, 6, 3], kernel: [3, 3], attributes: geometry(1, 1) };
    return checkOp(asHardware(gpu), {
      inputs: [
        { shape: test.x, values: randomValues("x", test.x) },
        { shape: [3, 3, 3], values: randomValues("w", [3, 3, 3]), gradient: true },
      ],
      build: (graph, inputs) => graph.apply(depthwiseConv2d, inputs, test.attributes),
      reference: (x, w) => reference(test, x, w),
    });
  }));

Deno.test("depthwiseConv2d's input gradient adds an earlier gradient in its epilogue", () =>
  withGpu((gpu) => {
    const test: Case = { x: [2, 5, 7, 5], kernel: [3, 3], attributes: geometry(1, 1) };
    return checkOp(gpu, {
      inputs: [
        { shape: test.x, values: randomValues("x", test.x), gradient: true },
        { shape: [3, 3, 5], values: randomValues("w", [3, 3, 5]), gradient: true },
      ],
      build: (graph, [x, w]) =>
        graph.apply(add, [graph.apply(depthwiseConv2d, [x, w], test.attributes), x], {}),
      reference: (x, w) => reference(test, x, w).map((value, i) => value + x[i]),
    });
  }));

Deno.test("depthwiseConv2d says that a fused swish cannot be differentiated", () => {
  const graph = new Graph();
  const x = graph.source("x", [1, 4, 4, 4]);
  const w = graph.source("w", [3, 3, 4]);
  const { producer } = graph.apply(depthwiseConv2d, [x, w], { ...geometry(1, 1), activation: "swish" });
  assertThrows(
    () => depthwiseConv2d.gradient!(graph, producer!, [x], [true, true]),
    Error,
    "swish has no gradient here",
  );
});
