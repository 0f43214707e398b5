import { Graph, type Tensor } from "../../../kernels/graph.ts";
import { batchNorm, batchStatistics } from "../../../kernels/ops/batch_norm/batch_norm.ts";
import { conv2d } from "../../../kernels/ops/conv2d/conv2d.ts";
import { POINTWISE } from "../../../kernels/ops/conv2d/geometry.ts";
import { crossEntropy } from "../../../kernels/ops/cross_entropy/cross_entropy.ts";
import { depthwiseConv2d } from "../../../kernels/ops/depthwise_conv2d/depthwise_conv2d.ts";
import { dropout } from "../../../kernels/ops/dropout/dropout.ts";
import { matmulTransposed } from "../../../kernels/ops/matmul_transposed/matmul_transposed.ts";
import { maxPool } from "../../../kernels/ops/max_pool/max_pool.ts";
import { queueCrossEntropy } from "../../../kernels/ops/queue_cross_entropy/queue_cross_entropy.ts";
import { assertThrows } from "@std/assert";

type Of = (...shape: number[]) => Tensor;

/** Adds a node whose inputs do not fit together. */
const WRONG: Record<string, (graph: Graph, of: Of) => unknown> = {
  "conv2d: a bias": (graph, of) =>
    graph.apply(conv2d, [of(1, 2, 2, 4), of(1, 1, 4, 8), of(4)], { ...POINTWISE, bias: true }),
  "conv2d: an addend": (graph, of) =>
    graph.apply(conv2d, [of(1, 2, 2, 4), of(1, 1, 4, 8), of(8), of(1, 4, 4, 8)], {
      ...{ ...POINTWISE, bias: true, addend: true },
    }),
  "batch_norm: gamma": (graph, of) => normalize(graph, of(4, 2, 2, 8), of(4), of(8)),
  "batch_norm: beta": (graph, of) => normalize(graph, of(4, 2, 2, 8), of(8), of(16)),
  "batch_norm: a residual": (graph, of) => normalize(graph, of(4, 2, 2, 8), of(8), of(8), of(4, 4, 2, 8)),
  "depthwise_conv2d: a bias": (graph, of) =>
    graph.apply(depthwiseConv2d, [of(1, 2, 2, 8), of(1, 1, 8), of(4)], { ...POINTWISE, bias: true }),
  "max_pool: an image smaller than the kernel": (graph, of) =>
    graph.applyAll(maxPool, [of(4, 1, 3, 4)], { kernel: 2, stride: 2, padding: 0 }),
  "dropout: a residual": (graph, of) =>
    graph.apply(dropout, [of(4, 2, 2, 8), graph.source("seed", [2], "u32"), of(4, 2, 2, 4)], {
      ...{ rate: 0.5, granularity: "element", salt: 0, residual: true },
    }),
  "matmul_transposed: three dimensions": (graph, of) =>
    graph.apply(matmulTransposed, [of(2, 8, 4), of(2, 8, 4)], {}),
  "matmul_transposed: a map": (graph, of) =>
    graph.apply(matmulTransposed, [of(2, 8, 8, 4), of(1, 1, 8, 4)], {}),
  "matmul_transposed: keys in two rows": (graph, of) =>
    graph.apply(matmulTransposed, [of(2, 1, 1, 4), of(1, 2, 8, 4)], {}),
  "cross_entropy: a map": (graph, of) =>
    graph.applyAll(crossEntropy, [
      of(2, 3, 1, 4),
      graph.source("labels", [2], "u32"),
      graph.source("n", [1], "u32"),
    ], {}),
  "queue_cross_entropy: a map": (graph, of) => {
    const x = of(2, 3, 1, 4);
    return graph.applyAll(queueCrossEntropy, [x, x, of(1, 1, 8, 4)], { temperature: 1, queueSize: 8 });
  },
};

function normalize(graph: Graph, x: Tensor, ...others: Tensor[]): Tensor {
  const [gamma, beta, ...residual] = others;
  const statistics = graph.applyAll(batchStatistics, [x], {});
  return graph.apply(batchNorm, [x, gamma, beta, ...statistics, ...residual], {
    ...{ epsilon: 1e-5, residual: residual.length > 0 },
  });
}

for (const [name, build] of Object.entries(WRONG)) {
  Deno.test(`ops refuse inputs that do not fit together: ${name}`, () => {
    const graph = new Graph();
    const of: Of = (...shape) => graph.source("x", shape);
    assertThrows(() => build(graph, of), Error, `${name.split(":")[0]}: expected `);
  });
}
