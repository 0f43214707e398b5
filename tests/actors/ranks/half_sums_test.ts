import { assert, assertEquals } from "@std/assert";
import { addHalves, fromHalves, halfScale, largestBits, toHalves } from "../../../actors/ranks/half_sums.ts";
import { Random } from "../../../data/random.ts";

/** Sums over ranks, each of which adds up one part. */
function sumOf(all: readonly Float32Array[]): Float32Array {
  const ranks = all.length;
  const scale = halfScale(Math.max(...all.map(largestBits)), ranks);
  const sent = all.map((values) => toHalves(values, scale, ranks));
  const part = sent[0].length / ranks;
  const sums = new Float16Array(sent[0].length);
  for (let rank = 0; rank < ranks; rank++) {
    const parts = new Float16Array(sent[0].length);
    for (const [of, halves] of sent.entries()) {
      parts.set(halves.subarray(rank * part, (rank + 1) * part), of * part);
    }
    sums.set(addHalves(parts, ranks), rank * part);
  }
  const result = new Float32Array(all[0].length);
  fromHalves(sums, scale, result);
  return result;
}

Deno.test("sums that travel as float16 are near the true ones, however large or small the numbers are", () => {
  const random = new Random(1, "halves");
  for (const ranks of [2, 3, 5, 8]) {
    for (const size of [1e-44, 1e-30, 1e-6, 1, 65_504, 7e4, 1e9, 4e37]) {
      const all = Array.from(
        { length: ranks },
        () => Float32Array.from({ length: 13 }, () => random.uniform(-size, size)),
      );
      for (const values of all) values[3] = size; // all ranks' largest at one place
      const sums = sumOf(all);
      const largest = Math.max(...all.flatMap((values) => [...values].map(Math.abs)));
      for (const [i, sum] of sums.entries()) {
        const expected = all.reduce((sum, values) => sum + values[i], 0);
        // An addend is rounded to 11 bits, and so is the sum; float32 has no smaller number than 1.4e-45.
        const near = 2 * ranks * largest * 2 ** -11 + 1.5e-45;
        assert(Math.abs(sum - expected) <= near, `${ranks} ranks, ${size}: ${sum}, not ${expected}`);
      }
    }
  }
});

Deno.test("numbers count that are a million times smaller than the largest", () => {
  const [large, small, nothing] = sumOf([Float32Array.of(1e6, 1, 0), Float32Array.of(-5e5, 2, 0)]);
  assert(Math.abs(large - 5e5) < 500, `${large}`);
  assertEquals([small, nothing], [3, 0]);
});

Deno.test("a number that is not finite leaves none that is", () => {
  for (const bad of [NaN, Infinity, -Infinity]) {
    assertEquals([...sumOf([Float32Array.of(1, bad), Float32Array.of(1, 2)])], [NaN, NaN]);
  }
  assertEquals([...sumOf([new Float32Array(5), new Float32Array(5)])], [0, 0, 0, 0, 0]);
});
