import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../../errors.ts";
import { differentiate } from "../../../kernels/autodiff.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import { Graph } from "../../../kernels/graph.ts";
import { padRows, unpadRows } from "../../../kernels/layout.ts";
import { l2Normalize } from "../../../kernels/ops/l2_normalize/l2_normalize.ts";
import { rowSum } from "../../../kernels/ops/row_sum/row_sum.ts";
import { Program } from "../../../kernels/program.ts";
import {
  findLoss,
  ignoresTemperature,
  type Loss,
  lossNames,
  readsQueue,
  registerLoss,
} from "../../../models/loss/losses.ts";
import { asHardware, relativeError, withGpu } from "../../kernels/check_op.ts";
import { formulaTensor } from "../../reference.ts";
import { skip } from "../../skip.ts";

const SETTINGS = { temperature: 0.2, teacherTemperature: 0.07, tokenTemperature: 0.07, tokenWeight: 1 };

type Rows = readonly (readonly number[])[];

function rowsOf(values: ArrayLike<number>, d: number): Rows {
  return Array.from(
    { length: values.length / d },
    (_, row) => Array.from({ length: d }, (_, i) => values[row * d + i]),
  );
}

Deno.test("readsQueue() finds in a loss's graph whether it compares with the queue", () => {
  const sizes = { batch: 4, dimension: 8, queueSize: 6 };
  const found = lossNames().filter((name) => readsQueue(name, sizes));
  assertEquals(found, ["seed", "tokens"]); // the first term of `tokens` is SEED's loss
  const maps = { student: [2, 2, 16], teacher: [3, 3, 12] } as const;
  assertEquals(readsQueue("tokens", { ...sizes, maps }), true);
  // One that compares maps alone, and needs them.
  registerLoss("maps alone", (graph, { maps }) => {
    const student = maps!.linear("to_teacher", maps!.student, maps!.teacher.shape[3]);
    assertEquals([student.shape, maps!.teacher.shape], [[4, 2, 2, 12], [4, 3, 3, 12]]);
    return graph.source("some loss", [1]);
  }, { usesMaps: true });
  assertEquals(readsQueue("maps alone", { ...sizes, maps }), false);
});

Deno.test("ignoresTemperature() is as the losses' graphs are: other temperatures leave those that ignore it unchanged", () => {
  const attributesOf = (name: string, changed: Partial<typeof SETTINGS>) =>
    JSON.stringify(
      trace(name, 4, 8, { ...SETTINGS, ...changed }).graph.nodes.map(({ attributes }) => attributes),
    );
  for (const name of Object.keys(EXPECTED).concat("seed", "tokens")) {
    for (const temperature of ["temperature", "teacherTemperature"] as const) {
      const isSame = attributesOf(name, {}) === attributesOf(name, { [temperature]: 0.5 });
      assertEquals(ignoresTemperature(name, temperature), isSame, `${name}, ${temperature}`);
    }
  }
  // A loss of one's own ignores what it says, and nothing else.
  registerLoss("own", findLoss("mse"));
  registerLoss("own teacher", findLoss("seed"), { ignores: ["teacherTemperature"] });
  const ignored = (name: string) =>
    (["temperature", "teacherTemperature"] as const).filter((one) => ignoresTemperature(name, one));
  assertEquals([ignored("own"), ignored("own teacher")], [[], ["teacherTemperature"]]);
});

Deno.test("a loss that returns anything but one number is refused by its name", () => {
  const returned: [name: string, loss: unknown, found: string][] = [
    [
      "rows",
      ((graph, { student }) => graph.apply(rowSum, [student], {})) satisfies Loss,
      "a tensor of shape [4, 1, 1, 1]",
    ],
    ["nothing", () => undefined, "undefined"],
    ["later", () => Promise.resolve(), "a promise"],
    ["value", () => ({ value: 1 }), "no tensor"],
  ];
  for (const [name, loss, found] of returned) {
    registerLoss(name, loss as Loss);
    const { message } = assertThrows(
      () => readsQueue(name, { batch: 4, dimension: 8, queueSize: 6 }),
      UserError,
    );
    assertEquals(
      message,
      `the loss "${name}" returned ${found}, expected a tensor of shape [1]; the op mean makes one of the losses of images`,
    );
  }
});

const dot = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, value, i) => sum + value * b[i], 0);

function normalized(rows: Rows): Rows {
  return rows.map((row) => {
    const norm = Math.hypot(...row);
    return row.map((value) => value / norm);
  });
}

function softmax(logits: readonly number[]): number[] {
  const top = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp(logit - top));
  const total = weights.reduce((sum, weight) => sum + weight);
  return weights.map((weight) => weight / total);
}

/** Losses of one row in float64, from normalised embeddings. */
const EXPECTED: Record<string, (student: readonly number[], row: number, teacher: Rows) => number> = {
  cosine: (student, row, teacher) => 1 - dot(student, teacher[row]),
  mse: (student, row, teacher) => student.reduce((sum, value, i) => sum + (value - teacher[row][i]) ** 2, 0),
  in_batch(student, row, teacher) {
    const over = (embedding: readonly number[], temperature: number) =>
      softmax(teacher.map((key) => dot(embedding, key) / temperature));
    const p = over(student, SETTINGS.temperature);
    const q = over(teacher[row], SETTINGS.teacherTemperature);
    return -q.reduce((sum, share, j) => sum + share * Math.log(p[j]), 0);
  },
};

function meanLoss(name: string, student: Rows, teacher: Rows): number {
  const [s, t] = [normalized(student), normalized(teacher)];
  return s.reduce((sum, row, i) => sum + EXPECTED[name](row, i, t), 0) / s.length;
}

function trace(name: string, n: number, d: number, settings = SETTINGS) {
  const graph = new Graph();
  const raw = graph.source("student", [n, 1, 1, d]);
  const teacher = graph.source("teacher", [n, 1, 1, d]);
  const queue = graph.source("queue", [1, 1, 8, d]);
  const student = graph.apply(l2Normalize, [raw], {});
  const loss = findLoss(name)(graph, {
    student,
    teacher,
    batchTeacher: teacher,
    queue,
    queueSize: 8,
    ...settings,
  });
  return { graph, raw, teacher, loss };
}

/** Loss and gradient by the unnormalised student on the device. */
async function compute(gpu: Gpu, name: string, student: Rows, teacher: Rows, mixedPrecision = false) {
  const [n, d] = [student.length, student[0].length];
  const { graph, raw, teacher: source, loss } = trace(name, n, d);
  const [gradient] = differentiate(graph, loss, [raw]);
  const inputs = [raw, source];
  using program = await Program.compile(gpu, {
    label: name,
    graph,
    inputs,
    outputs: [loss, gradient],
    mixedPrecision,
  });
  program.write(raw, padRows(Float32Array.from(student.flat()), [n, d]));
  program.write(source, padRows(Float32Array.from(normalized(teacher).flat()), [n, d]));
  program.run();
  return { loss: (await program.read(loss))[0], gradient: unpadRows(await program.read(gradient), [n, d]) };
}

for (const name of Object.keys(EXPECTED)) {
  for (
    const [n, d, hardware] of [[4, 3, false], [12, 17, false], [12, 17, true], [64, 128, false]] as const
  ) {
    const family = hardware ? ", products staged in workgroup memory," : "";
    Deno.test(`the loss ${name} of ${n} embeddings of ${d} numbers${family} equals float64, its gradient differences`, () =>
      withGpu(async (gpu) => {
        const student = rowsOf(formulaTensor("student", [n, d], "unit"), d);
        const teacher = rowsOf(formulaTensor("teacher", [n, d], "unit"), d);
        const { loss, gradient } = await compute(hardware ? asHardware(gpu) : gpu, name, student, teacher);
        const expected = meanLoss(name, student, teacher);
        assertAlmostEquals(loss, expected, 2e-6 * Math.max(1, expected));
        // Differences of a few numbers of the first and the last row.
        const step = 1e-5;
        const places = [0, n - 1].flatMap((row) => [0, 1, d - 1].map((i) => [row, i] as const));
        const differences = places.map(([row, i]) => {
          const moved = (by: number) =>
            meanLoss(
              name,
              student.map((values, r) => r === row ? values.with(i, values[i] + by) : values),
              teacher,
            );
          return (moved(step) - moved(-step)) / (2 * step);
        });
        const error = relativeError(
          Float32Array.from(places, ([row, i]) => gradient[row * d + i]),
          differences,
        );
        assert(error <= 1e-3, `gradient: relative error ${error}`);
      }));
  }
}

Deno.test("the loss in_batch refuses a batch whose similarities cannot be laid out", () => {
  assertThrows(
    () => trace("in_batch", 6, 4),
    UserError,
    "--loss in_batch: expected a multiple of 4 views in a batch, found 6",
  );
});

for (const name of Object.keys(EXPECTED)) {
  const title =
    `the loss ${name} is the same in mixed precision, but for the rounding of the teacher's embeddings`;
  Deno.test(title, () =>
    withGpu(async (gpu) => {
      if (!gpu.adapter.hasHalf) return skip(title, "the adapter has no float16");
      const [n, d] = [12, 17];
      const student = rowsOf(formulaTensor("student", [n, d], "unit"), d);
      const teacher = rowsOf(formulaTensor("teacher", [n, d], "unit"), d);
      const whole = await compute(gpu, name, student, teacher);
      const mixed = await compute(gpu, name, student, teacher, true);
      assertAlmostEquals(mixed.loss, whole.loss, 1e-3 * whole.loss);
      assert(relativeError(mixed.gradient, whole.gradient) <= 5e-3);
    }));
}
