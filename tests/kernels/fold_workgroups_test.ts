import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { UserError } from "../../errors.ts";
import { foldWorkgroups } from "../../kernels/fold_workgroups.ts";
import { type Dispatch, Graph, type Op } from "../../kernels/graph.ts";
import { Program } from "../../kernels/program.ts";
import { LINEAR_MAIN, storage, uniforms } from "../../kernels/wgsl.ts";
import { withGpu } from "./check_op.ts";

const dispatch = (workgroups: [number, number, number], source = LINEAR_MAIN): Dispatch => ({
  label: "a kernel",
  source,
  bindings: [],
  uniforms: new Uint32Array(),
  workgroups,
});

Deno.test("foldWorkgroups leaves what fits as it is, and puts rows that do not fit behind each other", () => {
  const fits = dispatch([100, 100, 3]);
  assertEquals(foldWorkgroups(fits, 100), fits);
  const folded = foldWorkgroups(dispatch([1, 250, 4]), 100);
  assertEquals(folded.workgroups, [1, 84, 12]);
  assertStringIncludes(folded.source, "@builtin(workgroup_id) folded: vec3<u32>");
  assertStringIncludes(
    folded.source,
    "let group = vec3<u32>(folded.x, folded.y + folded.z / 4u * 84u, folded.z % 4u);",
  );
});

Deno.test("a kernel whose rows are folded writes nothing past their end", () =>
  withGpu(async (gpu) => {
    const rows = 25;
    const onePerRow: Op<Record<never, never>> = {
      name: "one_per_row",
      shape: ([x]) => [{ shape: x.shape }],
      lower: (lowering, { inputs, outputs }) =>
        lowering.dispatch({
          label: "one per row",
          source: storage(1, "x") + storage(2, "y", "read_write") +
            `@group(0) @binding(0) var<uniform> shift: u32;
            @compute @workgroup_size(1) fn main(@builtin(workgroup_id) group: vec3<u32>) {
              y[group.y] = x[group.y] + f32(shift);
            }`,
          bindings: [...inputs, ...outputs],
          uniforms: uniforms(1),
          workgroups: [1, rows, 1],
        }),
    };
    const graph = new Graph();
    const x = graph.source("x", [rows + 3, 4]); // three folds of nine rows make two too many
    const y = graph.apply(onePerRow, [x], {});
    const folding = { ...gpu, target: { ...gpu.target, maxWorkgroupsPerDimension: 10 } };
    using program = await Program.compile(folding, { label: "test", graph, inputs: [x], outputs: [y] });
    program.run();
    const expected = Array.from({ length: 4 * (rows + 3) }, (_, i) => i < 4 * rows ? 1 : 0);
    assertEquals([...await program.read(y)], expected);
  }));

Deno.test("foldWorkgroups says how a kernel that it cannot fold is to be written", () => {
  const source = "@compute @workgroup_size(1) fn main(@builtin(workgroup_id) at: vec3<u32>) {}";
  assertThrows(
    () => foldWorkgroups(dispatch([1, 250, 4], source), 100),
    Error,
    "a kernel: 250 rows of workgroups are more than this adapter allows (100) and must be folded; declare the entry point's " +
      "parameter as `@builtin(workgroup_id) group: vec3<u32>`",
  );
});

Deno.test("foldWorkgroups says what to do where nothing helps", () => {
  for (const workgroups of [[101, 1, 1], [1, 101, 51]] as [number, number, number][]) {
    assertThrows(
      () => foldWorkgroups(dispatch(workgroups), 100),
      UserError,
      `a kernel: ${
        workgroups.join(" x ")
      } workgroups are more than this adapter allows (100 in a dimension): choose a`,
    );
  }
});
