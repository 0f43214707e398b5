import { assertEquals, assertThrows } from "@std/assert";
import { Graph } from "../../../kernels/graph.ts";
import { matmulBatched } from "../../../kernels/ops/matmul_batched/matmul_batched.ts";
import { checkOp, KINDS, randomValues, withGpu } from "../check_op.ts";

/** The definition, in float64. */
function reference(
  [batch, m, k, n]: readonly number[],
  transposeA: boolean,
  transposeB: boolean,
  a: Float64Array,
  b: Float64Array,
): Float64Array {
  return Float64Array.from({ length: batch * m * n }, (_, at) => {
    const [column, row, image] = [at % n, Math.floor(at / n) % m, Math.floor(at / n / m)];
    let sum = 0;
    for (let i = 0; i < k; i++) {
      const left = transposeA ? i * m + row : row * k + i;
      const right = transposeB ? column * k + i : i * n + column;
      sum += a[image * m * k + left] * b[image * k * n + right];
    }
    return sum;
  });
}

/** Leading dimensions, then m, k and n. */
const CASES = [[[1], 1, 1, 1], [[3], 3, 5, 17], [[2, 2], 9, 17, 3], [[1], 17, 4, 12]] as const;

for (const [kind, as] of KINDS) {
  for (const [leading, m, k, n] of CASES) {
    for (const [transposeA, transposeB] of [[false, false], [true, false], [false, true], [true, true]]) {
      const flags = `${transposeA ? ", a transposed" : ""}${transposeB ? ", b transposed" : ""}`;
      const title = `matmulBatched of ${leading.join(" x ")} times [${m}, ${k}] by [${k}, ${n}]${flags}`;
      Deno.test(`${title} equals a float64 loop, and so do its gradients: ${kind}`, () =>
        withGpu((gpu) => {
          const aShape = [...leading, ...(transposeA ? [k, m] : [m, k])];
          const bShape = [...leading, ...(transposeB ? [n, k] : [k, n])];
          const batch = leading.reduce((a: number, b) => a * b, 1);
          return checkOp(as(gpu), {
            name: title,
            inputs: [
              { shape: aShape, values: randomValues("a", aShape), gradient: true },
              { shape: bShape, values: randomValues("b", bShape), gradient: true },
            ],
            build: (graph, inputs) => graph.apply(matmulBatched, inputs, { transposeA, transposeB }),
            reference: (a, b) => reference([batch, m, k, n], transposeA, transposeB, a, b),
          });
        }));
    }
  }
}

Deno.test("matmulBatched names the shapes that do not fit", () => {
  const graph = new Graph();
  const [a, b] = [graph.source("a", [2, 3, 4]), graph.source("b", [2, 5, 4])];
  assertEquals(graph.apply(matmulBatched, [a, b], { transposeB: true }).shape, [2, 3, 5]);
  assertThrows(
    () => graph.apply(matmulBatched, [a, b], {}),
    Error,
    "expected a [..., m, k] and b [..., k, n], found a [2,3,4], b [2,5,4]",
  );
});
