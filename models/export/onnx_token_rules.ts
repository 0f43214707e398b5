/** How ops on tokens and on rows of channels are said in ONNX: norms, attention, feed-forward layers. */
import type { Node, Op, Tensor } from "../../kernels/graph.ts";
import { unpadRows } from "../../kernels/layout.ts";
import { attention } from "../../kernels/ops/attention/attention.ts";
import {
  concatenateChannels,
  sliceChannels,
} from "../../kernels/ops/concatenate_channels/concatenate_channels.ts";
import { swiglu } from "../../kernels/ops/gated_activation/gated_activation.ts";
import { layerNorm } from "../../kernels/ops/layer_norm/layer_norm.ts";
import { matmulBatched } from "../../kernels/ops/matmul_batched/matmul_batched.ts";
import { multiply } from "../../kernels/ops/multiply/multiply.ts";
import { prependTokens, sliceTokens } from "../../kernels/ops/prepend_tokens/prepend_tokens.ts";
import { reshape } from "../../kernels/ops/reshape/reshape.ts";
import { scaledResidual } from "../../kernels/ops/scaled_residual/scaled_residual.ts";
import { logSoftmax, softmax } from "../../kernels/ops/softmax/softmax.ts";
import { isTokens, type OnnxForm, type OnnxTranslator } from "./onnx_translator.ts";

/** Registers the rule of an op. */
type AddRule = <Attributes>(
  op: Op<Attributes>,
  translate: (t: OnnxTranslator, node: Node, attributes: Attributes) => void,
) => void;

/** Where the channels of a form are. */
export function channelAxis(form: OnnxForm): number {
  return form === "last" ? -1 : 1;
}

/** A weight that ONNX has in the shape that it has on the device: a vector, or a table of rows. */
function table(t: OnnxTranslator, tensor: Tensor): string {
  const { shape } = tensor;
  return t.weight(tensor, (device) => unpadRows(device, [...shape]), { shape });
}

/** x [..., c] -> parts of these lengths, along the last axis. */
function split(t: OnnxTranslator, x: string, lengths: readonly number[]): string[] {
  return t.emitAll("Split", [x, t.integers(...lengths)], lengths.length, { axis: -1 });
}

/** The form of a tensor that has its channels in one piece: what is no image with more than a pixel. */
function inOnePiece(t: OnnxTranslator, x: Tensor): OnnxForm {
  return t.formOf(x) === "flat" ? "flat" : "last";
}

/** x cos + (-second half of x, first half of x) sin: x [n, heads, tokens, d]. */
function rotated(t: OnnxTranslator, x: string, [cosines, sines]: readonly string[], length: number): string {
  const [first, second] = split(t, x, [length / 2, length / 2]);
  const turned = t.emit("Concat", [t.emit("Neg", [second]), first], { axis: -1 });
  return t.emit("Add", [t.emit("Mul", [x, cosines]), t.emit("Mul", [turned, sines])]);
}

/** A tensor in its whole own shape: tokens with their one column. */
function whole(t: OnnxTranslator, x: Tensor): string {
  return isTokens(x) ? t.emit("Unsqueeze", [t.last(x), t.integers(2)]) : t.last(x);
}

/** Adds the rules to the table. */
export function addTokenRules(rule: AddRule): void {
  rule(layerNorm, (t, node, { epsilon }) => {
    const [x, weight, bias] = node.inputs;
    const form = inOnePiece(t, x);
    const operands = [t.as(form, x), table(t, weight), table(t, bias)];
    const attributes = { axis: -1, epsilon: { float: epsilon } };
    t.define(node, t.emit("LayerNormalization", operands, attributes), form);
  });

  rule(attention, (t, node, { heads, rope }) => {
    const [qkv, ...tables] = node.inputs;
    const [, tokens, , triple] = qkv.shape;
    const width = triple / 3;
    const length = width / heads;
    const byHead = split(t, t.last(qkv), [width, width, width]).map((part) => {
      const apart = t.emit("Reshape", [part, t.integers(0, tokens, heads, length)]);
      return t.emit("Transpose", [apart], { perm: [0, 2, 1, 3] });
    });
    const angles = tables.map((angle) => table(t, angle));
    const [q, k] = byHead.slice(0, 2).map((x) => rope ? rotated(t, x, angles, length) : x);
    const scaled = t.emit("Mul", [q, t.number(1 / Math.sqrt(length))]);
    const scores = t.emit("MatMul", [scaled, t.emit("Transpose", [k], { perm: [0, 1, 3, 2] })]);
    const attended = t.emit("MatMul", [t.emit("Softmax", [scores], { axis: -1 }), byHead[2]]);
    const together = t.emit("Transpose", [attended], { perm: [0, 2, 1, 3] });
    t.define(node, t.emit("Reshape", [together, t.integers(0, tokens, width)]), "last");
  });

  rule(prependTokens, (t, node) => {
    const [patches, tokens, ...positions] = node.inputs;
    const [count, width] = tokens.shape;
    const rows = isTokens(patches)
      ? t.last(patches)
      : t.emit("Reshape", [t.last(patches), t.integers(0, -1, width)]);
    const images = t.emit("Shape", [rows], { start: 0, end: 1 });
    const shape = t.emit("Concat", [images, t.integers(count, width)], { axis: 0 });
    const repeated = t.emit("Expand", [table(t, tokens), shape]);
    const all = t.emit("Concat", [repeated, rows], { axis: 1 });
    const sum = positions.map((tensor) => t.emit("Add", [all, table(t, tensor)]));
    t.define(node, sum[0] ?? all, "last");
  });

  rule(sliceTokens, (t, node, { first, count }) => {
    const bounds = [first, first + count, 1].map((value) => t.integers(value));
    t.define(node, t.emit("Slice", [t.last(node.inputs[0]), ...bounds]), "last");
  });

  rule(swiglu, (t, node) => {
    const [x] = node.inputs;
    const form = inOnePiece(t, x);
    const half = x.shape.at(-1)! / 2;
    const [gate, value] = node.inputs.length === 2
      ? node.inputs.map((input) => t.as(form, input))
      : split(t, t.as(form, x), [half, half]);
    const swish = t.emit("Mul", [gate, t.emit("Sigmoid", [gate])]);
    t.define(node, t.emit("Mul", [swish, value]), form);
  });

  rule(scaledResidual, (t, node) => {
    const [x, gamma, residual] = node.inputs;
    const form = inOnePiece(t, x);
    const scaled = t.emit("Mul", [t.as(form, x), table(t, gamma)]);
    t.define(node, t.emit("Add", [t.as(form, residual), scaled]), form);
  });

  rule(concatenateChannels, (t, node) => {
    const form = t.formOf(node.inputs[0]);
    const parts = node.inputs.map((part) => t.as(form, part));
    t.define(node, t.emit("Concat", parts, { axis: channelAxis(form) }), form);
  });

  rule(sliceChannels, (t, node, { first, count }) => {
    const [x] = node.inputs;
    const form = t.formOf(x);
    const bounds = [first, first + count, channelAxis(form)].map((value) => t.integers(value));
    t.define(node, t.emit("Slice", [t.value(x), ...bounds]), form);
  });

  for (const [op, opType] of [[softmax, "Softmax"], [logSoftmax, "LogSoftmax"]] as const) {
    rule(op, (t, node) => {
      const form = inOnePiece(t, node.inputs[0]);
      t.define(node, t.emit(opType, [t.as(form, node.inputs[0])], { axis: -1 }), form);
    });
  }

  rule(multiply, (t, node) => {
    const [a, b] = node.inputs;
    const form = t.formOf(a);
    t.define(node, t.emit("Mul", [t.as(form, a), t.as(form, b)]), form);
  });

  rule(matmulBatched, (t, node, { transposeA = false, transposeB = false }) => {
    const operands = node.inputs.map((x, i) => {
      const name = whole(t, x);
      if (![transposeA, transposeB][i]) return name;
      const axes = x.shape.map((_, axis) => axis);
      return t.emit("Transpose", [name], { perm: [...axes.slice(0, -2), axes.at(-1)!, axes.at(-2)!] });
    });
    const [y] = node.outputs;
    const product = t.emit("MatMul", operands);
    t.define(node, isTokens(y) ? t.emit("Squeeze", [product, t.integers(2)]) : product, "last");
  });

  rule(reshape, (t, node, { shape }) => {
    const [y] = node.outputs;
    const own = isTokens(y) ? [shape[1], shape[3]] : shape.slice(1);
    // The first dimension is the batch, or what it was cut into.
    t.define(node, t.emit("Reshape", [t.last(node.inputs[0]), t.integers(-1, ...own)]), "last");
  });
}
