/** What an adapter does at most: how fast it multiplies and adds, and how fast it reads and writes memory. */
import type { Gpu } from "./gpu.ts";
import { type TimedDispatch, timeDispatches } from "./profiler.ts";
import { range } from "./wgsl.ts";

/** What no kernel of an adapter exceeds, but for reads from its caches. */
export interface Ceilings {
  /** Floating-point operations a second, in float32; a multiply-add counts two. */
  flops: number;
  /** Bytes a second that are read from memory and written to it. */
  bytes: number;
}

const LANES = 64;

/** Multiplications and additions of an accumulator. */
const STEPS = 1024;

/** Accumulators of an invocation: enough that none waits for itself, and few enough for the registers. */
const CHAINS = [3, 4, 6, 16];

/** Steps in a turn of the loop: its own instructions should not count. */
const STEPS_PER_TURN = [4, 8];

/** Bytes of each of two buffers, which no cache holds, as far as the device's limit allows. */
const COPIED_BYTES = 128 * 2 ** 20;

/** Workgroups of a dispatch: enough for every core or multiprocessor, many times over on a GPU. */
function workgroupsOf({ target }: Gpu): number {
  return target.isSoftware ? 256 : 32_768;
}

/**
 * Measures both. Takes a second or so, mostly for compiling kernels. The device should be idle. Returns `undefined` where a kernel
 * is too fast for the clock: without timestamps, a wait for the device may take as long.
 */
export async function measureCeilings(gpu: Gpu, rounds = 3): Promise<Ceilings | undefined> {
  const flops = await measureMultiplyAdds(gpu, rounds);
  const bytes = await measureCopy(gpu, rounds);
  return Number.isFinite(flops) && Number.isFinite(bytes) ? { flops, bytes } : undefined;
}

/** Returns the operations a second of the fastest of some kernels that keep everything in registers; infinity for no time. */
export async function measureMultiplyAdds(gpu: Gpu, rounds: number): Promise<number> {
  using fastest = await compileMultiplyAdds(gpu, rounds);
  return fastest.flops;
}

/** A kernel that multiplies and adds, and loads nothing. */
export interface MultiplyAdds extends Disposable {
  /** Operations a second that were measured; a multiply-add counts two. Infinity where the clock did not move. */
  flops: number;
  /** Operations of a workgroup. */
  operations: number;
  /** Workgroups that were measured: enough for every core or multiprocessor, many times over on a GPU. */
  workgroups: number;
  /** Encodes a dispatch of so many workgroups, at most as many as were measured. */
  encode(pass: GPUComputePassEncoder, workgroups: number): void;
}

/** Returns the fastest of some kernels that keep everything in registers. */
export async function compileMultiplyAdds(gpu: Gpu, rounds: number): Promise<MultiplyAdds> {
  const { device } = gpu;
  const workgroups = workgroupsOf(gpu);
  const buffer = device.createBuffer({ size: LANES * workgroups * 16, usage: GPUBufferUsage.STORAGE });
  const kernels = CHAINS.flatMap((chains) =>
    STEPS_PER_TURN.map((perTurn) => ({
      operations: multiplyAddOperations(chains),
      kernel: compileKernel(gpu, multiplyAddSource(chains, perTurn), [buffer]),
    }))
  );
  let fastest: Omit<MultiplyAdds, typeof Symbol.dispose> | undefined;
  try {
    for (const { operations, kernel } of kernels) {
      const flops = workgroups * operations / await timeKernel(gpu, kernel, workgroups, rounds);
      if (flops > (fastest?.flops ?? 0)) fastest = { flops, operations, workgroups, encode: kernel };
    }
  } catch (error) {
    buffer.destroy();
    throw error;
  }
  return { ...fastest!, [Symbol.dispose]: () => buffer.destroy() };
}

/**
 * Returns the operations of a workgroup of {@linkcode multiplyAddSource}, however many steps are in a turn; a
 * multiply-add counts two.
 *
 * @param chains accumulators of an invocation, each of four numbers
 */
export function multiplyAddOperations(chains: number): number {
  return LANES * STEPS * chains * 4 * 2;
}

/**
 * Returns the WGSL of a kernel that multiplies and adds.
 *
 * @param chains accumulators of an invocation
 * @param perTurn steps in a turn of the loop
 */
export function multiplyAddSource(chains: number, perTurn: number): string {
  const all = range(chains);
  const step = all.map((i) => `a${i} = a${i} * scale + shift;`).join(" ");
  return `@group(0) @binding(0) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(${LANES})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let scale = vec4<f32>(1.0 - f32(id.x) * 1e-9);
  let shift = vec4<f32>(f32(id.x) * 1e-9);
  ${all.map((i) => `var a${i} = vec4<f32>(f32(id.x + ${i}u));`).join(" ")}
  for (var turn = 0u; turn < ${STEPS / perTurn}u; turn++) { ${step.repeat(perTurn)} }
  y[id.x] = ${all.map((i) => `a${i}`).join(" + ")};
}`;
}

/**
 * Returns the bytes a second of the faster of two copies of a buffer, by a kernel and by the driver. Software adapters load
 * from storage buffers one number at a time, which is far below what memory gives.
 */
export async function measureCopy(gpu: Gpu, rounds: number): Promise<number> {
  const { device, target } = gpu;
  const workgroups = 32_768;
  const invocations = LANES * workgroups;
  const each = Math.floor(Math.min(COPIED_BYTES, target.maxStorageBufferBindingSize) / 16 / invocations);
  const size = 16 * each * invocations;
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const [x, y] = [1, 2].map(() => device.createBuffer({ size, usage }));
  try {
    const code = `@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(${LANES})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  ${range(each).map((i) => `y[id.x + ${i * invocations}u] = x[id.x + ${i * invocations}u];`).join("\n  ")}
}`;
    const copy = {
      bytes: 2 * size,
      encode: (encoder: GPUCommandEncoder) => encoder.copyBufferToBuffer(x, 0, y, 0, size),
    };
    return 2 * size / await timeKernel(gpu, compileKernel(gpu, code, [x, y]), workgroups, rounds, copy);
  } finally {
    x.destroy();
    y.destroy();
  }
}

/** Returns what encodes a kernel's dispatch of so many workgroups. */
function compileKernel({ device }: Gpu, code: string, buffers: readonly GPUBuffer[]): MultiplyAdds["encode"] {
  const pipeline = device.createComputePipeline({
    layout: "auto",
    compute: { module: device.createShaderModule({ code }), entryPoint: "main" },
  });
  const bindGroup = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  return (pass, workgroups) => {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    pass.dispatchWorkgroups(workgroups);
  };
}

/** Returns the seconds that a kernel takes, or the copy that does the same, by the fastest of some rounds. */
async function timeKernel(
  gpu: Gpu,
  kernel: MultiplyAdds["encode"],
  workgroups: number,
  rounds: number,
  copy?: TimedDispatch["copy"],
): Promise<number> {
  const encode = (pass: GPUComputePassEncoder) => kernel(pass, workgroups);
  // The first one compiles the kernel, and touches the memory for the first time.
  const dispatch = { label: "ceiling", flops: 0, bytes: 0, encode, copy };
  let best = Infinity;
  for (let round = 0; round <= rounds; round++) {
    const times = await timeDispatches(gpu, [dispatch], 1);
    if (round > 0) best = Math.min(best, ...times.map(({ milliseconds }) => milliseconds));
  }
  return best / 1000;
}
