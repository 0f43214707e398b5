import { conv2d, type Conv2dAttributes, conv2dInputGradient } from "../../../kernels/ops/conv2d/conv2d.ts";
import { geometryOf, isPointwise } from "../../../kernels/ops/conv2d/geometry.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import { padTo4 } from "../../../kernels/graph.ts";
import { chooseTile, sharesRows } from "../../../kernels/ops/conv2d/tile.ts";
import {
  GPU_DIRECT_TILES,
  PRODUCT_KINDS,
  sameTiles,
  softwareTuning,
  STAGED_TILES,
  type TileChoice,
} from "../../../kernels/tuning/tuning.ts";
import { assertEquals } from "@std/assert";
import { IS_LONG } from "../../long.ts";
import { skip } from "../../skip.ts";
import { asHardware, checkOp, randomValues, withGpu, withoutTextures } from "../check_op.ts";

interface Case {
  n: number;
  h: number;
  w: number;
  cin: number;
  cout: number;
  kernel: [number, number];
  attributes: Conv2dAttributes;
}

const pad = (stride: number, padding: number) => ({
  stride,
  padTop: padding,
  padLeft: padding,
  padBottom: padding,
  padRight: padding,
});

const CASES: Case[] = [
  { n: 1, h: 1, w: 1, cin: 1, cout: 1, kernel: [1, 1], attributes: pad(1, 0) },
  { n: 2, h: 5, w: 4, cin: 3, cout: 17, kernel: [3, 3], attributes: pad(1, 1) },
  { n: 1, h: 9, w: 8, cin: 3, cout: 5, kernel: [7, 7], attributes: pad(2, 3) },
  { n: 3, h: 5, w: 6, cin: 17, cout: 3, kernel: [1, 1], attributes: pad(2, 0) },
  { n: 2, h: 1, w: 1, cin: 6, cout: 9, kernel: [3, 3], attributes: pad(1, 1) },
  { n: 17, h: 2, w: 2, cin: 5, cout: 6, kernel: [3, 3], attributes: pad(2, 1) },
  { n: 3, h: 5, w: 6, cin: 9, cout: 21, kernel: [1, 1], attributes: pad(1, 0) },
  { n: 18, h: 3, w: 2, cin: 4, cout: 5, kernel: [3, 3], attributes: pad(1, 1) },
  // Its outer columns meet no pixel.
  { n: 2, h: 4, w: 2, cin: 8, cout: 4, kernel: [7, 7], attributes: pad(1, 3) },
  {
    n: 5,
    h: 1,
    w: 1,
    cin: 19,
    cout: 10,
    kernel: [1, 1],
    attributes: { ...pad(1, 0), bias: true, activation: "relu" },
  },
  { n: 1, h: 9, w: 8, cin: 18, cout: 7, kernel: [3, 3], attributes: pad(2, 1) },
  { n: 1, h: 33, w: 32, cin: 1, cout: 1, kernel: [3, 3], attributes: pad(1, 1) },
  { n: 2, h: 1, w: 1, cin: 5, cout: 530, kernel: [1, 1], attributes: pad(1, 0) },
  {
    n: 1,
    h: 1,
    w: 1,
    cin: 4110,
    cout: 1,
    kernel: [1, 1],
    attributes: { ...pad(1, 0), bias: true, addend: true, activation: "relu" },
  },
  {
    n: 2,
    h: 6,
    w: 5,
    cin: 4,
    cout: 8,
    kernel: [3, 2],
    attributes: {
      stride: 2,
      padTop: 0,
      padLeft: 1,
      padBottom: 1,
      padRight: 2,
      bias: true,
      addend: true,
      activation: "relu",
    },
  },
];

/** conv2d in float64, straight from its definition; w is [kh, kw, padTo4(cin), cout]. */
function reference(c: Case, x: Float64Array, weight: Float64Array, ...extra: Float64Array[]): Float64Array {
  const {
    n,
    h,
    w,
    cin,
    cout,
    kernel: [kh, kw],
    attributes: { stride, padTop, padLeft, bias, addend, activation },
  } = c;
  const { outputHeight, outputWidth } = geometryOf([n, h, w, cin], [kh, kw, cin, cout], c.attributes);
  const y = new Float64Array(n * outputHeight * outputWidth * cout);
  let at = 0;
  for (let b = 0; b < n; b++) {
    for (let oy = 0; oy < outputHeight; oy++) {
      for (let ox = 0; ox < outputWidth; ox++) {
        for (let co = 0; co < cout; co++, at++) {
          let sum = bias ? extra[0][co] : 0;
          if (addend) sum += extra.at(-1)![at];
          for (let ky = 0; ky < kh; ky++) {
            const iy = oy * stride + ky - padTop;
            if (iy < 0 || iy >= h) continue;
            for (let kx = 0; kx < kw; kx++) {
              const ix = ox * stride + kx - padLeft;
              if (ix < 0 || ix >= w) continue;
              for (let ci = 0; ci < cin; ci++) {
                sum += x[((b * h + iy) * w + ix) * cin + ci] *
                  weight[((ky * kw + kx) * padTo4(cin) + ci) * cout + co];
              }
            }
          }
          y[at] = activation ? Math.max(0, sum) : sum;
        }
      }
    }
  }
  return y;
}

async function check(gpu: Gpu, c: Case): Promise<void> {
  const [kh, kw] = c.kernel;
  const outputShape = (({ outputHeight, outputWidth }) => [c.n, outputHeight, outputWidth, c.cout])(
    geometryOf([c.n, c.h, c.w, c.cin], [kh, kw, c.cin, c.cout], c.attributes),
  );
  const weightShape = [kh, kw, padTo4(c.cin), c.cout];
  // Rows of channels that do not exist are zero on the device, and stay so: x is zero there.
  const weight = randomValues("w", weightShape).map((value, i) =>
    Math.floor(i / c.cout) % padTo4(c.cin) < c.cin ? value : 0
  );
  const shapes = [
    ...(c.attributes.bias ? [[c.cout]] : []),
    ...(c.attributes.addend ? [outputShape] : []),
  ];
  await checkOp(gpu, {
    name: JSON.stringify(c),
    inHalf: IS_LONG, // some of its kernels take seconds to compile
    inputs: [
      { shape: [c.n, c.h, c.w, c.cin], values: randomValues("x", [c.n, c.h, c.w, c.cin]), gradient: true },
      { shape: weightShape, values: weight, gradient: true },
      ...shapes.map((shape, i) => ({ shape, values: randomValues(`extra ${i}`, shape), gradient: true })),
    ],
    build: (graph, inputs) => graph.apply(conv2d, inputs, c.attributes),
    reference: (x, w, ...extra) => reference(c, x, w, ...extra),
  });
}

for (const c of CASES) {
  const { n, h, w, cin, cout, kernel, attributes } = c;
  const epilogue = ["bias", "addend", "activation"].filter((name) =>
    attributes[name as keyof Conv2dAttributes]
  );
  const title = `[${n}, ${h}, ${w}, ${cin}] to ${cout} by ${kernel.join("x")} stride ${attributes.stride}` +
    (epilogue.length > 0 ? ` with ${epilogue.join(", ")}` : "");
  Deno.test(`conv2d ${title} equals a float64 loop, and so do its gradients`, () =>
    withGpu((gpu) => check(gpu, c)));
  Deno.test(`conv2d staged in workgroup memory, ${title}, equals a float64 loop`, () =>
    withGpu((gpu) => check(asHardware(gpu), c)));
  Deno.test(`conv2d from storage buffers, ${title}, equals a float64 loop`, () =>
    withGpu((gpu) => check(withoutTextures(gpu), c)));
}

// No case above is as large: each of the four phases has sums that are cut within a tap.
Deno.test("conv2d staged in workgroup memory has a gradient of the input whose sums are cut, in every phase", () => {
  const [n, h, w, cin, cout, k] = [3, 7, 5, 37, 130, 3];
  const attributes = pad(2, 1);
  const { outputHeight, outputWidth } = geometryOf([n, h, w, cin], [k, k, cin, cout], attributes);
  const shapes = [[n, outputHeight, outputWidth, cout], [k, k, padTo4(cin), cout]];
  const [dy, weight] = shapes.map((shape, i) => randomValues(`gradient ${i}`, shape));
  return withGpu((gpu) =>
    checkOp(asHardware(gpu), {
      inHalf: IS_LONG,
      inputs: [{ shape: shapes[0], values: dy }, {
        shape: shapes[1],
        values: weight.map((value, i) => Math.floor(i / cout) % padTo4(cin) < cin ? value : 0),
      }],
      build: (graph, inputs) =>
        graph.apply(conv2dInputGradient, inputs, { ...attributes, like: [n, h, w, cin] }),
      reference: (dy, weight) => {
        const dx = new Float64Array(n * h * w * cin);
        for (let pixel = 0; pixel < n * outputHeight * outputWidth; pixel++) {
          const b = Math.floor(pixel / (outputHeight * outputWidth));
          for (let tap = 0; tap < k * k; tap++) {
            const iy = Math.floor(pixel / outputWidth) % outputHeight * 2 + Math.floor(tap / k) - 1;
            const ix = pixel % outputWidth * 2 + tap % k - 1;
            if (iy < 0 || iy >= h || ix < 0 || ix >= w) continue;
            for (let ci = 0; ci < cin; ci++) {
              let sum = 0;
              for (let co = 0; co < cout; co++) {
                sum += dy[pixel * cout + co] * weight[(tap * padTo4(cin) + ci) * cout + co];
              }
              dx[((b * h + iy) * w + ix) * cin + ci] += sum;
            }
          }
        }
        return dx;
      },
    })
  );
});

/** The same device, which has this tile and no other. */
function withTile(gpu: Gpu, family: "direct" | "staged", tile: TileChoice, hasSubgroups: boolean): Gpu {
  const tuning = { ...gpu.target.tuning, family, tiles: sameTiles([tile]) };
  return { ...gpu, target: { ...gpu.target, tuning, hasSubgroups } };
}

const lanes = (count: number, across: number) => ({
  lanesAcross: across,
  lanesDown: count / across,
  efficiency: 1,
});
const TILES: (readonly ["direct" | "staged", TileChoice])[] = [
  // Each way of the lanes with some tile.
  ...softwareTuning(8, false).tiles.forward.filter((_, i) => i % 3 === 0).map((tile) =>
    ["direct", tile] as const
  ),
  ...softwareTuning(16, false).tiles.forward.filter((_, i) => i % 3 === 1).map((tile) =>
    ["direct", tile] as const
  ),
  ...GPU_DIRECT_TILES.map((tile) => ["direct", { ...tile, efficiency: 1 }] as const),
  ...STAGED_TILES.map((tile) => ["staged", { ...tile, efficiency: 1 }] as const),
];
for (const [family, tile] of TILES) {
  const { rows, columns, lanesAcross, lanesDown } = tile;
  Deno.test(`conv2d, ${family} ${rows}x${columns} by ${lanesAcross}x${lanesDown}, equals a float64 loop`, {
    ignore: !IS_LONG, // seconds each to compile; the tests around it have a tile of either family, and those chosen
  }, () => withGpu((gpu) => check(withTile(gpu, family, tile, false), CASES[1])));
}

Deno.test("conv2d without subgroups equals a float64 loop", () =>
  withGpu((gpu) => check(withTile(gpu, "direct", { rows: 8, columns: 4, ...lanes(8, 8) }, false), CASES[1])));

// A lane has one row, two rows, and as many as the two largest tiles have.
for (
  const [rows, columns, cases] of [
    [1, 4, CASES],
    [2, 4, [CASES[1], CASES[9], CASES[13]]],
    [4, 4, [CASES[13]]],
    [3, 8, [CASES[13]]],
  ] as const
) {
  const title =
    `conv2d whose lanes share their rows, ${rows} for each, ${columns} columns, equals a float64 loop`;
  Deno.test(title, () =>
    withGpu(async (gpu) => {
      const { vectorLanes, hasSubgroups } = gpu.target;
      if (!hasSubgroups) return skip(title, "the adapter has no subgroups");
      const tile = { rows: rows * vectorLanes, columns, ...lanes(vectorLanes, vectorLanes) };
      for (const c of cases) await check(withTile(gpu, "direct", tile, true), c);
    }));
}

Deno.test("chooseTile() takes a tile whose rows are shared where the result has columns for all lanes, and there are subgroups", () =>
  withGpu(({ target }) => {
    for (const hasSubgroups of [true, false]) {
      const tuning = softwareTuning(8, hasSubgroups);
      const device = { ...target, hasSubgroups, vectorLanes: 8, tuning, parallelism: 4 };
      for (const kind of PRODUCT_KINDS) {
        const shares = (rows: number, columns: number) =>
          sharesRows(device, chooseTile(device, kind, rows, columns));
        assertEquals(shares(2048, 128), hasSubgroups);
        assertEquals(shares(2048, 32), hasSubgroups);
        assertEquals(shares(2048, 8), false);
      }
    }
    return Promise.resolve();
  }));

for (
  const [family, tile] of [
    ["direct", { rows: 4, columns: 4, lanesAcross: 16, lanesDown: 1, efficiency: 1 }],
    ["staged", { rows: 4, columns: 4, lanesAcross: 16, lanesDown: 4, efficiency: 1 }],
  ] as const
) {
  Deno.test(`conv2d, ${family}, with more rows of workgroups than fit one dimension, equals a float64 loop`, () =>
    withGpu((gpu) => {
      const tuning = { ...gpu.target.tuning, family, tiles: sameTiles([tile]) };
      // All else fits 26 workgroups just so; the products have 27 or more, four times for the input's gradient.
      const target = { ...gpu.target, tuning, parallelism: 1, maxWorkgroupsPerDimension: 26 };
      const c = {
        n: 3,
        h: 23,
        w: 24,
        cin: 3,
        cout: 4,
        kernel: [3, 3] as [number, number],
        attributes: pad(2, 1),
      };
      return check({ ...gpu, target }, c);
    }));
}

Deno.test("geometryOf() has an output wherever the window fits, with other padding on each side", () => {
  // Places of a window of `kernel` in `length` zeros and pixels, counted one by one.
  const places = (length: number, kernel: number, stride: number) => {
    let count = 0;
    for (let at = 0; at + kernel <= length; at += stride) count++;
    return count;
  };
  for (const stride of [1, 2, 3]) {
    for (
      const [padTop, padLeft, padBottom, padRight] of [[0, 0, 0, 0], [0, 1, 1, 2], [2, 0, 1, 3], [1, 3, 2, 0]]
    ) {
      const attributes = { stride, padTop, padLeft, padBottom, padRight };
      const g = geometryOf([2, 6, 9, 5], [3, 2, 8, 7], attributes);
      assertEquals(g.outputHeight, places(6 + padTop + padBottom, 3, stride), JSON.stringify(attributes));
      assertEquals(g.outputWidth, places(9 + padLeft + padRight, 2, stride), JSON.stringify(attributes));
    }
  }
});

Deno.test("isPointwise() is true of 1 x 1 windows that take every pixel, and of nothing else", () => {
  const of = (kernel: [number, number], attributes: Omit<Conv2dAttributes, "bias">) =>
    isPointwise(geometryOf([1, 4, 4, 4], [...kernel, 4, 4], attributes));
  const none = pad(1, 0);
  assertEquals(of([1, 1], none), true);
  assertEquals(of([1, 1], pad(2, 0)), false);
  assertEquals(of([1, 1], pad(1, 1)), false);
  // As many outputs as pixels, and yet each takes three.
  assertEquals(of([3, 1], { ...none, padTop: 1, padBottom: 1 }), false);
  assertEquals(of([1, 3], { ...none, padLeft: 1, padRight: 1 }), false);
});
