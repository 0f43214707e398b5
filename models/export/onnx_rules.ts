/** How each op of a frozen encoder is said in ONNX. To export an encoder with a new op: a rule here. */
import { UserError } from "../../errors.ts";
import { type Node, type Op, padTo4, type Tensor } from "../../kernels/graph.ts";
import { unpadRows } from "../../kernels/layout.ts";
import { activate, type Activation } from "../../kernels/ops/activation/activation.ts";
import { add } from "../../kernels/ops/add/add.ts";
import { conv2d, type Conv2dAttributes } from "../../kernels/ops/conv2d/conv2d.ts";
import type { ConvolutionAttributes } from "../../kernels/ops/conv2d/geometry.ts";
import { depthwiseConv2d } from "../../kernels/ops/depthwise_conv2d/depthwise_conv2d.ts";
import { globalAveragePool } from "../../kernels/ops/global_average_pool/global_average_pool.ts";
import { l2Normalize } from "../../kernels/ops/l2_normalize/l2_normalize.ts";
import { maxPool } from "../../kernels/ops/max_pool/max_pool.ts";
import { scaleChannels } from "../../kernels/ops/scale_channels/scale_channels.ts";
import { CONVOLUTION, DEPTHWISE } from "../parameter_layout.ts";
import { plainKey } from "../checkpoint/state_dict.ts";
import { addTokenRules, channelAxis } from "./onnx_token_rules.ts";
import { isTokens, type OnnxTranslator } from "./onnx_translator.ts";

/** Translates nodes of one op. */
type Rule<Attributes> = (t: OnnxTranslator, node: Node, attributes: Attributes) => void;

const RULES = new Map<unknown, Rule<unknown>>();

function rule<Attributes>(op: Op<Attributes>, translate: Rule<Attributes>): void {
  RULES.set(op, translate as Rule<unknown>);
}

addTokenRules(rule);

/** Adds what a node does to the translation. Throws a {@linkcode UserError} for an op that has no rule, such as a plugin's. */
export function translateNode(t: OnnxTranslator, node: Node): void {
  const translate = RULES.get(node.op);
  if (translate === undefined) {
    throw new UserError(
      `ONNX: no rule for the op "${node.op.name}"; use another --format, which has the weights alone`,
    );
  }
  translate(t, node, node.attributes);
}

/** y = activation(x), as ONNX nodes; returns the name of y. */
function activated(t: OnnxTranslator, x: string, activation: Activation | undefined): string {
  switch (activation) {
    case undefined:
      return x;
    case "relu":
      return t.emit("Relu", [x]);
    case "sigmoid":
      return t.emit("Sigmoid", [x]);
    case "hard_sigmoid":
      return t.emit("HardSigmoid", [x], { alpha: { float: 1 / 6 }, beta: { float: 0.5 } });
    case "swish":
      return t.emit("Mul", [x, t.emit("Sigmoid", [x])]);
    case "hard_swish":
      return t.emit("HardSwish", [x]);
    case "gelu": {
      const erf = t.emit("Erf", [t.emit("Mul", [x, t.number(Math.SQRT1_2)])]);
      const doubled = t.emit("Add", [erf, t.number(1)]);
      return t.emit("Mul", [t.emit("Mul", [x, t.number(0.5)]), doubled]);
    }
  }
}

function windowOf({ stride, padTop, padLeft, padBottom, padRight }: ConvolutionAttributes) {
  return { strides: [stride, stride], pads: [padTop, padLeft, padBottom, padRight] };
}

/** The name of a layer from that of its weight: `layer1.0.conv1`. */
function layerName(weight: Tensor): string {
  return plainKey(weight.label).replace(/\.weight$/, "");
}

function vector(t: OnnxTranslator, tensor: Tensor): string {
  const [length] = tensor.shape;
  return t.weight(tensor, (device) => unpadRows(device, [length]));
}

/** A linear layer on one row of channels an image. */
function gemm(t: OnnxTranslator, { inputs: [x, weight, ...extra] }: Node, hasBias: boolean): string {
  const [out, input] = t.shapeOf(weight);
  const operands = [
    t.flat(x),
    t.weight(weight, (device) => CONVOLUTION.fromDevice(device, [out, input, 1, 1])),
    ...hasBias ? [vector(t, extra[0])] : [],
  ];
  return t.emit("Gemm", operands, { transB: 1 }, layerName(weight));
}

/** A linear layer on many; runtimes look for a product and a sum. */
function matMul(t: OnnxTranslator, { inputs: [x, weight, ...extra] }: Node, hasBias: boolean): string {
  const [out, input] = t.shapeOf(weight);
  const transposed = t.weight(
    weight,
    (device) => unpadRows(device.subarray(0, input * padTo4(out)), [input, out]),
    { shape: [input, out], suffix: ".T" },
  );
  const y = t.emit("MatMul", [t.last(x), transposed], {}, layerName(weight));
  return hasBias ? t.emit("Add", [y, vector(t, extra[0])]) : y;
}

function convolved(
  t: OnnxTranslator,
  { inputs: [x, weight, ...extra] }: Node,
  attributes: Conv2dAttributes,
): string {
  const [out, input, kh, kw] = t.shapeOf(weight);
  const operands = [
    t.image(x),
    t.weight(weight, (device) => CONVOLUTION.fromDevice(device, [out, input, kh, kw])),
    ...attributes.bias ? [vector(t, extra[0])] : [],
  ];
  return t.emit("Conv", operands, { kernel_shape: [kh, kw], ...windowOf(attributes) }, layerName(weight));
}

rule(conv2d, (t, node, attributes) => {
  const [x, weight] = node.inputs;
  const { bias: hasBias = false, addend, activation } = attributes;
  const isLinear = t.shapeOf(weight).length === 2;
  const form = !isLinear ? "image" : isOnePixel(x) ? "flat" : "last";
  const product = form === "image"
    ? convolved(t, node, attributes)
    : (form === "flat" ? gemm : matMul)(t, node, hasBias);
  const y = addend ? t.emit("Add", [product, t.as(form, node.inputs.at(-1)!)]) : product;
  t.define(node, activated(t, y, activation), form);
});

function isOnePixel({ shape: [, height, width] }: Tensor): boolean {
  return height * width === 1;
}

rule(depthwiseConv2d, (t, node, attributes) => {
  const [x, weight, ...bias] = node.inputs;
  const [kh, kw, channels] = weight.shape;
  const operands = [
    t.image(x),
    t.weight(weight, (device) => DEPTHWISE.fromDevice(device, [channels, 1, kh, kw])),
    ...bias.map((tensor) => vector(t, tensor)),
  ];
  const window = { kernel_shape: [kh, kw], group: channels, ...windowOf(attributes) };
  const y = t.emit("Conv", operands, window, layerName(weight));
  t.define(node, activated(t, y, attributes.activation));
});

rule(activate, (t, node, { activation }) => {
  const [x] = node.inputs;
  t.define(node, activated(t, t.value(x), activation), t.formOf(x));
});

rule(scaleChannels, (t, node, { gate, activation }) => {
  const [x, scale] = node.inputs;
  const factor = activated(t, t.image(scale), gate);
  t.define(node, activated(t, t.emit("Mul", [t.image(x), factor]), activation));
});

rule(maxPool, (t, node, { kernel, stride, padding }) => {
  const attributes = {
    kernel_shape: [kernel, kernel],
    strides: [stride, stride],
    pads: [padding, padding, padding, padding],
  };
  t.define(node, t.emit("MaxPool", [t.image(node.inputs[0])], attributes));
});

rule(globalAveragePool, (t, node) => {
  const [x] = node.inputs;
  if (t.formOf(x) !== "last") {
    t.define(node, t.emit("GlobalAveragePool", [t.image(x)]));
    return;
  }
  const axes = isTokens(x) ? [1] : [1, 2];
  t.define(node, t.emit("ReduceMean", [t.last(x)], { axes, keepdims: 0 }), "flat");
});

rule(add, (t, node) => {
  const [a, b] = node.inputs;
  const forms = [t.formOf(a), t.formOf(b)];
  const form = forms.includes("flat") ? "flat" : forms.includes("last") ? "last" : "image";
  t.define(node, t.emit("Add", [t.as(form, a), t.as(form, b)]), form);
});

// LpNormalization has no smallest norm: what it gives for a row of zeros differs from one runtime to the next.
rule(l2Normalize, (t, node) => {
  const [x] = node.inputs;
  const name = t.value(x);
  const norm = t.emit("ReduceL2", [name], { axes: [channelAxis(t.formOf(x))], keepdims: 1 });
  const bounded = t.emit("Clip", [norm, t.number(1e-12)]);
  t.define(node, t.emit("Div", [name, bounded]), t.formOf(x));
});
