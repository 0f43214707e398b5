import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { differentiate } from "../../../kernels/autodiff.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import { Graph, padTo4 } from "../../../kernels/graph.ts";
import { padRows, unpadRows } from "../../../kernels/layout.ts";
import { l2Normalize } from "../../../kernels/ops/l2_normalize/l2_normalize.ts";
import { Program } from "../../../kernels/program.ts";
import { seedLoss } from "../../../models/loss/seed_loss.ts";
import { asHardware, relativeError, withGpu } from "../../kernels/check_op.ts";
import { formulaTensor, referenceJson } from "../../reference.ts";

interface Case {
  N: number;
  K: number;
  D: number;
  t: number;
  temp: number;
  loss: number;
  grad_student_raw_row0: number[];
  grad_norm: number;
}

function normalizeRows(values: Float32Array, d: number): Float32Array<ArrayBuffer> {
  const normalized = Float64Array.from(values);
  for (let row = 0; row < values.length; row += d) {
    const norm = Math.hypot(...normalized.subarray(row, row + d));
    for (let i = 0; i < d; i++) normalized[row + i] /= norm;
  }
  return Float32Array.from(normalized);
}

/** Loss and gradient of one case of `seed_loss.json`, whose note says how the inputs are made. */
async function evaluate(
  gpu: Gpu,
  { N, K, D, t, temp }: Case,
): Promise<{ loss: number; gradient: Float32Array }> {
  const queueValues = normalizeRows(formulaTensor("queue", [K, D], "unit"), D);
  const teacherValues = normalizeRows(
    formulaTensor("teacher", [N, D], "unit").map((value, i) =>
      value + 24 * queueValues[(Math.floor(i / D) % K) * D + i % D]
    ),
    D,
  );
  const graph = new Graph();
  const raw = graph.source("student", [N, 1, 1, D]);
  const teacher = graph.source("teacher", [N, 1, 1, D]);
  const queue = graph.source("queue", [1, 1, padTo4(K), D]);
  const student = graph.apply(l2Normalize, [raw], {});
  const loss = seedLoss(graph, {
    student,
    teacher,
    queue,
    queueSize: K,
    temperature: t,
    teacherTemperature: temp,
  });
  const [gradient] = differentiate(graph, loss, [raw]);
  using program = await Program.compile(gpu, {
    label: "seed loss",
    graph,
    inputs: [raw, teacher, queue],
    outputs: [loss, gradient],
  });
  program.write(raw, padRows(formulaTensor("student", [N, D], "unit"), [N, D]));
  program.write(teacher, padRows(teacherValues, [N, D]));
  const padded = new Float32Array(padTo4(K) * padTo4(D));
  padded.set(padRows(queueValues, [K, D]));
  program.write(queue, padded);
  program.run();
  return { loss: (await program.read(loss))[0], gradient: unpadRows(await program.read(gradient), [N, D]) };
}

for (const expected of referenceJson("seed_loss.json").cases as Case[]) {
  const { N, K, t, temp, D } = expected;
  const title = `of ${N} rows against a queue of ${K} at temperatures ${t} and ${temp}`;
  for (const hardware of [false, true]) {
    const family = hardware ? ", products staged in workgroup memory," : "";
    Deno.test(`parity: the loss ${title}${family} and its gradient equal the original's`, () =>
      withGpu(async (gpu) => {
        const { loss, gradient } = await evaluate(hardware ? asHardware(gpu) : gpu, expected);
        assertAlmostEquals(loss, expected.loss, 1e-5 * expected.loss);
        const error = relativeError(gradient.subarray(0, D), expected.grad_student_raw_row0);
        assert(error <= 1e-3, `gradient of row 0: relative error ${error}`);
        assertAlmostEquals(Math.hypot(...gradient), expected.grad_norm, 1e-3 * expected.grad_norm);
      }));
  }
}

Deno.test("seedLoss() against the paper's queue of 65,536 equals a float64 loop, and so does its gradient", () =>
  withGpu(async (gpu) => {
    const [N, K, D, t, temp] = [2, 65_536, 128, 0.2, 0.05];
    const { loss, gradient } = await evaluate(gpu, { N, K, D, t, temp } as Case);

    const queue = normalizeRows(formulaTensor("queue", [K, D], "unit"), D);
    const raw = formulaTensor("student", [N, D], "unit");
    const teacher = normalizeRows(
      formulaTensor("teacher", [N, D], "unit").map((value, i) => value + 24 * queue[i]),
      D,
    );
    const softmax = (logits: Float64Array) => {
      const top = logits.reduce((a, b) => Math.max(a, b));
      const weights = logits.map((logit) => Math.exp(logit - top));
      const total = weights.reduce((a, b) => a + b);
      return { p: weights.map((weight) => weight / total), logTotal: Math.log(total) + top };
    };
    let expectedLoss = 0;
    const expected = new Float64Array(N * D);
    for (let n = 0; n < N; n++) {
      const own = teacher.subarray(n * D, (n + 1) * D);
      const x = raw.subarray(n * D, (n + 1) * D);
      const norm = Math.hypot(...x);
      const row = (j: number) => j === 0 ? own : queue.subarray((j - 1) * D, j * D);
      const logits = (a: ArrayLike<number>, scale: number) =>
        Float64Array.from({ length: K + 1 }, (_, j) => {
          const b = row(j);
          let sum = 0;
          for (let i = 0; i < D; i++) sum += a[i] * b[i];
          return sum * scale;
        });
      const z = logits(x, 1 / (norm * t));
      const { p, logTotal } = softmax(z);
      const { p: q } = softmax(logits(own, 1 / temp));
      const g = new Float64Array(D); // by the normalised embedding
      for (let j = 0; j <= K; j++) {
        expectedLoss += q[j] * (logTotal - z[j]) / N;
        const weight = (p[j] - q[j]) / (N * t);
        const b = row(j);
        for (let i = 0; i < D; i++) g[i] += weight * b[i];
      }
      const along = g.reduce((sum, value, i) => sum + value * x[i], 0) / (norm * norm);
      for (let i = 0; i < D; i++) expected[n * D + i] = (g[i] - x[i] * along) / norm;
    }
    assertAlmostEquals(loss, expectedLoss, 1e-5 * expectedLoss);
    const error = relativeError(gradient, expected);
    assert(error <= 1e-3, `gradient: relative error ${error}`);
  }));

Deno.test("seedLoss() does not depend on what lies in the padding of an odd queue", () =>
  withGpu(async (gpu) => {
    const graph = new Graph();
    const student = graph.source("student", [1, 1, 1, 4]);
    const queue = graph.source("queue", [1, 1, 8, 4]);
    const loss = seedLoss(graph, {
      student,
      teacher: student,
      queue,
      queueSize: 5,
      temperature: 0.2,
      teacherTemperature: 0.1,
    });
    using program = await Program.compile(gpu, {
      label: "test",
      graph,
      inputs: [student, queue],
      outputs: [loss],
    });
    program.write(student, Float32Array.of(0.5, 0.5, -0.5, 0.5));
    const losses = [0, 9].map(async (filler) => {
      program.write(queue, Float32Array.from({ length: 32 }, (_, i) => i < 20 ? Math.sin(i) : filler));
      program.run();
      return (await program.read(loss))[0];
    });
    assertEquals(await losses[0], await losses[1]);
  }));
