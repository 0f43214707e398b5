/**
 * From the traced graph's nodes to ONNX's.
 *
 * Tensors here are NHWC and padded, ONNX's are NCHW. Nothing is transposed at run time: every op is translated to the
 * NCHW one, and weights are brought into PyTorch's layout, which is ONNX's.
 */
import type { Node, Tensor } from "../../kernels/graph.ts";
import { plainKey } from "../checkpoint/state_dict.ts";
import type { OnnxAttribute, OnnxNode } from "./onnx_schema.ts";

/** A weight in the ONNX graph: its PyTorch layout, and how to get there from the device's. */
export interface OnnxWeight {
  readonly name: string;
  /** In PyTorch's layout. */
  readonly shape: readonly number[];
  /** The traced graph's tensor. */
  readonly tensor: Tensor;
  fromDevice(device: Float32Array): Float32Array<ArrayBuffer>;
}

/** Name of a value, and whether it has lost its two last dimensions of length 1: [n, c] instead of [n, c, 1, 1]. */
interface Value {
  name: string;
  isFlat: boolean;
}

/** What is said of an attribute: a whole number, several, or a float. */
export type AttributeValue = number | readonly number[] | { float: number };

/** Collects the ONNX nodes and weights of one graph. */
export class OnnxTranslator {
  readonly nodes: OnnxNode[] = [];
  readonly weights: OnnxWeight[] = [];
  readonly #shapes: ReadonlyMap<Tensor, readonly number[]>;
  readonly #values = new Map<Tensor, Value>();
  readonly #flattened = new Map<Tensor, string>();
  readonly #unflattened = new Map<Tensor, string>();
  readonly #names = new Set<string>();

  /** @param shapes in PyTorch's layout, of every weight */
  constructor(shapes: ReadonlyMap<Tensor, readonly number[]>) {
    this.#shapes = shapes;
  }

  /** Declares an input [n, c, h, w] of the graph. */
  input(tensor: Tensor, name: string): void {
    this.#names.add(name);
    this.#values.set(tensor, { name, isFlat: false });
  }

  /** Adds a node of one output and returns that output's name. */
  emit(
    opType: string,
    input: readonly string[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
    name: string = opType.toLowerCase(),
  ): string {
    const unique = this.#unique(name);
    const attribute = Object.entries(attributes).map(([key, value]) => encodeAttribute(key, value));
    this.nodes.push({ name: unique, opType, input, output: [unique], attribute });
    return unique;
  }

  /** Shape of a weight in PyTorch's layout: [out, in] of a linear layer, [out, in, kh, kw] of a convolution. */
  shapeOf(tensor: Tensor): readonly number[] {
    const shape = this.#shapes.get(tensor);
    if (shape === undefined) {
      throw new Error(`ONNX: ${tensor.label} [${tensor.shape}] is not a weight of the encoder`);
    }
    return shape;
  }

  /** Adds a weight, once however often it is used, and returns its name. */
  weight(tensor: Tensor, fromDevice: (device: Float32Array) => Float32Array<ArrayBuffer>): string {
    const known = this.#values.get(tensor);
    if (known !== undefined) return known.name;
    const shape = this.shapeOf(tensor);
    const name = this.#unique(plainKey(tensor.label));
    this.weights.push({ name, shape, tensor, fromDevice });
    this.#values.set(tensor, { name, isFlat: false });
    return name;
  }

  /** Says under which name the first output of a node can be found. */
  define(node: Node, name: string, { isFlat = false } = {}): void {
    this.#values.set(node.outputs[0], { name, isFlat });
  }

  /** Whether a tensor is there as [n, c]. */
  isFlat(tensor: Tensor): boolean {
    return this.#value(tensor).isFlat;
  }

  /** Name of a tensor in whatever form it is there. */
  value(tensor: Tensor): string {
    return this.#value(tensor).name;
  }

  /** Name of a tensor [n, c, h, w]; of [n, c, 1, 1] where it has been flattened: a gate that linear layers made. */
  image(tensor: Tensor): string {
    const { name, isFlat } = this.#value(tensor);
    if (!isFlat) return name;
    const known = this.#unflattened.get(tensor) ??
      this.emit("Unsqueeze", [name, this.emit("Constant", [], { value_ints: [2, 3] })]);
    this.#unflattened.set(tensor, known);
    return known;
  }

  /** Name of a tensor [n, 1, 1, c] as [n, c]. */
  flat(tensor: Tensor): string {
    const { name, isFlat } = this.#value(tensor);
    if (isFlat) return name;
    const known = this.#flattened.get(tensor) ?? this.emit("Flatten", [name], { axis: 1 });
    this.#flattened.set(tensor, known);
    return known;
  }

  /** Declares a vector [n, c] as an output of the graph. */
  output(tensor: Tensor, name: string): void {
    this.emit("Identity", [this.flat(tensor)], {}, name);
  }

  #value(tensor: Tensor): Value {
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

function encodeAttribute(name: string, value: AttributeValue): OnnxAttribute {
  if (typeof value === "number") return { name, type: "INT", i: value };
  return "float" in value ? { name, type: "FLOAT", f: value.float } : { name, type: "INTS", ints: value };
}
