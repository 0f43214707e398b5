import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { UserError } from "../../errors.ts";
import { DeviceMemoryError, GpuError, openGpu } from "../../kernels/gpu.ts";
import { Graph, type Op } from "../../kernels/graph.ts";
import { add } from "../../kernels/ops/add/add.ts";
import { channelSum } from "../../kernels/ops/channel_sum/channel_sum.ts";
import { conv2d } from "../../kernels/ops/conv2d/conv2d.ts";
import { Program } from "../../kernels/program.ts";
import { timestampPeriod } from "../../kernels/timestamps.ts";
import { storage, uniforms } from "../../kernels/wgsl.ts";
import { withGpu, withLimits } from "./check_op.ts";
import { countStampedDispatches, withoutTimestamps } from "./clocks.ts";

Deno.test("Program drops nodes that nothing needs", () =>
  withGpu(async (gpu) => {
    const graph = new Graph();
    const x = graph.source("x", [2, 4]);
    const needed = graph.apply(add, [x, x], {});
    graph.apply(channelSum, [needed], {});
    using program = await Program.compile(gpu, { label: "test", graph, inputs: [x], outputs: [needed] });
    assertEquals(program.dispatches, 1);
    program.write(x, Float32Array.from({ length: 8 }, (_, i) => i));
    program.run();
    assertEquals([...await program.read(needed)], [0, 2, 4, 6, 8, 10, 12, 14]);
  }));

Deno.test("Program has each of its kernels compiled ahead, once, and computes nothing with it", () =>
  withGpu(async (gpu) => {
    const adding = (name: string, value: number): Op<Record<never, never>> => ({
      name,
      shape: ([x]) => [{ shape: x.shape }],
      lower: (lowering, { inputs, outputs }) =>
        lowering.dispatch({
          label: name,
          source: "@group(0) @binding(0) var<uniform> factor: u32;" + storage(1, "x") +
            storage(2, "y", "read_write") +
            `@compute @workgroup_size(1) fn main() { y[0] = x[0] + vec4<f32>( f32(factor) * ${value}.0); }`,
          bindings: [...inputs, ...outputs],
          uniforms: uniforms(1),
          workgroups: [1, 1, 1],
        }),
    });
    const [first, second] = [adding("compiled ahead", 3), adding("compiled ahead too", 5)];
    const graph = new Graph();
    const x = graph.source("x", [4]);
    const y = graph.apply(second, [graph.apply(first, [graph.apply(first, [x], {})], {})], {});
    const options = { label: "test", graph, inputs: [x], outputs: [y] };
    const dispatched: unknown[][] = [];
    const { dispatchWorkgroups } = GPUComputePassEncoder.prototype;
    GPUComputePassEncoder.prototype.dispatchWorkgroups = function (...counts) {
      dispatched.push(counts);
      dispatchWorkgroups.apply(this, counts);
    };
    try {
      using program = await Program.compile(gpu, options);
      assertEquals(dispatched, [[0, 0, 0], [0, 0, 0]]);
      assertEquals([...await program.read(y)], [0, 0, 0, 0]);
      program.run();
      assertEquals(dispatched.length, 5);
      assertEquals([...await program.read(y)], [11, 11, 11, 11]);
      using _again = await Program.compile(gpu, options);
      assertEquals(dispatched.length, 5);
    } finally {
      GPUComputePassEncoder.prototype.dispatchWorkgroups = dispatchWorkgroups;
    }
  }));

Deno.test("Program that cannot be made since the device failed before says of what the device failed", async () => {
  const gpu = await openGpu("test");
  const graph = new Graph();
  const x = graph.source("x", [2, 4]);
  const y = graph.apply(add, [x, x], {});
  // A buffer that is not valid, as one for which the device has no memory.
  const buffer = gpu.device.createBuffer({
    size: 32,
    usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE,
  });
  const compile = () =>
    Program.compile(gpu, {
      ...{ label: "adds", graph, inputs: [], outputs: [y] },
      bound: new Map([[x, { buffer, offset: 0, bytes: 32 }]]),
    });
  const error = new GPUOutOfMemoryError("no more");
  gpu.device.dispatchEvent(new GPUUncapturedErrorEvent("uncapturederror", { error }));
  await assertRejects(compile, DeviceMemoryError, "test: the device is out of memory: no more");
  gpu.destroy();
});

Deno.test("Program refuses an op that makes more tensors than there are numbers for", () =>
  withGpu(async (gpu) => {
    const wasteful: Op<Record<never, never>> = {
      name: "wasteful",
      shape: ([x]) => [{ shape: x.shape }],
      lower(lowering, { inputs: [x] }) {
        for (let i = 0; i <= 2 ** 16; i++) lowering.rows(x, 0, 1);
      },
    };
    const graph = new Graph();
    const x = graph.source("x", [2, 64]);
    const y = graph.apply(wasteful, [x], {});
    await assertRejects(
      () => Program.compile(gpu, { label: "test", graph, inputs: [x], outputs: [y] }),
      Error,
      "wasteful makes more than 65536 temporaries and views",
    );
  }));

Deno.test("Program refuses input of the wrong size, and tensors from nowhere", () =>
  withGpu(async (gpu) => {
    const graph = new Graph();
    const x = graph.source("x", [2, 4]);
    const y = graph.source("forgotten", [2, 4]);
    const sum = graph.apply(add, [x, y], {});
    using program = await Program.compile(gpu, { label: "test", graph, inputs: [x, y], outputs: [sum] });
    assertThrows(() => program.write(x, new Float32Array(7)), Error, "x holds 32 bytes, was given 28");
    await assertRejects(
      () => Program.compile(gpu, { label: "test", graph, inputs: [x], outputs: [sum] }),
      Error,
      "add reads forgotten, which is neither an input nor bound",
    );
  }));

Deno.test("Program refuses a kernel with more buffers than the adapter binds", () =>
  withGpu(async (gpu) => {
    const graph = new Graph();
    const [x, y] = ["x", "y"].map((name) => graph.source(name, [2, 4]));
    const options = { label: "test", graph, inputs: [x, y], outputs: [graph.apply(add, [x, y], {})] };
    await assertRejects(
      () => Program.compile(withLimits(gpu, { maxStorageBuffersPerShaderStage: 2 }), options),
      UserError,
      `test: the kernel "add" needs 3 storage buffers, but this adapter (${gpu.adapter.name}) binds at most 2`,
    );
    using _ = await Program.compile(withLimits(gpu, { maxStorageBuffersPerShaderStage: 3 }), options);
  }));

Deno.test("Program names the kernel that the device refuses", () =>
  withGpu(async (gpu) => {
    const broken: Op<Record<never, never>> = {
      name: "broken",
      shape: ([x]) => [{ shape: x.shape }],
      lower(lowering, node) {
        lowering.dispatch({
          label: "broken kernel",
          source: `${storage(1, "x")}${storage(2, "y", "read_write")}
            @compute @workgroup_size(1) fn main() { nonsense }`,
          bindings: [...node.inputs, ...node.outputs],
          uniforms: uniforms(1),
          workgroups: [1, 1, 1],
        });
      },
    };
    const graph = new Graph();
    const x = graph.source("x", [4]);
    const y = graph.apply(broken, [x], {});
    const error = await assertRejects(
      () => Program.compile(gpu, { label: "test", graph, inputs: [x], outputs: [y] }),
      GpuError,
    );
    assertStringIncludes(error.message, "broken kernel");
  }));

Deno.test("Program says which tensor is too large for the device", () =>
  withGpu(async (gpu) => {
    const small = { ...gpu, target: { ...gpu.target, maxStorageBufferBindingSize: 1024 } };
    const graph = new Graph();
    const x = graph.source("views", [32, 16]);
    const y = graph.apply(add, [x, x], {});
    await assertRejects(
      () => Program.compile(small, { label: "student", graph, inputs: [x], outputs: [y] }),
      UserError,
      "student: views [32,16] takes 2048 bytes",
    );
  }));

for (const stamps of [true, false]) {
  Deno.test(`Program.profile() times every dispatch, ${stamps ? "by timestamps" : "by waiting"}`, () =>
    withGpu(async (gpu) => {
      if (stamps && await timestampPeriod(gpu) === undefined) return;
      const graph = new Graph();
      const x = graph.source("x", [8, 16, 16, 32]);
      const w = graph.source("w", [3, 3, 32, 32]);
      const y = graph.apply(conv2d, [x, w], { stride: 1, padTop: 1, padLeft: 1, padBottom: 1, padRight: 1 });
      const own = stamps ? gpu : withoutTimestamps(gpu);
      using program = await Program.compile(own, { label: "test", graph, inputs: [x, w], outputs: [y] });
      program.write(x, new Float32Array(8 * 16 * 16 * 32).fill(0.5));
      program.write(w, new Float32Array(9 * 32 * 32).fill(0.25));
      program.run();
      const before = await program.read(y);
      using dispatches = countStampedDispatches();
      const times = await program.profile();
      const isStamped = dispatches.counts.length > 0;
      assertEquals([isStamped, dispatches.counts.includes(0)], [stamps, false]);
      const isTextured = gpu.target.isSoftware;
      assertEquals(times.map(({ label }) => label), [...isTextured ? ["copy to texture"] : [], "conv2d 3x3"]);
      const { milliseconds, flops, bytes } = times.at(-1)!;
      assert(stamps ? milliseconds > 0 : milliseconds >= 0); // a GPU may be as quick as a submission without work
      assertEquals(flops, 2 * 8 * 16 * 16 * 32 * 9 * 32);
      assertEquals(bytes, 4 * (2 * 8 * 16 * 16 * 32 + 9 * 32 * 32));
      assertEquals(await program.read(y), before);
    }));
}
