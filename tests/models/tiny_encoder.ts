/** An encoder that is traced and trained in no time, for tests of what happens around it. It has no batch norm. */
import { globalAveragePool } from "../../kernels/ops/global_average_pool/global_average_pool.ts";
import { projectionHead } from "../../models/heads.ts";
import type { Encoder } from "../../models/encoder.ts";

const FEATURES = 8;

/** A convolution with ReLU, the mean over its map, and the head. */
export const TINY_ENCODER: Encoder = {
  name: "tiny",
  family: "tests",
  roles: ["student"],
  ssl: "moco",
  head: "mlp",
  features: FEATURES,
  trace(b, images, head) {
    const options = { inputs: 3, outputs: FEATURES, kernel: 3, stride: 2, padding: 1, bias: true };
    const stem = b.convolution("stem", { ...options, initial: { draw: "uniform", bound: 0.5 } });
    const project = projectionHead(b, "fc", FEATURES, head);
    const x = b.convolve(images, stem, { activation: "relu" });
    const feature = b.graph.apply(globalAveragePool, [x], {});
    return { feature, embedding: project(feature) };
  },
};
