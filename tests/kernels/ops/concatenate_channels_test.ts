import { assertThrows } from "@std/assert";
import { Graph } from "../../../kernels/graph.ts";
import {
  concatenateChannels,
  sliceChannels,
} from "../../../kernels/ops/concatenate_channels/concatenate_channels.ts";
import { checkOp, randomValues, withGpu } from "../check_op.ts";

/** Rows of `channels` values each, side by side. */
function join(parts: readonly Float64Array[], channels: readonly number[]): Float64Array {
  const rows = parts[0].length / channels[0];
  return Float64Array.from(
    Array.from(
      { length: rows },
      (_, row) => parts.flatMap((part, i) => [...part.subarray(row * channels[i], (row + 1) * channels[i])]),
    ).flat(),
  );
}

Deno.test("concatenateChannels() puts tensors side by side, and gives each its part of the gradient", async () => {
  await withGpu(async (gpu) => {
    for (const channels of [[4, 8], [4, 1], [8, 4, 3], [12], [16, 8, 5]]) {
      for (const outer of [[2, 3, 5], [1, 1, 1], [33]]) {
        await checkOp(gpu, {
          inputs: channels.map((count, i) => ({
            shape: [...outer, count],
            values: randomValues(`part ${i}`, [...outer, count]),
            gradient: true,
          })),
          build: (graph, parts) => graph.apply(concatenateChannels, parts, {}),
          reference: (...parts) => join(parts, channels),
          tolerance: 1e-9, // of the differences; the copies are exact
        });
      }
    }
  });
});

Deno.test("sliceChannels() takes channels out of the middle and the end", async () => {
  await withGpu(async (gpu) => {
    for (const [channels, first, count] of [[12, 4, 4], [12, 0, 12], [7, 4, 3], [9, 0, 8], [1, 0, 1]]) {
      const shape = [2, 3, 1, channels];
      await checkOp(gpu, {
        inputs: [{ shape, values: randomValues("x", shape) }],
        build: (graph, [x]) => graph.apply(sliceChannels, [x], { first, count }),
        reference: (x) => x.filter((_, i) => i % channels >= first && i % channels < first + count),
        tolerance: 0,
      });
    }
  });
});

Deno.test("channels that do not lie in whole vec4s cannot be joined or cut", () => {
  const graph = new Graph();
  const [a, b] = [graph.source("a", [2, 3]), graph.source("b", [2, 4])];
  assertThrows(() => graph.apply(concatenateChannels, [a, b], {}), Error, "multiple of four");
  assertThrows(
    () => graph.apply(concatenateChannels, [b, graph.source("c", [1, 4])], {}),
    Error,
    "differ in their channels alone",
  );
  for (const [first, count] of [[1, 3], [0, 2], [4, 4]]) {
    assertThrows(() => graph.apply(sliceChannels, [b], { first, count }), Error, "cut at multiples of four");
  }
});
