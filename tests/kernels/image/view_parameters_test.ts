import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { Random } from "../../../data/random.ts";
import { findAugmentation } from "../../../kernels/image/augmentations.ts";
import {
  evaluationView,
  mocoV2Augmentation,
  plainAugmentation,
  sampleCrop,
  sampleJitter,
  sampleView,
  swavLocalAugmentation,
  type ViewRandom,
} from "../../../kernels/image/view_parameters.ts";

const COUNT = 4000;

function mocoViews(width: number, height: number) {
  return Array.from(
    { length: COUNT },
    (_, row) => sampleView(new Random(3, "augment", 0, row, 0), mocoV2Augmentation(224), width, height, row),
  );
}

/** Share of `COUNT`, within four standard deviations. */
function assertShare(count: number, probability: number): void {
  assertAlmostEquals(count / COUNT, probability, 4 * Math.sqrt(probability * (1 - probability) / COUNT));
}

/** Writes down what is drawn from a stream. */
class RecordingRandom implements ViewRandom {
  readonly draws: string[] = [];
  readonly #random: Random;
  constructor(seed: number) {
    this.#random = new Random(seed);
  }
  uniform(low = 0, high = 1) {
    this.draws.push(`uniform ${low.toFixed(3)} ${high.toFixed(3)}`);
    return this.#random.uniform(low, high);
  }
  integer(low: number, high: number) {
    this.draws.push("integer");
    return this.#random.integer(low, high);
  }
  chance(probability: number) {
    const value = this.#random.chance(probability);
    this.draws.push(`chance ${probability} ${value}`);
    return value;
  }
  shuffle<T extends unknown[]>(items: T): T {
    this.draws.push("shuffle");
    return this.#random.shuffle(items);
  }
}

Deno.test("sampleView() of MoCo v2's recipe does each step as often as MoCo v2 does", () => {
  const views = mocoViews(500, 375);
  assertShare(views.filter(({ jitter }) => jitter.length > 0).length, 0.8);
  assertShare(views.filter(({ grayscale }) => grayscale).length, 0.2);
  assertShare(views.filter(({ blurSigma }) => blurSigma > 0).length, 0.5);
  assertShare(views.filter(({ flip }) => flip).length, 0.5);
});

Deno.test("sampleView() of MoCo v2's recipe draws factors over their whole ranges, in every order", () => {
  const orders = new Map<string, number>();
  const ranges = { brightness: [0.6, 1.4], contrast: [0.6, 1.4], saturation: [0.6, 1.4], hue: [-0.1, 0.1] };
  const seen = { brightness: [9, -9], contrast: [9, -9], saturation: [9, -9], hue: [9, -9], blur: [9, -9] };
  const note = (kind: keyof typeof seen, value: number) => {
    seen[kind] = [Math.min(seen[kind][0], value), Math.max(seen[kind][1], value)];
  };
  for (const { jitter, blurSigma } of mocoViews(500, 375)) {
    for (const { kind, factor } of jitter) note(kind, factor);
    if (blurSigma > 0) note("blur", blurSigma);
    const order = jitter.map(({ kind }) => kind).join();
    if (order !== "") orders.set(order, (orders.get(order) ?? 0) + 1);
  }
  for (const [kind, [low, high]] of Object.entries({ ...ranges, blur: [0.1, 2] })) {
    const [least, most] = seen[kind as keyof typeof seen];
    assert(least >= low && least < low + (high - low) * 0.01, `${kind} from ${least}`);
    assert(most < high && most > high - (high - low) * 0.01, `${kind} to ${most}`);
  }
  assertEquals(orders.size, 24);
  for (const [order, count] of orders) assert(count > 0.6 * COUNT * 0.8 / 24, `${order}: ${count}`);
});

Deno.test("sampleView() of MoCo v2's recipe crops a fifth to all of the area at ratios between 3:4 and 4:3", () => {
  let area = 0;
  for (const { crop, resized, window } of mocoViews(500, 400)) {
    const share = crop.width * crop.height / (500 * 400);
    assert(share > 0.195 && share <= 1, `${share}`);
    const ratio = crop.width / crop.height;
    assert(ratio > 0.74 && ratio < 1.35, `${ratio}`);
    assert(crop.left >= 0 && crop.top >= 0 && crop.left + crop.width <= 500 && crop.top + crop.height <= 400);
    assertEquals([resized, window], [{ width: 224, height: 224 }, { left: 0, top: 0 }]);
    area += share / COUNT;
  }
  // A little under the middle of 0.2..1: large boxes of unlike ratio do not fit and are drawn again.
  assert(area > 0.5 && area < 0.6, `${area}`);
});

Deno.test("sampleView() of MoCo v2's recipe depends on its stream alone", () => {
  const draw = (view: number) =>
    sampleView(new Random(3, "augment", 1, 2, view), mocoV2Augmentation(32), 90, 70);
  assertEquals(draw(0), draw(0));
  assert(JSON.stringify(draw(0)) !== JSON.stringify(draw(1)));
});

Deno.test("sampleView() draws in the documented order", () => {
  const random = new RecordingRandom(1);
  const recipe = {
    ...mocoV2Augmentation(32),
    grayscaleProbability: 1,
    blur: { probability: 1, sigma: [0.5, 1] as const },
  };
  sampleView(random, { ...recipe, jitter: { ...recipe.jitter, probability: 1, saturation: 0 } }, 100, 100);
  const crop = random.draws.indexOf("integer");
  assertEquals(random.draws.slice(crop - 2), [
    "uniform 0.200 1.000",
    "uniform -0.288 0.288",
    "integer",
    "integer",
    "chance 1 true",
    "shuffle",
    "uniform 0.600 1.400",
    "uniform 0.600 1.400",
    "uniform -0.100 0.100",
    "chance 1 true",
    "chance 1 true",
    "uniform 0.500 1.000",
    random.draws.at(-1)!,
  ]);
  assert(random.draws.at(-1)!.startsWith("chance 0.5 "));
});

Deno.test("sampleJitter() leaves out what has no strength", () => {
  const ops = sampleJitter(new Random(1), {
    probability: 1,
    brightness: 2,
    contrast: 0,
    saturation: 0,
    hue: 0,
  });
  assertEquals(ops.map(({ kind }) => kind), ["brightness"]);
  assert(ops[0].factor >= 0 && ops[0].factor < 3);
});

Deno.test("sampleCrop() falls back to the largest centred box of an allowed ratio", () => {
  // Half of these images' area in a box of ratio 3:4 to 4:3 is wider or higher than they are.
  const crop = (width: number, height: number) =>
    sampleCrop(new Random(1), width, height, [0.5, 1], [3 / 4, 4 / 3]);
  assertEquals(crop(10, 200), { left: 0, top: 93, width: 10, height: 13 }); // round(10 / 0.75) = 13
  assertEquals(crop(200, 10), { left: 93, top: 0, width: 13, height: 10 });
  assertEquals(crop(1, 1000), { left: 0, top: 499, width: 1, height: 1 });
});

Deno.test("sampleCrop() gives an image of one pixel whole", () => {
  for (let seed = 0; seed < 50; seed++) {
    const crop = sampleCrop(new Random(seed), 1, 1, [0.2, 1], [3 / 4, 4 / 3]);
    assertEquals(crop, { left: 0, top: 0, width: 1, height: 1 });
  }
});

Deno.test("sampleView() of the plain recipe only crops and flips", () => {
  const views = Array.from(
    { length: 200 },
    (_, i) => sampleView(new Random(i), plainAugmentation(32), 64, 64),
  );
  for (const { jitter, grayscale, blurSigma } of views) {
    assertEquals([jitter, grayscale, blurSigma], [[], false, 0]);
  }
  assert(views.some(({ flip }) => flip) && views.some(({ flip }) => !flip));
  assert(views.some(({ crop }) => crop.width * crop.height < 0.2 * 64 * 64));
});

Deno.test("evaluationView() rounds as torchvision does", () => {
  const sizes = (width: number, height: number) => {
    const { resized, window } = evaluationView(width, height, 256, 224);
    return [resized.width, resized.height, window.left, window.top];
  };
  assertEquals(sizes(500, 375), [341, 256, 58, 16]); // 341.33 down; (341 - 224) / 2 = 58.5 to the even 58
  assertEquals(sizes(375, 501), [256, 342, 16, 59]);
  assertEquals(sizes(300, 305), [256, 260, 16, 18]);
  assertEquals(sizes(333, 339), [256, 260, 16, 18]);
  assertEquals(sizes(100, 103), [256, 263, 16, 20]); // 19.5 to the even 20
});

Deno.test("evaluationView() centres a resized image that is too small, the odd pixel after it", () => {
  assertEquals(evaluationView(50, 50, 32, 37).window, { left: -2, top: -2 });
});

Deno.test("sampleCrop() tries ten boxes before it takes the middle", () => {
  let drawn = 0;
  const random = new Random(3, "crop");
  const { uniform } = random;
  random.uniform = (...range) => {
    drawn++;
    return uniform.call(random, ...range);
  };
  assertEquals(sampleCrop(random, 9, 9, [4, 4], [1, 1]), { left: 0, top: 0, width: 9, height: 9 });
  assertEquals(drawn, 2 * 10, "an area and a ratio each");
});

/** What SEED's `tools/utils.py` and MoCo's `main_moco.py` say of every one, and torchvision's defaults of what they leave out. */
const COMMON = {
  ratio: [3 / 4, 4 / 3],
  filter: "bilinear",
  flipProbability: 0.5,
  grayscaleProbability: 0.2,
};
/** `RandomApply([ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8)` before `RandomGrayscale`, and the blur. */
const MOCO_V2 = {
  ...COMMON,
  jitter: { probability: 0.8, brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 },
  blur: { probability: 0.5, sigma: [0.1, 2] },
};
/** `RandomGrayscale`, and behind it `ColorJitter(0.4, 0.4, 0.4, 0.4)`; no blur. */
const MOCO_V1 = {
  ...{ ...COMMON, size: 224, scale: [0.2, 1], grayscaleFirst: true },
  jitter: { probability: 1, brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.4 },
  blur: { probability: 0, sigma: [0.1, 2] },
};

Deno.test("parity: every augmentation has the original's numbers, and is drawn in its order", () => {
  const expected = {
    mocov1: MOCO_V1,
    simclr: MOCO_V1,
    mocov2: { ...MOCO_V2, size: 224, scale: [0.2, 1] },
    swav: { ...MOCO_V2, size: 224, scale: [0.14, 1] },
    plain: { // of main_lincls.py: RandomResizedCrop and RandomHorizontalFlip as they come
      ...{ ...COMMON, size: 224, scale: [0.08, 1], grayscaleProbability: 0 },
      jitter: { probability: 0, brightness: 0, contrast: 0, saturation: 0, hue: 0 },
      blur: { probability: 0, sigma: [0.1, 2] },
    },
  };
  for (const [name, augmentation] of Object.entries(expected)) {
    assertEquals<object>(findAugmentation(name)(224), augmentation, name);
  }
  assertEquals<object>(swavLocalAugmentation(96), { ...MOCO_V2, size: 96, scale: [0.05, 0.14] });

  const isGrayFirst = (name: string) =>
    sampleView(new Random(1), findAugmentation(name)(224), 300, 300).grayscaleFirst === true;
  assertEquals(Object.keys(expected).filter(isGrayFirst), ["mocov1", "simclr"]);
});
