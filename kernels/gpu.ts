/**
 * The adapter, the device, their limits and their errors: the only file that asks the system for a GPU.
 *
 * Deno prefers the OpenGL adapter over the Vulkan one where both exist, and the choice is fixed by the first
 * `navigator.gpu` call of a thread. {@linkcode openGpu} therefore asks for Vulkan on Linux unless
 * `DENO_WEBGPU_BACKEND` says otherwise.
 */

import { UserError } from "../errors.ts";
import { GPU_TUNING, softwareTuning, type Tuning } from "./tuning/tuning.ts";
import { tilesWithin } from "./tuning/workgroup_memory.ts";

/** What a person wants to know of the adapter in use. */
export interface AdapterDescription {
  /** Name as the driver gives it, e.g. `llvmpipe (LLVM 15.0.6, 256 bits)`. */
  name: string;
  /** `true` for software adapters, where workgroup memory and storage-buffer loads are dear. */
  isSoftware: boolean;
  /** Bytes that a kernel may see of one buffer. */
  maxBindingBytes: number;
  /** Whether kernels can keep float16 in buffers (`shader-f16`), which mixed precision needs. */
  hasHalf: boolean;
}

/** Device properties that kernels are chosen by. */
export interface Target {
  /** Whether it is a software adapter, which runs few threads with the CPU's vector registers. */
  readonly isSoftware: boolean;
  /** Maximum bytes of one binding, and so of one buffer here. */
  readonly maxStorageBufferBindingSize: number;
  /** Maximum texels along a side. */
  readonly maxTextureDimension2D: number;
  /** Maximum number of textures that a kernel may read operands from. */
  readonly maxStorageTexturesPerShaderStage: number;
  /** Maximum workgroups of a dispatch in one dimension. */
  readonly maxWorkgroupsPerDimension: number;
  /** Invocations that a software adapter runs in one vector register. */
  readonly vectorLanes: number;
  /** Whether it is a software adapter on which these are a subgroup: they can hand values to each other. */
  readonly hasSubgroups: boolean;
  /** Kernel tuning of the device: measured, or the defaults of its kind. */
  readonly tuning: Tuning;
  /**
   * Maximum bytes of a parameter arena. Software adapters copy what SGD reads, so smaller arenas need less memory for
   * copies.
   */
  readonly arenaBytes: number;
  /** Minimum number of workgroups to keep every core or multiprocessor busy. */
  readonly parallelism: number;
}

const SOFTWARE_ARENA_BYTES = 16 * 2 ** 20;

/** Workgroups that a GPU should have at least: some four for each of up to 144 multiprocessors, so that none waits long. */
export const GPU_PARALLELISM = 512;

/** An open device. Each GPU role owns one: buffers cannot cross Workers. */
export interface Gpu {
  readonly device: GPUDevice;
  readonly adapter: AdapterDescription;
  readonly target: Target;
  /** The pipelines that were made on the device, by the text of their kernels. */
  readonly pipelines: Map<string, GPUComputePipeline>;
  /**
   * Awaits something that the device brings about. Rejects with the first error that the device reports outside an error
   * scope, and when it is lost, before or meanwhile.
   */
  wait<T>(promise: Promise<T>): Promise<T>;
  /** Throws the error that {@linkcode wait} would reject with, if there is one already. */
  check(): void;
  /** Bytes of the buffers and textures that there are now. */
  readonly allocatedBytes: number;
  /** What people are told to do where its memory does not suffice: a sentence without its full stop. */
  readonly memoryAdvice: string;
  /** Destroys the device; must be called before its Worker closes (terminating a live device can crash). */
  destroy(): void;
}

/** No adapter: says what to install. */
export class NoAdapterError extends UserError {
  override name = "NoAdapterError";
  constructor() {
    super(
      "no WebGPU adapter was found. A GPU needs its Vulkan driver (on Linux), and a machine without a GPU can use " +
        "Debian's software Vulkan: `apt-get install libvulkan1 mesa-vulkan-drivers`, or `./seed --deno`, " +
        "which does that." +
        (Deno.env.get("DENO_WEBGPU_BACKEND") === undefined
          ? ""
          : ` DENO_WEBGPU_BACKEND is set to "${
            Deno.env.get("DENO_WEBGPU_BACKEND")
          }"; unset it to let Vulkan be tried.`),
    );
  }
}

/** The device failed: a validation error (a bug), or it was lost. */
export class GpuError extends Error {
  override name = "GpuError";
}

/** The device is gone: its driver was reset, or the machine took it away. Another one may be had. */
export class DeviceLostError extends GpuError {
  override name = "DeviceLostError";
}

/** The device has no memory left. It would not have it the next time either. */
export class DeviceMemoryError extends UserError {
  override name = "DeviceMemoryError";

  /**
   * @param whose label of what asked for it
   * @param found what the device says
   * @param advice what needs less; see {@linkcode Gpu.memoryAdvice}
   */
  constructor(whose: string, found: string, advice: string) {
    super(`${whose}: the device is out of memory: ${found}. ${advice}`);
  }
}

/** What needs less memory in most commands. */
const USUAL_MEMORY_ADVICE = "Use a smaller --batch-size; in training also --checkpoint-activations, or --amp";

let foundHardware = false;

/** Whether an adapter that this thread has asked for is hardware: its driver has to end before the process does. */
export function hasHardware(): boolean {
  return foundHardware;
}

function preferVulkan(): void {
  if (Deno.build.os !== "linux") return;
  if (Deno.env.get("DENO_WEBGPU_BACKEND") === undefined) Deno.env.set("DENO_WEBGPU_BACKEND", "vulkan");
  // Mesa complains on standard error where this is missing, though nothing is ever put there.
  if (Deno.env.get("XDG_RUNTIME_DIR") === undefined) Deno.env.set("XDG_RUNTIME_DIR", "/tmp");
}

/** Asks for the adapter only, e.g. to print its name. Throws {@linkcode NoAdapterError}. */
export async function describeAdapter(): Promise<AdapterDescription> {
  return describe(await requestAdapter());
}

/**
 * Returns the numbers of the adapter's vendor and device as `VENDOR:DEVICE` in hexadecimal, with its name; only Vulkan has numbers.
 *
 * @throws {NoAdapterError}
 */
export async function identifyAdapter(): Promise<{ id: string; name: string }> {
  const adapter = await requestAdapter();
  const { vendor, device } = adapter.info;
  return {
    id: [vendor, device].map((number) => Number(number).toString(16)).join(":"),
    ...describe(adapter),
  };
}

async function requestAdapter(): Promise<GPUAdapter> {
  preferVulkan();
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  if (adapter === null) throw new NoAdapterError();
  return adapter;
}

/** Invocations in 256 bits, which software adapters are taken to compute with that do not say otherwise. */
const USUAL_LANES = 8;

/** Invocations that a software adapter runs in one vector register, from its name, e.g. `llvmpipe (LLVM 15.0.6, 256 bits)`. */
function vectorLanes(name: string): number {
  const bits = Number(/\b(\d+) bits\b/.exec(name)?.[1]);
  return bits >= 128 ? bits / 32 : USUAL_LANES;
}

const HALF: GPUFeatureName = "shader-f16";

function describe(adapter: GPUAdapter): AdapterDescription {
  const { description, device, vendor, isFallbackAdapter } = adapter.info;
  // Numbers stand for the other two in wgpu's Vulkan backend.
  const name = [description, device, vendor].find((text) => text !== "") ?? "unnamed adapter";
  const isSoftware = isFallbackAdapter ||
    /llvmpipe|swiftshader|lavapipe|software/i.test(`${description} ${device}`);
  foundHardware ||= !isSoftware;
  const { maxStorageBufferBindingSize, maxBufferSize } = adapter.limits;
  return {
    name,
    isSoftware,
    maxBindingBytes: Math.min(maxStorageBufferBindingSize, maxBufferSize),
    hasHalf: adapter.features.has(HALF),
  };
}

/** Bytes of a texel of the formats that are in use. */
const TEXEL_BYTES: Readonly<Partial<Record<GPUTextureFormat, number>>> = { rgba32float: 16, rgba16float: 8 };

/** Counts what is allocated on a device, which WebGPU does not tell. */
function countMemory(
  device: GPUDevice,
): { readonly bytes: number; readonly live: Iterable<GPUBuffer | GPUTexture> } {
  const memory = { bytes: 0, live: new Set<GPUBuffer | GPUTexture>() };
  const count = <Resource extends GPUBuffer | GPUTexture>(resource: Resource, bytes: number): Resource => {
    memory.bytes += bytes;
    memory.live.add(resource);
    const destroy = resource.destroy.bind(resource);
    resource.destroy = () => {
      memory.bytes -= bytes;
      bytes = 0; // it may be destroyed twice
      memory.live.delete(resource);
      destroy();
    };
    return resource;
  };
  const createBuffer = device.createBuffer.bind(device);
  const createTexture = device.createTexture.bind(device);
  device.createBuffer = (descriptor) => count(createBuffer(descriptor), descriptor.size);
  device.createTexture = (descriptor) => {
    const texture = createTexture(descriptor);
    const { width, height, depthOrArrayLayers, format } = texture;
    return count(texture, width * height * depthOrArrayLayers * (TEXEL_BYTES[format] ?? 4));
  };
  return memory;
}

/** A device, and who hears of its end. */
interface OpenDevice {
  readonly device: GPUDevice;
  readonly adapter: AdapterDescription;
  /** See {@linkcode Gpu.pipelines}. */
  readonly pipelines: Map<string, GPUComputePipeline>;
  /** Invocations of a subgroup, where kernels may use subgroups. */
  readonly subgroupLanes: number | undefined;
  /** Those who use it now. */
  readonly users: Set<(failure: DeviceFailure) => void>;
  /** What failed first. */
  failure?: DeviceFailure;
}

/** What a device says of itself when it fails. */
interface DeviceFailure {
  message: string;
  kind: "invalid" | "lost" | "out of memory";
}

const SUBGROUPS: GPUFeatureName = "subgroups";

/** A device of a software adapter has subgroups where these are to be had: no list of features has them, one must ask. */
async function requestDevice(
  adapter: GPUAdapter,
  { isSoftware }: AdapterDescription,
  descriptor: GPUDeviceDescriptor,
): Promise<GPUDevice> {
  const { requiredFeatures = [] } = descriptor;
  if (!isSoftware) return await adapter.requestDevice(descriptor);
  try {
    return await adapter.requestDevice({ ...descriptor, requiredFeatures: [...requiredFeatures, SUBGROUPS] });
  } catch {
    return await adapter.requestDevice(descriptor);
  }
}

/** What kernels write of subgroups. WGSL's final form wants `enable subgroups;` before it, which Deno 2.9 does not know. */
const SUBGROUP_TEXT = `@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@compute @workgroup_size(4)
fn main(@builtin(local_invocation_index) lane: u32) {
  if (subgroupAny(lane == 0u)) { x[lane] = subgroupBroadcast(x[lane], 1u); }
}`;

/** Invocations of a subgroup; `undefined` where there are none, they differ in size, or kernels would not compile. */
async function subgroupLanesOf({ info }: GPUAdapter, device: GPUDevice): Promise<number | undefined> {
  if (!device.features.has(SUBGROUPS) || info.subgroupMinSize !== info.subgroupMaxSize) return undefined;
  device.pushErrorScope("validation");
  device.createShaderModule({ code: SUBGROUP_TEXT });
  return await device.popErrorScope() === null ? info.subgroupMinSize : undefined;
}

async function openDevice(label: string): Promise<OpenDevice> {
  const adapter = await requestAdapter();
  const requiredLimits: Record<string, number> = {};
  for (
    const limit of [
      "maxBufferSize",
      "maxStorageBufferBindingSize",
      "maxStorageBuffersPerShaderStage",
      "maxComputeWorkgroupStorageSize",
      "maxComputeInvocationsPerWorkgroup",
      "maxComputeWorkgroupSizeX",
      "maxComputeWorkgroupSizeY",
      "maxTextureDimension2D",
      "maxStorageTexturesPerShaderStage",
    ] as const
  ) requiredLimits[limit] = adapter.limits[limit];
  const useful: GPUFeatureName[] = ["timestamp-query", HALF];
  const requiredFeatures = useful.filter((feature) => adapter.features.has(feature));
  const description = describe(adapter);
  const device = await requestDevice(adapter, description, { label, requiredLimits, requiredFeatures });
  const open: OpenDevice = {
    device,
    adapter: description,
    pipelines: new Map(),
    subgroupLanes: await subgroupLanesOf(adapter, device),
    users: new Set(),
  };
  const fail = (message: string, kind: DeviceFailure["kind"]) => {
    open.failure ??= { message, kind };
    for (const hear of open.users) hear(open.failure);
  };
  device.addEventListener("uncapturederror", (event) => {
    event.preventDefault();
    const { error } = event as GPUUncapturedErrorEvent;
    fail(error.message, error instanceof GPUOutOfMemoryError ? "out of memory" : "invalid");
  });
  device.lost.then((info) => fail(`the GPU device was lost (${info.reason}): ${info.message}`, "lost"));
  return open;
}

let isShared = false;
let shared: Promise<OpenDevice> | undefined;

/**
 * Lets all that open a device on this thread from now on have the same one, so that a kernel is compiled once for all of them, and
 * once for those that come later. It stays open until the thread ends.
 */
export function shareDevice(shares: boolean): void {
  isShared = shares;
}

/** Whether all that open a device on this thread have the same one. */
export function isOneDevice(): boolean {
  return isShared;
}

async function sharedDevice(): Promise<OpenDevice> {
  const opening = shared ??= openDevice("shared");
  const open = await opening;
  if (open.failure === undefined) return open;
  // It broke under those who had it; somebody else may have opened another since.
  if (shared === opening) shared = undefined;
  return await sharedDevice();
}

/** A device, or its queue, as one of those who use it sees it, who can change its methods for themselves alone. */
export function viewOf<Viewed extends GPUDevice | GPUQueue>(object: Viewed): Viewed {
  const own: Record<PropertyKey, unknown> = {};
  return new Proxy(object, {
    get(target, key) {
      if (key in own) return own[key];
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
    set(_target, key, value) {
      own[key] = value;
      return true;
    },
  });
}

/**
 * Opens a device with every limit and every useful feature that the adapter has.
 *
 * @param label names the owner in device errors, e.g. `student_trainer`
 * @param tuning what was measured on this adapter; what is usual of its kind where it is left out
 * @param memoryAdvice see {@linkcode Gpu.memoryAdvice}; a smaller batch where it is left out
 * @throws {NoAdapterError} where there is no adapter
 */
export async function openGpu(
  label: string,
  tuning?: Tuning | null,
  memoryAdvice: string = USUAL_MEMORY_ADVICE,
): Promise<Gpu> {
  const shares = isShared;
  const open = shares ? await sharedDevice() : await openDevice(label);
  const { adapter, pipelines, users } = open;
  const device = shares ? viewOf(open.device) : open.device;
  const memory = countMemory(device);
  let failure: GpuError | DeviceMemoryError | undefined;
  // One promise for all to race against would remember every one of them for as long as the device lives.
  const waiting = new Set<(error: Error) => void>();
  const fail = ({ message, kind }: DeviceFailure) => {
    failure ??= kind === "out of memory"
      ? new DeviceMemoryError(label, message, memoryAdvice)
      : new (kind === "lost" ? DeviceLostError : GpuError)(`${label}: ${message}`);
    for (const reject of waiting) reject(failure);
  };
  users.add(fail);

  const { isSoftware, maxBindingBytes: maxStorageBufferBindingSize } = adapter;
  const hasSubgroups = open.subgroupLanes !== undefined;
  const lanes = open.subgroupLanes ?? vectorLanes(adapter.name);
  const { maxTextureDimension2D, maxStorageTexturesPerShaderStage } = device.limits;
  return {
    device,
    adapter,
    pipelines,
    memoryAdvice,
    target: {
      isSoftware,
      maxStorageBufferBindingSize,
      maxTextureDimension2D,
      maxStorageTexturesPerShaderStage,
      maxWorkgroupsPerDimension: device.limits.maxComputeWorkgroupsPerDimension,
      vectorLanes: lanes,
      hasSubgroups,
      tuning: tilesWithin(
        tuning ?? (isSoftware ? softwareTuning(lanes, hasSubgroups) : GPU_TUNING),
        device.limits.maxComputeWorkgroupStorageSize,
      ),
      arenaBytes: isSoftware ? SOFTWARE_ARENA_BYTES : maxStorageBufferBindingSize,
      parallelism: isSoftware ? 2 * (navigator.hardwareConcurrency || 2) : GPU_PARALLELISM,
    },
    async wait(promise) {
      if (failure !== undefined) {
        promise.catch(() => {}); // it fails of the same
        throw failure;
      }
      const { promise: broken, reject } = Promise.withResolvers<never>();
      waiting.add(reject);
      try {
        return await Promise.race([promise, broken]);
      } catch (error) {
        // What the device says of itself comes a turn after what it led to.
        await new Promise((resolve) => setTimeout(resolve));
        throw failure ?? error;
      } finally {
        waiting.delete(reject);
      }
    },
    check() {
      if (failure !== undefined) throw failure;
    },
    get allocatedBytes() {
      return memory.bytes;
    },
    destroy() {
      users.delete(fail);
      if (shares) { for (const resource of memory.live) resource.destroy(); }
      else device.destroy();
    },
  };
}
