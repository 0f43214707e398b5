import { assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import { padRows } from "../../kernels/layout.ts";
import { QueueSimilarities } from "../../models/queue_similarities.ts";
import { HISTOGRAM_BINS, similarityMap } from "../../models/similarity_map.ts";
import { randomValues, relativeError, withGpu } from "../kernels/check_op.ts";

/** Rows of length 1. */
function unitRows(name: string, rows: number, dimension: number): Float32Array<ArrayBuffer> {
  const values = randomValues(name, [rows, dimension]);
  for (let row = 0; row < rows; row++) {
    const own = values.subarray(row * dimension, (row + 1) * dimension);
    const norm = Math.hypot(...own);
    own.forEach((value, i) => own[i] = value / norm);
  }
  return values;
}

function products(a: Float32Array, b: Float32Array, dimension: number): number[] {
  const [rows, columns] = [a.length / dimension, b.length / dimension];
  return Array.from({ length: rows * columns }, (_, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns];
    let sum = 0;
    for (let d = 0; d < dimension; d++) sum += a[row * dimension + d] * b[column * dimension + d];
    return sum;
  });
}

Deno.test("QueueSimilarities gives the cosines of a float64 loop, of queues and embeddings of any size", () =>
  withGpu(async (gpu) => {
    const { maxStorageBufferBindingSize: most } = gpu.target;
    // The last one is bound in chunks.
    for (
      const [queueSize, dimension, limit] of [[16, 128, most], [6, 5, most], [1000, 32, most], [
        999,
        32,
        40_000,
      ]]
    ) {
      const target = { ...gpu.target, maxStorageBufferBindingSize: limit };
      const queue = unitRows("queue", queueSize, dimension);
      const padded = padRows(queue, [queueSize, dimension]);
      const bytes = Math.ceil(queueSize / 4) * 4 * Math.ceil(dimension / 4) * 16;
      const buffer = gpu.device.createBuffer({
        size: bytes,
        usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC,
      });
      gpu.device.queue.writeBuffer(buffer, 0, padded);
      using similarities = await QueueSimilarities.create({ ...gpu, target }, buffer, {
        rows: 2,
        queueSize,
        dimension,
      });
      const pair = unitRows("pair", 2, dimension);
      const found = await similarities.compare(pair);
      assertEquals(found.length, 2 * queueSize);
      assertLess(relativeError(found, products(pair, queue, dimension)), 1e-5);
      buffer.destroy();
    }
  }));

Deno.test("similarityMap has the softmaxes, the likeliest keys and the cross-entropy", () => {
  const teacher = Float32Array.of(0.1, 1, -0.4, 0.8);
  const student = Float32Array.of(0.3, 0.9, -1, 0.2);
  const found = similarityMap(teacher, student, {
    temperature: 0.2,
    teacherTemperature: 0.1,
    ownKey: 1,
    count: 3,
  });
  const softmax = (values: Float32Array, temperature: number) => {
    const weights = Array.from(values, (value) => Math.exp(value / temperature));
    const sum = weights.reduce((a, b) => a + b, 0);
    return weights.map((weight) => weight / sum);
  };
  const [p, q] = [softmax(teacher, 0.1), softmax(student, 0.2)];
  assertEquals([found.keys, found.chosen, found.own], [4, [1, 3, 0], 0]);
  for (const [place, key] of found.chosen.entries()) {
    assertAlmostEquals(found.teacher.probabilities[place], p[key], 1e-6);
    assertAlmostEquals(found.student.probabilities[place], q[key], 1e-6);
  }
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
  assertAlmostEquals(found.crossEntropy, -sum(p.map((value, i) => value * Math.log(q[i]))), 1e-6);
  assertAlmostEquals(found.student.entropy, -sum(q.map((value) => value * Math.log(value))), 1e-6);
  assertEquals(found.student.histogram.length, HISTOGRAM_BINS);
  assertEquals(sum(found.student.histogram), 4);
  assertEquals([found.student.histogram[0], found.teacher.histogram[HISTOGRAM_BINS - 1]], [1, 1], "-1 and 1");
});

Deno.test("similarityMap chooses of a large queue the keys that a sort of all would, equal ones by their rows", () => {
  // Few different values, so that many are equal, among them the last that is chosen.
  const cosines = randomValues("keys", [5000]).map((value) => Math.round(20 * Math.sin(9 * value)) / 20);
  const settings = { temperature: 0.2, teacherTemperature: 0.1, ownKey: 7 };
  const sorted = [...cosines.keys()].sort((a, b) => cosines[b] - cosines[a] || a - b);
  for (const count of [0, 1, 40, 5000, 6000]) {
    assertEquals(similarityMap(cosines, cosines, { ...settings, count }).chosen, sorted.slice(0, count));
  }
});

Deno.test("similarityMap counts a key that is not among the chosen as elsewhere, and takes sharp temperatures", () => {
  const teacher = Float32Array.of(0.5, -0.5);
  const found = similarityMap(teacher, teacher, {
    temperature: 1e-4,
    teacherTemperature: 1e-4,
    ownKey: 1,
    count: 1,
  });
  assertEquals([found.own, found.teacher.probabilities, found.teacher.entropy], [-1, [1], 0]);
  assertAlmostEquals(found.crossEntropy, 0, 1e-9);
});
