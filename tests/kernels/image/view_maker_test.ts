/**
 * The augmenter against Pillow's own pixels and, at random parameters, against the loops of pillow.ts. Every comparison
 * is for equal bits: no stage has a tolerance.
 */
import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { Random } from "../../../data/random.ts";
import { type Gpu, openGpu } from "../../../kernels/gpu.ts";
import { drawMixture, type Mixture, repeatMixture } from "../../../kernels/image/mixup.ts";
import { ViewMaker } from "../../../kernels/image/view_maker.ts";
import { BlurSigmaError } from "../../../kernels/image/blur_weights.ts";
import {
  evaluationView,
  type JitterOp,
  mocoV2Augmentation,
  sampleCrop,
  sampleView,
  type ViewParameters,
} from "../../../kernels/image/view_parameters.ts";
import {
  type ImageBatch,
  ImageTooLargeError,
  MAX_VIEW_SIDE,
  maxImagePixels,
  ViewsTooLargeError,
} from "../../../kernels/image/view_plan.ts";
import { IS_LONG } from "../../long.ts";
import { withLimits } from "../check_op.ts";
import { testWithPython } from "../../python.ts";
import { referenceJson, referencePath } from "../../reference.ts";
import * as pillow from "./pillow.ts";
import type { Rgb } from "./pillow.ts";

const gpu: Gpu = await openGpu("augmenter_test");
globalThis.addEventListener("unload", () => gpu.destroy());

/** A table with more columns than the augmenter needs, as a batch has. */
function pack(images: readonly Rgb[]): ImageBatch {
  const table = new Uint32Array(images.length * 5);
  const pixels = new Uint8Array(images.reduce((sum, { width, height }) => sum + width * height * 4, 0));
  let offset = 0;
  images.forEach(({ width, height, data }, i) => {
    table.set([offset, width, height, 77, 88], i * 5);
    for (let p = 0; p < width * height; p++) {
      for (let i = 0; i < 3; i++) pixels[(offset + p) * 4 + i] = data[p * 3 + i];
      pixels[(offset + p) * 4 + 3] = p & 255; // must not matter
    }
    offset += width * height;
  });
  return { count: images.length, table, pixels };
}

function whole({ width, height }: Rgb, changes: Partial<ViewParameters> = {}): ViewParameters {
  return {
    image: 0,
    crop: { left: 0, top: 0, width, height },
    resized: { width, height },
    window: { left: 0, top: 0 },
    filter: "bilinear",
    jitter: [],
    grayscale: false,
    blurSigma: 0,
    flip: false,
    ...changes,
  };
}

function split(views: ArrayBuffer, width: number, height: number): Rgb[] {
  const bytes = new Uint8Array(views);
  return Array.from({ length: bytes.length / (width * height * 4) }, (_, v) => {
    const data = new Uint8Array(width * height * 3);
    for (let p = 0; p < width * height; p++) {
      const at = (v * width * height + p) * 4;
      for (let i = 0; i < 3; i++) data[p * 3 + i] = bytes[at + i];
      if (bytes[at + 3] !== 255) {
        throw new Error(`expected the last byte of a pixel to be 255, found ${bytes[at + 3]}`);
      }
    }
    return { width, height, data };
  });
}

const augmenters = new Map<string, ViewMaker>();

/** Makes views with an augmenter that is kept for the next test that wants as many of that size. */
async function make(
  images: readonly Rgb[],
  views: readonly ViewParameters[],
  width: number,
  height: number,
) {
  const key = `${views.length} ${width}x${height}`;
  const augmenter = augmenters.get(key) ?? new ViewMaker(gpu, { views: views.length, width, height });
  augmenters.set(key, augmenter);
  return split(await augmenter.augment(pack(images), views), width, height);
}

/** All pixels the same; where not, says how many differ and by how much. */
function assertSamePixels(actual: Rgb, expected: Rgb, what: string): void {
  assertEquals([actual.width, actual.height], [expected.width, expected.height], what);
  let different = 0;
  let most = 0;
  expected.data.forEach((value, i) => {
    if (value === actual.data[i]) return;
    different++;
    most = Math.max(most, Math.abs(value - actual.data[i]));
  });
  assert(different === 0, `${what}: ${different} of ${expected.data.length} values differ, by up to ${most}`);
}

function randomImage(random: Random, width: number, height: number): Rgb {
  // Large areas of one colour with noise on some: flat colours, gray and extremes all occur.
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) {
        const block = new Random(width, "block", x >> 3, y >> 3, c).integer(-60, 315);
        const noise = (x >> 4) % 2 === 0 ? random.integer(-40, 40) : 0;
        data[(y * width + x) * 3 + c] = Math.min(255, Math.max(0, block + noise));
      }
    }
  }
  return { width, height, data };
}

interface ReferenceEntry {
  h: number;
  w: number;
  source: string;
  op: string;
  top: number;
  left: number;
  height: number;
  width: number;
  size: number;
}

function readRgb(name: string, { w, h }: ReferenceEntry): Rgb {
  return { width: w, height: h, data: Deno.readFileSync(referencePath(`preprocess/${name}`)) };
}

/** The view that an entry of preprocess/index.json describes; `undefined` for those that only decode. */
function viewOfEntry(entry: ReferenceEntry, source: Rgb): ViewParameters | undefined {
  if (entry.op === "decode") return undefined;
  if (entry.op === "resized_crop") {
    const { top, left, width, height, size } = entry;
    return whole(source, { crop: { left, top, width, height }, resized: { width: size, height: size } });
  }
  const resize = /shorter side to (\d+).*centre crop (\d+)/.exec(entry.op);
  if (resize !== null) return evaluationView(source.width, source.height, +resize[1], +resize[2]);
  if (entry.op === "grayscale") return whole(source, { grayscale: true });
  if (entry.op === "hflip") return whole(source, { flip: true });
  const piece = /^(brightness|contrast|saturation|hue|blur)(-?[\d.]+)$/.exec(entry.op);
  if (piece === null) {
    throw new Error(`preprocess/index.json has an op that this test does not know: ${entry.op}`);
  }
  if (piece[1] === "blur") return whole(source, { blurSigma: +piece[2] });
  return whole(source, { jitter: [{ kind: piece[1] as JitterOp["kind"], factor: +piece[2] }] });
}

const index: Record<string, ReferenceEntry> = referenceJson("preprocess/index.json").files;
const decoded = new Map<string, Rgb>();
for (const [name, entry] of Object.entries(index)) {
  if (entry.op === "decode") decoded.set(entry.source, readRgb(name, entry));
}
const groups = Map.groupBy(
  Object.entries(index).filter(([, entry]) => entry.op !== "decode"),
  ([, entry]) => entry.op.replace(/[-\d.]+$/, ""),
);

for (const [op, entries] of groups) {
  Deno.test(`parity: ViewMaker gives Pillow's pixels for ${op}`, async () => {
    for (const [name, entry] of entries) {
      const source = decoded.get(entry.source)!;
      const [made] = await make([source], [viewOfEntry(entry, source)!], entry.w, entry.h);
      assertSamePixels(made, readRgb(name, entry), name);
    }
  });
}

Deno.test("parity: the loops that the other tests compare with give Pillow's pixels too", () => {
  let compared = 0;
  for (const [name, entry] of Object.entries(index)) {
    const source = decoded.get(entry.source)!;
    const view = viewOfEntry(entry, source);
    if (view === undefined) continue;
    assertSamePixels(pillow.makeView(source, view, entry.w, entry.h), readRgb(name, entry), name);
    compared++;
  }
  assert(compared > 0);
});

Deno.test("ViewMaker gives the pixels of plain loops for MoCo v2 views of images of many sizes", async () => {
  const random = new Random(11, "images");
  const sizes = [[96, 80], [31, 70], [200, 40], [1, 1], [3, 17], [64, 64], [1, 90], [33, 2]];
  const images = sizes.map(([width, height]) => randomImage(random, width, height));
  const views = Array.from({ length: 48 }, (_, i) => {
    const image = i % images.length;
    const { width, height } = images[image];
    return sampleView(new Random(5, "augment", 0, image, i), mocoV2Augmentation(37), width, height, image);
  });
  const filters = ["bilinear", "bicubic"] as const;
  const mixed = views.map((view, i) => ({ ...view, filter: filters[(i >> 3) % 2] }));
  const made = await make(images, mixed, 37, 37);
  mixed.forEach((view, i) => {
    assertSamePixels(
      made[i],
      pillow.makeView(images[view.image], view, 37, 37),
      `view ${i} ${JSON.stringify(view)}`,
    );
  });
});

Deno.test("ViewMaker shrinks and enlarges as plain loops do, bicubic too", async () => {
  const image = randomImage(new Random(2), 150, 91);
  for (const [width, height] of [[1, 1], [5, 3], [64, 32], [160, 200], [17, 131]]) {
    for (const filter of ["bilinear", "bicubic"] as const) {
      const view = whole(image, { filter, resized: { width, height } });
      const [made] = await make([image], [view], width, height);
      assertSamePixels(made, pillow.makeView(image, view, width, height), `${width}x${height} ${filter}`);
    }
  }
});

Deno.test("ViewMaker makes views of one source pixel", async () => {
  const image = randomImage(new Random(3), 20, 20);
  const view = whole(image, {
    crop: { left: 7, top: 13, width: 1, height: 1 },
    resized: { width: 9, height: 9 },
    jitter: [{ kind: "contrast", factor: 1.4 }],
    blurSigma: 2,
  });
  const [made] = await make([image], [view], 9, 9);
  assertSamePixels(made, pillow.makeView(image, view, 9, 9), "one pixel");
});

/** Shifts the hues of colours, given as 0xbbggrr by their number below 2^18. */
async function assertHuesOf(colourAt: (i: number) => number, what: string): Promise<void> {
  const colours: Rgb = { width: 512, height: 512, data: new Uint8Array(512 * 512 * 3) };
  for (let i = 0; i < 512 * 512; i++) {
    const colour = colourAt(i);
    colours.data.set([colour & 255, (colour >> 8) & 255, colour >> 16], i * 3);
  }
  for (const factor of [0, 0.1, -0.37]) {
    const jitter: JitterOp[] = [{ kind: "hue", factor }];
    const [made] = await make([colours], [whole(colours, { jitter })], 512, 512);
    assertSamePixels(made, pillow.jitter(colours, jitter[0]), `${what}, hue ${factor}`);
  }
}

Deno.test("ViewMaker gives colours all over the cube the hue that Pillow's arithmetic gives", () =>
  assertHuesOf(
    (i) => (i & 63) * 4 + (i >> 16 & 3) | (i >> 6 & 63) * 4 + 1 << 8 | (i >> 12 & 63) * 4 << 16,
    "some colours",
  ));

Deno.test({
  name: "ViewMaker gives each of the 2^24 colours the hue that Pillow's arithmetic gives",
  ignore: !IS_LONG, // a quarter of a minute
  async fn() {
    for (let part = 0; part < 64; part++) await assertHuesOf((i) => part << 18 | i, `part ${part} of 64`);
  },
});

Deno.test("ViewMaker's jitter in any order is the composition of its pieces", async () => {
  const image = randomImage(new Random(4), 40, 24);
  const factors = { brightness: 1.3, contrast: 0.7, saturation: 1.37, hue: -0.08 };
  const kinds = Object.keys(factors) as JitterOp["kind"][];
  const orders = kinds.flatMap((a) =>
    kinds.flatMap((b) =>
      kinds.flatMap((c) => kinds.map((d) => [a, b, c, d]).filter((o) => new Set(o).size === 4))
    )
  );
  assertEquals(orders.length, 24);
  const views = orders.map((order) =>
    whole(image, {
      jitter: order.map((kind) => ({ kind, factor: factors[kind] })),
      grayscale: order[0] === "hue",
    })
  );
  const made = await make([image], views, 40, 24);
  for (const [i, view] of views.entries()) {
    let stepwise = image;
    for (const op of view.jitter) {
      [stepwise] = await make([stepwise], [whole(image, { jitter: [op] })], 40, 24);
    }
    if (view.grayscale) [stepwise] = await make([stepwise], [whole(image, { grayscale: true })], 40, 24);
    assertSamePixels(made[i], stepwise, orders[i].join(", "));
  }
});

Deno.test("ViewMaker turns a view gray before its jitter where the view says so", async () => {
  const image = randomImage(new Random(5), 31, 18);
  const gray = { grayscale: true, grayscaleFirst: true };
  const kinds: JitterOp["kind"][][] = [
    [],
    ["contrast"],
    ["brightness", "contrast", "hue", "saturation"],
    ["hue", "saturation", "brightness"],
    ["contrast", "brightness"],
  ];
  const factors = { brightness: 1.35, contrast: 0.66, saturation: 0.5, hue: 0.21 };
  const views = kinds.map((order) =>
    whole(image, { ...gray, jitter: order.map((kind) => ({ kind, factor: factors[kind] })) })
  );
  const made = await make([image], views, 31, 18);
  for (const [i, view] of views.entries()) {
    assertSamePixels(made[i], pillow.makeView(image, view, 31, 18), kinds[i].join(", "));
    const after = pillow.makeView(image, { ...view, grayscaleFirst: false }, 31, 18);
    if (i > 0) assertNotEquals(made[i].data, after.data, "the order makes no difference");
  }
});

Deno.test("ViewMaker blurs across segments and at every edge as plain loops do", async () => {
  for (const [width, height] of [[70, 33], [1, 5], [5, 1], [2, 2], [32, 64], [3, 97]]) {
    const image = randomImage(new Random(6), width, height);
    const views = [0.1, 0.7, 1.41, 1.42, 2, 2.43].map((blurSigma) => whole(image, { blurSigma }));
    const made = await make([image], views, width, height);
    views.forEach((view, i) =>
      assertSamePixels(
        made[i],
        pillow.makeView(image, view, width, height),
        `${width}x${height} ${view.blurSigma}`,
      )
    );
  }
});

testWithPython(
  "parity: an evaluation's bicubic views are those of Pillow's resize and torchvision's crop",
  { PIL: "python3-pil" },
  async (run) => {
    const script = `
import json, sys, PIL.Image
width, height, shorter, size = map(int, sys.argv[2:])
image = PIL.Image.frombytes("RGB", (width, height), bytes(json.loads(sys.argv[1])))
longer = int(shorter * max(width, height) / min(width, height))
resized = image.resize((shorter, longer) if width <= height else (longer, shorter), PIL.Image.BICUBIC)
left, top = [int(round((side - size) / 2.0)) for side in resized.size]
print(json.dumps({"view": list(resized.crop((left, top, left + size, top + size)).tobytes())}))`;
    for (const [width, height] of [[60, 47], [33, 80], [20, 20]]) {
      const image = randomImage(new Random(10), width, height);
      const view = evaluationView(width, height, 37, 32, 0, "bicubic");
      const [made] = await make([image], [view], 32, 32);
      const pixels = JSON.stringify([...image.data]);
      const expected = await run(script, pixels, ...[width, height, 37, 32].map(String));
      const data = Uint8Array.from(expected.view as number[]);
      assertSamePixels(made, { width: 32, height: 32, data }, `${width}x${height}`);
      const bilinear = evaluationView(width, height, 37, 32);
      assertNotEquals((await make([image], [bilinear], 32, 32))[0].data, data);
    }
  },
);

Deno.test("ViewMaker pads with black where an evaluation view is larger than the resized image", async () => {
  const image = randomImage(new Random(8), 30, 21);
  const view = evaluationView(30, 21, 12, 19);
  const [made] = await make([image], [view], 19, 19);
  assertSamePixels(made, pillow.makeView(image, view, 19, 19), "padded");
  assertEquals([...made.data.subarray(0, 3)], [0, 0, 0]);
});

Deno.test("ViewMaker's views do not depend on their neighbours, on earlier batches or on the run", async () => {
  const random = new Random(9, "images");
  const images = [[50, 60], [300, 20], [12, 12]].map(([w, h]) => randomImage(random, w, h));
  const views = Array.from({ length: 12 }, (_, i) => {
    const { width, height } = images[i % 3];
    return sampleView(new Random(1, "augment", 0, i, 0), mocoV2Augmentation(32), width, height, i % 3);
  });
  const augmenter = new ViewMaker(gpu, { views: 12, width: 32, height: 32 });
  const together = split(await augmenter.augment(pack(images), views), 32, 32);
  const again = split(await augmenter.augment(pack(images), views), 32, 32);
  const reversed = split(await augmenter.augment(pack(images), views.toReversed()), 32, 32).reverse();
  for (const [i, view] of views.entries()) {
    const [alone] = split(
      await augmenter.augment(pack([images[view.image]]), [{ ...view, image: 0 }]),
      32,
      32,
    );
    assertSamePixels(alone, together[i], `view ${i} alone`);
    assertSamePixels(again[i], together[i], `view ${i} again`);
    assertSamePixels(reversed[i], together[i], `view ${i} in a batch the other way round`);
  }
  assertNotEquals(together[0].data, together[3].data);
  augmenter.destroy();
});

Deno.test("ViewMaker.augment() overlaps batches and fills the buffers that it is given", async () => {
  const images = [10, 40, 90, 15, 60].map((side) => randomImage(new Random(side), side, side + 3));
  const augmenter = new ViewMaker(gpu, { views: 3, width: 16, height: 16, slots: 2 });
  const jobs = images.map(async (image, i) => {
    const views = [0, 1, 2].map((v) =>
      sampleView(new Random(7, "augment", 0, i, v), mocoV2Augmentation(16), image.width, image.height)
    );
    const packed = pack([image]);
    const into = new ArrayBuffer(3 * 16 * 16 * 4);
    const made = await augmenter.augment(packed, views, into);
    assert(made === into);
    split(made, 16, 16).forEach((view, v) =>
      assertSamePixels(view, pillow.makeView(image, views[v], 16, 16), `batch ${i} view ${v}`)
    );
  });
  await Promise.all(jobs);
  augmenter.destroy();
});

Deno.test("ViewMaker refuses views that do not fit their image, and goes on working", async () => {
  const image = randomImage(new Random(13), 8, 6);
  const packed = pack([image]);
  const augmenter = new ViewMaker(gpu, { views: 2, width: 8, height: 6, slots: 1 });
  const refuses = async (view: ViewParameters, message: RegExp) => {
    const error = await assertRejects(() => augmenter.augment(packed, [view]), RangeError);
    assertMatch(error.message, message);
  };
  await refuses(whole(image, { image: 1 }), /view 0 is of image 1, but the batch has 1 images/);
  await refuses(
    whole(image, { crop: { left: 1, top: 0, width: 8, height: 6 } }),
    /view 0: the crop 8x6 at \(1, 0\) is not inside its image \(8x6\)/,
  );
  await refuses(whole(image, { blurSigma: NaN }), /standard deviation is NaN/);
  const lanczos = { filter: "lanczos" } as unknown as Partial<ViewParameters>;
  await refuses(whole(image, lanczos), /view 0: filter: expected "bilinear" or "bicubic", found "lanczos"/);
  await refuses(whole(image, { jitter: [{ kind: "hue", factor: 0.6 }] }), /hue has factor 0.6/);
  const brightness: JitterOp = { kind: "brightness", factor: 1.1 };
  await refuses(whole(image, { jitter: [brightness, brightness] }), /brightness is in the jitter twice/);
  const blur = await assertRejects(
    () => augmenter.augment(packed, [whole(image, { blurSigma: 9 })]),
    BlurSigmaError,
  );
  assertMatch(blur.message, /below 2.44 pixels, but it is 9/);
  const three = [whole(image), whole(image), whole(image)];
  await assertRejects(() => augmenter.augment(packed, three), RangeError, "built for 2 views a batch, but 3");
  await assertRejects(
    () => augmenter.augment({ ...packed, pixels: packed.pixels.subarray(4) }, [whole(image)]),
    RangeError,
    "there are 188 bytes of pixels",
  );
  await assertRejects(() => augmenter.augment(packed, [whole(image)], new ArrayBuffer(4)), RangeError);
  const [made] = split(await augmenter.augment(packed, [whole(image)]), 8, 6);
  assertSamePixels(made, image, "after the refusals");
  augmenter.destroy();
});

/** The same device, but with a storage binding of `bytes` bytes at most, so that small batches have to be split. */
function narrow(bytes: number): Gpu {
  return withLimits(gpu, { maxStorageBufferBindingSize: bytes });
}

Deno.test("ViewMaker splits what one binding cannot hold", async () => {
  const random = new Random(15, "images");
  const images = Array.from({ length: 12 }, (_, i) => randomImage(random, 30 + i, 60 - i));
  const views = Array.from({ length: 20 }, (_, i) => {
    const image = (i * 5) % 12;
    return sampleView(new Random(2, i), mocoV2Augmentation(10), 30 + image, 60 - image, image);
  });
  // 20 views of 10x10 take 8000 bytes; an image of 30x60 takes 7200, all of them take 100,000.
  const augmenter = new ViewMaker(narrow(16384), { views: 20, width: 10, height: 10 });
  const made = split(await augmenter.augment(pack(images), views), 10, 10);
  views.forEach((view, i) =>
    assertSamePixels(made[i], pillow.makeView(images[view.image], view, 10, 10), `view ${i}`)
  );
  augmenter.destroy();
});

Deno.test("ViewMaker makes a batch in parts whose images no buffer holds at once", async () => {
  const random = new Random(15, "images");
  const images = Array.from({ length: 12 }, (_, i) => randomImage(random, 30 + i, 60 - i));
  const views = Array.from({ length: 20 }, (_, i) => {
    const image = (i * 5) % 12;
    return sampleView(new Random(2, i), mocoV2Augmentation(10), 30 + image, 60 - image, image);
  });
  const size = { views: 20, width: 10, height: 10 };
  // Two of the images at a time, of 7200 to 8000 bytes; it makes a whole number of 256 bytes of that.
  const augmenter = new ViewMaker(gpu, { ...size, sourceBytes: 16_700 });
  const made = split(await augmenter.augment(pack(images), views), 10, 10);
  views.forEach((view, i) =>
    assertSamePixels(made[i], pillow.makeView(images[view.image], view, 10, 10), `view ${i}`)
  );
  augmenter.destroy();
  const small = new ViewMaker(gpu, { ...size, sourceBytes: 7000 });
  await assertRejects(
    () => small.augment(pack(images), views),
    ImageTooLargeError,
    "make it smaller beforehand",
  );
  small.destroy();
});

Deno.test("ViewMaker takes an image of maxImagePixels(), wherever in a batch it begins", async () => {
  const binding = 16384;
  const [width, height] = [63, 64];
  assertEquals(width * height, maxImagePixels(binding));
  const augmenter = new ViewMaker(narrow(binding), { views: 1, width: 10, height: 10 });
  const image = randomImage(new Random(17), width, height);
  for (const before of [1, 63, 64]) {
    const batch = pack([randomImage(new Random(18), before, 1), image]);
    const view = { ...whole(image, { resized: { width: 10, height: 10 } }), image: 1 };
    const [made] = split(await augmenter.augment(batch, [view]), 10, 10);
    assertSamePixels(made, pillow.makeView(image, view, 10, 10), `behind ${before} pixels`);
  }
  augmenter.destroy();
});

Deno.test("ViewMaker takes images that go to the device in several pieces, all of their pixels", async () => {
  const [width, height, side] = [1001, 799, 16]; // three of them are 9.6 MB, and no piece ends with a row
  const images = Array.from({ length: 3 }, (_, image): Rgb => ({
    width,
    height,
    data: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * (7 + image)) ^ (i >> 9)),
  }));
  const corners = [[0, 0], [width - side, height - side], [480, 390]];
  const views = images.flatMap((of, image) =>
    corners.map(([left, top]) => ({
      ...whole(of, {
        crop: { left, top, width: side, height: side },
        resized: { width: side, height: side },
      }),
      image,
    }))
  );
  const made = await make(images, views, side, side);
  for (const [i, view] of views.entries()) {
    const { data } = images[view.image];
    const [left, top] = corners[i % corners.length];
    const rows = Array.from({ length: side }, (_, y) => {
      const at = ((top + y) * width + left) * 3;
      return data.subarray(at, at + side * 3);
    });
    const expected = { width: side, height: side, data: Uint8Array.from(rows.flatMap((row) => [...row])) };
    assertSamePixels(made[i], expected, `view ${i}`);
  }
});

Deno.test("ViewMaker refuses a crop that one binding cannot hold", async () => {
  const image = randomImage(new Random(16), 80, 80);
  const augmenter = new ViewMaker(narrow(16384), { views: 1, width: 10, height: 10 });
  const view = whole(image, { resized: { width: 10, height: 10 } });
  const error = await assertRejects(() => augmenter.augment(pack([image]), [view]), ImageTooLargeError);
  assertMatch(
    error.message,
    /a crop of 80x80 pixels of image 0 .* spans 25600 bytes, but this device binds at most/,
  );
  augmenter.destroy();
});

Deno.test("ViewMaker refuses sizes that the device cannot bind", () => {
  assertThrows(() => new ViewMaker(gpu, { views: 0, width: 8, height: 8 }), RangeError, "at least one view");
  assertThrows(
    () => new ViewMaker(narrow(16384), { views: 65, width: 8, height: 8 }),
    ViewsTooLargeError,
    "65 views of 8 x 8 pixels take 16640 bytes, but this device binds at most 16384 at once; use a smaller --batch-size",
  );
  new ViewMaker(narrow(16384), { views: 64, width: 8, height: 8 }).destroy();
  const side = MAX_VIEW_SIDE;
  new ViewMaker(gpu, { views: 1, width: side, height: side, slots: 1 }).destroy();
  assertThrows(
    () => new ViewMaker(gpu, { views: 1, width: side + 1, height: side + 1 }),
    ViewsTooLargeError,
    "views of 2900 x 2900 pixels: expected at most 8405024 pixels; use a smaller",
  );
  assertThrows(
    () => new ViewMaker(gpu, { views: 1, width: 0, height: 8 }),
    RangeError,
    "positive integers",
  );
});

Deno.test("sampleCrop() boxes can all be made", async () => {
  const image = randomImage(new Random(14), 13, 200);
  const crops = Array.from(
    { length: 30 },
    (_, i) => sampleCrop(new Random(i), 13, 200, [0.2, 1], [3 / 4, 4 / 3]),
  );
  const views = crops.map((crop) => whole(image, { crop, resized: { width: 11, height: 11 } }));
  const made = await make([image], views, 11, 11);
  views.forEach((view, i) => assertSamePixels(made[i], pillow.makeView(image, view, 11, 11), `crop ${i}`));
});

/** Views of random images, made at one size, mixed, and given at another size too. */
async function makeAndShrink(mixture: Mixture | undefined, [width, height]: number[], smaller: number[]) {
  const random = new Random(8, "images");
  const images = [[96, 80], [31, 70], [64, 64], [50, 17]].map(([w, h]) => randomImage(random, w, h));
  const views = images.map((image, i) =>
    sampleView(new Random(5, "augment", 0, i), mocoV2Augmentation(width), image.width, image.height, i)
  ).map((view) => ({ ...view, resized: { width, height } }));
  const maker = new ViewMaker(gpu, { views: 4, width, height });
  const by = new ViewMaker(gpu, { views: 4, width: smaller[0], height: smaller[1] });
  const into = new ArrayBuffer(4 * smaller[0] * smaller[1] * 4);
  const pixels = await maker.augment(pack(images), views, undefined, { mixture, resized: { by, into } });
  maker.destroy();
  by.destroy();
  return {
    plain: views.map((view, i) => pillow.makeView(images[i], view, width, height)),
    made: split(pixels, width, height),
    shrunk: split(into, smaller[0], smaller[1]),
  };
}

Deno.test("ViewMaker gives views at a smaller size too, as plain loops shrink them", async () => {
  for (const [size, smaller] of [[[37, 37], [16, 16]], [[48, 40], [47, 13]], [[24, 24], [24, 24]]]) {
    const { plain, made, shrunk } = await makeAndShrink(undefined, size, smaller);
    plain.forEach((view, i) => {
      assertSamePixels(made[i], view, `view ${i} of ${size}`);
      const expected = pillow.makeView(
        view,
        whole(view, { resized: { width: smaller[0], height: smaller[1] } }),
        smaller[0],
        smaller[1],
      );
      assertSamePixels(shrunk[i], expected, `view ${i} of ${size} at ${smaller}`);
    });
  }
});

Deno.test("ViewMaker mixes views with each other, before they are shrunk", async () => {
  const mixture = { weight: 0.3, partners: Uint32Array.of(2, 1, 3, 0) };
  const { plain, made, shrunk } = await makeAndShrink(mixture, [33, 21], [17, 11]);
  const weight = Math.round(0.3 * 65536) / 65536;
  plain.forEach((view, i) => {
    const partner = plain[mixture.partners[i]].data;
    const data = view.data.map((value, j) => Math.floor(weight * value + (1 - weight) * partner[j] + 0.5));
    const mixed = { ...view, data };
    assertSamePixels(made[i], mixed, `view ${i}`);
    const small = pillow.makeView(mixed, whole(mixed, { resized: { width: 17, height: 11 } }), 17, 11);
    assertSamePixels(shrunk[i], small, `view ${i}, shrunk`);
  });
});

Deno.test("drawMixture() draws weights from Beta(alpha, alpha), and partners of which each is somebody's", () => {
  for (const alpha of [0.1, 0.5, 1, 4]) {
    const weights = Array.from(
      { length: 4000 },
      (_, batch) => drawMixture(new Random(3, "mixup", 0, batch), alpha, 2).weight,
    );
    const mean = weights.reduce((sum, weight) => sum + weight, 0) / weights.length;
    const variance = weights.reduce((sum, weight) => sum + (weight - mean) ** 2, 0) / weights.length;
    assert(Math.abs(mean - 0.5) < 0.03, `alpha ${alpha}: mean ${mean}`);
    const expected = 1 / (4 * (2 * alpha + 1));
    assert(Math.abs(variance / expected - 1) < 0.06, `alpha ${alpha}: variance ${variance}, not ${expected}`);
  }
  const { weight } = drawMixture(new Random(1, "mixup"), 1e-300, 2);
  assert(weight === 0 || weight === 1);
  const { partners } = drawMixture(new Random(3, "mixup"), 1, 9);
  assertEquals(partners.toSorted(), Uint32Array.from({ length: 9 }, (_, i) => i));
  assertEquals(
    repeatMixture({ weight: 0.5, partners: Uint32Array.of(1, 0) }, 3).partners,
    Uint32Array.of(3, 4, 5, 0, 1, 2),
  );
});
