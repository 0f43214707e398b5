/**
 * `deno task bench [product] [forward] [training] [tiles] [step] [--rounds N]`: side by side with tfjs and jax-js, in
 * one run on one adapter. Prints tables in Markdown; `bench/RESULTS.md` keeps them.
 */
import { parseArgs } from "@std/cli/parse-args";
import { Random } from "../data/random.ts";
import { type Gpu, openGpu } from "../kernels/gpu.ts";
import * as jax from "./jax.ts";
import { compare, geometricMean, type Medians } from "./measure.ts";
import * as ours from "./ours.ts";
import {
  COMPARED_GRADIENTS,
  CONVOLUTIONS,
  type ConvolutionShape,
  forwardOperations,
  outputSide,
  PRODUCTS,
} from "./shapes.ts";
import * as tfjs from "./tfjs.ts";
import { printTable } from "./table.ts";
import { TILE_SIZES, tiledProduct } from "./tiles.ts";

const HELP = `Usage: deno task bench [NAME ...] [--rounds N]

Times this project against @tensorflow/tfjs-backend-webgpu and @jax-js/jax, each in turn, on one adapter.
Without names everything is run (some minutes).

  product      matrix products
  convolution  both of the following
  forward      convolutions of ResNet-18, forward
  training     the same with both gradients
  tiles        this project's own register tiles on a software adapter
  step         one distillation step, against tfjs

  --rounds N   rounds of each, of which the median counts [default: 5]`;

function randomValues(name: string, length: number): Float32Array<ArrayBuffer> {
  const random = new Random(1, "bench", name);
  return Float32Array.from({ length }, () => random.uniform(-1, 1));
}

const LIBRARIES = ["tfjs", "jax-js"] as const;

/** How many times faster than each library; an empty cell where it was not compared. */
function ratios(medians: Medians): string[] {
  return LIBRARIES.map((name) => {
    const time = medians.get(name);
    return time === undefined ? "" : `${(time / medians.get("ours")!).toFixed(1)}x`;
  });
}

async function benchProducts(gpu: Gpu, rounds: number): Promise<void> {
  const rows = [["matrix product", "ours GFLOP/s", "tfjs", "jax-js", "ours / tfjs", "ours / jax-js"]];
  for (const size of PRODUCTS) {
    const [a, b] = ["a", "b"].map((name) => randomValues(name, size * size));
    const medians = await compare(`product ${size}`, [
      await ours.product(gpu, size, a, b),
      tfjs.product(size, a, b),
      jax.product(size, a, b),
    ], rounds);
    const rate = (name: string) => (2 * size ** 3 / medians.get(name)! / 1e6).toFixed(1);
    rows.push([`${size}`, rate("ours"), rate("tfjs"), rate("jax-js"), ...ratios(medians)]);
  }
  printTable("Matrix products", rows);
}

async function benchConvolutions(gpu: Gpu, rounds: number, training: boolean): Promise<void> {
  const rows = [[
    "layer (batch 32)",
    "ours ms",
    "tfjs ms",
    "jax-js ms",
    "ours GFLOP/s",
    "ours / tfjs",
    "ours / jax-js",
  ]];
  const factors = { tfjs: [] as number[], "jax-js": [] as number[] };
  for (const shape of CONVOLUTIONS) {
    const values = convolutionValues(shape);
    const medians = await compare(shape.name, [
      await ours.convolution(gpu, shape, values, training),
      tfjs.convolution(shape, values, training),
      jax.convolution(shape, values, training),
    ], rounds);
    for (const name of LIBRARIES) factors[name].push(medians.get(name)! / medians.get("ours")!);
    const operations = forwardOperations(shape) * (training ? 3 : 1);
    rows.push([
      shape.name,
      ...["ours", ...LIBRARIES].map((name) => medians.get(name)!.toFixed(1)),
      (operations / medians.get("ours")! / 1e6).toFixed(1),
      ...ratios(medians),
    ]);
  }
  const means = LIBRARIES.map((name) => `${geometricMean(factors[name]).toFixed(1)}x`);
  rows.push(["geometric mean", "", "", "", "", ...means]);
  printTable(training ? "Convolution, forward and both gradients" : "Convolution, forward", rows);
}

function convolutionValues(shape: ConvolutionShape): Record<"x" | "w" | "dy", Float32Array> {
  const { n, side, inputs, outputs, kernel } = shape;
  return {
    x: randomValues("x", n * side * side * inputs),
    w: randomValues("w", kernel * kernel * inputs * outputs),
    dy: randomValues("dy", n * outputSide(shape) ** 2 * outputs),
  };
}

async function benchStep(gpu: Gpu, rounds: number): Promise<void> {
  const options = {
    batch: 32,
    imageSize: 32,
    queueSize: 1024,
    pixels: Uint8Array.from(randomValues("pixels", 32 * 32 * 32 * 4), (value) => 127.5 * (value + 1)),
    student: ours.resnet18Weights(1),
    teacher: ours.resnet18Weights(2),
    learningRate: 1e-4,
  };
  const medians = await compare(
    "step",
    [
      await ours.distillationStep(gpu, options),
      tfjs.distillationStep(options),
    ],
    rounds,
    COMPARED_GRADIENTS,
  );
  printTable("One distillation step: ResNet-18 teacher and student, 32 pictures of 32 pixels, queue 1,024", [
    ["", "ours", "tfjs", "ours / tfjs"],
    ["ms", ...["ours", "tfjs"].map((name) => medians.get(name)!.toFixed(0)), ratios(medians)[0]],
  ]);
}

async function benchTiles(gpu: Gpu, rounds: number): Promise<void> {
  const size = 1024;
  const [a, b] = ["a", "b"].map((name) => randomValues(name, size * size));
  const sources = ["texture", "buffer"] as const;
  const contestants = await Promise.all(
    sources.flatMap((source) => TILE_SIZES.map((tile) => tiledProduct(gpu, size, a, b, tile, source))),
  );
  const medians = await compare("tiles", contestants, rounds);
  const best = Math.min(...medians.values());
  printTable("Register tiles, 1024 product: GFLOP/s, and throughput relative to the best", [
    ["operands from", ...TILE_SIZES.map((tile) => tile.join("x"))],
    ...sources.map((source) => [
      source,
      ...TILE_SIZES.map((tile) => {
        const time = medians.get(`${tile.join("x")} ${source}`)!;
        return `${(2 * size ** 3 / time / 1e6).toFixed(1)} (${(best / time).toFixed(2)})`;
      }),
    ]),
  ]);
}

const { _: names, rounds, help } = parseArgs(Deno.args, {
  string: ["rounds"],
  boolean: ["help"],
  default: { rounds: "5" },
});
const known = ["product", "convolution", "forward", "training", "tiles", "step"];
const unknown = names.find((name) => !known.includes(String(name)));
const count = Number(rounds);
if (help || unknown !== undefined || !Number.isInteger(count) || count < 1) {
  console.log(HELP);
  Deno.exit(help ? 0 : 2);
}
const wanted = names.length === 0 ? known : names.map(String);

const gpu = await openGpu("bench");
console.log(
  `adapter: ${gpu.adapter.name}, Deno ${Deno.version.deno}, ${navigator.hardwareConcurrency} cores`,
);
await tfjs.openTfjs();
await jax.openJax();
if (wanted.includes("product")) await benchProducts(gpu, count);
for (const [name, training] of [["forward", false], ["training", true]] as const) {
  if (wanted.includes("convolution") || wanted.includes(name)) await benchConvolutions(gpu, count, training);
}
if (wanted.includes("tiles")) await benchTiles(gpu, count);
if (wanted.includes("step")) await benchStep(gpu, count);
gpu.destroy();
Deno.exit(0); // the libraries keep their devices
