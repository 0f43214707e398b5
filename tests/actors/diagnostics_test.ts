/** What can be seen of a run besides its numbers. */
import { assert, assertAlmostEquals, assertEquals, assertGreater, assertLess } from "@std/assert";
import { ActorSystem, distill, type DistillEvent, spawnActor } from "../../mod.ts";
import { Random } from "../../data/random.ts";
import { digestFile, RunFolder } from "./small_run.ts";

function clusters(count: number, dimension: number): Float32Array<ArrayBuffer> {
  const random = new Random(1, "clusters");
  return Float32Array.from({ length: count * dimension }, (_, i) => {
    const [row, column] = [Math.floor(i / dimension), i % dimension];
    return (column === row % 2 ? 1 : 0) + 0.05 * random.normal();
  });
}

/** Mean distance of points of one cluster, and of points of two. */
function distances(points: Float32Array): { within: number; between: number } {
  const sums = { within: [0, 0], between: [0, 0] };
  for (let a = 0; a < points.length / 2; a++) {
    for (let b = 0; b < a; b++) {
      const sum = sums[a % 2 === b % 2 ? "within" : "between"];
      sum[0] += Math.hypot(points[2 * a] - points[2 * b], points[2 * a + 1] - points[2 * b + 1]);
      sum[1]++;
    }
  }
  return { within: sums.within[0] / sums.within[1], between: sums.between[0] / sums.between[1] };
}

Deno.test("cartographer keeps what is alike together, the same way each time", async () => {
  const system = new ActorSystem();
  await system.run(async () => {
    const { ref } = spawnActor(system, "projector", undefined);
    const draw = (features: Float32Array<ArrayBuffer>, dimension: number) =>
      ref.ask("project", { features, dimension, seed: 3 }, { transfer: [] });
    const features = clusters(40, 16);
    const { pca, umap } = await draw(features, 16);
    for (const points of [pca, umap!]) {
      assertEquals(points.length, 80);
      const { within, between } = distances(points);
      assertLess(2 * within, between);
    }
    const again = await draw(features, 16);
    assertEquals([again.pca, again.umap], [pca, umap]);

    // The first component is the one along which the points differ most.
    const spread = (axis: number) => {
      const values = pca.filter((_, i) => i % 2 === axis);
      return values.reduce((sum, value) => sum + value * value, 0);
    };
    assertGreater(spread(0), spread(1));

    // Nothing to tell apart, hardly any images, features of one number.
    for (const [count, dimension] of [[10, 8], [2, 8], [3, 8], [5, 1]]) {
      const found = await draw(new Float32Array(count * dimension), dimension);
      assertEquals(found.pca.length, 2 * count);
      assert(found.pca.every(Number.isFinite));
      assert((found.umap ?? found.pca).every(Number.isFinite));
    }
  });
});

async function eventsOf(
  folder: RunFolder,
  name: string,
  insight: boolean,
  testData: string | null,
  startEpoch = 0,
) {
  const events: DistillEvent[] = [];
  const options = folder.options(name, { insight, testData, epochs: 2, startEpoch });
  await using run = distill(options);
  for await (const event of run) events.push(event);
  return { events, result: await run.result };
}

Deno.test("a run that is looked into tells what it sees, and trains to the same bits", async () => {
  using folder = new RunFolder(24, 12);
  const looked = await eventsOf(folder, "looked", true, null);
  const plain = await eventsOf(folder, "plain", false, null);
  assertEquals(await digestFile(looked.result.checkpoint), await digestFile(plain.result.checkpoint));
  const seen = (type: string) => looked.events.filter((event) => event.type === type);
  assertEquals(plain.events.filter(({ type }) => ["snapshot", "probe-set", "neighbours"].includes(type)), []);

  const look = looked.events.find((event) => event.type === "snapshot")!;
  assertEquals([look.views.count, look.views.size], [4, 32]);
  assertEquals(look.views.pixels.length, 4 * 32 * 32 * 4);
  const { keys, own, teacher, student, crossEntropy } = look.similarities;
  assertEquals([keys, own], [16, 0], "the image's own embedding is what the teacher finds likeliest");
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
  assertEquals([sum(teacher.histogram), sum(student.histogram)], [16, 16]);
  assertAlmostEquals(sum(teacher.probabilities), 1, 1e-6);
  assertGreater(crossEntropy, teacher.entropy);

  // Without labels, and without test images: those that it learns from.
  assertEquals(seen("probe-set").length, 1);
  const gallery = looked.events.find((event) => event.type === "probe-set")!;
  assertEquals(gallery.rows.toSorted((a, b) => a - b), Array.from({ length: 24 }, (_, row) => row));
  assertEquals([gallery.views.count, gallery.views.pixels.length], [24, 24 * 32 * 32 * 4]);
  const surveys = looked.events.filter((event) => event.type === "neighbours");
  assertEquals([surveys[0].of, surveys[0].step], ["teacher", 0]);
  const students = surveys.filter(({ of }) => of === "student").map(({ step }) => step)
    .toSorted((a, b) => a - b);
  assertEquals([students[0], students.at(-1)], [0, 12]);
  for (const { k, neighbours, similarities, maps } of surveys) {
    assertEquals([k, neighbours.length, maps.pca.length], [8, 24 * 8, 48]);
    for (let place = 0; place < 24; place++) {
      const own = [...neighbours.subarray(place * 8, (place + 1) * 8)];
      assertEquals(new Set(own).size, 8);
      assert(!own.includes(place), "an image is no neighbour of its own");
      const cosines = similarities.subarray(place * 8, (place + 1) * 8);
      assertEquals([...cosines], [...cosines].sort((a, b) => b - a));
    }
  }
});

Deno.test("a run from a later epoch tells which neighbours are those of its beginning", async () => {
  using folder = new RunFolder(24);
  const { events } = await eventsOf(folder, "later", true, null, 1);
  const told = events.filter((event) => event.type === "neighbours");
  const steps = told.map(({ of, step, isBeginning }) => [of, step, isBeginning ?? false]);
  assertEquals(steps.filter(([of]) => of === "teacher"), [["teacher", 6, false]]);
  assertEquals(steps.filter(([, , isBeginning]) => isBeginning), [["student", 6, true]]);
  assertEquals(steps.at(-1), ["student", 12, false]);
});

Deno.test("a run with test images is evaluated and surveyed by them, teacher and student", async () => {
  using folder = new RunFolder(24, 12);
  const testData = `${folder.data}/test.tsv`;
  const { events, result } = await eventsOf(folder, "evaluated", true, testData);
  const gallery = events.find((event) => event.type === "probe-set")!;
  assertEquals([gallery.data, gallery.rows.length], [testData, 12]);
  const evaluated = events.filter((event) => event.type === "knn")
    // The student as it was may be evaluated after the student as it became.
    .toSorted((a, b) => a.of === b.of ? a.step - b.step : a.of === "teacher" ? -1 : 1)
    .map(({ of, step, top1 }) => [of, step, top1]);
  const { teacher, before, after } = result.knn!;
  assertEquals(evaluated, [
    ["teacher", 0, teacher.top1],
    ["student", 0, before!.top1],
    ["student", 12, after.top1],
  ]);
});
