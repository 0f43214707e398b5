import { matmulTransposed } from "../../../kernels/ops/matmul_transposed/matmul_transposed.ts";
import {
  BLOCK_ROWS,
  queueCrossEntropy,
} from "../../../kernels/ops/queue_cross_entropy/queue_cross_entropy.ts";
import { asHardware, checkOp, randomValues, withGpu } from "../check_op.ts";

/** Mean over rows of the cross-entropy of softmax(a [teacher; queue]^T / t), a student and teacher; or of the own key. */
function reference(
  { rows, keys, t, teacherT }: { rows: number; keys: number; t: number; teacherT: number | undefined },
  student: Float64Array,
  teacher: Float64Array,
  queue: Float64Array,
): Float64Array {
  const d = student.length / rows;
  let loss = 0;
  for (let row = 0; row < rows; row++) {
    const of = (values: Float64Array, i: number) => values.subarray(i * d, (i + 1) * d);
    const logSoftmax = (a: Float64Array, t: number) => {
      const logits = new Float64Array(keys + 1);
      for (let j = 0; j <= keys; j++) {
        const [b, at] = j === 0 ? [teacher, row * d] : [queue, (j - 1) * d];
        for (let i = 0; i < d; i++) logits[j] += a[i] * b[at + i] / t;
      }
      const top = Math.max(...logits);
      const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0)) + top;
      return logits.map((logit) => logit - total);
    };
    const p = logSoftmax(of(student, row), t);
    if (teacherT === undefined) {
      loss -= p[0] / rows;
      continue;
    }
    const q = logSoftmax(of(teacher, row), teacherT);
    for (let j = 0; j <= keys; j++) loss -= Math.exp(q[j]) * p[j] / rows;
  }
  return Float64Array.of(loss);
}

for (
  const [rows, keys, padded, d, t, teacherT, blockBytes, chunkBytes] of [
    [1, 1, 4, 1, 0.2, 0.1, undefined],
    [3, 6, 8, 5, 0.2, 0.01, undefined],
    [5, 272, 272, 7, 1, 0.05, undefined],
    [2, 299, 300, 4, 0.07, 1, undefined],
    // InfoNCE.
    [1, 1, 4, 1, 0.2, undefined, undefined],
    [5, 270, 272, 7, 0.07, undefined, undefined],
    [2 * BLOCK_ROWS + 2, 7, 8, 3, 0.2, undefined, 1],
    // Rows that GPUs cut in parts, the last of which is short, or holds no key.
    [2, 2101, 2104, 2, 0.2, 0.01, undefined],
    [2, 1000, 2104, 2, 0.2, 0.01, undefined],
    // Three blocks, the last of two rows.
    [2 * BLOCK_ROWS + 2, 7, 8, 3, 0.2, 0.05, 1],
    // Two blocks of two times the least.
    [3 * BLOCK_ROWS, 8, 8, 2, 0.5, 0.5, 2 * BLOCK_ROWS * 8 * 4],
    // Queues that are bound in chunks of 128 keys, of which the last has few or none that count.
    [5, 270, 272, 7, 0.2, 0.05, undefined, 128 * 8 * 4],
    [5, 250, 272, 7, 0.2, undefined, undefined, 128 * 8 * 4],
    // And in blocks of rows too.
    [BLOCK_ROWS + 1, 150, 152, 3, 0.2, 0.05, 1, 128 * BLOCK_ROWS * 4],
  ] as const
) {
  for (const hardware of [false, true]) {
    const title =
      `queueCrossEntropy of ${rows} rows over ${keys} keys, temperatures ${t} and ${teacherT ?? "none"}` +
      (hardware ? ", in workgroup memory" : "") + (chunkBytes === undefined ? "" : ", in chunks");
    Deno.test(`${title}, equals a float64 loop, and so does its gradient`, () =>
      withGpu((gpu) =>
        checkOp(hardware ? asHardware(gpu) : gpu, {
          name: JSON.stringify([rows, keys, padded, d, t, teacherT]),
          loss: true,
          inputs: [
            { shape: [rows, 1, 1, d], values: randomValues("student", [rows, d]), gradient: true },
            { shape: [rows, 1, 1, d], values: randomValues("teacher", [rows, d], 0.3) },
            { shape: [1, 1, padded, d], values: randomValues("queue", [padded, d]) },
          ],
          build: (graph, inputs) =>
            graph.applyAll(queueCrossEntropy, inputs, {
              temperature: t,
              teacherTemperature: teacherT,
              queueSize: keys,
              blockBytes,
              chunkBytes,
            })[0],
          reference: (...inputs) => reference({ rows, keys, t, teacherT }, inputs[0], inputs[1], inputs[2]),
        })
      ));
  }
}

for (const [n, k, d] of [[1, 4, 1], [3, 8, 17], [20, 140, 30]]) {
  for (const hardware of [false, true]) {
    const title = `matmulTransposed [${n}, ${d}] by [${k}, ${d}]${hardware ? " in workgroup memory" : ""}`;
    const gradient = n < 20; // more differences take seconds
    Deno.test(`${title} equals a float64 loop${gradient ? ", and so do its gradients" : ""}`, () =>
      withGpu((gpu) =>
        checkOp(hardware ? asHardware(gpu) : gpu, {
          name: `[${n}, ${d}] by [${k}, ${d}]`,
          inputs: [
            { shape: [n, 1, 1, d], values: randomValues("a", [n, d]), gradient },
            { shape: [1, 1, k, d], values: randomValues("b", [k, d]), gradient },
          ],
          inHalf: false,
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
