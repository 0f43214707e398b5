import { assertEquals } from "@std/assert";
import { Graph } from "../../../kernels/graph.ts";
import { padRows } from "../../../kernels/layout.ts";
import { crossEntropy } from "../../../kernels/ops/cross_entropy/cross_entropy.ts";
import { Program } from "../../../kernels/program.ts";
import { checkOp, randomValues, withGpu } from "../check_op.ts";

/** `torch.nn.CrossEntropyLoss` over the first `count` rows. */
function reference(
  classes: number,
  count: number,
  z: Float64Array,
  labels: ArrayLike<number>,
): Float64Array {
  let loss = 0;
  for (let row = 0; row < count; row++) {
    const logits = [...z.subarray(row * classes, (row + 1) * classes)];
    const top = Math.max(...logits);
    const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0)) + top;
    loss += (total - logits[labels[row]]) / count;
  }
  return Float64Array.of(loss);
}

for (const [rows, count, classes] of [[1, 1, 1], [3, 3, 2], [5, 4, 10], [7, 1, 271], [2, 2, 1000]]) {
  Deno.test(`crossEntropy of ${count} of ${rows} rows of ${classes} classes equals a float64 loop, and so does its gradient`, () =>
    withGpu((gpu) =>
      checkOp(gpu, {
        loss: true,
        inputs: [
          { shape: [rows, 1, 1, classes], values: randomValues("z", [rows, classes], 4), gradient: true },
          { shape: [rows], values: Uint32Array.from({ length: rows }, (_, row) => (row * 7 + 1) % classes) },
          { shape: [1], values: Uint32Array.of(count) },
        ],
        build: (graph, inputs) => graph.applyAll(crossEntropy, inputs, {})[0],
        reference: (z, labels) => reference(classes, count, z, labels),
      })
    ));
}

Deno.test("crossEntropy ranks each label, equal logits by class, and bears large ones", () =>
  withGpu(async (gpu) => {
    const graph = new Graph();
    const z = graph.source("z", [4, 1, 1, 6]);
    const labels = graph.source("labels", [4], "u32");
    const count = graph.source("count", [1], "u32");
    const [loss, state] = graph.applyAll(crossEntropy, [z, labels, count], {});
    using program = await Program.compile(gpu, {
      label: "test",
      graph,
      inputs: [z, labels, count],
      outputs: [loss, state],
    });
    const rows = [
      [5, 4, 3, 2, 1, 0], // the last
      [1, 1, 1, 1, 1, 1], // the third of equals
      [-1, -2, -3, -4, -5, -6], // the first; pad lanes of 0 are larger, and are no classes
      [200, -200, 0, 0, 0, 0],
    ];
    program.write(z, padRows(rows.flat(), [4, 1, 1, 6]));
    program.write(labels, Uint32Array.of(5, 2, 0, 1));
    program.write(count, Uint32Array.of(4));
    program.run();
    const found = await program.read(state);
    assertEquals([0, 1, 2, 3].map((row) => found[row * 4 + 3]), [5, 2, 0, 5]);
    assertEquals(found[3 * 4 + 2], 400);
  }));
