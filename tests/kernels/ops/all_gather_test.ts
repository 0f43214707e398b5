import { assertEquals } from "@std/assert";
import { Graph } from "../../../kernels/graph.ts";
import { padRows, unpadRows } from "../../../kernels/layout.ts";
import { affine } from "../../../kernels/ops/affine/affine.ts";
import { allGather } from "../../../kernels/ops/all_gather/all_gather.ts";
import { Program, runSegments } from "../../../kernels/program.ts";
import { randomValues, withGpu } from "../check_op.ts";
import { gatherOnOne } from "../devices.ts";

Deno.test("allGather gives every device the rows of all, in their order, in one stop of the run", () =>
  withGpu(async (gpu) => {
    const [devices, n, d] = [3, 2, 5];
    const values = randomValues("x", [devices, n, d]);
    const found = await Promise.all(
      gatherOnOne(gpu, devices).map(async (gather, index) => {
        const graph = new Graph();
        const x = graph.source("x", [n, 1, 1, d]);
        const all = graph.apply(allGather, [graph.apply(affine, [x], { scale: 2 })], { devices });
        const y = graph.apply(affine, [all], { scale: 0.5 });
        using program = await Program.compile(gpu, { label: "test", graph, inputs: [x], outputs: [y] });
        program.write(x, padRows(values.subarray(index * n * d, (index + 1) * n * d), [n, d]));
        await runSegments(gpu, [program], gather);
        assertEquals(program.segments.length, 2);
        return unpadRows(await program.read(y), y.shape);
      }),
    );
    assertEquals(found, Array.from({ length: devices }, () => values));
  }));
