/** The ops that losses are made of, against float64 loops, and losses made of them. */
import { assertEquals } from "@std/assert";
import { differentiate } from "../../../kernels/autodiff.ts";
import { Graph, type Tensor } from "../../../kernels/graph.ts";
import { affine } from "../../../kernels/ops/affine/affine.ts";
import { add } from "../../../kernels/ops/add/add.ts";
import { l2Normalize } from "../../../kernels/ops/l2_normalize/l2_normalize.ts";
import { packStepControl, stepControl } from "../../../kernels/ops/loss_scale/loss_scale.ts";
import { matmulTransposed } from "../../../kernels/ops/matmul_transposed/matmul_transposed.ts";
import { mean } from "../../../kernels/ops/mean/mean.ts";
import { multiply } from "../../../kernels/ops/multiply/multiply.ts";
import { queueCrossEntropy } from "../../../kernels/ops/queue_cross_entropy/queue_cross_entropy.ts";
import { reshape } from "../../../kernels/ops/reshape/reshape.ts";
import { rowDot, scaleRows } from "../../../kernels/ops/row_dot/row_dot.ts";
import { rowSum, spreadRows } from "../../../kernels/ops/row_sum/row_sum.ts";
import { logSoftmax, softmax } from "../../../kernels/ops/softmax/softmax.ts";
import { Program } from "../../../kernels/program.ts";
import { checkOp, KINDS, type OpCheck, randomValues, withGpu } from "../check_op.ts";

const SHAPES = [[1, 1], [3, 1], [1, 17], [5, 3], [2, 3, 1, 70], [1, 1, 1, 260]];

/** Rows of a flat array, as views. */
function rowsOf(values: Float64Array, columns: number): Float64Array[] {
  return Array.from(
    { length: values.length / columns },
    (_, row) => values.subarray(row * columns, (row + 1) * columns),
  );
}

function flat(rows: readonly ArrayLike<number>[]): Float64Array {
  return Float64Array.from(rows.flatMap((row) => [...Array.from(row)]));
}

const sumOf = (values: Float64Array) => values.reduce((sum, value) => sum + value, 0);

function softmaxOf(row: Float64Array): Float64Array {
  const top = Math.max(...row);
  const exponentials = row.map((value) => Math.exp(value - top));
  const sum = sumOf(exponentials);
  return exponentials.map((value) => value / sum);
}

interface Case {
  name: string;
  inputs: (shape: readonly number[]) => (readonly number[])[];
  build: (graph: Graph, inputs: Tensor[], shape: readonly number[]) => Tensor;
  reference: (columns: number, ...inputs: Float64Array[]) => Float64Array;
  scale?: number;
  /** Whether the kernel is also run on maps in float16: losses take embeddings, which stay float32. */
  inHalf?: boolean;
}

const one = (shape: readonly number[]) => [shape];
const two = (shape: readonly number[]) => [shape, shape];
const withColumn = (shape: readonly number[]) => [shape, shape.with(-1, 1)];

const CASES: readonly Case[] = [
  {
    name: "softmax",
    inputs: one,
    build: (graph, inputs) => graph.apply(softmax, inputs, {}),
    reference: (columns, x) => flat(rowsOf(x, columns).map(softmaxOf)),
    scale: 5,
    inHalf: true,
  },
  {
    name: "logSoftmax",
    inputs: one,
    build: (graph, inputs) => graph.apply(logSoftmax, inputs, {}),
    reference: (columns, x) => flat(rowsOf(x, columns).map((row) => softmaxOf(row).map(Math.log))),
    scale: 5,
    inHalf: true,
  },
  {
    name: "rowSum",
    inputs: one,
    build: (graph, inputs) => graph.apply(rowSum, inputs, {}),
    reference: (columns, x) => Float64Array.from(rowsOf(x, columns), sumOf),
  },
  {
    name: "spreadRows",
    inputs: (shape) => [shape.with(-1, 1)],
    build: (graph, inputs, shape) => graph.apply(spreadRows, inputs, { columns: shape.at(-1)! }),
    reference: (columns, x) => flat(Array.from(x, (value) => new Float64Array(columns).fill(value))),
  },
  {
    name: "mean",
    inputs: one,
    build: (graph, inputs) => graph.apply(mean, inputs, {}),
    reference: (_columns, x) => Float64Array.of(sumOf(x) / x.length),
  },
  {
    name: "affine",
    inputs: one,
    build: (graph, inputs) => graph.apply(affine, inputs, { scale: -2.5, shift: 0.75 }),
    reference: (_columns, x) => x.map((value) => -2.5 * value + 0.75),
  },
  {
    name: "multiply",
    inputs: two,
    build: (graph, inputs) => graph.apply(multiply, inputs, {}),
    reference: (_columns, a, b) => a.map((value, i) => value * b[i]),
  },
  {
    name: "rowDot",
    inputs: two,
    build: (graph, inputs) => graph.apply(rowDot, inputs, {}),
    reference: (columns, a, b) =>
      Float64Array.from(rowsOf(a.map((value, i) => value * b[i]), columns), sumOf),
  },
  {
    name: "scaleRows",
    inputs: withColumn,
    build: (graph, inputs) => graph.apply(scaleRows, inputs, {}),
    reference: (columns, x, factor) => x.map((value, i) => value * factor[Math.floor(i / columns)]),
  },
  {
    name: "reshape",
    inputs: one,
    build: (graph, inputs, shape) =>
      graph.apply(reshape, inputs, { shape: [1, ...shape.slice(0, -1), shape.at(-1)!] }),
    reference: (_columns, x) => x.slice(),
  },
];

for (const [kind, as] of KINDS) {
  for (const { name, inputs, build, reference, scale, inHalf = false } of CASES) {
    Deno.test(`${name} equals a float64 loop, and so do its gradients: ${kind}`, () =>
      withGpu(async (gpu) => {
        for (const shape of SHAPES) {
          await checkOp(as(gpu), {
            name: `${name} [${shape}]`,
            inputs: inputs(shape).map((shape, i) => ({
              shape,
              values: randomValues(`${name} ${i}`, shape, scale),
              gradient: true,
            })),
            build: (graph, inputs) => build(graph, inputs, shape),
            reference: (...values) => reference(shape.at(-1)!, ...values),
            inHalf,
          });
        }
      }));
  }

  for (const name of ["softmax", "logSoftmax", "rowSum"]) {
    const { build, reference, inHalf = false } = CASES.find((other) => other.name === name)!;
    Deno.test(`${name} takes rows of 1,375 numbers, and more rows than a device takes workgroups: ${kind}`, () =>
      withGpu(async (gpu) => {
        // 27 rows, folded into two times 14: one workgroup has none.
        const folding = { ...as(gpu), target: { ...as(gpu).target, maxWorkgroupsPerDimension: 20 } };
        for (const [device, shape] of [[as(gpu), [1, 1, 2, 1375]], [folding, [1, 1, 27, 17]]] as const) {
          await checkOp(device, {
            inputs: [{ shape, values: randomValues(name, shape, 5), gradient: shape[2] === 27 }],
            build: (graph, inputs) => build(graph, inputs, shape),
            reference: (x) => reference(shape[3], x),
            inHalf,
          });
        }
      }));
  }
}

const EMBEDDINGS = [3, 1, 1, 5];

/** A loss of a student's and a teacher's embeddings, both normalised. */
function checkLoss(
  build: (graph: Graph, student: Tensor, teacher: Tensor) => Tensor,
  reference: (student: Float64Array[], teacher: Float64Array[]) => number,
): OpCheck {
  const unit = (row: Float64Array) => row.map((value) => value / Math.hypot(...row));
  return {
    inputs: ["student", "teacher"].map((name, i) => ({
      shape: EMBEDDINGS,
      values: randomValues(name, EMBEDDINGS),
      gradient: i === 0,
    })),
    build(graph, [student, teacher]) {
      return build(graph, graph.apply(l2Normalize, [student], {}), graph.apply(l2Normalize, [teacher], {}));
    },
    reference: (student, teacher) =>
      Float64Array.of(reference(rowsOf(student, 5).map(unit), rowsOf(teacher, 5).map(unit))),
    loss: true,
    inHalf: false,
  };
}

const dot = (a: Float64Array, b: Float64Array) => sumOf(a.map((value, i) => value * b[i]));
const average = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

const cosine = (graph: Graph, student: Tensor, teacher: Tensor) => {
  const cosines = graph.apply(rowDot, [student, teacher], {});
  return graph.apply(affine, [graph.apply(mean, [cosines], {})], { scale: -1, shift: 1 });
};

Deno.test("a loss of one minus the cosine differentiates from its last op", () =>
  withGpu((gpu) =>
    checkOp(
      gpu,
      checkLoss(cosine, (student, teacher) => 1 - average(student.map((row, i) => dot(row, teacher[i])))),
    )
  ));

Deno.test("a loss of softened logits differentiates through product, softmax and mean", () =>
  withGpu((gpu) => {
    const keys = Float64Array.from(randomValues("keys", [4, 5]));
    return checkOp(gpu, {
      loss: true,
      inHalf: false,
      inputs: [
        { shape: EMBEDDINGS, values: randomValues("student", EMBEDDINGS), gradient: true },
        { shape: EMBEDDINGS, values: randomValues("teacher", EMBEDDINGS) },
        { shape: [1, 1, 4, 5], values: randomValues("keys", [4, 5]) },
      ],
      build(graph, [student, teacher, queue]) {
        const logits = [student, teacher].map((embedding, i) =>
          graph.apply(affine, [graph.apply(matmulTransposed, [embedding, queue], {})], { scale: [5, 10][i] })
        );
        const wanted = graph.apply(softmax, [logits[1]], {});
        const found = graph.apply(logSoftmax, [logits[0]], {});
        return graph.apply(affine, [graph.apply(mean, [graph.apply(rowDot, [wanted, found], {})], {})], {
          scale: -1,
        });
      },
      reference(student, teacher) {
        const logits = (row: Float64Array, scale: number) =>
          Float64Array.from(rowsOf(keys, 5), (key) => scale * dot(row, key));
        const losses = rowsOf(student, 5).map((row, i) =>
          -dot(softmaxOf(logits(rowsOf(teacher, 5)[i], 10)), softmaxOf(logits(row, 5)).map(Math.log))
        );
        return Float64Array.of(average(losses));
      },
    });
  }));

/** Half of SEED's loss and three times the cosine's, and its gradient scaled by `scale`. */
async function mixedLoss(
  gpu: Parameters<Parameters<typeof withGpu>[0]>[0],
  weights: readonly [seed: number, cosine: number],
  scale?: number,
): Promise<{ loss: number; gradient: Float32Array }> {
  const graph = new Graph();
  const [student, teacher] = ["student", "teacher"].map((name) => graph.source(name, EMBEDDINGS));
  const queue = graph.source("queue", [1, 1, 4, 5]);
  const [seed] = graph.applyAll(queueCrossEntropy, [student, teacher, queue], {
    temperature: 0.2,
    teacherTemperature: 0.1,
    queueSize: 4,
  });
  const parts = [seed, cosine(graph, student, teacher)].map((part, i) =>
    graph.apply(affine, [part], { scale: weights[i] })
  );
  const loss = graph.apply(add, parts, {});
  const state = scale === undefined ? undefined : stepControl(graph);
  const [gradient] = differentiate(graph, loss, [student], state);
  using program = await Program.compile(gpu, {
    label: "mixed loss",
    graph,
    inputs: [student, teacher, queue, ...state ? [state] : []],
    outputs: [loss, gradient],
  });
  for (const tensor of [student, teacher, queue]) {
    const values = new Float32Array(tensor.shape[2] === 4 ? 32 : 24);
    randomValues(tensor.label, [values.length / 8, 5]).forEach((value, i) =>
      values[Math.floor(i / 5) * 8 + i % 5] = value
    );
    program.write(tensor, values);
  }
  if (state) program.write(state, packStepControl({ scale: scale!, goodSteps: 0, skipped: 0 }));
  program.run();
  return { loss: (await program.read(loss))[0], gradient: await program.read(gradient) };
}

Deno.test("a loss that is a part of another is weighted in its gradient too", () =>
  withGpu(async (gpu) => {
    const [seed, cosine, both] = [
      await mixedLoss(gpu, [1, 0]),
      await mixedLoss(gpu, [0, 1]),
      await mixedLoss(gpu, [0.5, 3]),
    ];
    const round = (value: number) => Number(value.toFixed(5));
    assertEquals(round(both.loss), round(0.5 * seed.loss + 3 * cosine.loss));
    assertEquals(
      [...both.gradient].map(round),
      [...seed.gradient].map((value, i) => round(0.5 * value + 3 * cosine.gradient[i])),
    );
  }));

Deno.test("loss scaling scales the gradient of a loss that is made of several", () =>
  withGpu(async (gpu) => {
    const plain = await mixedLoss(gpu, [0.5, 3]);
    const scaled = await mixedLoss(gpu, [0.5, 3], 1024);
    assertEquals(scaled.loss, plain.loss);
    assertEquals(scaled.gradient, plain.gradient.map((value) => 1024 * value)); // exact: a power of two
  }));
