import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { chooseLabelFraction } from "../../data/label_fraction.ts";

/** 1,300 rows of class 0, 40 of class 1, 3 of class 2, and 100 without a label, mixed. */
const LABELS = Int32Array.from({ length: 1443 }, (_, i) => i % 1443).map((i) => {
  const place = (i * 601) % 1443;
  return place < 1300 ? 0 : place < 1340 ? 1 : place < 1343 ? 2 : -1;
});

function countsOf(rows: Uint32Array): number[] {
  return [0, 1, 2, -1].map((label) => rows.filter((row) => LABELS[row] === label).length);
}

Deno.test("chooseLabelFraction() takes that share of each class, one image of each at least, and none without a label", () => {
  assertEquals(countsOf(chooseLabelFraction(LABELS, 0.01, 5)), [13, 1, 1, 0]);
  assertEquals(countsOf(chooseLabelFraction(LABELS, 0.1, 5)), [130, 4, 1, 0]);
  assertEquals(countsOf(chooseLabelFraction(LABELS, 1, 5)), [1300, 40, 3, 0]);
  const rows = chooseLabelFraction(LABELS, 0.1, 5);
  assertEquals([...rows], [...new Set(rows)].toSorted((a, b) => a - b));
});

Deno.test("chooseLabelFraction() follows the seed, and a smaller share is part of a larger one", () => {
  const [small, large] = [0.01, 0.1].map((fraction) => chooseLabelFraction(LABELS, fraction, 5));
  assert(small.every((row) => large.includes(row)));
  assertEquals(chooseLabelFraction(LABELS, 0.1, 5), large);
  assertNotEquals(chooseLabelFraction(LABELS, 0.1, 6), large);
});

Deno.test("chooseLabelFraction() keeps its choice from version to version, so that results can be compared", () => {
  const labels = Array.from({ length: 50 }, (_, row) => row % 5);
  assertEquals([...chooseLabelFraction(labels, 0.2, 1)], [16, 26, 28, 30, 32, 33, 37, 39, 40, 44]);
});

Deno.test("chooseLabelFraction() chooses evenly", () => {
  // 10 of 100 rows, over 500 seeds: 50 each, within five standard deviations (6.7).
  const counts = new Array(100).fill(0);
  const labels = new Array(100).fill(7);
  for (let seed = 0; seed < 500; seed++) {
    for (const row of chooseLabelFraction(labels, 0.1, seed)) counts[row]++;
  }
  for (const count of counts) assert(Math.abs(count - 50) < 34, `${counts}`);
});
