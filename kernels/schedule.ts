/**
 * What a graph becomes on a device: its dispatches in order, a memory plan, and how much work that is. Needs no
 * device, only a {@linkcode Target}; `program.ts` makes pipelines and buffers of it.
 */
import { UserError } from "../errors.ts";
import { type DeclaredDispatch, readDeclarations } from "./declarations.ts";
import { foldWorkgroups } from "./fold_workgroups.ts";
import type { Target } from "./gpu.ts";
import {
  byteLength,
  type Dispatch,
  type Graph,
  type Lowering,
  type Node,
  type Tensor,
  type TensorType,
} from "./graph.ts";
import { keepMapsInHalf, readAndWriteHalf } from "./half_precision.ts";
import { ALIGNMENT, type Lifetime, type MemoryPlan, planMemory } from "./memory_plan.ts";
import { readThroughTextures } from "./texture_operand.ts";

/** What a schedule is made from. */
export interface ScheduleOptions {
  /** Names it in errors. */
  label: string;
  graph: Graph;
  /** Tensors that the host writes before a run. */
  inputs: readonly Tensor[];
  /** Tensors that are read after a run; nothing else is put in their place. */
  outputs: readonly Tensor[];
  /** Tensors that live in somebody else's buffers: parameters, gradients, state. */
  bound: readonly Tensor[];
  /** Keep maps of pixels in float16. */
  mixedPrecision?: boolean;
}

/** Amount of work of a run or of one dispatch. */
export interface Work {
  /** Floating-point operations of products; a multiply-add counts two. Everything else is memory-bound. */
  flops: number;
  /** Bytes of all bindings, each counted once: the least that a kernel reads and writes. */
  bytes: number;
}

/** Where a run stops until it has what other devices computed. */
export interface Gather {
  /** Dispatches before it. */
  after: number;
  /** What this device has of it. */
  from: Tensor;
  /** What all devices have, one behind the other. */
  to: Tensor;
}

/** The dispatches of a graph, and where its tensors live. */
export interface Schedule {
  dispatches: readonly DeclaredDispatch[];
  /** In their order; none where one device is enough. */
  gathers: readonly Gather[];
  /** Of all tensors that are not bound. */
  plan: MemoryPlan;
  /** Bytes of every planned tensor, by id. */
  bytesOf: ReadonlyMap<number, number>;
}

/**
 * @throws {UserError} where a tensor is larger than what the device binds at once
 * @throws {Error} where a node reads what nothing gives: a bug in the model that traced it
 */
export function makeSchedule(
  target: Target,
  { label, graph, inputs, outputs, bound, mixedPrecision = false }: ScheduleOptions,
): Schedule {
  const boundIds = new Set(bound.map(({ id }) => id));
  const live = liveNodes(graph, outputs, boundIds);
  const nodes = mixedPrecision
    ? keepMapsInHalf(live, new Set([...boundIds, ...outputs.map(({ id }) => id)]))
    : live;
  const lowered = nodes.map((node, step) => lowerNode(target, node, step));

  // Lifetimes, in steps; inputs live from before the first step, outputs until after the last.
  const lifetimes = new Map<number, Lifetime & { apart: Set<number> }>();
  const extend = (tensor: Tensor, first: number, last: number) => {
    if (boundIds.has(tensor.id)) return;
    const known = lifetimes.get(tensor.id);
    if (known === undefined) {
      lifetimes.set(tensor.id, { id: tensor.id, bytes: byteLength(tensor), first, last, apart: new Set() });
    } else {
      known.first = Math.min(known.first, first);
      known.last = Math.max(known.last, last);
    }
  };
  for (const input of inputs) extend(input, -1, nodes.length);
  const produced = new Set(inputs.map((input) => input.id));
  for (const [step, node] of nodes.entries()) {
    for (const input of node.inputs) {
      if (!produced.has(input.id) && !boundIds.has(input.id)) {
        throw new Error(
          `${label}: ${node.op.name} reads ${input.label}, which is neither an input nor bound`,
        );
      }
    }
    const written = [...node.outputs, ...lowered[step].scratch];
    for (const output of node.outputs) produced.add(output.id);
    for (const tensor of [...node.inputs, ...written]) extend(tensor, step, step);
    // What a node writes, a later dispatch of the same node may read.
    for (const [i, tensor] of written.entries()) {
      const apart = lifetimes.get(tensor.id)?.apart;
      for (const other of [...node.inputs, ...written.slice(0, i)]) apart?.add(other.id);
    }
  }
  for (const output of outputs) extend(output, nodes.length, nodes.length);

  refuseUnbindable(target, label, lowered.flatMap(({ dispatches }) => dispatches));
  let before = 0;
  const gathers = lowered.flatMap(({ dispatches, gathers }) => {
    const start = before;
    before += dispatches.length;
    return gathers.map((gather) => ({ ...gather, after: start + gather.after }));
  });
  return {
    dispatches: lowered.flatMap(({ dispatches }) => dispatches),
    gathers,
    plan: planMemory([...lifetimes.values()]),
    bytesOf: new Map([...lifetimes.values()].map(({ id, bytes }) => [id, bytes])),
  };
}

/** The work of one dispatch. */
export function workOf({ bindings, flops = 0 }: Dispatch): Work {
  const tensors = new Map(bindings.map((binding) => {
    const tensor = "texture" in binding ? binding.texture : binding;
    return [tensor.id, byteLength(tensor)];
  }));
  return { flops, bytes: tensors.values().reduce((sum, bytes) => sum + bytes, 0) };
}

/** The work of a run. */
export function totalWork({ dispatches }: Pick<Schedule, "dispatches">): Work & { dispatches: number } {
  const works = dispatches.map(workOf);
  return {
    dispatches: works.length,
    flops: works.reduce((sum, { flops }) => sum + flops, 0),
    bytes: works.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

/** Fails when a tensor, or the part of it that a kernel sees, is larger than what the device binds at once. */
function refuseUnbindable(target: Target, label: string, dispatches: readonly Dispatch[]): void {
  const limit = target.maxStorageBufferBindingSize;
  for (const { bindings } of dispatches) {
    for (const binding of bindings) {
      const tensor = "texture" in binding ? binding.texture : binding;
      if (byteLength(tensor) <= limit) continue;
      throw new UserError(
        `${label}: ${tensor.label} [${tensor.shape}] takes ${
          byteLength(tensor)
        } bytes, but this adapter binds at most ` +
          `${limit} at once; use a smaller batch, image size or queue`,
      );
    }
  }
}

/** The nodes that an output, a bound tensor (by id) or an effect needs, in the order of the graph. */
export function liveNodes(
  graph: Graph,
  outputs: readonly Tensor[],
  bound: ReadonlySet<number> = new Set(),
): Node[] {
  const needed = new Set(outputs.map((output) => output.id));
  const live: Node[] = [];
  for (const node of graph.nodes.toReversed()) {
    const wanted = node.op.hasEffect || node.outputs.some((o) => needed.has(o.id) || bound.has(o.id));
    if (!wanted) continue;
    live.push(node);
    for (const input of node.inputs) needed.add(input.id);
  }
  return live.reverse();
}

/** Temporaries and views that one node may make. */
const MAX_TENSORS_OF_NODE = 2 ** 16;

/** A node's dispatches, checked and rewritten for the device, and its temporaries. */
function lowerNode(
  target: Target,
  node: Node,
  step: number,
): { dispatches: DeclaredDispatch[]; scratch: Tensor[]; gathers: Gather[] } {
  const dispatches: DeclaredDispatch[] = [];
  const gathers: Gather[] = [];
  const scratch: Tensor[] = [];
  let made = 0;
  // Negative ids cannot meet those of the graph.
  const nextId = () => {
    if (made === MAX_TENSORS_OF_NODE) {
      throw new Error(`${node.op.name} makes more than ${MAX_TENSORS_OF_NODE} temporaries and views`);
    }
    return -1 - (step * MAX_TENSORS_OF_NODE + made++);
  };
  const lowering: Lowering = {
    target,
    dispatch(written) {
      const declared = readAndWriteHalf(readDeclarations(node.op.name, written));
      const folded = foldWorkgroups(declared, target.maxWorkgroupsPerDimension);
      dispatches.push(readThroughTextures(target, folded));
    },
    scratch(type: TensorType, label: string) {
      const tensor: Tensor = {
        id: nextId(),
        shape: type.shape,
        dtype: type.dtype ?? "f32",
        producer: node,
        label,
      };
      scratch.push(tensor);
      return tensor;
    },
    rows(tensor, first, count) {
      const offset = first * byteLength(tensor) / tensor.shape[0];
      if (offset % ALIGNMENT !== 0) {
        throw new Error(
          `${tensor.label}: row ${first} begins at byte ${offset}, not a multiple of ${ALIGNMENT}`,
        );
      }
      const shape = [count, ...tensor.shape.slice(1)];
      return { ...tensor, id: nextId(), shape, part: { of: tensor, offset } };
    },
    gather(from, to) {
      gathers.push({ after: dispatches.length, from, to });
    },
  };
  node.op.lower(lowering, node, node.attributes);
  return { dispatches, scratch, gathers };
}
