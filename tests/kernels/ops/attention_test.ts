import { assert, assertAlmostEquals, assertEquals, assertLess, assertThrows } from "@std/assert";
import { differentiate } from "../../../kernels/autodiff.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import { Graph, paddedCount, type Tensor } from "../../../kernels/graph.ts";
import { attention } from "../../../kernels/ops/attention/attention.ts";
import { mean } from "../../../kernels/ops/mean/mean.ts";
import { Program } from "../../../kernels/program.ts";
import { makeSchedule } from "../../../kernels/schedule.ts";
import { IS_LONG } from "../../long.ts";
import {
  asHardware,
  checkOp,
  KINDS,
  randomValues,
  relativeError,
  weightedSum,
  withGpu,
  withoutSubgroups,
  withoutTextures,
} from "../check_op.ts";

interface Case {
  batch: number;
  tokens: number;
  heads: number;
  /** Numbers of a head. */
  width: number;
  rope?: boolean;
}

/** x cos + (-second half, first half) sin, of one row. */
function rotate(x: Float64Array, cosines: Float64Array, sines: Float64Array): Float64Array {
  const half = x.length / 2;
  return x.map((value, i) => value * cosines[i] + (i < half ? -x[i + half] : x[i - half]) * sines[i]);
}

/** The definition, in float64: a whole matrix of scores. */
function reference(
  { batch, tokens, heads, width }: Case,
  qkv: Float64Array,
  tables?: readonly Float64Array[],
) {
  const row = heads * width;
  const y = new Float64Array(batch * tokens * row);
  const part = (image: number, token: number, which: number, head: number) => {
    const at = (image * tokens + token) * 3 * row + which * row + head * width;
    const x = qkv.subarray(at, at + width);
    if (tables === undefined || which === 2) return x;
    const [cosines, sines] = tables.map((table) => table.subarray(token * width, (token + 1) * width));
    return rotate(x, cosines, sines);
  };
  const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  for (let image = 0; image < batch; image++) {
    for (let head = 0; head < heads; head++) {
      const [queries, keys, values] = [0, 1, 2].map((which) =>
        Array.from({ length: tokens }, (_, token) => part(image, token, which, head))
      );
      for (const [token, query] of queries.entries()) {
        const scores = keys.map((key) => dot(query, key) / Math.sqrt(width));
        const most = Math.max(...scores);
        const exponentials = scores.map((score) => Math.exp(score - most));
        const sum = exponentials.reduce((a, b) => a + b);
        const out = y.subarray((image * tokens + token) * row + head * width);
        for (const [j, value] of values.entries()) {
          for (let i = 0; i < width; i++) out[i] += exponentials[j] / sum * value[i];
        }
      }
    }
  }
  return y;
}

/** Its gradient for a gradient `dy` of the output, in float64, without rotation. */
function referenceGradient({ batch, tokens, heads, width }: Case, qkv: Float64Array, dy: Float64Array) {
  const row = heads * width;
  const dqkv = new Float64Array(qkv.length);
  const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const addScaled = (a: Float64Array, b: Float64Array, scale: number) => {
    for (let i = 0; i < width; i++) a[i] += scale * b[i];
  };
  for (let image = 0; image < batch; image++) {
    for (let head = 0; head < heads; head++) {
      const parts = (values: Float64Array, count: number, which: number) =>
        Array.from({ length: tokens }, (_, token) => {
          const at = ((image * tokens + token) * count + which) * row + head * width;
          return values.subarray(at, at + width);
        });
      const [queries, keys, values] = [0, 1, 2].map((which) => parts(qkv, 3, which));
      const [dQueries, dKeys, dValues] = [0, 1, 2].map((which) => parts(dqkv, 3, which));
      for (const [i, dOut] of parts(dy, 1, 0).entries()) {
        const scores = keys.map((key) => dot(queries[i], key) / Math.sqrt(width));
        const most = Math.max(...scores);
        const exponentials = scores.map((score) => Math.exp(score - most));
        const sum = exponentials.reduce((a, b) => a + b);
        const shares = exponentials.map((value) => value / sum);
        const dShares = values.map((value) => dot(dOut, value));
        const mean = shares.reduce((total, share, j) => total + share * dShares[j], 0);
        for (const [j, share] of shares.entries()) {
          const dScore = share * (dShares[j] - mean) / Math.sqrt(width);
          addScaled(dValues[j], dOut, share);
          addScaled(dQueries[i], keys[j], dScore);
          addScaled(dKeys[j], queries[i], dScore);
        }
      }
    }
  }
  return dqkv;
}

const CASES: Case[] = [
  { batch: 1, tokens: 1, heads: 1, width: 4 },
  { batch: 3, tokens: 3, heads: 3, width: 12 },
  { batch: 2, tokens: 17, heads: 2, width: 12 },
  { batch: 1, tokens: 17, heads: 1, width: 32 },
  { batch: 1, tokens: 3, heads: 2, width: 64 },
  { batch: 1, tokens: 3, heads: 1, width: 80 },
  { batch: 1, tokens: 3, heads: 1, width: 128 },
  { batch: 3, tokens: 5, heads: 2, width: 8, rope: true },
  { batch: 1, tokens: 3, heads: 1, width: 64, rope: true },
];

/**
 * The text of a wide head is that of a narrow one with more lines: seconds to compile. Of the quick cases kernels have four
 * rows, or of the wide head one. An encoder with heads of 64 is in every run of the tests, in half_weights_test.ts.
 */
const isQuick = ({ tokens, width, rope }: Case, as: unknown) =>
  (width <= 12 && tokens !== 3) || (width === 64 && !rope && as === asHardware);

for (const [kind, as] of [...KINDS, ["kernels without subgroups", withoutSubgroups] as const]) {
  for (const test of CASES) {
    const { batch, tokens, heads, width, rope = false } = test;
    const title = `${batch} x ${tokens} tokens, ${heads} heads of ${width}${rope ? ", rotated" : ""}`;
    Deno.test(`attention of ${title} equals a float64 loop, and so does its gradient: ${kind}`, {
      ignore: !isQuick(test, as) && !IS_LONG,
    }, () =>
      withGpu((gpu) => {
        const shape = [batch, tokens, 1, 3 * heads * width];
        const table = [tokens, width];
        const tables = rope
          ? ["cos", "sin"].map((name) => ({ shape: table, values: randomValues(name, table) }))
          : [];
        // Wide heads are left without textures, for which they take long to compile.
        return checkOp(as(width > 64 ? withoutTextures(gpu) : gpu), {
          name: title,
          inputs: [{ shape, values: randomValues("qkv", shape, 2), gradient: true }, ...tables],
          build: (graph, inputs) => graph.apply(attention, inputs, { heads, rope }),
          reference: (qkv, ...tables) => reference(test, qkv, rope ? tables : undefined),
          inHalf: width === 12 || width === 8, // the text is the same for others, and takes long to compile
        });
      }));
  }
}

/** Output, logarithm of the sum of exponentials and gradient, for a gradient `dy` of the output. */
async function run(gpu: Gpu, { batch, tokens, heads, width }: Case, qkv: Float32Array<ArrayBuffer>) {
  const graph = new Graph();
  const x = graph.source("qkv", [batch, tokens, 1, 3 * heads * width]);
  const [y, lse] = graph.applyAll(attention, [x], { heads, rope: false });
  const dy = graph.source("dy", y.shape);
  const [dx] = differentiate(graph, graph.apply(weightedSum, [y, dy], {}), [x]);
  const options = { label: "test", graph, inputs: [x, dy], outputs: [y, lse, dx] };
  using program = await Program.compile(gpu, options);
  program.write(x, qkv);
  program.write(dy, randomValues("dy", dy.shape));
  program.write(lse, new Float32Array(paddedCount(lse)).fill(NaN)); // its padding must be cleared
  program.run();
  const [yValues, lseValues, dxValues] = [
    await program.read(y),
    await program.read(lse),
    await program.read(dx),
  ];
  return { y: yValues, lse: lseValues, dx: dxValues };
}

const LONG: Case = { batch: 1, tokens: 1375, heads: 1, width: 4 };

for (const [kind, as] of KINDS) {
  Deno.test(`attention of 1,375 tokens whose scores are large equals a float64 loop: ${kind}`, () =>
    withGpu(async (gpu) => {
      const qkv = randomValues("long", [LONG.tokens, 12], 8);
      const { y, lse } = await run(as(gpu), LONG, qkv);
      assertLess(relativeError(y, reference(LONG, Float64Array.from(qkv))), 1e-5);
      const scores = Array.from(
        { length: LONG.tokens },
        (_, j) => [0, 1, 2, 3].reduce((sum, i) => sum + qkv[i] * qkv[12 * j + 4 + i], 0) / 2,
      );
      const sum = scores.reduce((sum, score) => sum + Math.exp(score), 0);
      assertAlmostEquals(lse[0], Math.log(sum), 1e-4);
      assertEquals(lse.length, 1376);
      assertEquals(lse[1375], 0); // padding
    }));

  Deno.test(`attention with a NaN in one query has NaN for that token alone: ${kind}`, () =>
    withGpu(async (gpu) => {
      const test: Case = { batch: 1, tokens: 5, heads: 1, width: 4 };
      const qkv = randomValues("nan", [5, 12]);
      qkv[2 * 12 + 1] = NaN;
      const { y, dx } = await run(as(gpu), test, qkv);
      const tokens = [0, 1, 2, 3, 4].map((token) => y.subarray(4 * token, 4 * token + 4).every(Number.isNaN));
      assertEquals(tokens, [false, false, true, false, false]);
      assert(dx.some(Number.isNaN));
    }));
}

Deno.test("attention's gradient is the same where a workgroup stages keys in several parts", () =>
  withGpu(async (gpu) => {
    // A workgroup stages 168 rows at a time. The kernels are those of another test.
    const test: Case = { batch: 2, tokens: 175, heads: 2, width: 12 };
    const qkv = randomValues("qkv", [2, 175, 1, 72], 2);
    const [[, direct], [, staged]] = KINDS;
    const expected = await run(direct(gpu), test, qkv);
    const found = await run(staged(gpu), test, qkv);
    for (const name of ["y", "lse", "dx"] as const) {
      assertLess(relativeError(found[name], expected[name]), 1e-5);
    }
  }));

/** A workgroup of GPUs' kernels stages 32 rows of 64 numbers at a time, or 24 of 80. Neither divides the tokens. */
const MANY: Case[] = [
  { batch: 1, tokens: 300, heads: 1, width: 64 },
  { batch: 1, tokens: 150, heads: 1, width: 80 },
];

for (const [kind, as] of KINDS) {
  for (const test of MANY) {
    const title = `${test.tokens} tokens with a head of ${test.width}`;
    Deno.test(`attention of ${title} equals a float64 loop, and so does its gradient: ${kind}`, {
      ignore: !IS_LONG,
    }, () =>
      withGpu(async (gpu) => {
        const { tokens, width } = test;
        const qkv = randomValues("many", [tokens, 3 * width], 2);
        const dy = Float64Array.from(randomValues("dy", [1, tokens, 1, width]));
        const doubles = Float64Array.from(qkv);
        const gradient = referenceGradient(test, doubles, dy);
        // The gradient is checked itself, along one direction.
        const direction = randomValues("direction", [tokens, 3 * width]);
        const product = (a: ArrayLike<number>, b: Float64Array) =>
          b.reduce((sum, value, i) => sum + value * a[i], 0);
        const [above, below] = [1e-5, -1e-5].map((step) =>
          product(dy, reference(test, doubles.map((value, i) => value + step * direction[i])))
        );
        assertAlmostEquals((above - below) / 2e-5, product(direction, gradient), 1e-6);

        const { y, dx } = await run(as(gpu), test, qkv);
        assertLess(relativeError(y, reference(test, doubles)), 1e-5);
        assertLess(relativeError(dx, gradient), 1e-4);
      }));
  }
}

Deno.test("attention's memory grows with the tokens and not with their square", () =>
  withGpu((gpu) => {
    const bytes = (tokens: number) => {
      const graph = new Graph();
      const x = graph.source("qkv", [1, tokens, 1, 3 * 64]);
      const loss = graph.apply(mean, [graph.apply(attention, [x], { heads: 1, rope: false })], {});
      const outputs = differentiate(graph, loss, [x]);
      return makeSchedule(gpu.target, { label: "test", graph, inputs: [x], outputs, bound: [] }).plan.bytes;
    };
    assertLess(bytes(4096) / bytes(1024), 4.01);
    return Promise.resolve();
  }));

Deno.test("attention says which shapes it takes", () => {
  const graph = new Graph();
  const apply = (shape: number[], rope: boolean, ...tables: Tensor[]) => () =>
    graph.apply(attention, [graph.source("qkv", shape), ...tables], { heads: 2, rope });
  const table = graph.source("cos", [5, 4]);
  assertThrows(
    apply([1, 5, 1, 18], false),
    Error,
    "3 * 2 heads * d], d a multiple of 4, found qkv [1,5,1,18]",
  );
  assertThrows(apply([1, 5, 2, 24], false), Error, "expected qkv [n, tokens, 1,");
  assertThrows(apply([1, 5, 1, 24], true, table, table), Error, "d a multiple of 8");
  assertThrows(apply([1, 5, 1, 24], false, table), Error, "qkv alone without `rope`");
});
