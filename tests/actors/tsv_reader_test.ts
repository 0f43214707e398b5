import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { crc32 } from "node:zlib";
import type { Monitor } from "../../actors/events.ts";
import type { Augmenter, DecodedBatch } from "../../actors/messages.ts";
import { ActorCrash, type ActorSystem } from "../../actors/runtime/mod.ts";
import type tsvReader from "../../actors/tsv_reader.ts";
import { EVALUATION_ORDER, TRAINING_ORDER, type TsvReaderConfig } from "../../actors/tsv_reader.ts";
import { runEmbedding } from "../../methods/embedding.ts";
import { makeMemoryCache } from "../../data/image_cache.ts";
import { openCacheFile } from "../../data/image_cache_file.ts";
import { TABLE_STRIDE } from "../../data/pack.ts";
import { EpochOrder } from "../../data/sampler.ts";
import { UserError } from "../../errors.ts";
import { TestFolder } from "../data/folder.ts";
import { referenceJson } from "../reference.ts";
import { TINY_ENCODER } from "./small_run.ts";
import { sleep, until as untilWithin, withSystem } from "./runtime/helpers.ts";

const READER = new URL("../../actors/tsv_reader.ts", import.meta.url);
const SEED = 5;
const VIEW_BYTES = 64;
const EMBEDDING_BYTES = 32;
/** Written into the buffers of a batch that has been here before. */
const SEEN = 0xa5;

/** Images are decoded on threads that other tests may keep busy. */
const until = (condition: () => boolean) => untilWithin(condition, 20_000);

/** What came out of the readers. */
interface Received {
  batches: {
    position: DecodedBatch["position"];
    origin: string;
    rows: number[];
    labels: number[];
    /** Of table and pixels. */
    checksum: number;
  }[];
  /** Sets of buffers that had not been here before, by reader. */
  fresh: Map<string, number>;
  warnings: string[];
  broken: { file: string; row: number; text: string }[];
}

/** Spawns readers that send to an augmenter on the main thread; what it gets goes back at once unless it is held. */
function spawnReaders(
  system: ActorSystem,
  path: string,
  config: Partial<TsvReaderConfig> = {},
  { hold = false }: { hold?: boolean } = {},
) {
  const received: Received = { batches: [], fresh: new Map(), warnings: [], broken: [] };
  const { workers = 1 } = config;
  const monitor = system.listen<Monitor>("monitor", {
    event(event) {
      if (event.type === "warning") received.warnings.push(event.text);
      else received.broken.push(event);
    },
  });
  const readers = Array.from(
    { length: workers },
    (_, worker) =>
      system.spawn<typeof tsvReader>(`reader ${worker}`, READER, {
        path,
        purpose: "train",
        order: config.purpose === "queries" ? EVALUATION_ORDER : TRAINING_ORDER,
        worker,
        workers,
        seed: SEED,
        batchSize: 4,
        viewBytes: VIEW_BYTES,
        embeddingBytes: EMBEDDING_BYTES,
        batchesUnderWay: 3,
        monitor,
        ...config,
      }).ref,
  );
  const augmenter = system.listen<Augmenter>("augmenter", {
    profile: () => [],
    async augment({ position, origin, images, views, embeddings }) {
      const { table, count } = images;
      const column = (i: number) => Array.from({ length: count }, (_, n) => table[n * TABLE_STRIDE + i] | 0);
      const checksum = crc32(images.pixels, crc32(new Uint8Array(table.buffer, 0, table.byteLength)));
      received.batches.push({ position, origin, rows: column(3), labels: column(4), checksum });
      assertEquals([views.byteLength, embeddings.byteLength], [VIEW_BYTES, EMBEDDING_BYTES]);
      const mark = new Uint8Array(views);
      if (mark[0] !== SEEN) received.fresh.set(origin, (received.fresh.get(origin) ?? 0) + 1);
      mark[0] = SEEN;
      if (hold) return;
      const reader = readers.find(({ name }) => name === origin)!;
      await reader.tell("recycle", { images: table.buffer, views, embeddings });
    },
  }, { credits: 16 });
  const connected = Promise.all(readers.map((reader) => reader.tell("connect", { augmenter })));
  return { readers, received, connected };
}

for (const workers of [1, 3]) {
  Deno.test(`tsv_reader: ${workers} of them make every batch of two epochs once`, async () => {
    using folder = new TestFolder();
    const path = folder.copy("tsv/train.tsv");
    const { rows, labels } = referenceJson("tsv/expected.json").train;
    const { received, replies } = await withSystem(async (system) => {
      const { readers, received, connected } = spawnReaders(system, path, { workers, batchSize: 2 });
      await connected;
      const replies = [];
      for (const epoch of [0, 1]) {
        replies.push(await Promise.all(readers.map((reader) => reader.ask("read", { epoch }))));
      }
      await until(() => received.batches.length === 2 * Math.floor(rows / 2));
      return { received, replies };
    });
    for (const epoch of [0, 1]) {
      const order = new EpochOrder(rows, SEED, epoch, 2);
      const own = received.batches.filter(({ position }) => position.epoch === epoch)
        .toSorted((a, b) => a.position.batch - b.position.batch);
      assertEquals(
        own.map(({ position, rows }) => ({ position, rows })),
        Array.from({ length: order.batchCount }, (_, batch) => ({
          position: { epoch, batch, endsEpoch: batch === order.batchCount - 1 },
          rows: [...order.batch(batch)],
        })),
      );
      assertEquals(own.map(({ origin }) => origin), own.map((_, batch) => `reader ${batch % workers}`));
      for (const { rows, labels: found } of own) assertEquals(found, rows.map((row) => labels[row]));
      // Fourteen rows are seven batches: every row comes once, and the replies count them.
      assertEquals(own.flatMap(({ rows }) => rows).toSorted((a, b) => a - b), [...Array(rows).keys()]);
      assertEquals(replies[epoch].reduce((sum, { images }) => sum + images, 0), rows);
    }
    for (const origin of received.fresh.keys()) assert(received.fresh.get(origin)! <= 3);
  });
}

Deno.test("tsv_reader: Workers that share decoded images send the same batches, and need the data no more when all are there", async () => {
  using folder = new TestFolder();
  const path = folder.copy("tsv/train.tsv");
  const { rows } = referenceJson("tsv/expected.json").train;
  using file = await openCacheFile(`${folder.path}/images.cache`, rows, "00".repeat(32));
  const run = (config: Partial<TsvReaderConfig>, cut = false) =>
    withSystem(async (system) => {
      const settings = { workers: 3, batchSize: 2, ...config };
      const { readers, received, connected } = spawnReaders(system, path, settings);
      await connected;
      for (const epoch of [0, 1, 2]) {
        await Promise.all(readers.map((reader) => reader.ask("read", { epoch })));
        await until(() => received.batches.length === (epoch + 1) * Math.floor(rows / 2));
        if (cut) Deno.truncateSync(path, 0);
      }
      assertEquals(received.warnings, []);
      return received.batches.map(({ position, checksum }) =>
        `${position.epoch} ${position.batch} ${checksum}`
      )
        .toSorted();
    });
  const plain = await run({});
  assert(new Set(plain.map((line) => line.split(" ")[2])).size > rows);
  assertEquals(await run({ cache: makeMemoryCache(rows, 1e8) }), plain);
  assertEquals(await run({ cache: file.handle }, true), plain);
});

Deno.test("tsv_reader tells when there is no room for more decoded images, and sends the same batches", async () => {
  using folder = new TestFolder();
  const path = folder.copy("tsv/train.tsv");
  const { rows } = referenceJson("tsv/expected.json").train;
  await withSystem(async (system) => {
    const cache = makeMemoryCache(rows, 20_000);
    const { readers, received, connected } = spawnReaders(system, path, { workers: 3, batchSize: 2, cache });
    await connected;
    for (const epoch of [0, 1]) {
      await Promise.all(readers.map((reader) => reader.ask("read", { epoch })));
    }
    await until(() => received.batches.length === 2 * Math.floor(rows / 2) && received.warnings.length > 0);
    assertEquals(received.warnings.length, 1);
    assertMatch(
      received.warnings[0],
      /train\.tsv: \d+ of 14 images are kept decoded.*there is no room for more$/,
    );
  });
});

Deno.test("tsv_reader starts and ends within an epoch where it is told to", async () => {
  using folder = new TestFolder();
  const path = folder.copy("tsv/train.tsv");
  await withSystem(async (system) => {
    const { readers, received, connected } = spawnReaders(system, path, { workers: 2, batchSize: 2 });
    await connected;
    await Promise.all(readers.map((reader) => reader.ask("read", { epoch: 0, firstBatch: 2, endBatch: 5 })));
    await until(() => received.batches.length === 3);
    assertEquals(received.batches.map(({ position }) => position.batch).toSorted(), [2, 3, 4]);
  });
});

Deno.test("tsv_reader makes no more buffers than may be under way, and uses them again", async () => {
  using folder = new TestFolder();
  const path = folder.copy("tsv/train.tsv");
  await withSystem(async (system) => {
    const { readers: [reader], received, connected } = spawnReaders(system, path, { batchSize: 1 });
    await connected;
    for (let epoch = 0; epoch < 20; epoch++) await reader.ask("read", { epoch });
    await until(() => received.batches.length === 20 * 14);
    assert(received.fresh.get("reader 0")! <= 3, `${received.fresh.get("reader 0")} sets of buffers`);
  });
});

Deno.test("tsv_reader stops when all its buffers are under way, and goes on when one comes back", async () => {
  using folder = new TestFolder();
  const path = folder.copy("tsv/train.tsv");
  await withSystem(async (system) => {
    const setting = { batchSize: 1, batchesUnderWay: 4 };
    const { readers: [reader], received, connected } = spawnReaders(system, path, setting, { hold: true });
    await connected;
    const reading = reader.ask("read", { epoch: 0, endBatch: 6 });
    await until(() => received.batches.length === 4);
    await sleep(100);
    assertEquals(received.batches.length, 4);
    for (let i = 0; i < 2; i++) {
      await reader.tell("recycle", {
        images: new ArrayBuffer(0),
        views: new ArrayBuffer(VIEW_BYTES),
        embeddings: new ArrayBuffer(EMBEDDING_BYTES),
      });
    }
    assertEquals(await reader.ask("read", { epoch: 0, endBatch: 0 }), { images: 0 });
    assertEquals(await reading, { images: 6 });
  });
});

Deno.test("tsv_reader reads rows of four columns", async () => {
  using folder = new TestFolder();
  const path = folder.copy("tsv/four_columns.tsv");
  await withSystem(async (system) => {
    const { readers: [reader], received, connected } = spawnReaders(system, path, {
      purpose: "queries",
      batchSize: 100,
    });
    await connected;
    const { images } = await reader.ask("read", { epoch: 0 });
    await until(() => received.batches.length === 1);
    const expected = Deno.readTextFileSync(path).trimEnd().split("\n").map((line) =>
      Number(line.split("\t")[1])
    );
    assertEquals(images, expected.length);
    assertEquals(received.batches[0].labels, expected);
    assertEquals(received.broken, []);
  });
});

Deno.test("tsv_reader replaces broken rows in training, and names each once", async () => {
  using folder = new TestFolder();
  const path = folder.copy("tsv/bad_rows.tsv");
  const { good_row_indexes: good, why } = referenceJson("tsv/expected.json").bad_rows;
  const runs = [];
  for (const workers of [1, 3]) {
    runs.push(
      await withSystem(async (system) => {
        const { readers, received, connected } = spawnReaders(system, path, { workers, batchSize: 2 });
        await connected;
        await Promise.all(readers.map((reader) => reader.ask("read", { epoch: 0 })));
        await until(() => received.batches.length === 4);
        for (const { rows } of received.batches) {
          assertEquals(rows.length, 2);
          for (const row of rows) assert(good.includes(row), `row ${row} is broken`);
        }
        const named = () => new Set(received.broken.map(({ row }) => row));
        await until(() => named().size === Object.keys(why).length);
        assertEquals([...named()].toSorted((a, b) => a - b), Object.keys(why).map(Number));
        for (const { file, row, text } of received.broken) {
          assertEquals(file, path);
          assert(text.startsWith(`${path} line ${row + 1}: `), text);
          // Once by each reader that met it.
          assert(received.broken.filter((other) => other.row === row).length <= workers);
        }
        return received.batches.toSorted((a, b) => a.position.batch - b.position.batch).map(({ rows }) =>
          rows
        );
      }),
    );
  }
  assertEquals(runs[0], runs[1], "substitutes depend on the number of readers");
});

Deno.test("tsv_reader skips broken rows in an evaluation, and sends a batch of which nothing is left, so that none is waited for", async () => {
  using folder = new TestFolder();
  const path = folder.copy("tsv/bad_rows.tsv");
  const { good_row_indexes: good, why } = referenceJson("tsv/expected.json").bad_rows;
  await withSystem(async (system) => {
    const { readers: [reader], received, connected } = spawnReaders(system, path, {
      purpose: "queries",
      batchSize: 2,
    });
    await connected;
    // Twice, as before and after training.
    for (let n = 0; n < 2; n++) {
      assertEquals(await reader.ask("read", { epoch: 0 }), { images: good.length });
    }
    const batches = Math.ceil((Object.keys(why).length + good.length) / 2);
    await until(() => received.batches.length === 2 * batches);
    const withImages = new Set(good.map((row: number) => Math.floor(row / 2))).size;
    assertEquals(received.batches.filter(({ rows }) => rows.length > 0).length, 2 * withImages);
    assert(batches > withImages, "the file has no batch without an image");
    assertEquals(received.batches.flatMap(({ rows }) => rows), [...good, ...good]);
    assertEquals(received.broken.length, Object.keys(why).length);
  });
});

Deno.test("tsv_reader ends a training where no row holds an image, and says so of an evaluation", async () => {
  using folder = new TestFolder();
  const path = folder.write("broken.tsv", "a\t1\tAAAA\nb\t2\t\nc\n");
  const read = (purpose: "train" | "queries") =>
    withSystem(async (system) => {
      const { readers: [reader], connected } = spawnReaders(system, path, { purpose, batchSize: 1 });
      await connected;
      return await reader.ask("read", { epoch: 0 });
    });
  const crash = await assertRejects(() => read("train"), ActorCrash);
  assertEquals(crash.actor, "reader 0");
  assert(crash.cause instanceof UserError);
  assertStringIncludes(crash.cause.message, path);
  const counts = [await read("queries")];
  assertEquals(counts, [{ images: 0 }]);
  const embedding = runEmbedding({
    ...{ data: path, batchSize: 1, imageSize: 16, workers: 1, neighbours: null, evalResize: "torchvision" },
    ...{
      encoder: { arch: "tiny_convnet", seed: 0 },
      part: "backbone",
      dimension: 8,
      plugins: [TINY_ENCODER],
    },
  });
  await assertRejects(() => embedding, UserError, `${path}: found no usable image`);
});
