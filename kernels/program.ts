/**
 * Compiles a graph into a static program: pipelines, bind groups and buffers are made once; a run only encodes a
 * fixed list of dispatches into one command buffer and submits it.
 */
import { UserError } from "../errors.ts";
import { type DeclaredDispatch, writtenBy } from "./declarations.ts";
import { type Binding, byteLength, type Dispatch, type Graph, type Tensor } from "./graph.ts";
import { DeviceMemoryError, type Gpu, GpuError } from "./gpu.ts";
import { readBuffer } from "./readback.ts";
import { upload } from "./upload.ts";
import type { MemoryPlan } from "./memory_plan.ts";
import { pipelineFor } from "./pipeline.ts";
import { type KernelTime, type TimedDispatch, timeDispatches } from "./profiler.ts";
import { type Gather, makeSchedule, type Work, workOf } from "./schedule.ts";
import { type ConstantTextures, copyToTexture, OperandTextures, wholeOf } from "./texture_operand.ts";

/** A range of a buffer. Offsets are multiples of 256 bytes, so that it can be bound. */
export interface BufferRange {
  buffer: GPUBuffer;
  offset: number;
  bytes: number;
}

/** What a program is compiled from. */
export interface ProgramOptions {
  label: string;
  graph: Graph;
  /** Tensors that the host writes before a run, with {@linkcode Program.write}. */
  inputs: readonly Tensor[];
  /** Tensors that are read after a run; each keeps a buffer of its own. */
  outputs: readonly Tensor[];
  /** Tensors that live in somebody else's buffers: parameters, gradients, state. */
  bound?: ReadonlyMap<Tensor, BufferRange>;
  /**
   * Bound tensors that do not change between runs, and their textures: whoever has them fills these when the tensors are loaded, and
   * after the program is compiled.
   */
  constants?: { tensors: readonly Tensor[]; textures: ConstantTextures };
  /** Keep maps of pixels in float16, on an adapter that {@linkcode AdapterDescription.hasHalf}. */
  mixedPrecision?: boolean;
}

const BUFFER_USAGE = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;

interface Step {
  label: string;
  pipeline: GPUComputePipeline;
  bindGroup: GPUBindGroup;
  workgroups: readonly [number, number, number];
  /** Copies into operand textures that must come before. */
  copies: { source: BufferRange; texture: GPUTexture }[];
  work: Work;
}

/** Rows that every device of several is to have of all of them. */
export interface GatheredRows {
  /** This device's. */
  from: BufferRange;
  /** All devices', one behind the other in their order. */
  to: BufferRange;
}

/** A part of a program that runs at once. */
interface Segment {
  /** As {@linkcode Program.encodeOnto}. */
  encodeOnto(encoder: GPUCommandEncoder, open?: GPUComputePassEncoder): GPUComputePassEncoder | undefined;
  /** What the next part waits for. */
  gather?: GatheredRows;
}

function encodeCopies(encoder: GPUCommandEncoder, { copies }: Step): void {
  for (const { source, texture } of copies) copyToTexture(encoder, source, texture);
}

function encodeDispatch(pass: GPUComputePassEncoder, { pipeline, bindGroup, workgroups }: Step): void {
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindGroup);
  pass.dispatchWorkgroups(...workgroups);
}

/** Adds steps to an encoder, in the pass that is open where that is possible; returns the pass that is open then. */
function encodeSteps(
  label: string,
  steps: readonly Step[],
  encoder: GPUCommandEncoder,
  open: GPUComputePassEncoder | undefined,
): GPUComputePassEncoder | undefined {
  let pass = open;
  for (const step of steps) {
    if (step.copies.length > 0) {
      pass?.end();
      pass = undefined;
      encodeCopies(encoder, step);
    }
    pass ??= encoder.beginComputePass({ label });
    encodeDispatch(pass, step);
  }
  return pass;
}

/** Pipelines that the driver was asked to compile, see {@linkcode compileNow}. */
const compiled = new WeakSet<GPUComputePipeline>();

/**
 * Has the driver compile the pipelines of some steps, and does not wait for it. Some drivers, llvmpipe's among them, compile
 * a kernel when it is first dispatched: without this, every actor would begin to compile when the first batch reaches it,
 * one after the other. A dispatch of no workgroups computes nothing.
 */
function compileNow(device: GPUDevice, label: string, steps: readonly Step[]): void {
  const fresh = steps.filter(({ pipeline }) => !compiled.has(pipeline));
  if (fresh.length === 0) return;
  const encoder = device.createCommandEncoder({ label: `${label}, compiling` });
  const pass = encoder.beginComputePass({ label: `${label}, compiling` });
  for (const step of fresh) {
    if (compiled.has(step.pipeline)) continue;
    compiled.add(step.pipeline);
    encodeDispatch(pass, { ...step, workgroups: [0, 0, 0] });
  }
  pass.end();
  device.queue.submit([encoder.finish()]);
}

/** A compiled graph. */
export class Program {
  readonly label: string;
  readonly plan: MemoryPlan;
  readonly #gpu: Gpu;
  readonly #steps: Step[] = [];
  #segments: readonly Segment[] = [];
  /** The last dispatch that reads or writes a tensor, by its id. */
  readonly #lastUses = new Map<number, number>();
  readonly #owned: GPUBuffer[] = [];
  readonly #textures: GPUTexture[] = [];
  readonly #ranges = new Map<number, BufferRange>();

  private constructor(gpu: Gpu, label: string, plan: MemoryPlan) {
    this.#gpu = gpu;
    this.label = label;
    this.plan = plan;
  }

  /**
   * @throws {DeviceMemoryError} when there is not enough memory
   * @throws {GpuError} when the device refuses a kernel or a binding; the message names the dispatch
   */
  static async compile(gpu: Gpu, options: ProgramOptions): Promise<Program> {
    gpu.device.pushErrorScope("validation");
    gpu.device.pushErrorScope("out-of-memory");
    let program: Program;
    let memory: GPUError | null;
    let invalid: GPUError | null;
    try {
      program = Program.#build(gpu, options);
    } finally {
      // Both at once: others that share the device may push theirs meanwhile.
      [memory, invalid] = await Promise.all([gpu.device.popErrorScope(), gpu.device.popErrorScope()]);
    }
    const error = memory ?? invalid;
    if (error !== null) {
      program.destroy();
      // Nothing is valid that is made of buffers for which the device had no memory: that it had none says more.
      gpu.check();
      if (memory === null) throw new GpuError(`${options.label}: ${error.message}`);
      const need = `${(program.plan.bytes / 2 ** 20).toFixed(0)} MiB`;
      throw new DeviceMemoryError(
        options.label,
        `${memory.message} (it needs ${need} besides its parameters)`,
        gpu.memoryAdvice,
      );
    }
    return program;
  }

  static #build(
    gpu: Gpu,
    { label, graph, inputs, outputs, bound = new Map(), constants, mixedPrecision }: ProgramOptions,
  ): Program {
    const { dispatches, gathers, plan, bytesOf } = makeSchedule(gpu.target, {
      label,
      graph,
      inputs,
      outputs,
      bound: [...bound.keys()],
      mixedPrecision,
    });
    checkBindings(gpu, label, dispatches);
    const program = new Program(gpu, label, plan);
    const buffers = plan.buffers.map((size, i) =>
      program.#own(gpu.device.createBuffer({ label: `${label} buffer ${i}`, size, usage: BUFFER_USAGE }))
    );
    for (const [id, { buffer, offset }] of plan.placements) {
      program.#ranges.set(id, { buffer: buffers[buffer], offset, bytes: bytesOf.get(id)! });
    }
    for (const [{ id }, range] of bound) program.#ranges.set(id, range);
    program.#link(dispatches, constants);
    program.#cut(gathers);
    compileNow(gpu.device, label, program.#steps);
    return program;
  }

  #own(buffer: GPUBuffer): GPUBuffer {
    this.#owned.push(buffer);
    return buffer;
  }

  /** Makes the pipelines and bind groups of every dispatch, and decides which texture holds which operand when. */
  #link(dispatches: readonly DeclaredDispatch[], constants: ProgramOptions["constants"]): void {
    const { device } = this.#gpu;
    const uniformStride = 256;
    const uniformBytes = dispatches.map((d) => Math.ceil(Math.max(d.uniforms.byteLength, 16) / 16) * 16);
    const uniformOffsets: number[] = [];
    let end = 0;
    for (const bytes of uniformBytes) {
      uniformOffsets.push(end);
      end += Math.ceil(bytes / uniformStride) * uniformStride;
    }
    const uniforms = this.#own(device.createBuffer({
      label: `${this.label} uniforms`,
      size: Math.max(end, uniformStride),
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    }));
    const packed = new Uint32Array(Math.max(end, uniformStride) / 4);
    for (const [i, dispatch] of dispatches.entries()) packed.set(dispatch.uniforms, uniformOffsets[i] / 4);
    device.queue.writeBuffer(uniforms, 0, packed);

    const constant = new Set(constants?.tensors.map(({ id }) => id));
    const constantView = (tensor: Tensor) =>
      constant.has(wholeOf(tensor)) ? constants!.textures.viewOf(this.#range(tensor)) : undefined;
    const operands = new OperandTextures(device, dispatches, (tensor) => constantView(tensor) !== undefined);
    this.#textures.push(...operands.textures);
    for (const [i, dispatch] of dispatches.entries()) {
      const copies: Step["copies"] = [];
      const place = (tensor: Tensor): GPUTextureView => {
        const own = constantView(tensor);
        if (own !== undefined) return own;
        const { texture, view, isFresh } = operands.place(tensor, i);
        if (isFresh) copies.push({ source: this.#range(tensor), texture });
        return view;
      };
      const pipeline = pipelineFor(this.#gpu, dispatch.source, dispatch.label);
      const bindGroup = device.createBindGroup({
        label: dispatch.label,
        layout: pipeline.getBindGroupLayout(0),
        entries: [
          { binding: 0, resource: { buffer: uniforms, offset: uniformOffsets[i], size: uniformBytes[i] } },
          ...dispatch.bindings.map((binding: Binding, b) => ({
            binding: b + 1,
            resource: "texture" in binding ? place(binding.texture) : this.#resource(binding),
          })),
        ],
      });
      for (const tensor of writtenBy(dispatch)) operands.forget(tensor);
      for (const binding of dispatch.bindings) {
        const tensor = "texture" in binding ? binding.texture : binding;
        this.#lastUses.set(wholeOf(tensor), i);
      }
      this.#steps.push({
        label: dispatch.label,
        pipeline,
        bindGroup,
        workgroups: dispatch.workgroups,
        copies,
        work: workOf(dispatch),
      });
    }
  }

  /** Cuts the steps into what runs at once. */
  #cut(gathers: readonly Gather[]): void {
    const ends = [...gathers.map(({ after }) => after), this.#steps.length];
    this.#segments = ends.map((end, i) => {
      const steps = this.#steps.slice(ends[i - 1] ?? 0, end);
      const gather = gathers.at(i);
      return {
        encodeOnto: (encoder, open) => encodeSteps(this.label, steps, encoder, open),
        ...gather && { gather: { from: this.#range(gather.from), to: this.#range(gather.to) } },
      };
    });
  }

  #range(tensor: Tensor): BufferRange {
    const { of, offset } = tensor.part ?? { of: tensor, offset: 0 };
    const range = this.#ranges.get(of.id);
    if (range === undefined) throw new Error(`${this.label}: ${tensor.label} has no place in this program`);
    return { buffer: range.buffer, offset: range.offset + offset, bytes: byteLength(tensor) };
  }

  #resource(tensor: Tensor): GPUBufferBinding {
    const { buffer, offset, bytes } = this.#range(tensor);
    return { buffer, offset, size: bytes };
  }

  /** Number of dispatches in one run. */
  get dispatches(): number {
    return this.#steps.length;
  }

  /** The parts of a run: one, where it does not wait for other devices. */
  get segments(): readonly Segment[] {
    return this.#segments;
  }

  /** The number of dispatches after which a tensor has its value, and the program does not read it any more. */
  doneAfter({ id }: Tensor): number {
    return (this.#lastUses.get(id) ?? -1) + 1;
  }

  /** Encodes and submits a part of a run: dispatches from one number up to (not including) another. Does not wait for it. */
  runPart(from: number, to: number): void {
    const encoder = this.#gpu.device.createCommandEncoder({ label: this.label });
    encodeSteps(this.label, this.#steps.slice(from, to), encoder, undefined)?.end();
    this.#gpu.device.queue.submit([encoder.finish()]);
    this.#gpu.check();
  }

  /** Writes an input (padded device layout) before a run. */
  write(input: Tensor, data: ArrayBufferView<ArrayBuffer> | ArrayBuffer): void {
    const { buffer, offset, bytes } = this.#range(input);
    if (data.byteLength !== bytes) {
      throw new Error(`${this.label}: ${input.label} holds ${bytes} bytes, was given ${data.byteLength}`);
    }
    upload(this.#gpu.device.queue, buffer, offset, data);
  }

  /** The range that an input, an output or a bound tensor lives in. */
  rangeOf(tensor: Tensor): BufferRange {
    return this.#range(tensor);
  }

  /** Adds the whole program to a command encoder. */
  encode(encoder: GPUCommandEncoder): void {
    this.encodeOnto(encoder)?.end();
  }

  /**
   * Adds the whole program to a command encoder, and leaves the compute pass open: programs that follow one another cost
   * the host less in one pass.
   *
   * @param open pass of the same encoder to go on in
   * @returns the pass that is open now, which the caller ends
   * @throws {Error} where a run waits for other devices
   */
  encodeOnto(encoder: GPUCommandEncoder, open?: GPUComputePassEncoder): GPUComputePassEncoder | undefined {
    if (this.#segments.length > 1) {
      throw new Error(`${this.label}: a run waits for other devices; use runSegments()`);
    }
    return encodeSteps(this.label, this.#steps, encoder, open);
  }

  /** Encodes and submits one run. Does not wait for it. */
  run(): void {
    runPrograms(this.#gpu, [this]);
  }

  /** Reads an output (padded device layout) after the runs submitted so far. */
  async read(output: Tensor): Promise<Float32Array<ArrayBuffer>> {
    const { buffer, offset, bytes } = this.#range(output);
    return new Float32Array(await readBuffer(this.#gpu, buffer, offset, bytes));
  }

  /**
   * Runs the program some times, and gives the time and the work of every dispatch in its order. The effects of those
   * runs stay: a training step trains.
   */
  profile(repetitions = 3): Promise<KernelTime[]> {
    return timeDispatches(
      this.#gpu,
      this.#steps.map((step): TimedDispatch => ({
        label: step.label,
        ...step.work,
        copy: step.copies.length === 0 ? undefined : {
          bytes: 2 * step.copies.reduce((sum, { source }) => sum + source.bytes, 0),
          encode: (encoder) => encodeCopies(encoder, step),
        },
        encode: (pass) => encodeDispatch(pass, step),
      })),
      repetitions,
    );
  }

  /** Frees the program's own buffers and textures; bound ones stay with their owner. */
  destroy(): void {
    for (const buffer of this.#owned) buffer.destroy();
    for (const texture of this.#textures) texture.destroy();
  }

  [Symbol.dispose](): void {
    this.destroy();
  }
}

/** Encodes programs one after the other, in one compute pass where that is possible. */
export function encodePrograms(encoder: GPUCommandEncoder, programs: readonly Program[]): void {
  let pass: GPUComputePassEncoder | undefined;
  for (const program of programs) pass = program.encodeOnto(encoder, pass);
  pass?.end();
}

/**
 * Encodes and submits programs one after the other. Does not wait for them.
 *
 * @param finish encodes what comes after them
 */
export function runPrograms(
  gpu: Gpu,
  programs: readonly Program[],
  finish: (encoder: GPUCommandEncoder) => void = () => {},
): void {
  const encoder = gpu.device.createCommandEncoder({ label: programs.at(0)?.label });
  encodePrograms(encoder, programs);
  finish(encoder);
  gpu.device.queue.submit([encoder.finish()]);
  gpu.check();
}

/**
 * Runs programs one after the other as {@linkcode runPrograms} does, and stops for what they gather from other devices.
 *
 * @param gather writes what all devices have of something
 */
export async function runSegments(
  gpu: Gpu,
  programs: readonly Program[],
  gather: (rows: GatheredRows) => Promise<void>,
): Promise<void> {
  const begin = () => gpu.device.createCommandEncoder({ label: programs.at(0)?.label });
  let encoder = begin();
  let pass: GPUComputePassEncoder | undefined;
  const submit = () => {
    pass?.end();
    pass = undefined;
    gpu.device.queue.submit([encoder.finish()]);
    gpu.check();
  };
  for (const segment of programs.flatMap(({ segments }) => segments)) {
    pass = segment.encodeOnto(encoder, pass);
    if (segment.gather === undefined) continue;
    submit();
    await gather(segment.gather);
    encoder = begin();
  }
  submit();
}

/** Fails where a kernel reads and writes more buffers than the adapter binds. */
function checkBindings({ device, adapter }: Gpu, program: string, dispatches: readonly Dispatch[]): void {
  const most = device.limits.maxStorageBuffersPerShaderStage;
  for (const { label, bindings } of dispatches) {
    const buffers = bindings.filter((binding) => !("texture" in binding)).length;
    if (buffers <= most) continue;
    throw new UserError(
      `${program}: the kernel "${label}" needs ${buffers} storage buffers, but this adapter (${adapter.name}) binds at most ` +
        `${most}; use another adapter, or another DENO_WEBGPU_BACKEND`,
    );
  }
}
