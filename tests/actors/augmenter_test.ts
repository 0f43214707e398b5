import { assert, assertEquals, assertNotEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type augmenter from "../../actors/augmenter.ts";
import { type AugmenterConfig, mixtureOf } from "../../actors/augmenter.ts";
import type { DecodedBatch, Encoder, ViewBatch } from "../../actors/messages.ts";
import { ActorCrash } from "../../actors/runtime/mod.ts";
import { packImages } from "../../data/pack.ts";
import { Random } from "../../data/random.ts";
import { plainAugmentation, sampleView } from "../../kernels/image/view_parameters.ts";
import { ViewMaker } from "../../kernels/image/view_maker.ts";
import { withGpu } from "../kernels/check_op.ts";
import { crop, resize } from "../kernels/image/pillow.ts";
import { sleep, until, withSystem } from "./runtime/helpers.ts";

const AUGMENTER = new URL("../../actors/augmenter.ts", import.meta.url);
const SIZE = 16;
const VIEW_BYTES = SIZE * SIZE * 4;
const BATCHES_PER_EPOCH = 3;
const TRAINING: AugmenterConfig["views"] = {
  kind: "training",
  augmentation: "mocov2",
  seed: 4,
  first: { epoch: 0, batch: 0 },
};

/** An image of random pixels that depend on its row. */
function imageOf(row: number, width = 20 + row, height = 18) {
  const random = new Random(1, "image", row);
  const pixels = Uint8Array.from({ length: width * height * 4 }, (_, i) => {
    return i % 4 === 3 ? 255 : random.integer(0, 255);
  });
  return { width, height, pixels, row, label: row };
}

/** Batch `step` of a run whose epochs have three batches; its images are the rows given. */
function batchOf(step: number, rows: number[], batchSize = rows.length): DecodedBatch {
  const batch = step % BATCHES_PER_EPOCH;
  return {
    position: {
      epoch: Math.floor(step / BATCHES_PER_EPOCH),
      batch,
      endsEpoch: batch === BATCHES_PER_EPOCH - 1,
    },
    origin: `reader ${step % 3}`,
    purpose: "train",
    images: packImages(rows.map((row) => imageOf(row))),
    views: new ArrayBuffer(batchSize * VIEW_BYTES),
    embeddings: new ArrayBuffer(8),
  };
}

/** Sends batches in some order, through a reference for each origin; returns what comes out. */
async function augment(
  batches: DecodedBatch[],
  views: AugmenterConfig["views"],
  { batchSize = 2, local }: Pick<Partial<AugmenterConfig>, "batchSize" | "local"> = {},
): Promise<ViewBatch[]> {
  return await withSystem(async (system) => {
    const received: ViewBatch[] = [];
    const next = system.listen<Encoder>("encoder", { encode: (batch) => void received.push(batch) });
    const config = { batchSize, imageSize: SIZE, views, local, next };
    const { ref } = system.spawn<typeof augmenter>("augmenter", AUGMENTER, config, { credits: 8 });
    const count = batches.length;
    for (const batch of batches) await ref.tell("augment", batch);
    await until(() => received.length === count, 20_000);
    return received;
  });
}

/** The views of a batch, image by image. */
function viewsOf({ views, images }: ViewBatch): string[] {
  return Array.from(
    { length: images.count },
    (_, i) => new Uint8Array(views, i * VIEW_BYTES, VIEW_BYTES).toHex(),
  );
}

Deno.test("augmenter puts batches into the epochs' order, and their views do not depend on that of arrival", async () => {
  const make = (order: number[]) => order.map((step) => batchOf(step, [2 * step, 2 * step + 1]));
  const straight = await augment(make([0, 1, 2, 3, 4, 5]), TRAINING);
  const mixed = await augment(make([2, 0, 4, 1, 5, 3]), TRAINING);
  assertEquals(
    mixed.map(({ position, origin }) => [position.epoch, position.batch, origin]),
    [0, 1, 2, 3, 4, 5].map((step) => [Math.floor(step / 3), step % 3, `reader ${step % 3}`]),
  );
  assertEquals(mixed.map(viewsOf), straight.map(viewsOf));
  const all = straight.flatMap(viewsOf);
  assertEquals(new Set(all).size, all.length, "two images have the same view");
});

Deno.test("augmenter's views depend on seed, epoch and row, not on the place in a batch", async () => {
  const [a, , , d] = await augment(
    [batchOf(0, [7, 8]), batchOf(1, [1, 2]), batchOf(2, [3, 4]), batchOf(3, [7, 8])],
    TRAINING,
  );
  const [[first, second]] = [viewsOf(a)];
  assertNotEquals(viewsOf(d)[0], first, "another epoch has the same view");
  const [turned] = await augment([batchOf(0, [8, 7])], TRAINING);
  assertEquals(viewsOf(turned), [second, first]);
  const [otherSeed] = await augment(
    [batchOf(0, [7, 8])],
    { ...TRAINING, seed: 5 } as AugmenterConfig["views"],
  );
  assertNotEquals(viewsOf(otherSeed)[0], first);
  const [otherKind] = await augment(
    [batchOf(0, [7, 8])],
    { ...TRAINING, augmentation: "mocov1" } as AugmenterConfig["views"],
  );
  assertNotEquals(viewsOf(otherKind)[0], first);
});

Deno.test("augmenter begins in mid-epoch where a run was resumed", async () => {
  const whole = await augment([0, 1, 2, 3].map((step) => batchOf(step, [step, step + 9])), TRAINING);
  const resumed = await augment(
    [3, 2].map((step) => batchOf(step, [step, step + 9])),
    { ...TRAINING, first: { epoch: 0, batch: 2 } } as AugmenterConfig["views"],
  );
  assertEquals(resumed.map(viewsOf), whole.slice(2).map(viewsOf));
});

Deno.test("augmenter keeps a reader's credit while its batch waits for its turn", async () => {
  await withSystem(async (system) => {
    let count = 0;
    const next = system.listen<Encoder>("encoder", { encode: () => void count++ });
    const { ref } = system.spawn<typeof augmenter>("augmenter", AUGMENTER, {
      batchSize: 1,
      imageSize: SIZE,
      views: TRAINING,
      next,
    }, { credits: 1 });
    await ref.tell("augment", batchOf(1, [1]));
    const early = ref.tell("augment", batchOf(2, [2]));
    let wasSent = false;
    early.then(() => wasSent = true, () => {}); // it waits until the system stops
    await sleep(200);
    assert(!wasSent, "a second batch was taken although the first still waits");
    assertEquals(count, 0);
  });
});

Deno.test("augmenter cuts an evaluation's views from the middle, also of a smaller last batch", async () => {
  const views: AugmenterConfig["views"] = { kind: "evaluation", resize: "none" };
  const exact = { ...imageOf(0, SIZE, SIZE) };
  const make = (images: ReturnType<typeof imageOf>[], step: number): DecodedBatch => ({
    ...batchOf(step, []),
    purpose: "queries",
    images: packImages(images),
    views: new ArrayBuffer(2 * VIEW_BYTES),
  });
  const wide = imageOf(1, 40, 24);
  const [first, last] = await augment([make([exact, wide], 5), make([wide], 1)], views);
  // In order of arrival, whatever their positions say.
  assertEquals([first, last].map(({ position }) => position.batch), [2, 1]);
  const [whole, middle] = viewsOf(first);
  assertEquals(whole, exact.pixels.toHex(), "an image that has the view's size is taken as it is");
  assertEquals(viewsOf(last), [middle]);
  assertEquals(last.views.byteLength, 2 * VIEW_BYTES);
});

Deno.test("augmenter's evaluation views are torchvision's Resize and CenterCrop for every size, and with none just cut", async () => {
  // A shorter side that is the view's, smaller, larger, odd, and what Resize makes of it.
  const sizes = [[16, 16], [56, 16], [16, 23], [15, 40], [17, 17], [18, 20], [19, 44], [224, 64]];
  const images = sizes.map(([width, height], row) => imageOf(row, width, height));
  const expected = (shorter: number) =>
    images.map(({ width, height, pixels }) => {
      const data = pixels.filter((_, i) => i % 4 !== 3);
      const [short, long] = [Math.min(width, height), Math.max(width, height)];
      const longer = Math.floor(shorter * long / short); // torchvision's int()
      const [w, h] = width <= height ? [shorter, longer] : [longer, shorter];
      const resized = resize({ width, height, data }, w, h, "bilinear");
      const roundHalfToEven = (value: number) =>
        value % 1 === 0.5 ? 2 * Math.round(value / 2) : Math.round(value);
      const [left, top] = [w, h].map((side) => roundHalfToEven((side - SIZE) / 2));
      const cut = crop(resized, left, top, SIZE, SIZE).data;
      return Uint8Array.from({ length: VIEW_BYTES }, (_, i) => i % 4 === 3 ? 255 : cut[3 * (i >> 2) + i % 4])
        .toHex();
    });
  for (const [kind, shorter] of [["torchvision", 18], ["none", 16]] as const) {
    const batch = {
      ...batchOf(0, []),
      purpose: "queries" as const,
      images: packImages(images),
      views: new ArrayBuffer(sizes.length * VIEW_BYTES),
    };
    const [views] = await augment([batch], { kind: "evaluation", resize: kind }, { batchSize: sizes.length });
    assertEquals(viewsOf(views), expected(shorter), kind);
  }
});

Deno.test("augmenter draws a second view of each image by the augmentation that is named", () =>
  withGpu(async (gpu) => {
    const local = { views: 1, imageSize: SIZE, augmentation: "plain" };
    const buffers = () => ({ views: new ArrayBuffer(2 * VIEW_BYTES), embeddings: new ArrayBuffer(8) });
    const batch = batchOf(0, [3, 5]);
    const [{ local: found, views }] = await augment([{ ...batch, local: buffers() }], TRAINING, { local });
    const maker = new ViewMaker(gpu, { views: 2, width: SIZE, height: SIZE });
    const { images } = batchOf(0, [3, 5]);
    const expected = await maker.augment(
      images,
      [3, 5].map((row, i) => {
        const { width, height } = imageOf(row);
        return sampleView(new Random(4, "small", 0, row, 0), plainAugmentation(SIZE), width, height, i);
      }),
    );
    assertEquals(new Uint8Array(found!.views), new Uint8Array(expected));
    assertNotEquals(new Uint8Array(views), new Uint8Array(expected));
    maker.destroy();
  }));

Deno.test("ranks that share a batch mix their own images by draws of their own; the first as a run by itself", () => {
  const batch = { position: { epoch: 2, batch: 3, endsEpoch: false }, images: { count: 16 } };
  const of = (rank?: number) => mixtureOf(batch, { ...TRAINING, mixup: 1, rank } as AugmenterConfig["views"]);
  const [alone, first, second, third] = [of(), of(0), of(1), of(2)];
  assertEquals(first, alone);
  assertEquals(of(1), second);
  for (const [a, b] of [[first, second], [second, third], [first, third]]) assertNotEquals(a, b);
});

Deno.test("augmenter names the buffer that a reader of one's own does not send, and the reader", async () => {
  const augmenting = (config: Pick<Partial<AugmenterConfig>, "local" | "teacherSize">) =>
    withSystem(async (system) => {
      const next = system.listen<Encoder>("encoder", { encode() {} });
      const settings = { batchSize: 2, imageSize: SIZE, views: TRAINING, next, ...config };
      const { ref } = system.spawn<typeof augmenter>("augmenter", AUGMENTER, settings);
      await ref.ask("augment", batchOf(0, [0, 1]));
    });
  for (
    const [config, name] of [
      [{ local: { views: 1, imageSize: SIZE } }, "local"],
      [{ teacherSize: 2 * SIZE }, "teacherViews"],
    ] as const
  ) {
    const crash = await assertRejects(() => augmenting(config), ActorCrash);
    assert(crash.isUserError);
    assertStringIncludes(
      crash.failure.message,
      `reader 0: expected a batch with the buffer "${name}", which the settings of this run need, found none`,
    );
  }
});
