import { matmulTransposed } from "../../../kernels/ops/matmul_transposed/matmul_transposed.ts";
import { softCrossEntropy } from "../../../kernels/ops/soft_cross_entropy/soft_cross_entropy.ts";
import { asHardware, checkOp, randomValues, withGpu } from "../check_op.ts";

/** Mean over rows of the cross-entropy of softmax([own, z] / t) under softmax([targetOwn, target] / targetT). */
function reference(
  columns: number,
  t: number,
  targetT: number,
  z: Float64Array,
  own: Float64Array,
  target: Float64Array,
  targetOwn: Float64Array,
): Float64Array {
  const rows = own.length;
  const stride = z.length / rows;
  let loss = 0;
  for (let row = 0; row < rows; row++) {
    const logits = (own: number, values: Float64Array, t: number) =>
      [own, ...values.subarray(row * stride, row * stride + columns)].map((value) => value / t);
    const logSoftmax = (logits: number[]) => {
      const top = Math.max(...logits);
      const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0)) + top;
      return logits.map((logit) => logit - total);
    };
    const p = logSoftmax(logits(own[row], z, t));
    const q = logSoftmax(logits(targetOwn[row], target, targetT));
    for (let j = 0; j <= columns; j++) loss -= Math.exp(q[j]) * p[j] / rows;
  }
  return Float64Array.of(loss);
}

for (
  const [rows, padded, columns, t, targetT] of [
    [1, 4, 1, 0.2, 0.1],
    [3, 8, 6, 0.2, 0.01],
    [5, 272, 272, 1, 0.05],
    [2, 300, 299, 0.07, 1],
  ]
) {
  const title = `softCrossEntropy of ${rows} rows over ${columns} columns, temperatures ${t} and ${targetT}`;
  Deno.test(`${title}, equals a float64 loop, and so do its gradients`, () =>
    withGpu((gpu) =>
      checkOp(gpu, {
        loss: true,
        inputs: [
          { shape: [rows, 1, 1, padded], values: randomValues("z", [rows, padded]), gradient: true },
          { shape: [rows, 1, 1, 1], values: randomValues("own", [rows]), gradient: true },
          { shape: [rows, 1, 1, padded], values: randomValues("target", [rows, padded], 0.3) },
          { shape: [rows, 1, 1, 1], values: randomValues("target own", [rows], 0.3) },
        ],
        build: (graph, inputs) =>
          graph.applyAll(softCrossEntropy, inputs, {
            temperature: t,
            targetTemperature: targetT,
            columns,
          })[0],
        reference: (...inputs) => reference(columns, t, targetT, inputs[0], inputs[1], inputs[2], inputs[3]),
      })
    ));
}

for (const [n, k, d] of [[1, 4, 1], [3, 8, 17], [20, 140, 30]]) {
  for (const hardware of [false, true]) {
    const title = `matmulTransposed [${n}, ${d}] by [${k}, ${d}]${hardware ? " in workgroup memory" : ""}`;
    Deno.test(`${title} equals a float64 loop, and so does its gradient`, () =>
      withGpu((gpu) =>
        checkOp(hardware ? asHardware(gpu) : gpu, {
          inputs: [
            { shape: [n, 1, 1, d], values: randomValues("a", [n, d]), gradient: true },
            { shape: [1, 1, k, d], values: randomValues("b", [k, d]) },
          ],
          build: (graph, inputs) => graph.apply(matmulTransposed, inputs, {}),
          reference: (a, b) =>
            Float64Array.from({ length: n * k }, (_, i) => {
              let sum = 0;
              for (let j = 0; j < d; j++) sum += a[Math.floor(i / k) * d + j] * b[(i % k) * d + j];
              return sum;
            }),
        })
      ));
  }
}
