import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { fileURLToPath } from "node:url";
import { Random } from "../../data/random.ts";
import { UserError } from "../../errors.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { KnnError, WeightedKnn } from "../../models/knn.ts";
import { asHardware, randomValues, relativeError, withGpu, withoutTextures } from "../kernels/check_op.ts";
import { formulaTensor, referenceJson } from "../reference.ts";

/** Cosines of a query with every row of the bank, in float64. */
function cosines(bank: Float32Array, query: Float32Array, dimension: number): number[] {
  const norm = (values: Float32Array) => Math.max(1e-12, Math.hypot(...values));
  const length = norm(query);
  return Array.from({ length: bank.length / dimension }, (_, row) => {
    const own = bank.subarray(row * dimension, (row + 1) * dimension);
    return own.reduce((sum, value, i) => sum + value * query[i], 0) / (norm(own) * length);
  });
}

/** Virtual memory that the program below may have, in KiB: a driver on the processor asks for it, and takes it when it is written to. */
const LIMIT = 60_000_000;

Deno.test("requireBankRoom() says what a device has no room for before anything is embedded", {
  ignore: Deno.build.os !== "linux", // bash limits it
}, async () => {
  const program = fileURLToPath(new URL("knn_room.ts", import.meta.url));
  const roomFor = async (rows: number) => {
    const command = `ulimit -v ${LIMIT} && exec "$0" run -A --quiet --no-check "$1" ${rows}`;
    const args = ["-c", command, Deno.execPath(), program];
    const { stdout } = await new Deno.Command("bash", { args, stderr: "inherit" }).output();
    return new TextDecoder().decode(stdout).trim();
  };
  assertEquals(await roomFor(1000), "there is room");
  assertEquals(
    await roomFor(12_000_000),
    "DeviceMemoryError: kNN: the device is out of memory: no 91.6 GiB for the features of 12000000 images, 2048 each. Use less",
  );
});

interface Setting {
  bank: Float32Array<ArrayBuffer>;
  labels: ArrayLike<number>;
  queries: Float32Array<ArrayBuffer>;
  dimension: number;
  classes: number;
  k: number;
  temperature: number;
}

/** Scores of every query, relative to its nearest neighbour, in float64. */
function referenceScores(
  { bank, labels, queries, dimension, classes, k, temperature }: Setting,
): Float64Array {
  const count = queries.length / dimension;
  const scores = new Float64Array(count * classes);
  for (let query = 0; query < count; query++) {
    const similar = cosines(bank, queries.subarray(query * dimension, (query + 1) * dimension), dimension);
    const nearest = [...similar.keys()].sort((a, b) => similar[b] - similar[a] || a - b).slice(0, k);
    for (const row of nearest) {
      scores[query * classes + labels[row]] += Math.exp((similar[row] - similar[nearest[0]]) / temperature);
    }
  }
  return scores;
}

function ranked(scores: ArrayLike<number>, query: number, classes: number): number[] {
  const own = Array.from({ length: classes }, (_, c) => scores[query * classes + c]);
  return [...own.keys()].sort((a, b) => own[b] - own[a] || a - b).slice(0, 5);
}

function setting(rows: number, dimension: number, classes: number, k: number, queries: number): Setting {
  const random = new Random(5, "knn labels", rows, dimension);
  return {
    bank: randomValues("knn bank", [rows, dimension], 3),
    labels: Array.from({ length: rows }, () => random.integer(0, classes - 1)),
    queries: randomValues("knn queries", [queries, dimension], 0.1),
    dimension,
    classes,
    k,
    temperature: 0.07,
  };
}

/** Everything that a classifier says about a setting, checked against the float64 loop. */
async function check(gpu: Gpu, given: Setting, batch?: number): Promise<Float32Array> {
  const { dimension, classes, k, temperature } = given;
  using knn = new WeightedKnn(gpu, { dimension, classes, k, temperature, batch });
  await knn.addToBank(given.bank, given.labels);
  assertEquals(knn.bankRows, given.labels.length);
  const { scores, predictions, columns } = await knn.classify(given.queries);
  const expected = referenceScores(given);
  const error = relativeError(scores, expected);
  assert(error < 1e-4, `relative error ${error}`);
  const count = given.queries.length / dimension;
  assertEquals(columns, Math.min(5, classes));
  for (let query = 0; query < count; query++) {
    const own = [...predictions.subarray(query * columns, (query + 1) * columns)];
    assertEquals(own, ranked(scores, query, classes), `query ${query}`);
    // The best class in float32 must be the best in float64, or as good.
    const [best] = ranked(expected, query, classes);
    const difference = expected[query * classes + best] - expected[query * classes + own[0]];
    assert(difference < 1e-4, `query ${query}: class ${own[0]}, expected ${best}`);
  }
  return scores;
}

for (
  const [rows, dimension, classes, k, queries] of [
    [1, 17, 3, 1, 2],
    [1, 4, 3, 200, 1],
    [7, 17, 3, 20, 5],
    [50, 1, 3, 50, 3],
    [301, 17, 3, 20, 9],
    [123, 8, 1500, 40, 4],
    [500, 30, 10, 200, 3],
  ]
) {
  const title = `${queries} queries, bank [${rows}, ${dimension}], ${classes} classes, k ${k}`;
  Deno.test(`WeightedKnn of ${title}, equals a float64 loop`, () =>
    withGpu(async (gpu) => {
      const given = setting(rows, dimension, classes, k, queries);
      await check(gpu, given);
      await check(asHardware(gpu), given);
    }));
}

Deno.test("WeightedKnn prefers the row that was added first among equal ones", () =>
  withGpu(async (gpu) => {
    // Powers of two have exact norms, so every cosine is exactly 1 or -1.
    const bank = Float32Array.from({ length: 40 }, (_, i) => (i % 2 === 0 ? 1 : -1) * 2 ** (i % 5 - 2));
    const labels = Array.from(bank, (_, i) => i);
    const queries = Float32Array.of(0.5, -4);
    const given = { bank, labels, queries, dimension: 1, classes: 40, k: 3, temperature: 0.07 };
    const scores = await check(gpu, given);
    const voters = [...scores.keys()].filter((i) => scores[i] > 0);
    assertEquals(voters, [0, 2, 4, 41, 43, 45]);
  }));

Deno.test("WeightedKnn classifies any number of queries, with a smaller last batch", () =>
  withGpu(async (gpu) => {
    const given = setting(90, 12, 6, 10, 23);
    const whole = await check(gpu, given);
    for (const batch of [1, 7, 23]) assertEquals(await check(gpu, given, batch), whole, `batch ${batch}`);
  }));

Deno.test("WeightedKnn keeps every binding within the device's limit, and the scores the same", () =>
  withGpu(async (gpu) => {
    const given = setting(150, 20, 6, 13, 11);
    const limit = 1024;
    let largest = 0;
    const createBindGroup = gpu.device.createBindGroup.bind(gpu.device);
    gpu.device.createBindGroup = (descriptor) => {
      for (const { resource } of descriptor.entries) {
        largest = Math.max(largest, (resource as GPUBufferBinding).size ?? 0);
      }
      return createBindGroup(descriptor);
    };
    const whole = withoutTextures(gpu);
    const expected = await check(whole, given);
    assert(largest > 10 * limit, `largest binding ${largest}`);

    largest = 0;
    const small: Gpu = { ...whole, target: { ...whole.target, maxStorageBufferBindingSize: limit } };
    const scores = await check(small, given);
    assert(largest > limit / 2 && largest <= limit, `largest binding ${largest}`);
    assert(relativeError(scores, expected) < 1e-5);

    using knn = new WeightedKnn(small, given);
    await knn.addToBank(given.bank, given.labels);
    assert(knn.bankParts > 5, `${knn.bankParts} parts`);
  }));

Deno.test("WeightedKnn.addToBank() may be called again, also after a classification", () =>
  withGpu(async (gpu) => {
    const given = setting(150, 20, 6, 13, 11);
    // Parts of 12 rows, batches of 8, so that what is added falls across both.
    const small: Gpu = { ...gpu, target: { ...gpu.target, maxStorageBufferBindingSize: 1024 } };
    using knn = new WeightedKnn(small, { ...given, batch: 8 });
    let rows = 0;
    for (const count of [1, 2, 0, 30, 50, 67]) {
      const end = rows + count;
      await knn.addToBank(
        given.bank.subarray(rows * 20, end * 20),
        Array.from(given.labels).slice(rows, end),
      );
      rows = end;
      assertEquals(knn.bankRows, rows);
      const { scores } = await knn.classify(given.queries);
      const expected = referenceScores({ ...given, bank: given.bank.subarray(0, rows * 20) });
      const error = relativeError(scores, expected);
      assert(error < 1e-4, `${rows} rows: relative error ${error}`);
    }
    assertEquals(rows, 150);
  }));

Deno.test("WeightedKnn classifies at temperatures whose weights no float32 can hold", () =>
  withGpu(async (gpu) => {
    await check(gpu, { ...setting(60, 9, 4, 20, 5), temperature: 0.002 });
  }));

Deno.test("WeightedKnn.accuracy() counts the label among the first and the first five predictions", () =>
  withGpu(async (gpu) => {
    const given = setting(200, 16, 12, 30, 41);
    const random = new Random(6, "query labels");
    const labels = Array.from({ length: 41 }, () => random.integer(0, 11));
    const scores = referenceScores(given);
    const places = labels.map((label, query) => ranked(scores, query, 12).indexOf(label));
    using knn = new WeightedKnn(gpu, { ...given, batch: 16 });
    await knn.addToBank(given.bank, given.labels);
    const { top1, top5 } = await knn.accuracy(given.queries, labels);
    assertAlmostEquals(top1, 100 * places.filter((place) => place === 0).length / 41, 1e-9);
    assertAlmostEquals(top5, 100 * places.filter((place) => place >= 0).length / 41, 1e-9);
  }));

Deno.test("WeightedKnn.count() by fewer neighbours counts as a classifier that was made for them", () =>
  withGpu(async (gpu) => {
    const given = setting(60, 12, 7, 20, 40);
    const labels = Array.from({ length: 40 }, (_, i) => i % given.classes);
    using knn = new WeightedKnn(gpu, given);
    await knn.addToBank(given.bank, given.labels);
    const found = [];
    for (const k of [1, 5, 20, 5]) {
      using own = new WeightedKnn(gpu, { ...given, k });
      await own.addToBank(given.bank, given.labels);
      const counts = await knn.count(given.queries, labels, k);
      assertEquals(counts, await own.count(given.queries, labels));
      found.push(counts.top5);
    }
    assert(found[0] < found[1], `${found}`); // k makes a difference here
    assertEquals(found[3], found[1]);
  }));

Deno.test("WeightedKnn.accuracy() counts no class that nobody voted for among the five", () =>
  withGpu(async (gpu) => {
    using knn = new WeightedKnn(gpu, { dimension: 2, classes: 10, k: 2, batch: 4 });
    await knn.addToBank(Float32Array.of(1, 0, 0, 1, -1, 0), [7, 8, 9]);
    const queries = Float32Array.of(1, 0.1, 1, 0.1, 1, 0.1, 1, 0.1);
    // Of the two nearest rows one has class 7, the other one 8.
    assertEquals(await knn.accuracy(queries, [7, 8, 0, 1]), { top1: 25, top5: 50 });
  }));

Deno.test("WeightedKnn says which label or feature is wrong, and adds nothing then", () =>
  withGpu(async (gpu) => {
    using knn = new WeightedKnn(gpu, { dimension: 2, classes: 3 });
    const features = Float32Array.of(1, 2, 3, 4);
    await assertRejects(() => knn.classify(features), KnnError, "the bank is empty");
    await knn.addToBank(features, [0, 2]);
    await assertRejects(
      () => knn.addToBank(features, [0, 3]),
      UserError,
      "kNN bank, row 3: label 3 is out of range; expected an integer from 0 to 2, as there are 3 classes",
    );
    await assertRejects(() => knn.addToBank(features, [-1, 0]), KnnError, "row 2: label -1");
    await assertRejects(() => knn.accuracy(features, [0, 0.5]), KnnError, "kNN queries, row 1: label 0.5");
    await assertRejects(() => knn.accuracy(new Float32Array(), []), KnnError, "nothing to classify");
    await assertRejects(
      () => knn.addToBank(Float32Array.of(1, 1, 1, NaN), [0, 0]),
      KnnError,
      "kNN bank, row 3: expected a feature with a norm that float32 can hold, but value 1 is NaN",
    );
    await assertRejects(() => knn.classify(Float32Array.of(1e20, 1)), KnnError, "its norm is 1");
    await assertRejects(() => knn.addToBank(features, [0]), Error, "1 labels were given for 2 features");
    await assertRejects(
      () => knn.classify(Float32Array.of(1)),
      Error,
      "not a multiple of the feature length 2",
    );
    assertEquals(knn.bankRows, 2);
    assertEquals((await knn.classify(new Float32Array())).predictions.length, 0);
    assertEquals([...(await knn.classify(Float32Array.of(3, 4))).predictions], [2, 0, 1]);
  }));

Deno.test("WeightedKnn refuses options that make no sense, and devices that are too small", () =>
  withGpu((gpu) => {
    const options = { dimension: 64, classes: 10 };
    assertThrows(() => new WeightedKnn(gpu, { ...options, k: 0 }), KnnError, "k must be a positive integer");
    assertThrows(() => new WeightedKnn(gpu, { ...options, classes: 1.5 }), KnnError, "found 1.5");
    for (const temperature of [0, -1, NaN, Infinity]) {
      assertThrows(() => new WeightedKnn(gpu, { ...options, temperature }), KnnError, "temperature");
    }
    const small: Gpu = { ...gpu, target: { ...gpu.target, maxStorageBufferBindingSize: 512 } };
    assertThrows(() => new WeightedKnn(small, options), KnnError, "the device's largest is 512");
    return Promise.resolve();
  }));

Deno.test("WeightedKnn is of no use after it was destroyed", () =>
  withGpu(async (gpu) => {
    const knn = new WeightedKnn(gpu, { dimension: 2, classes: 3 });
    await knn.addToBank(Float32Array.of(1, 2), [0]);
    await knn.classify(Float32Array.of(1, 2));
    knn.destroy();
    assertEquals(knn.bankRows, 0);
    await assertRejects(() => knn.classify(Float32Array.of(1, 2)), Error, "after it was destroyed");
    knn.destroy();
  }));

/** Formula features of the reference: noise, and half of it the same within a class. */
function formulaFeatures(name: string, rows: number, dimension: number, classes: number) {
  const noise = formulaTensor(name, [rows, dimension], "unit");
  const common = formulaTensor("knn/class", [classes, dimension], "unit");
  return Float32Array.from(noise, (value, i) => {
    const label = Math.floor(i / dimension) % classes;
    return value + 0.5 * common[label * dimension + i % dimension];
  });
}

Deno.test("parity: WeightedKnn gives the reference's predictions and accuracies", () =>
  withGpu(async (gpu) => {
    const { C, N, M, D, k, T, top1, top5, pred_top1 } = referenceJson("evaluation.json").knn;
    const labels = (rows: number) => Array.from({ length: rows }, (_, row) => row % C);
    const queries = formulaFeatures("knn/test", M, D, C);
    const small: Gpu = { ...gpu, target: { ...gpu.target, maxStorageBufferBindingSize: 1 << 14 } };
    for (const device of [gpu, asHardware(gpu), small]) {
      using knn = new WeightedKnn(device, { dimension: D, classes: C, k, temperature: T });
      await knn.addToBank(formulaFeatures("knn/train", N, D, C), labels(N));
      const { predictions, columns } = await knn.classify(queries);
      assertEquals(Array.from({ length: M }, (_, query) => predictions[query * columns]), pred_top1);
      assertEquals(await knn.accuracy(queries, labels(M)), { top1, top5 });
    }
  }));

Deno.test("nearest() finds the most similar rows and their cosines, over several parts and batches", async () => {
  await withGpu(async (gpu) => {
    for (const [rows, dimension, k] of [[40, 24, 5], [700, 6, 9], [3, 4, 10]]) {
      const { bank, queries } = setting(rows, dimension, 1, k, 7);
      using knn = new WeightedKnn(gpu, { dimension, classes: rows, k, batch: 3 });
      await knn.addToBank(bank, Array.from({ length: rows }, (_, row) => row));
      const { columns, labels, similarities } = await knn.nearest(queries);
      assertEquals(columns, Math.min(k, rows));
      for (let query = 0; query < 7; query++) {
        const all = cosines(bank, queries.subarray(query * dimension, (query + 1) * dimension), dimension);
        const nearest = [...all.keys()].sort((a, b) => all[b] - all[a]).slice(0, columns);
        assertEquals([...labels.subarray(query * columns, (query + 1) * columns)], nearest);
        for (const [i, row] of nearest.entries()) {
          assertAlmostEquals(similarities[query * columns + i], all[row], 1e-6);
        }
      }
    }
    using empty = new WeightedKnn(gpu, { dimension: 4, classes: 1 });
    await assertRejects(() => empty.nearest(new Float32Array(4)), KnnError, "the bank is empty");
  });
});
