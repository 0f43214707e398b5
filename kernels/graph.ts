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
 * Element type on the device. `u32` is for packed pixels and indices, and has no gradient. Models are traced in
 * `f32`; `half_precision.ts` decides which tensors become `f16`, and a frozen encoder's weights may be `f16` too.
 */
export type DType = "f32" | "f16" | "u32";

/** Rounds up to the next multiple of four: the padded length of a last dimension. */
export function padTo4(length: number): number {
  return (length + 3) & ~3;
}

/** Returns the number of elements of a shape, without padding. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}

/** A value in the graph. */
export interface Tensor {
  /** Unique in its graph. */
  readonly id: number;
  /** Without padding. */
  readonly shape: readonly number[];
  /** Element type. */
  readonly dtype: DType;
  /** The node that computes it; `undefined` for inputs, parameters and state. */
  readonly producer: Node | undefined;
  /** Label for error messages and the profiler. */
  readonly label: string;
  /** For a view: the tensor whose bytes it has, and the offset from which on. Only dispatches use views, not nodes. */
  readonly part?: { readonly of: Tensor; readonly offset: number };
}

/**
 * Returns the number of elements on the device, including the padding of the last dimension. A `u32` tensor is not
 * padded.
 */
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

/** Whether a tensor is one vector an image, [n, 1, 1, c]. */
export function isRows({ shape }: Pick<Tensor, "shape">): boolean {
  return shape.length === 4 && shape[1] === 1 && shape[2] === 1;
}

/** Bytes on the device. */
export function byteLength(tensor: Pick<Tensor, "shape" | "dtype">): number {
  return paddedCount(tensor) * (tensor.dtype === "f16" ? 2 : 4);
}

/** One application of an op. */
export interface Node {
  /** Unique in its graph. */
  readonly id: number;
  /** The op. */
  // deno-lint-ignore no-explicit-any -- a graph holds nodes of every op; each op knows its own attributes
  readonly op: Op<any>;
  /** Tensors in the op's order. */
  readonly inputs: readonly Tensor[];
  /** Tensors in the op's order. */
  readonly outputs: readonly Tensor[];
  /** Attributes of the op. */
  readonly attributes: unknown;
}

/** Shape and element type of one output. */
export interface TensorType {
  /** Without padding. */
  shape: readonly number[];
  /** Element type. Default: `f32`. */
  dtype?: DType;
}

/** What a dispatch binds, in the order of `@binding(1)` onwards (`@binding(0)` is the uniform block). */
export type Binding =
  | Tensor
  /** The tensor, read through a texture of vec4 (see `texture_operand.ts`). */
  | { texture: Tensor };

/** One compute dispatch. */
export interface Dispatch {
  /** Label for the profiler and device errors. */
  label: string;
  /** The whole WGSL module; equal texts share a pipeline. The entry point is `main`. */
  source: string;
  /** Bindings from `@binding(1)` on. */
  bindings: readonly Binding[];
  /** Contents of the uniform block at `@binding(0)`. */
  uniforms: Uint32Array;
  /** Number of workgroups in each dimension. */
  workgroups: readonly [number, number, number];
  /** Floating-point operations of a product, two per multiply-add; omitted if memory-bound. */
  flops?: number;
}

/** Interface for an op's {@linkcode Op.lower}. */
export interface Lowering {
  /** Device properties that kernels are chosen by. */
  readonly target: Target;
  /** Appends a dispatch. */
  dispatch(dispatch: Dispatch): void;
  /** Returns a temporary tensor for this node only. */
  scratch(type: TensorType, label: string): Tensor;
  /**
   * Returns a view of some rows [count, ...] of a tensor, to be bound in its place. The rows before it must take a
   * multiple of 256 bytes.
   */
  rows(tensor: Tensor, first: number, count: number): Tensor;
  /**
   * Has the run stop behind the dispatches so far, until `to` [devices, ...] holds what each device of several has in `from`
   * [...], in their order: `torch.distributed.all_gather_into_tensor`.
   */
  gather(from: Tensor, to: Tensor): void;
}

/** An op: its shape rule, its gradient, and its lowering to dispatches. */
export interface Op<Attributes> {
  /** Name in errors and the profiler. */
  readonly name: string;
  /** Returns the types of the outputs. Throws an `Error` with the op's name if the inputs do not fit. */
  shape(inputs: readonly Tensor[], attributes: Attributes): readonly TensorType[];
  /**
   * Returns the gradients with respect to the inputs, `undefined` where there is none. `outputGradients[i]` is
   * `undefined` if nothing downstream depends on output `i`; `needed[i]` says whether input `i` needs a gradient.
   */
  gradient?(
    graph: Graph,
    node: Node,
    outputGradients: readonly (Tensor | undefined)[],
    needed: readonly boolean[],
  ): readonly (Tensor | undefined)[];
  /** Adds the dispatches that compute it. */
  lower(lowering: Lowering, node: Node, attributes: Attributes): void;
  /** Returns the node's output plus `addend`, in one node, if the op can add in its epilogue. */
  fuseAdd?(graph: Graph, node: Node, addend: Tensor): Tensor | undefined;
  /**
   * Whether it is a scalar loss whose {@linkcode Op.gradient} takes no output gradient, as differentiation starts
   * from it. (From any other scalar, it starts with a gradient of 1.) Its other outputs, if any, have no gradient.
   */
  readonly isLoss?: boolean;
  /**
   * Whether outputs that have the shape of maps stay float32 in mixed precision: `always` where they are sums over images, as a
   * weight's gradient is; `as inputs` where all inputs are such sums or rows without pixels. They do not where it is left out.
   */
  readonly keepsFloat32?: "always" | "as inputs";
  /** Whether it writes to state (running statistics, parameters); such a node is never dropped. */
  readonly hasEffect?: boolean;
  /**
   * Returns whether a node with these attributes adds a residual and so ends a block of the model.
   * `--checkpoint-activations` keeps the outputs of such nodes, and recomputes what lies between them. Without this
   * property, outputs are recomputed.
   */
  endsBlock?(attributes: Attributes): boolean;
}

/** A graph under construction. Its nodes are in an order in which they can run. */
export class Graph {
  /** All nodes. */
  readonly nodes: Node[] = [];
  #made = 0;
  #tensors = 0;

  /** Returns a tensor that comes from outside: an input, a parameter or state. */
  source(label: string, shape: readonly number[], dtype: DType = "f32"): Tensor {
    return { id: this.#tensors++, shape, dtype, producer: undefined, label };
  }

  /** Adds a node and returns its outputs. */
  applyAll<A>(op: Op<A>, inputs: readonly Tensor[], attributes: A): readonly Tensor[] {
    const outputs: Tensor[] = [];
    const node: Node = { id: this.#made++, op, inputs, outputs, attributes };
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

  /** Adds a node with one output, and returns that output. */
  apply<A>(op: Op<A>, inputs: readonly Tensor[], attributes: A): Tensor {
    return this.applyAll(op, inputs, attributes)[0];
  }

  /** Removes the nodes that none of the tensors depends on, those with effects too. */
  keepOnly(...tensors: Tensor[]): void {
    const needed = new Set(tensors.map(({ producer }) => producer));
    for (const node of this.nodes.toReversed()) {
      if (needed.has(node)) {
        for (const { producer } of node.inputs) needed.add(producer);
      }
    }
    this.nodes.splice(0, this.nodes.length, ...this.nodes.filter((node) => needed.has(node)));
  }
}

/** Throws an error with the op's name if a condition on its inputs does not hold: a bug in the model that traced it. */
export function expectShape(op: string, holds: boolean, expected: string, ...found: Tensor[]): void {
  if (holds) return;
  const shapes = found.map((tensor) => `${tensor.label} [${tensor.shape}]`).join(", ");
  throw new Error(`${op}: expected ${expected}, found ${shapes}`);
}
