import { assertEquals } from "@std/assert";
import { Graph, type Op } from "../../kernels/graph.ts";
import { add } from "../../kernels/ops/add/add.ts";
import { batchNorm } from "../../kernels/ops/batch_norm/batch_norm.ts";
import { dropout } from "../../kernels/ops/dropout/dropout.ts";
import { recomputeActivations } from "../../kernels/recompute.ts";

/** An op of any name on maps of pixels, whose attribute says whether it ends a block. */
const step: Op<{ ends: boolean }> = {
  name: "step",
  shape: ([x]) => [{ shape: x.shape }],
  endsBlock: ({ ends }) => ends,
  lower() {},
};

/** An op that says nothing about blocks, and has the name of one that does. */
const silent: Op<Record<never, never>> = { name: "add", shape: ([x]) => [{ shape: x.shape }], lower() {} };

Deno.test("recomputeActivations() keeps what an op says is the end of a block, and computes the rest again", () => {
  const graph = new Graph();
  const x = graph.source("x", [1, 4, 4, 4]);
  const within = graph.apply(step, [x], { ends: false });
  const end = graph.apply(step, [within], { ends: true });
  const behind = graph.apply(silent, [end], {});
  const forward = graph.nodes.length;
  graph.apply(step, [within], { ends: false });
  graph.apply(step, [end], { ends: false });
  graph.apply(step, [behind], { ends: false });
  recomputeActivations(graph, forward);
  const backward = graph.nodes.slice(forward);
  assertEquals(backward.map(({ op }) => op.name), ["step", "step", "step", "add", "step"]);
  const [again, ofAgain, ofEnd, behindAgain, ofBehind] = backward;
  assertEquals(again.inputs, [x]);
  assertEquals(ofAgain.inputs, again.outputs);
  assertEquals(ofEnd.inputs, [end]);
  assertEquals(behindAgain.inputs, [end]);
  assertEquals(ofBehind.inputs, behindAgain.outputs);
});

Deno.test("a sum ends a block, and so do batch norm and dropout with a residual, and not without", () => {
  assertEquals(add.endsBlock!({}), true);
  for (const residual of [true, false]) {
    assertEquals(batchNorm.endsBlock!({ epsilon: 1e-5, activation: undefined, residual }), residual);
    assertEquals(dropout.endsBlock!({ rate: 0.5, granularity: "sample", salt: 1, residual }), residual);
  }
});
