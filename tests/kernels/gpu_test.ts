import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { UserError } from "../../errors.ts";
import {
  describeAdapter,
  DeviceLostError,
  GpuError,
  openGpu,
  shareDevice,
  type Target,
} from "../../kernels/gpu.ts";
import { readBuffer } from "../../kernels/readback.ts";
import { GPU_TUNING, sameTiles, softwareTuning } from "../../kernels/tuning/tuning.ts";
import { tilesWithin } from "../../kernels/tuning/workgroup_memory.ts";
import { withGpu } from "./check_op.ts";

Deno.test("openGpu() names the adapter, and its limits are the adapter's", () =>
  withGpu((gpu) => {
    assertEquals(gpu.adapter.name.length > 1, true);
    assertEquals(gpu.target.maxStorageBufferBindingSize, gpu.device.limits.maxStorageBufferBindingSize);
    return Promise.resolve();
  }));

Deno.test("an adapter that the system calls a fallback is a software adapter, whatever its name", async () => {
  const names = ["description", "device"] as const;
  const getters = names.map((name) => Object.getOwnPropertyDescriptor(GPUAdapterInfo.prototype, name)!);
  const get = () => "Microsoft Basic Render Driver";
  for (const name of names) {
    Object.defineProperty(GPUAdapterInfo.prototype, name, { get, configurable: true });
  }
  try {
    const { name, isSoftware } = await describeAdapter();
    const { isFallbackAdapter } = (await navigator.gpu.requestAdapter())!.info;
    assertEquals([name, isSoftware], [get(), isFallbackAdapter]);
  } finally {
    for (const [i, name] of names.entries()) {
      Object.defineProperty(GPUAdapterInfo.prototype, name, getters[i]);
    }
  }
});

Deno.test("a software adapter without subgroups has a device all the same, whose products share no rows", async () => {
  const usual = ({ isSoftware, vectorLanes }: Target, hasSubgroups: boolean) =>
    isSoftware ? softwareTuning(vectorLanes, hasSubgroups) : GPU_TUNING;
  const assertTarget = (target: Target, hasSubgroups: boolean) => {
    assertEquals(target.hasSubgroups, hasSubgroups);
    assertEquals(target.tuning, usual(target, hasSubgroups));
  };
  const { requestDevice } = GPUAdapter.prototype;
  let refused = 0;
  GPUAdapter.prototype.requestDevice = function (descriptor) {
    const isAsked = descriptor?.requiredFeatures?.includes("subgroups") ?? false;
    if (!isAsked) return requestDevice.call(this, descriptor);
    refused++;
    return Promise.reject(new TypeError("requiredFeatures must be a subset of the adapter features"));
  };
  try {
    const gpu = await openGpu("test");
    assertEquals(refused, gpu.adapter.isSoftware ? 1 : 0);
    assertTarget(gpu.target, false);
    gpu.destroy();
  } finally {
    GPUAdapter.prototype.requestDevice = requestDevice;
  }
  // A later Deno may take the feature to mean another text.
  const { createShaderModule } = GPUDevice.prototype;
  GPUDevice.prototype.createShaderModule = function (descriptor) {
    const code = descriptor.code.replaceAll("subgroupAny", "subgroup_any");
    return createShaderModule.call(this, { ...descriptor, code });
  };
  try {
    const gpu = await openGpu("test");
    assertTarget(gpu.target, false);
    gpu.check();
    gpu.destroy();
  } finally {
    GPUDevice.prototype.createShaderModule = createShaderModule;
  }
  const gpu = await openGpu("test");
  assertTarget(gpu.target, gpu.adapter.isSoftware);
  gpu.destroy();
});

Deno.test("a Gpu reports what the device refuses outside an error scope", async () => {
  const gpu = await openGpu("test");
  gpu.device.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE });
  const error = await assertRejects(() => gpu.wait(new Promise(() => {})), GpuError);
  assertStringIncludes(error.message, "test: ");
  assertThrows(() => gpu.check(), GpuError);
  gpu.destroy();
});

Deno.test("a Gpu whose device is out of memory says what to do, in place of what follows from it", async () => {
  const gpu = await openGpu("test");
  const error = new GPUOutOfMemoryError("no more");
  gpu.device.dispatchEvent(new GPUUncapturedErrorEvent("uncapturederror", { error }));
  for (const promise of [new Promise(() => {}), Promise.reject(new TypeError("of it"))]) {
    await assertRejects(
      () => gpu.wait(promise),
      UserError,
      "test: the device is out of memory: no more. Use a smaller --batch-size",
    );
  }
  gpu.destroy();
  const other = await openGpu("other", null, "Use less");
  other.device.dispatchEvent(new GPUUncapturedErrorEvent("uncapturederror", { error }));
  assertThrows(() => other.check(), UserError, "other: the device is out of memory: no more. Use less");
  other.destroy();
});

Deno.test("a Gpu says that its device was lost, also to who waited before that is known", async () => {
  const gpu = await openGpu("test");
  const staging = gpu.device.createBuffer({
    size: 16,
    usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
  });
  gpu.device.destroy();
  for (let times = 0; times < 2; times++) {
    const mapped = () => gpu.wait(staging.mapAsync(GPUMapMode.READ));
    await assertRejects(mapped, DeviceLostError, "test: the GPU device was lost");
  }
});

Deno.test("readBuffer() reads a part of a buffer", () =>
  withGpu(async (gpu) => {
    const buffer = gpu.device.createBuffer({
      size: 32,
      usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    gpu.device.queue.writeBuffer(buffer, 0, Uint32Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    assertEquals([...new Uint32Array(await readBuffer(gpu, buffer, 8, 12))], [3, 4, 5]);
  }));

Deno.test("without an adapter people are told what to install", async () => {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", new URL("../../cli/commands/has_adapter.ts", import.meta.url).pathname],
    env: { DENO_WEBGPU_BACKEND: "dx12" },
  }).output();
  assertEquals(code, 4);
  const text = new TextDecoder().decode(stderr);
  assertStringIncludes(text, "apt-get install libvulkan1 mesa-vulkan-drivers");
  assertStringIncludes(text, 'DENO_WEBGPU_BACKEND is set to "dx12"');
});

Deno.test("a device tells what is allocated on it", () =>
  withGpu((gpu) => {
    const before = gpu.allocatedBytes;
    const buffer = gpu.device.createBuffer({ size: 1024, usage: GPUBufferUsage.STORAGE });
    const texture = gpu.device.createTexture({
      size: [8, 3],
      format: "rgba32float",
      usage: GPUTextureUsage.COPY_DST,
    });
    assertEquals(gpu.allocatedBytes - before, 1024 + 8 * 3 * 16);
    buffer.destroy();
    buffer.destroy();
    texture.destroy();
    assertEquals(gpu.allocatedBytes, before);
    return Promise.resolve();
  }));

Deno.test("those that share a device share its kernels, and give back what is theirs", async () => {
  shareDevice(true);
  try {
    const [one, other] = [await openGpu("one"), await openGpu("other")];
    assertEquals(one.pipelines === other.pipelines, true);
    const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const [kept, freed] = [other, one].map(({ device }) => device.createBuffer({ size: 16, usage }));
    assertEquals([one.allocatedBytes, other.allocatedBytes], [16, 16]);
    one.destroy();
    assertEquals([one.allocatedBytes, other.allocatedBytes], [0, 16]);
    other.device.queue.writeBuffer(kept, 0, Uint32Array.of(1, 2, 3, 4));
    assertEquals([...new Uint32Array(await readBuffer(other, kept))], [1, 2, 3, 4]);
    other.device.queue.writeBuffer(freed, 0, Uint32Array.of(1));
    await assertRejects(() => other.wait(new Promise(() => {})), GpuError, "destroyed");

    // Who comes after it broke gets another.
    const later = await openGpu("later");
    const buffer = later.device.createBuffer({ size: 16, usage });
    assertEquals([...new Uint32Array(await readBuffer(later, buffer))], [0, 0, 0, 0]);
    assertThrows(() => other.check(), GpuError, "other: ");
    later.destroy();
    assertEquals(one.check(), undefined); // it had gone before
  } finally {
    shareDevice(false);
  }
});

Deno.test("openGpu() leaves out tiles that need more workgroup memory than the adapter has", async () => {
  const tile = { rows: 8, columns: 8, lanesAcross: 256, lanesDown: 256, efficiency: 1 }; // 289 KiB
  const tuning = { ...GPU_TUNING, tiles: sameTiles([...GPU_TUNING.tiles.forward, tile]) };
  const gpu = await openGpu("test", tuning);
  const { maxComputeWorkgroupStorageSize: bytes } = gpu.device.limits;
  assertEquals(gpu.target.tuning, tilesWithin(GPU_TUNING, bytes));
  gpu.destroy();
});
