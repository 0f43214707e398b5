import { assertEquals, assertThrows } from "@std/assert";
import { Random } from "../../../data/random.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import { Graph, padTo4, type Tensor } from "../../../kernels/graph.ts";
import { padRows, unpadRows } from "../../../kernels/layout.ts";
import { classVotes } from "../../../kernels/ops/class_votes/class_votes.ts";
import { topK, topKCount } from "../../../kernels/ops/top_k/top_k.ts";
import { Program } from "../../../kernels/program.ts";
import { randomValues, relativeError, withGpu } from "../check_op.ts";

/** What stands in the places that cannot be filled. */
const NO_LABEL = 0xffffffff;

interface Case {
  rows: number;
  k: number;
  /** Columns of each part that the matrix is handed over in. */
  parts: readonly number[];
  /** Value of a row and column. */
  value(row: number, column: number): number;
}

/** Different from the column, and from one column to the next. */
const labelOf = (column: number) => (column * 7919 + 13) % 10007;

/** The k largest of each row, in the order of the columns; the first of equal ones. */
function reference({ rows, k, parts, value }: Case) {
  const columns = parts.reduce((a, b) => a + b);
  const values = new Float32Array(rows * k).fill(-Infinity);
  const labels = new Uint32Array(rows * k).fill(NO_LABEL);
  for (let row = 0; row < rows; row++) {
    const all = Float32Array.from({ length: columns }, (_, column) => value(row, column));
    const kept = [...all.keys()].sort((a, b) => all[b] - all[a] || a - b).slice(0, k).sort((a, b) => a - b);
    values.set(kept.map((column) => all[column] + 0), row * k); // -0 becomes 0
    labels.set(kept.map(labelOf), row * k);
  }
  return { values, labels };
}

async function run(gpu: Gpu, { rows, k, parts, value }: Case) {
  const graph = new Graph();
  const inputs = parts.map((columns, i) => ({
    columns,
    z: graph.source(`z ${i}`, [rows, 1, 1, padTo4(columns)]),
    labels: graph.source(`labels ${i}`, [padTo4(columns)], "u32"),
  }));
  let best: readonly Tensor[] = [];
  let previous = 0;
  for (const { columns, z, labels } of inputs) {
    const attributes = { k, columns, previous };
    best = graph.applyAll(topK, [z, labels, ...best], attributes);
    previous = topKCount(attributes);
  }
  using program = await Program.compile(gpu, {
    label: "test",
    graph,
    inputs: inputs.flatMap(({ z, labels }) => [z, labels]),
    outputs: best,
  });
  let first = 0;
  for (const { columns, z, labels } of inputs) {
    const padded = padTo4(columns);
    // Padding must not count, whatever it holds.
    const values = new Float32Array(rows * padded).fill(9);
    const words = new Uint32Array(padded).fill(77777);
    for (let column = 0; column < columns; column++) {
      for (let row = 0; row < rows; row++) values[row * padded + column] = value(row, first + column);
      words[column] = labelOf(first + column);
    }
    program.write(z, values);
    program.write(labels, words);
    first += columns;
  }
  program.run();
  const padded = await program.read(best[0]);
  const values = unpadRows(padded, best[0].shape);
  assertEquals(padded, padRows(values, best[0].shape), "pad lanes must be zero");
  return { values, labels: new Uint32Array((await program.read(best[1])).buffer) };
}

const random = (row: number, column: number) => new Random(3, row, column).uniform(-1, 1);
/** Only a few different values, both zeros among them, so that the border is always a tie. */
const quantised = (row: number, column: number) => Math.round(random(row, column) * 3) * 0.25;
/** -1 or one of the two zeros. */
const zeros = (row: number, column: number) => [-1, -0, 0][Math.floor((random(row, column) + 1) * 1.5)];
const negative = (row: number, column: number) => random(row, column) - 2;
const tiny = (row: number, column: number) => random(row, column) * 1e-40;
const wide = (row: number, column: number) => random(row, column) * 10 ** (column % 60 - 30);
/** Differ in the last bits only. */
const close = (row: number, column: number) => 0.5 + Math.round(random(row, column) * 500) * 2 ** -24;

const cases: Record<string, Case> = {
  "one of one": { rows: 1, k: 1, parts: [1], value: random },
  "one of 17": { rows: 3, k: 1, parts: [17], value: random },
  "5 of 17": { rows: 3, k: 5, parts: [17], value: random },
  "all of 12": { rows: 2, k: 12, parts: [12], value: random },
  "21 of 7, which leaves places": { rows: 2, k: 21, parts: [7], value: random },
  "200 of 1000": { rows: 4, k: 200, parts: [1000], value: random },
  "1024 of 1030": { rows: 2, k: 1024, parts: [1030], value: random },
  "1500 of 4001": { rows: 2, k: 1500, parts: [4001], value: random },
  "33 of 700 with ties": { rows: 5, k: 33, parts: [700], value: quantised },
  "50 of 300 with ties of zeros": { rows: 5, k: 50, parts: [300], value: zeros },
  "50 of 500 equal ones": { rows: 2, k: 50, parts: [500], value: () => -0.25 },
  "50 of 500 subnormal ones": { rows: 2, k: 50, parts: [500], value: tiny },
  "50 of 500 from 1e-30 to 1e30": { rows: 2, k: 50, parts: [500], value: wide },
  "50 of 900 that differ in the last bits": { rows: 2, k: 50, parts: [900], value: close },
  "21 of 3, 17 and 131, in parts": { rows: 3, k: 21, parts: [3, 17, 131], value: random },
  "30 of 200, 1 and 300 with ties, in parts": { rows: 3, k: 30, parts: [200, 1, 300], value: quantised },
  "21 of 90 and 50 negative ones, in parts": { rows: 3, k: 21, parts: [90, 50], value: negative },
  "9 of 2 and 3, which leaves places, in parts": { rows: 3, k: 9, parts: [2, 3], value: random },
};

for (const [name, chosen] of Object.entries(cases)) {
  Deno.test(`topK of ${name}, equals sorting`, () =>
    withGpu(async (gpu) => {
      assertEquals(await run(gpu, chosen), reference(chosen));
    }));
}

Deno.test("topK gives the same bits for any division into parts", () =>
  withGpu(async (gpu) => {
    const whole = { rows: 3, k: 40, parts: [600], value: quantised };
    const expected = await run(gpu, whole);
    for (const parts of [[599, 1], [1, 599], [100, 200, 300], [39, 2, 559]]) {
      assertEquals(await run(gpu, { ...whole, parts }), expected, `parts ${parts}`);
    }
  }));

Deno.test("topK refuses labels that do not fit, and a best so far that is missing", () => {
  const graph = new Graph();
  const z = graph.source("z", [2, 1, 1, 8]);
  const labels = graph.source("labels", [8], "u32");
  const attributes = { k: 3, columns: 7, previous: 0 };
  assertThrows(
    () => graph.applyAll(topK, [z, graph.source("short", [4], "u32")], attributes),
    Error,
    "top_k: expected",
  );
  assertThrows(() => graph.applyAll(topK, [z, labels], { ...attributes, columns: 9 }), Error, "at least 9");
  assertThrows(
    () => graph.applyAll(topK, [z, labels], { ...attributes, previous: 2 }),
    Error,
    "the best 2 so far",
  );
});

for (
  const [rows, k, voters, classes, temperature] of [
    [1, 1, 1, 1, 0.07],
    [3, 7, 5, 3, 0.07],
    [70, 21, 21, 17, 0.2],
    [2, 200, 199, 1001, 1],
    [3, 20, 20, 4, 0.001],
  ]
) {
  const title = `${voters} of ${k} in ${rows} rows, ${classes} classes, temperature ${temperature}`;
  Deno.test(`classVotes of ${title}, equals a float64 loop`, () =>
    withGpu(async (gpu) => {
      const graph = new Graph();
      const similarities = graph.source("similarities", [rows, 1, 1, k]);
      const labels = graph.source("labels", [rows, k], "u32");
      const scores = graph.apply(classVotes, [similarities, labels], { classes, voters, temperature });
      using program = await Program.compile(gpu, {
        label: "test",
        graph,
        inputs: [similarities, labels],
        outputs: [scores],
      });
      const values = randomValues("similarities", [rows, k]);
      const random = new Random(4, "labels");
      const words = Uint32Array.from(values, () => random.integer(0, classes - 1));
      const expected = new Float64Array(rows * classes);
      for (let row = 0; row < rows; row++) {
        const own = values.subarray(row * k, row * k + voters);
        const largest = Math.max(...own);
        for (const [i, value] of own.entries()) {
          expected[row * classes + words[row * k + i]] += Math.exp((value - largest) / temperature);
        }
        // Places behind the voters must not count.
        values.fill(Infinity, row * k + voters, (row + 1) * k);
      }
      program.write(similarities, padRows(values, similarities.shape));
      program.write(labels, words);
      program.run();
      program.run(); // scores start from zero every time
      const padded = await program.read(scores);
      const actual = unpadRows(padded, scores.shape);
      assertEquals(padded, padRows(actual, scores.shape), "pad lanes must be zero");
      const error = relativeError(actual, expected);
      assertEquals(error < 1e-5, true, `relative error ${error}`);
    }));
}
