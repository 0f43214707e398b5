import { interleaveRows } from "../../../kernels/ops/interleave_rows/interleave_rows.ts";
import { asHardware, checkOp, randomValues, withGpu } from "../check_op.ts";

for (const [n, groups, d] of [[6, 1, 5], [6, 3, 1], [8, 2, 17], [12, 4, 8]]) {
  for (const hardware of [false, true]) {
    Deno.test(
      `interleaveRows of ${n} rows of ${d} in ${groups} groups takes one of each in turn${
        hardware ? ", kernels for GPUs" : ""
      }`,
      () =>
        withGpu((gpu) =>
          checkOp(hardware ? asHardware(gpu) : gpu, {
            inputs: [{ shape: [n, 1, 1, d], values: randomValues("x", [n, d]) }],
            build: (graph, [x]) => graph.apply(interleaveRows, [x], { groups }),
            reference: (x) =>
              Float64Array.from({ length: n * d }, (_, i) => {
                const row = Math.floor(i / d);
                return x[((row % groups) * (n / groups) + Math.floor(row / groups)) * d + i % d];
              }),
          })
        ),
    );
  }
}
