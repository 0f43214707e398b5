import { assert, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../../errors.ts";
import { Graph, type Tensor } from "../../../kernels/graph.ts";
import { l2Normalize } from "../../../kernels/ops/l2_normalize/l2_normalize.ts";
import { matmulBatched } from "../../../kernels/ops/matmul_batched/matmul_batched.ts";
import { reshape } from "../../../kernels/ops/reshape/reshape.ts";
import { findLoss, usesMaps } from "../../../models/loss/losses.ts";
import { checkOp, KINDS, randomValues, runOp, withGpu } from "../../kernels/check_op.ts";
import { resizeByLoop } from "../../kernels/ops/resize_by_loop.ts";

const [TEMPERATURE, TEACHER_TEMPERATURE, TOKEN_TEMPERATURE, WEIGHT] = [0.2, 0.07, 0.3, 0.7];
const [N, D, QUEUE] = [4, 5, 8];

/** Rows of numbers, each of length 1. */
function unitRows(values: ArrayLike<number>, length: number): number[][] {
  return Array.from({ length: values.length / length }, (_, row) => {
    const own = Array.from({ length }, (_, i) => values[row * length + i]);
    const norm = Math.hypot(...own);
    return own.map((value) => value / norm);
  });
}

function logSoftmaxOf(logits: number[]): number[] {
  const top = Math.max(...logits);
  const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0)) + top;
  return logits.map((logit) => logit - total);
}

const dot = (a: number[], b: number[]) => a.reduce((sum, value, i) => sum + value * b[i], 0);

/** SEED's cross-entropy over the queue and the image's own key, in float64. */
function seedByLoop(student: number[][], teacher: number[][], queue: number[][]): number {
  const losses = student.map((row, i) => {
    const keys = [teacher[i], ...queue];
    const logs = logSoftmaxOf(keys.map((key) => dot(row, key) / TEMPERATURE));
    const target = logSoftmaxOf(keys.map((key) => dot(teacher[i], key) / TEACHER_TEMPERATURE));
    return -target.reduce((sum, log, j) => sum + Math.exp(log) * logs[j], 0);
  });
  return losses.reduce((sum, loss) => sum + loss) / losses.length;
}

/** The mean divergence of similarities within each image, of tokens [n * tokens, channels]. */
function tokensByLoop(student: number[][], teacher: number[][], tokens: number): number {
  const logsOf = (rows: number[][], row: number) => {
    const first = row - row % tokens;
    return logSoftmaxOf(
      rows.slice(first, first + tokens).map((other) => dot(rows[row], other) / TOKEN_TEMPERATURE),
    );
  };
  const divergences = student.map((_, row) => {
    const [p, q] = [logsOf(student, row), logsOf(teacher, row)];
    return q.reduce((sum, log, j) => sum + Math.exp(log) * (log - p[j]), 0);
  });
  return divergences.reduce((sum, value) => sum + value) / divergences.length;
}

/** Shapes of the student's and the teacher's maps. */
const MAPS = [
  [[N, 2, 3, 3], [N, 3, 4, 6]],
  [[N, 3, 3, 5], [N, 3, 3, 5]],
  [[N, 5, 4, 4], [N, 2, 1, 3]],
  [[N, 1, 2, 3], [N, 2, 2, 4]],
] as const;

/** A linear layer of given weights [1, outputs, inputs]. */
function linearBy(graph: Graph, weight: Tensor) {
  return (_name: string, x: Tensor, outputs: number) => {
    const [n, h, w, c] = x.shape;
    const rows = graph.apply(reshape, [x], { shape: [1, n * h * w, c] });
    const y = graph.apply(matmulBatched, [rows, weight], { transposeB: true });
    return graph.apply(reshape, [y], { shape: [n, h, w, outputs] });
  };
}

for (const [kind, as] of KINDS) {
  for (const [student, teacher] of MAPS) {
    Deno.test(`the loss tokens of maps [${student}] and [${teacher}] equals float64, its gradients differences: ${kind}`, () =>
      withGpu((gpu) => {
        const [, h, w, c] = student;
        const [, height, width, channels] = teacher;
        const shapes = [[N, 1, 1, D], [N, 1, 1, D], [1, 1, QUEUE, D], student, teacher, [1, channels, c]];
        const values = shapes.map((shape, i) => randomValues(`input ${i}`, shape));
        for (const i of [1, 2]) values[i].set(unitRows(values[i], D).flat());
        return checkOp(as(gpu), {
          name: `${student} ${teacher}`,
          tolerance: 1e-4,
          loss: true,
          inputs: shapes.map((shape, i) => ({
            shape,
            values: values[i],
            gradient: [0, 3, 5].includes(i),
          })),
          build(graph, [raw, key, queue, own, other, weight]) {
            return findLoss("tokens")(graph, {
              student: graph.apply(l2Normalize, [raw], {}),
              ...{ teacher: key, batchTeacher: key, queue, queueSize: QUEUE },
              ...{ temperature: TEMPERATURE, teacherTemperature: TEACHER_TEMPERATURE },
              ...{ tokenTemperature: TOKEN_TEMPERATURE, tokenWeight: WEIGHT },
              maps: { student: own, teacher: other, linear: linearBy(graph, weight) },
            });
          },
          reference(raw, key, queue, own, other, weight) {
            const projected = Float64Array.from({ length: N * h * w * channels }, (_, i) => {
              const [pixel, out] = [Math.floor(i / channels), i % channels];
              let sum = 0;
              for (let k = 0; k < c; k++) sum += own[pixel * c + k] * weight[out * c + k];
              return sum;
            });
            const resized = resizeByLoop(projected, [N, h, w, channels], [height, width]);
            const rows = (all: Float64Array) =>
              Array.from({ length: N }, (_, i) => [...all.subarray(i * D, (i + 1) * D)]);
            const keys = Array.from({ length: QUEUE }, (_, i) => [...queue.subarray(i * D, (i + 1) * D)]);
            const seed = seedByLoop(unitRows(raw, D), rows(key), keys);
            const tokens = tokensByLoop(
              unitRows(resized, channels),
              unitRows(other, channels),
              height * width,
            );
            return Float64Array.of(seed + WEIGHT * tokens);
          },
        });
      }));
  }
}

Deno.test("the loss tokens refuses maps of one place", () => {
  for (const [student, teacher, whose] of [[1, 2, "student"], [2, 1, "teacher"]] as const) {
    const graph = new Graph();
    const embeddings = graph.source("embeddings", [N, 1, 1, D]);
    const [own, other] = [student, teacher].map((side) => graph.source("map", [N, side, side, 4]));
    const queue = graph.source("queue", [1, 1, QUEUE, D]);
    const inputs = {
      student: embeddings,
      teacher: embeddings,
      batchTeacher: embeddings,
      queue,
      queueSize: QUEUE,
    };
    const settings = { temperature: 1, teacherTemperature: 1, tokenTemperature: 1, tokenWeight: 1 };
    const maps = { student: own, teacher: other, linear: (_: string, x: Tensor) => x };
    assertThrows(
      () => findLoss("tokens")(graph, { ...inputs, ...settings, maps }),
      UserError,
      `the ${whose}'s feature map has one place`,
    );
  }
});

Deno.test("the loss tokens is SEED's without maps, and with maps that find alike what is alike", () =>
  withGpu(async (gpu) => {
    const shapes = [[N, 1, 1, D], [N, 1, 1, D], [1, 1, QUEUE, D], [N, 2, 2, 4], [1, 4, 4]];
    const values = shapes.map((shape, i) => randomValues(`input ${i}`, shape));
    values[4].fill(0);
    for (let i = 0; i < 4; i++) values[4][i * 5] = 1; // the layer changes nothing
    const lossOf = async (name: string, withMaps: boolean) => {
      const inputs = shapes.map((shape, i) => ({ shape, values: values[i] }));
      const [loss] = await runOp(gpu, inputs, (graph, [student, teacher, queue, map, weight]) => [
        findLoss(name)(graph, {
          ...{
            student,
            teacher,
            batchTeacher: teacher,
            queue,
            queueSize: QUEUE,
            temperature: 0.2,
            teacherTemperature: 0.1,
          },
          ...{ tokenTemperature: 0.07, tokenWeight: 5 },
          ...withMaps && { maps: { student: map, teacher: map, linear: linearBy(graph, weight) } },
        }),
      ]);
      return loss[0];
    };
    const seed = await lossOf("seed", false);
    assertEquals(await lossOf("tokens", false), seed);
    const same = await lossOf("tokens", true);
    assert(Math.abs(same - seed) < 1e-5, `${same}, not ${seed}`);
    assertEquals(["seed", "cosine", "tokens"].map(usesMaps), [false, false, true]);
  }));
