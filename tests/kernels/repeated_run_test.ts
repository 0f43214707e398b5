/** Runs whose commands are encoded before their inputs are there. */
import { assertEquals } from "@std/assert";
import { type Gpu, viewOf } from "../../kernels/gpu.ts";
import { Graph } from "../../kernels/graph.ts";
import { add } from "../../kernels/ops/add/add.ts";
import { Program } from "../../kernels/program.ts";
import { RepeatedRun, RepeatedRuns } from "../../kernels/repeated_run.ts";
import { withGpu } from "./check_op.ts";

/** x + y of four numbers, and how to write and read them. */
async function sum(gpu: Gpu) {
  const graph = new Graph();
  const inputs = ["x", "y"].map((name) => graph.source(name, [1, 4]));
  const output = graph.apply(add, inputs, {});
  const program = await Program.compile(gpu, { label: "sum", graph, inputs, outputs: [output] });
  return {
    program,
    range: program.rangeOf(output),
    write: (...values: number[]) =>
      inputs.forEach((input, i) => program.write(input, new Float32Array(4).fill(values[i]))),
    read: async () => [...await program.read(output)],
  };
}

/** The same device, which notes when commands are finished and submitted. */
function noting(gpu: Gpu): { gpu: Gpu; events: string[] } {
  const events: string[] = [];
  const device = viewOf(gpu.device);
  device.createCommandEncoder = (descriptor) => {
    const encoder = gpu.device.createCommandEncoder(descriptor);
    const finish = encoder.finish.bind(encoder);
    encoder.finish = () => (events.push("encode"), finish());
    return encoder;
  };
  const queue = viewOf(gpu.device.queue);
  queue.submit = (commands) => {
    events.push(`submit ${[...commands].length}`);
    gpu.device.queue.submit(commands);
  };
  Object.assign(device, { queue });
  return { gpu: { ...gpu, device }, events };
}

Deno.test("RepeatedRun has its commands before the inputs come, and what it computes is of the last inputs", () =>
  withGpu(async (gpu) => {
    const { program, range, write, read } = await sum(gpu);
    const { gpu: noted, events } = noting(gpu);
    const run = new RepeatedRun(noted, [program]);
    write(1, 2);
    run.submit();
    assertEquals(await read(), Array(4).fill(3));
    write(10, 20);
    run.submit();
    assertEquals(await read(), Array(4).fill(30));
    assertEquals(events, ["encode", "submit 1", "encode", "submit 1", "encode"]);

    // What comes after it is encoded each time anew.
    events.length = 0;
    const copy = gpu.device.createBuffer({
      label: "copy",
      size: range.bytes,
      usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    write(5, 6);
    run.submit((encoder) => encoder.copyBufferToBuffer(range.buffer, range.offset, copy, 0, range.bytes));
    write(0, 0);
    run.submit();
    assertEquals(await read(), Array(4).fill(0));
    assertEquals(events, ["encode", "submit 2", "encode", "submit 1", "encode"]);
    program.destroy();
    copy.destroy();
  }));

Deno.test("RepeatedRuns keeps the commands of each list of programs", () =>
  withGpu(async (gpu) => {
    const [a, b] = [await sum(gpu), await sum(gpu)];
    const { gpu: noted, events } = noting(gpu);
    const runs = new RepeatedRuns(noted);
    for (const [round, value] of [1, 2, 3].entries()) {
      a.write(value, 0);
      b.write(0, value);
      runs.submit([a.program]);
      assertEquals(await a.read(), Array(4).fill(value));
      assertEquals(await b.read(), Array(4).fill(round));
      runs.submit([a.program, b.program]);
      assertEquals(await b.read(), Array(4).fill(value));
    }
    // Twice for the first of each list, and once for what follows each run.
    assertEquals(events.filter((event) => event === "encode").length, 2 + 6);
    for (const { program } of [a, b]) program.destroy();
  }));
