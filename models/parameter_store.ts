/**
 * The device's memory for an encoder's parameters: one arena for the weights, one for the running statistics, and in
 * training others by name in the order of the weights: gradients, and what an optimizer keeps. An update is then one
 * dispatch and a checkpoint one copy.
 *
 * An arena is cut into segments no larger than the device can bind, or wants to; a parameter lies wholly in one of them.
 */
import { UserError } from "../errors.ts";
import type { Gpu, Target } from "../kernels/gpu.ts";
import { readBuffer } from "../kernels/readback.ts";
import { upload } from "../kernels/upload.ts";
import { byteLength, type Tensor } from "../kernels/graph.ts";
import { ALIGNMENT } from "../kernels/memory_plan.ts";
import type { BufferRange } from "../kernels/program.ts";
import type { DeviceParameter } from "./encoder_layers.ts";
import { findNotFinite } from "./finite.ts";
import type { StateValues } from "./initialize.ts";
import { isDecayed } from "./optim/weight_decay.ts";
import type { RowRange } from "./parameter_layout.ts";

/** Bytes that are handed to the queue before it is awaited, or twice as many: it keeps a copy of what it is given until then. */
const QUEUED_BYTES = 32 * 2 ** 20;

const USAGE = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;

interface Place {
  segment: number;
  offset: number;
  bytes: number;
}

/** The tensors of a kind, in their order. */
export function tensorsOf(parameters: readonly DeviceParameter[], kind: DeviceParameter["kind"]): Tensor[] {
  return parameters.filter((parameter) => parameter.kind === kind).map(({ tensor }) => tensor);
}

/** A segment of the arenas that trained parameters lie in. */
export interface ArenaSegment {
  /** Elements. */
  length: number;
  /** Whether its weights decay, where those that do not are apart. */
  decays: boolean;
}

/** The segments of the arenas that trained parameters lie in, on such a target. */
export function arenaSegments(
  parameters: readonly DeviceParameter[],
  target: Target,
  separatesDecay = false,
): ArenaSegment[] {
  const trained = parameters.filter(({ kind }) => kind === "parameter");
  const { segments, places } = layOut(trained, target, separatesDecay);
  const decaying = new Set(
    places.filter((_, i) => !separatesDecay || decays(trained[i])).map(({ segment }) => segment),
  );
  return segments.map((bytes, segment) => ({ length: bytes / 4, decays: decaying.has(segment) }));
}

function decays({ keys, tensor }: DeviceParameter): boolean {
  return keys.length > 0 && isDecayed(keys[0], tensor.shape);
}

/** Where each parameter of an arena lies, and how long its segments are. */
function layOut(
  parameters: readonly DeviceParameter[],
  { maxStorageBufferBindingSize: limit, arenaBytes }: Target,
  separatesDecay: boolean,
): { places: Place[]; segments: number[] } {
  const places: Place[] = [];
  const segments: number[] = [];
  const open = new Map<boolean, number>(); // the segment that is being filled, of each kind
  for (const parameter of parameters) {
    const { tensor } = parameter;
    const kind = separatesDecay && decays(parameter);
    const bytes = byteLength(tensor);
    if (bytes > limit) {
      throw new UserError(
        `${tensor.label} [${tensor.shape}] takes ${bytes} bytes, but this adapter binds at most ${limit} bytes at once`,
      );
    }
    let segment = open.get(kind);
    if (segment === undefined || segments[segment] + bytes > Math.min(limit, arenaBytes)) {
      segment = segments.push(0) - 1;
      open.set(kind, segment);
    }
    places.push({ segment, offset: segments[segment], bytes });
    segments[segment] = Math.ceil((segments[segment] + bytes) / ALIGNMENT) * ALIGNMENT;
  }
  return { places, segments };
}

/**
 * Reads a state_dict entry in PyTorch's layout. Where `rows` are given no more than these of its first dimension are
 * needed; the whole may be given all the same.
 */
export type ReadEntry = (key: string, rows?: RowRange) => Float32Array | Promise<Float32Array>;

/** Fails where finite weights became so large, with batch norm folded into them, that they are none any more. */
function requireFinite(values: Float32Array, keys: readonly string[]): void {
  const found = findNotFinite(values);
  if (found === undefined) return;
  throw new UserError(
    `${
      keys.join(", ")
    }: ${found.count} values are not finite (the first is ${found.value}) with batch norm ` +
      "folded in; use an earlier checkpoint",
  );
}

/** The largest number in float16. */
const LARGEST_HALF = 65504;

/** The values in float16, each the nearest one. Fails where one is too large. */
function toHalf(values: Float32Array<ArrayBuffer>, keys: readonly string[]): Float16Array<ArrayBuffer> {
  const halves = new Float16Array(values);
  const at = halves.findIndex((value) => !Number.isFinite(value));
  if (at === -1) return halves;
  throw new UserError(
    `${keys[0]}: ${
      values[at]
    } is too large for float16, whose largest number is ${LARGEST_HALF}; leave --amp out`,
  );
}

/** Whether a tensor is made of entries that never change. */
function isConstant({ kind, fromDevice }: DeviceParameter): boolean {
  return kind === "running" && fromDevice === undefined;
}

/**
 * Fails where trained tensors could not be saved: a checkpoint has entries, and what is kept of a step is by entry. Two tensors of one
 * would be trained apart.
 */
function requireTrainable(parameters: readonly DeviceParameter[]): void {
  const tensors = new Map<string, Tensor>();
  for (const { kind, tensor, keys, fromDevice } of parameters) {
    if (kind !== "parameter") continue;
    if (keys.length !== 1 || fromDevice === undefined) {
      throw new UserError(
        `${tensor.label}: expected one key and fromDevice of a tensor that is trained, so that a checkpoint can hold it, ` +
          `found the keys ${keys.join(", ")}${fromDevice === undefined ? " and no fromDevice" : ""}`,
      );
    }
    const other = tensors.get(keys[0]);
    if (other !== undefined) {
      throw new UserError(
        `${tensor.label}: expected one trained tensor of ${
          keys[0]
        }, found another, ${other.label}: they would be trained ` +
          "apart, and a checkpoint can hold one; make one, and derive the other from it by an op",
      );
    }
    tensors.set(keys[0], tensor);
  }
}

/** Parameters of one traced encoder on one device. */
export class ParameterStore implements Disposable {
  readonly #gpu: Gpu;
  readonly #parameters: readonly DeviceParameter[];
  readonly #places = new Map<Tensor, Place & { kind: DeviceParameter["kind"] }>();
  readonly #arenas = new Map<string, GPUBuffer[]>();
  /** Entries that constants are made of, as they were loaded: the device has what was made of them. */
  readonly #constants: StateValues = new Map();

  /**
   * Allocates the arenas.
   *
   * @param names of further arenas, each of the trained parameters' layout; they start from zeros
   * @param separatesDecay whether weights that decay and those that do not have segments of their own
   * @throws {UserError} where there are further arenas, and a trained tensor is not one entry, or not its only one
   */
  constructor(
    gpu: Gpu,
    parameters: readonly DeviceParameter[],
    names: readonly string[] = [],
    separatesDecay = false,
  ) {
    this.#gpu = gpu;
    this.#parameters = parameters;
    if (names.length > 0) requireTrainable(parameters);
    const allocate = (name: string, segments: readonly number[]) =>
      this.#arenas.set(
        name,
        segments.map((size, i) => gpu.device.createBuffer({ label: `${name} ${i}`, size, usage: USAGE })),
      );
    for (const kind of ["parameter", "running"] as const) {
      const those = parameters.filter((parameter) => parameter.kind === kind);
      const { places, segments } = layOut(those, gpu.target, separatesDecay);
      for (const [i, { tensor }] of those.entries()) this.#places.set(tensor, { ...places[i], kind });
      for (const name of kind === "parameter" ? [kind, ...names] : [kind]) allocate(name, segments);
    }
  }

  /** The trained tensors, in the order of the arenas. */
  get trained(): Tensor[] {
    return tensorsOf(this.#parameters, "parameter");
  }

  /**
   * Where a tensor's value lies.
   *
   * @param arena name of that of its weights' companions that is meant; the value itself where it is left out
   */
  rangeOf(tensor: Tensor, arena?: string): BufferRange {
    const { segment, offset, bytes, kind } = this.#places.get(tensor)!;
    return { buffer: this.segments(arena ?? kind)[segment], offset, bytes };
  }

  /** The buffers of an arena: `parameter`, `running`, or one that was asked for. */
  segments(arena: string): readonly GPUBuffer[] {
    const buffers = this.#arenas.get(arena);
    if (buffers === undefined) throw new Error(`there is no arena "${arena}"`);
    return buffers;
  }

  /** All arenas by name: `parameter`, `running`, and those that were asked for. */
  get arenas(): ReadonlyMap<string, readonly GPUBuffer[]> {
    return this.#arenas;
  }

  /** Every tensor's place, to compile a program with. */
  bindings(): Map<Tensor, BufferRange> {
    return new Map(this.#parameters.map(({ tensor }) => [tensor, this.rangeOf(tensor)]));
  }

  /**
   * Uploads values, read one entry at a time so that no second copy of the whole is needed.
   *
   * @throws {UserError} where a number is not finite as the device takes it
   */
  async load(read: ReadEntry): Promise<void> {
    const { device } = this.#gpu;
    let queued = 0;
    for (const parameter of this.#parameters) {
      const { tensor, keys, rows, toDevice } = parameter;
      const entries = await Promise.all(keys.map((key) => read(key, rows)));
      if (isConstant(parameter)) {
        for (const [i, key] of keys.entries()) this.#constants.set(key, Float32Array.from(entries[i]));
      }
      const exact = toDevice(entries);
      requireFinite(exact, keys);
      const values = tensor.dtype === "f16" ? toHalf(exact, keys) : exact;
      const { buffer, offset } = this.rangeOf(tensor);
      const step = QUEUED_BYTES / values.BYTES_PER_ELEMENT;
      for (let at = 0; at < values.length; at += step) {
        const piece = values.subarray(at, at + step);
        upload(device.queue, buffer, offset + at * values.BYTES_PER_ELEMENT, piece);
        queued += piece.byteLength;
        if (queued < QUEUED_BYTES) continue;
        device.queue.submit([]);
        await this.#gpu.wait(device.queue.onSubmittedWorkDone());
        queued = 0;
      }
    }
    this.#gpu.check();
  }

  /** Uploads an arena by parameter key; keys without a value start from zero. */
  loadArena(arena: string, values: ReadonlyMap<string, Float32Array>): void {
    for (const { tensor, keys, kind, toDevice } of this.#parameters) {
      const value = values.get(keys[0]);
      if (kind !== "parameter" || value === undefined) continue;
      const { buffer, offset } = this.rangeOf(tensor, arena);
      this.#gpu.device.queue.writeBuffer(buffer, offset, toDevice([value]));
    }
  }

  /** Values of all parameters and running statistics by key, in PyTorch's layout. */
  async save(): Promise<StateValues> {
    const values = await this.#download((p) => this.rangeOf(p.tensor), this.#parameters);
    for (const [key, constant] of this.#constants) values.set(key, constant.slice()); // whoever is given them may transfer them
    return values;
  }

  /** An arena by parameter key, in PyTorch's layout. */
  saveArena(arena: string): Promise<StateValues> {
    const trained = this.#parameters.filter((p) => p.kind === "parameter");
    return this.#download((p) => this.rangeOf(p.tensor, arena), trained);
  }

  async #download(
    rangeOf: (parameter: DeviceParameter) => BufferRange,
    parameters: readonly DeviceParameter[],
  ): Promise<StateValues> {
    const copies = new Map<GPUBuffer, Promise<ArrayBuffer>>();
    const values: StateValues = new Map();
    for (const parameter of parameters) {
      if (parameter.keys.length === 0 || isConstant(parameter)) continue;
      const { buffer, offset, bytes } = rangeOf(parameter);
      if (!copies.has(buffer)) copies.set(buffer, readBuffer(this.#gpu, buffer));
      const device = new Float32Array(await copies.get(buffer)!, offset, bytes / 4);
      if (parameter.fromDevice === undefined) {
        throw new Error(`${parameter.keys[0]}: folded parameters cannot be read back`);
      }
      values.set(parameter.keys[0], parameter.fromDevice(device));
    }
    return values;
  }

  /** Frees the arenas. */
  [Symbol.dispose](): void {
    for (const buffer of [...this.#arenas.values()].flat()) buffer.destroy();
  }
}
