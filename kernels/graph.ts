/**
 * Tensors, ops and the graph that a model is traced into.
 *
 * A model is a plain function that calls ops; each call adds a {@linkcode Node}. `autodiff.ts` adds the nodes of the
 * gradient to the same graph, and `program.ts` compiles the whole into a fixed list of dispatches.
 *
 * **Layout.** Tensors are row-major with channels last (NHWC). The last dimension is padded to a multiple of four,
 * the pad lanes always hold zero, and so every kernel reads and writes `vec4<f32>`.
 */

import type { Target } from "./gpu.ts";

/**
 * Element type on the device. `u32` is for packed pixels and indices; it takes no gradient. Models are traced in `f32`;
 * `half_precision.ts` decides what of it is kept as `f16`.
 */
export type DType = "f32" | "f16" | "u32";

/** Rounds up to the next multiple of four: the padded length of a last dimension. */
export function padTo4(length: number): number {
  return (length + 3) & ~3;
}

/** Number of elements of a shape, without padding. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}

/** A value in the graph. */
export interface Tensor {
  /** Unique in its graph. */
  readonly id: number;
  /** Without padding. */
  readonly shape: readonly number[];
  /** Of an element. */
  readonly dtype: DType;
  /** The node that computes it; `undefined` for inputs, parameters and state. */
  readonly producer: Node | undefined;
  /** What it is, for error messages and the profiler. */
  readonly label: string;
  /** Of a view: the tensor whose bytes it has, from this offset on. Views are for dispatches alone, not for nodes. */
  readonly part?: { readonly of: Tensor; readonly offset: number };
}

/** Elements on the device, the padding of the last dimension included. A `u32` tensor is not padded. */
export function paddedCount(tensor: Pick<Tensor, "shape" | "dtype">): number {
  if (tensor.dtype === "u32") return elementCount(tensor.shape);
  const last = tensor.shape.at(-1) ?? 1;
  return elementCount(tensor.shape.slice(0, -1)) * padTo4(last);
}

/** Rows of a tensor [..., c], and vec4s of a row: how kernels that work on rows see it. */
export function rowsAndVec4s(tensor: Pick<Tensor, "shape" | "dtype">): { rows: number; vec4s: number } {
  const vec4s = padTo4(tensor.shape.at(-1)!) / 4;
  return { rows: paddedCount(tensor) / (4 * vec4s), vec4s };
}

/** Bytes on the device. */
export function byteLength(tensor: Pick<Tensor, "shape" | "dtype">): number {
  return paddedCount(tensor) * (tensor.dtype === "f16" ? 2 : 4);
}

/** One application of an op. */
export interface Node {
  /** Unique in its graph. */
  readonly id: number;
  /** What is applied. */
  // deno-lint-ignore no-explicit-any -- a graph holds nodes of every op; each op knows its own attributes
  readonly op: Op<any>;
  /** In the op's order. */
  readonly inputs: readonly Tensor[];
  /** In the op's order. */
  readonly outputs: readonly Tensor[];
  /** The op's own. */
  readonly attributes: unknown;
}

/** Shape and element type of one output. */
export interface TensorType {
  /** Without padding. */
  shape: readonly number[];
  /** `f32` where it is left out. */
  dtype?: DType;
}

/** What a dispatch binds, in the order of `@binding(1)` onwards (`@binding(0)` is the uniform block). */
export type Binding =
  | Tensor
  /** The tensor, read through a texture of vec4 (see `texture_operand.ts`). */
  | { texture: Tensor };

/** One compute dispatch. */
export interface Dispatch {
  /** For the profiler and for device errors. */
  label: string;
  /** The whole WGSL module; equal texts share a pipeline. The entry point is `main`. */
  source: string;
  /** At `@binding(1)` onwards. */
  bindings: readonly Binding[];
  /** Contents of the uniform block at `@binding(0)`. */
  uniforms: Uint32Array;
  /** How many in each dimension. */
  workgroups: readonly [number, number, number];
  /** Operations of a product, a multiplication and an addition counting two; left out of what is bound by memory. */
  flops?: number;
}

/** What an op's {@linkcode Op.lower} may ask for. */
export interface Lowering {
  /** What kernels are chosen by. */
  readonly target: Target;
  /** Adds a dispatch behind those before. */
  dispatch(dispatch: Dispatch): void;
  /** A temporary that lives for this node only. */
  scratch(type: TensorType, label: string): Tensor;
  /**
   * A view of some rows [count, ...] of a tensor, to be bound in its place. The rows before it must take a multiple of
   * 256 bytes.
   */
  rows(tensor: Tensor, first: number, count: number): Tensor;
}

/** An op: its shape rule, its gradient, and how it becomes dispatches. */
export interface Op<Attributes> {
  /** Of errors and of the profiler. */
  readonly name: string;
  /** Types of the outputs. Throws an `Error` that names the op where inputs do not fit. */
  shape(inputs: readonly Tensor[], attributes: Attributes): readonly TensorType[];
  /**
   * Gradients with respect to the inputs, `undefined` where there is none. `outputGradients[i]` is `undefined`
   * where nothing downstream depends on output `i`; `needed[i]` says which inputs are asked for.
   */
  gradient?(
    graph: Graph,
    node: Node,
    outputGradients: readonly (Tensor | undefined)[],
    needed: readonly boolean[],
  ): readonly (Tensor | undefined)[];
  /** Adds the dispatches that compute it. */
  lower(lowering: Lowering, node: Node, attributes: Attributes): void;
  /** The node's output plus `addend`, in one node, where the op can do that in its epilogue. */
  fuseAdd?(graph: Graph, node: Node, addend: Tensor): Tensor | undefined;
  /**
   * A loss of one number whose {@linkcode Op.gradient} needs none of its output, but is that of the loss itself, as
   * differentiation starts from it. (From any other tensor of one number it starts with a gradient of 1.)
   */
  readonly isLoss?: boolean;
  /** Writes to state (running statistics, parameters); such a node is never dropped. */
  readonly hasEffect?: boolean;
  /**
   * Whether a node with these attributes adds a residual and so ends a block of the model. `--checkpoint-activations`
   * keeps what such nodes give, and computes again what lies between them; without this property it is computed again.
   */
  endsBlock?(attributes: Attributes): boolean;
}

/** A graph under construction. Nodes stand in an order in which they can run. */
export class Graph {
  /** All of them. */
  readonly nodes: Node[] = [];
  #tensors = 0;

  /** A tensor that comes from outside: an input, a parameter, state. */
  source(label: string, shape: readonly number[], dtype: DType = "f32"): Tensor {
    return { id: this.#tensors++, shape, dtype, producer: undefined, label };
  }

  /** Adds a node and returns its outputs. */
  applyAll<A>(op: Op<A>, inputs: readonly Tensor[], attributes: A): readonly Tensor[] {
    const outputs: Tensor[] = [];
    const node: Node = { id: this.nodes.length, op, inputs, outputs, attributes };
    for (const [i, type] of op.shape(inputs, attributes).entries()) {
      outputs.push({
        id: this.#tensors++,
        shape: type.shape,
        dtype: type.dtype ?? "f32",
        producer: node,
        label: i === 0 ? op.name : `${op.name}.${i}`,
      });
    }
    this.nodes.push(node);
    return outputs;
  }

  /** Adds a node of one output and returns that. */
  apply<A>(op: Op<A>, inputs: readonly Tensor[], attributes: A): Tensor {
    return this.applyAll(op, inputs, attributes)[0];
  }
}

/** Fails with the op's name when a condition on its inputs does not hold: a bug in the model that traced it. */
export function expectShape(op: string, holds: boolean, expected: string, ...found: Tensor[]): void {
  if (holds) return;
  const shapes = found.map((tensor) => `${tensor.label} [${tensor.shape}]`).join(", ");
  throw new Error(`${op}: expected ${expected}, found ${shapes}`);
}
