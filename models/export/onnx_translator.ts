/**
 * From the traced graph's nodes to ONNX's.
 *
 * Tensors here are NHWC and padded, ONNX's images are NCHW. Where an encoder only convolves, nothing is transposed at run
 * time: every op is translated to the NCHW one. What norms, attention and linear layers read has its channels last, as here.
 * Weights are brought into PyTorch's layout, which is ONNX's, but for those of linear layers on tokens: a product has them
 * transposed.
 */
import type { Node, Tensor } from "../../kernels/graph.ts";
import { plainKey } from "../checkpoint/state_dict.ts";
import type { OnnxAttribute, OnnxNode } from "./onnx_schema.ts";

/** A weight in the ONNX graph: its layout there, and how to get there from the device's. */
export interface OnnxWeight {
  readonly name: string;
  readonly shape: readonly number[];
  /** The traced graph's tensor. */
  readonly tensor: Tensor;
  fromDevice(device: Float32Array): Float32Array<ArrayBuffer>;
}

/**
 * How a tensor [n, h, w, c] is there.
 *
 * - `image`: [n, c, h, w]
 * - `flat`: [n, c], of one pixel
 * - `last`: channels last, [n, tokens, c] of [n, tokens, 1, c], and every other tensor in its own shape
 */
export type OnnxForm = "image" | "flat" | "last";

/** What is said of an attribute: a whole number, several, or a float. */
export type AttributeValue = number | readonly number[] | { float: number };

/** Collects the ONNX nodes and weights of one graph. */
export class OnnxTranslator {
  readonly nodes: OnnxNode[] = [];
  readonly weights: OnnxWeight[] = [];
  readonly #shapes: ReadonlyMap<Tensor, readonly number[]>;
  /** Each tensor by the forms that it is there in, the one that its node made first. */
  readonly #values = new Map<Tensor, Map<OnnxForm, string>>();
  /** By the weight and its suffix: two weights have one label where something else is folded into each. */
  readonly #weightNames = new Map<string, string>();
  readonly #names: Set<string>;

  /**
   * @param shapes in PyTorch's layout, of every weight
   * @param outputs names of the graph's outputs, which no other value gets
   */
  constructor(shapes: ReadonlyMap<Tensor, readonly number[]>, outputs: Iterable<string>) {
    this.#shapes = shapes;
    this.#names = new Set(outputs);
  }

  /** Declares an input [n, c, h, w] of the graph. */
  input(tensor: Tensor, name: string): void {
    this.#names.add(name);
    this.#values.set(tensor, new Map([["image", name]]));
  }

  /** Adds a node of one output and returns that output's name. */
  emit(
    opType: string,
    input: readonly string[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
    name: string = opType.toLowerCase(),
  ): string {
    return this.emitAll(opType, input, 1, attributes, name)[0];
  }

  /** Adds a node of `count` outputs and returns their names. */
  emitAll(
    opType: string,
    input: readonly string[],
    count: number,
    attributes: Readonly<Record<string, AttributeValue>> = {},
    name: string = opType.toLowerCase(),
  ): string[] {
    const output = Array.from({ length: count }, () => this.#unique(name));
    const attribute = Object.entries(attributes).map(([key, value]) => encodeAttribute(key, value));
    this.nodes.push({ name: output[0], opType, input, output, attribute });
    return output;
  }

  /** Name of a list of whole numbers. */
  integers(...values: number[]): string {
    return this.emit("Constant", [], { value_ints: values });
  }

  /** Name of a number. */
  number(value: number): string {
    return this.emit("Constant", [], { value_float: { float: value } });
  }

  /** Shape of a weight in PyTorch's layout: [out, in] of a linear layer, [out, in, kh, kw] of a convolution. */
  shapeOf(tensor: Tensor): readonly number[] {
    const shape = this.#shapes.get(tensor);
    if (shape === undefined) {
      throw new Error(`ONNX: ${tensor.label} [${tensor.shape}] is not a weight of the encoder`);
    }
    return shape;
  }

  /**
   * Adds a weight, once however often it is used, and returns its name.
   *
   * @param shape where that is not PyTorch's
   * @param suffix of its name, where it is there in a layout of its own
   */
  weight(
    tensor: Tensor,
    fromDevice: (device: Float32Array) => Float32Array<ArrayBuffer>,
    { shape = this.shapeOf(tensor), suffix = "" }: { shape?: readonly number[]; suffix?: string } = {},
  ): string {
    const weight = `${tensor.id} ${suffix}`;
    const known = this.#weightNames.get(weight);
    if (known !== undefined) return known;
    const name = this.#unique(plainKey(tensor.label).replaceAll(" ", "_") + suffix);
    this.weights.push({ name, shape, tensor, fromDevice });
    this.#weightNames.set(weight, name);
    return name;
  }

  /** Says under which name the first output of a node can be found. */
  define(node: Node, name: string, form: OnnxForm = "image"): void {
    this.#values.set(node.outputs[0], new Map([[form, name]]));
  }

  /** The form that a tensor's node made. */
  formOf(tensor: Tensor): OnnxForm {
    const [form] = this.#value(tensor).keys();
    return form;
  }

  /** Name of a tensor in the form that its node made. */
  value(tensor: Tensor): string {
    return this.as(this.formOf(tensor), tensor);
  }

  /** Name of a tensor in a form; it is brought into it once. */
  as(form: OnnxForm, tensor: Tensor): string {
    const value = this.#value(tensor);
    const known = value.get(form);
    if (known !== undefined) return known;
    const made = this.#convert(tensor, form);
    value.set(form, made);
    return made;
  }

  /** Name of a tensor [n, c, h, w]; of [n, c, 1, 1] where it has been flattened: a gate that linear layers made. */
  image(tensor: Tensor): string {
    return this.as("image", tensor);
  }

  /** Name of a tensor [n, 1, 1, c] as [n, c]. */
  flat(tensor: Tensor): string {
    return this.as("flat", tensor);
  }

  /** Name of a tensor with its channels last. */
  last(tensor: Tensor): string {
    return this.as("last", tensor);
  }

  #convert(tensor: Tensor, to: OnnxForm): string {
    const from = this.formOf(tensor);
    const name = this.value(tensor);
    const reshape = (x: string, ...shape: number[]) => this.emit("Reshape", [x, this.integers(...shape)]);
    const [, height, width, channels] = tensor.shape;
    if (to === "flat") return this.emit("Flatten", [name], { axis: 1 });
    if (to === "image") {
      if (from === "flat") return this.emit("Unsqueeze", [name, this.integers(2, 3)]);
      const rows = isTokens(tensor) ? reshape(name, 0, height, width, channels) : name;
      return this.emit("Transpose", [rows], { perm: [0, 3, 1, 2] });
    }
    if (from === "flat") return reshape(name, 0, 1, channels);
    const rows = this.emit("Transpose", [name], { perm: [0, 2, 3, 1] });
    return isTokens(tensor) ? reshape(rows, 0, -1, channels) : rows;
  }

  /** Declares a vector [n, c] as an output of the graph, of one of the names that are kept for them. */
  output(tensor: Tensor, name: string): void {
    this.nodes.push({ name, opType: "Identity", input: [this.flat(tensor)], output: [name], attribute: [] });
  }

  #value(tensor: Tensor): Map<OnnxForm, string> {
    const value = this.#values.get(tensor);
    if (value === undefined) {
      throw new Error(`ONNX: ${tensor.label} [${tensor.shape}] is read before it is computed`);
    }
    return value;
  }

  #unique(name: string): string {
    let unique = name;
    for (let i = 1; this.#names.has(unique); i++) unique = `${name}_${i}`;
    this.#names.add(unique);
    return unique;
  }
}

/** Whether a tensor is [n, tokens, 1, c], which is there without the one column. */
export function isTokens({ shape }: Tensor): boolean {
  return shape.length === 4 && shape[2] === 1;
}

function encodeAttribute(name: string, value: AttributeValue): OnnxAttribute {
  if (typeof value === "number") return { name, type: "INT", i: value };
  return "float" in value ? { name, type: "FLOAT", f: value.float } : { name, type: "INTS", ints: value };
}
