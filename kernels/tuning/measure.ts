/** Measures a device's {@linkcode Tuning}: a second or some, mostly for compiling kernels. */
import type { Gpu } from "../gpu.ts";
import { byteLength, Graph, type Tensor } from "../graph.ts";
import { add } from "../ops/add/add.ts";
import { conv2d, conv2dInputGradient, conv2dWeightGradient } from "../ops/conv2d/conv2d.ts";
import { POINTWISE } from "../ops/conv2d/geometry.ts";
import { median } from "../profiler.ts";
import { type BufferRange, Program } from "../program.ts";
import { efficienciesOf, fastestFamily, type MeasuredTile, winsMost } from "./fastest.ts";
import {
  GPU_DIRECT_TILES,
  PRODUCT_KINDS,
  type ProductFamily,
  type ProductKind,
  sameTiles,
  softwareChoices,
  softwareTiles,
  STAGED_TILES,
  TEXTURE_FROM_LOADS,
  type Tile,
  type TileChoice,
  type Tuning,
} from "./tuning.ts";
import { fitsWorkgroup } from "./workgroup_memory.ts";

/** Rows, summed length and columns of the product that tiles are measured with. */
interface ProductSize {
  rows: number;
  inner: number;
  columns: number;
}

const SOFTWARE_SIZE: ProductSize = { rows: 1024, inner: 192, columns: 256 };
const GPU_SIZE: ProductSize = { rows: 16384, inner: 512, columns: 512 };

/** A family of kernels and the tiles that it may have. */
interface Candidates {
  family: ProductFamily;
  tiles: readonly Tile[];
}

/** @param bytes workgroup memory that a kernel may have */
const gpuCandidates = (bytes: number): readonly Candidates[] => [
  { family: "staged", tiles: STAGED_TILES.filter((tile) => fitsWorkgroup(tile, bytes)) },
  { family: "direct", tiles: GPU_DIRECT_TILES },
];

/**
 * Products that are measured on a software adapter, where they are one kernel but for their addresses, and one stands for all: tables
 * of three kinds differed from each other as those of one kind from run to run. Each kernel takes a tenth of a second to compile.
 */
const SOFTWARE_KINDS: readonly ProductKind[] = ["forward"];

const WARM_UP_MS = 500;

/**
 * Times that each tile is measured, of which the median counts. The least time of some is a matter of luck where other machines share
 * the processor: efficiencies by the least of 6, and even of 40, varied by 0.1 from one table to the next, by the median of 12 by 0.04.
 */
const ROUNDS = 12;
/** Rounds of which the faster of two wins most. */
const DUELS = 6;

/** A tile that is measured, and the product that it is measured by. */
interface MeasuredProgram extends MeasuredTile {
  times: number[];
  program: Program;
}

/** Elements of the sum that loads are measured with, in vec4. */
const LOADS = 2 ** 19;

/**
 * Times every tile of every product, and how buffers and textures are read.
 *
 * @param onProgress told how many of the measurements are done
 */
export async function measureTuning(
  gpu: Gpu,
  onProgress: (done: number, total: number) => void = () => {},
): Promise<Tuning> {
  const { isSoftware, vectorLanes, hasSubgroups } = gpu.target;
  const software = softwareTiles(vectorLanes, hasSubgroups);
  // Workgroup memory is slower than registers by far where it is emulated, and its kernels are slow to compile.
  const candidates: readonly Candidates[] = isSoftware
    ? [{ family: "direct", tiles: [...software.shared, ...software.direct] }]
    : gpuCandidates(gpu.device.limits.maxComputeWorkgroupStorageSize);
  const kinds = isSoftware ? SOFTWARE_KINDS : PRODUCT_KINDS;
  const total = candidates.reduce((sum, { tiles }) => sum + kinds.length * tiles.length, 0) +
    (isSoftware ? 2 : 0);
  let done = 0;
  const counted = async <T>(work: Promise<T>): Promise<T> => {
    const result = await work;
    onProgress(++done, total);
    return result;
  };

  using buffers = new ProductBuffers(gpu.device);
  const productTextures = isSoftware &&
    await counted(areTexturesFaster(gpu, candidates[0].tiles[0], buffers));
  const programs: MeasuredProgram[] = [];
  try {
    for (const { family, tiles } of candidates) {
      for (const kind of kinds) {
        for (const tile of tiles) {
          const reading = { family, productTextures };
          const program = await counted(compileProduct(gpu, kind, reading, tile, buffers));
          programs.push({ kind, family, tile, program, times: [] });
        }
      }
    }
    if (!isSoftware) await warmUp(gpu, programs.map(({ program }) => program));
    // In turn: what else the machine does hits all.
    for (let round = 0; round < ROUNDS; round++) {
      for (const { program, times } of programs) times.push(await timeProduct(program));
    }
  } finally {
    for (const { program } of programs) program.destroy();
  }

  if (!programs.every(({ times }) => median(times) > 0)) {
    // No timestamps, and a wait for the device is as long as the products: what was usual stays.
    return { ...gpu.target.tuning, adapter: gpu.adapter.name };
  }
  const family = fastestFamily(programs);
  const tilesOf = (kind: ProductKind): readonly TileChoice[] => {
    const measured = programs.filter((entry) => entry.family === family && entry.kind === kind);
    const efficiencies = efficienciesOf(measured);
    const efficiencyOf = (tile: Tile) => efficiencies.get(tile)!;
    return isSoftware
      ? softwareChoices(software, efficiencyOf)
      : measured.map(({ tile }) => ({ ...tile, efficiency: efficiencyOf(tile) }));
  };
  const tiles = isSoftware ? sameTiles(tilesOf("forward")) : {
    forward: tilesOf("forward"),
    inputGradient: tilesOf("inputGradient"),
    weightGradient: tilesOf("weightGradient"),
  };
  const textureFromLoads = isSoftware && await counted(doCopiesPay(gpu)) ? TEXTURE_FROM_LOADS : null;
  return { adapter: gpu.adapter.name, family, tiles, productTextures, textureFromLoads };
}

/** Operands and results, which the products of a kind share: 65 MiB on a GPU, where a kind has 14 of them. */
class ProductBuffers implements Disposable {
  readonly #device: GPUDevice;
  readonly #buffers = new Map<string, GPUBuffer>();

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** The buffer of a kind's tensor; `role` tells it from the kind's others. */
  rangeOf(kind: ProductKind, role: string, tensor: Tensor): BufferRange {
    const label = `tuning: ${role} of ${kind}`;
    const bytes = byteLength(tensor);
    const { STORAGE, COPY_SRC } = GPUBufferUsage;
    const buffer = this.#buffers.get(label) ??
      this.#device.createBuffer({ label, size: bytes, usage: STORAGE | COPY_SRC });
    this.#buffers.set(label, buffer);
    return { buffer, offset: 0, bytes };
  }

  /** Frees them. */
  [Symbol.dispose](): void {
    for (const buffer of this.#buffers.values()) buffer.destroy();
  }
}

/** A product by one tile, warmed up. */
async function compileProduct(
  gpu: Gpu,
  kind: ProductKind,
  reading: Pick<Tuning, "family" | "productTextures">,
  tile: Tile,
  buffers: ProductBuffers,
): Promise<Program> {
  const { rows, inner, columns } = gpu.target.isSoftware ? SOFTWARE_SIZE : GPU_SIZE;
  const tiles = sameTiles([{ ...tile, efficiency: 1 }]);
  const graph = new Graph();
  // Convolutions of images of one pixel. The weight's gradient sums over the images.
  const source = (name: string, shape: readonly number[]) => graph.source(name, shape);
  const [inputs, y] = kind === "forward"
    ? withResult(
      [source("x", [rows, 1, 1, inner]), source("w", [1, 1, inner, columns])],
      (operands) => graph.apply(conv2d, operands, POINTWISE),
    )
    : kind === "inputGradient"
    ? withResult(
      [source("dy", [rows, 1, 1, inner]), source("w", [1, 1, columns, inner])],
      (operands) => graph.apply(conv2dInputGradient, operands, { ...POINTWISE, like: [rows, 1, 1, columns] }),
    )
    : withResult(
      [source("x", [inner, 1, 1, rows]), source("dy", [inner, 1, 1, columns])],
      (operands) =>
        graph.apply(conv2dWeightGradient, operands, { ...POINTWISE, like: [1, 1, rows, columns] }),
    );
  const device = tunedAs(gpu, { ...reading, tiles });
  const bound = new Map(
    [...inputs, y].map((tensor, i) => [tensor, buffers.rangeOf(kind, `operand ${i}`, tensor)] as const),
  );
  const program = await Program.compile(device, { label: "tuning", graph, inputs: [], outputs: [y], bound });
  program.run();
  await gpu.wait(gpu.device.queue.onSubmittedWorkDone());
  return program;
}

/** Keeps the device at work for a while: one that idles is clocked down, and then another tile may be the fastest. */
async function warmUp(gpu: Gpu, programs: readonly Program[]): Promise<void> {
  const start = performance.now();
  while (performance.now() - start < WARM_UP_MS) {
    for (const program of programs) program.run();
    await gpu.wait(gpu.device.queue.onSubmittedWorkDone());
  }
}

/** Milliseconds of a product, copies not counted. */
async function timeProduct(program: Program): Promise<number> {
  const kernels = await program.profile(1);
  return kernels.find(({ flops }) => flops > 0)!.milliseconds;
}

/** Whether a product runs faster with its operands in textures. */
async function areTexturesFaster(gpu: Gpu, tile: Tile, buffers: ProductBuffers): Promise<boolean> {
  // One after the other: the errors of two that compile at once could not be told apart.
  const compile = (productTextures: boolean) =>
    compileProduct(gpu, "forward", { family: "direct", productTextures }, tile, buffers);
  using withTextures = await compile(true);
  using withBuffers = await compile(false);
  return await isFaster(withTextures, withBuffers, timeProduct);
}

/** Whether a program is faster than another one in most of several rounds: what else the machine does hits both of a round. */
async function isFaster(
  program: Program,
  other: Program,
  time: (program: Program) => Promise<number>,
): Promise<boolean> {
  const duels: [number, number][] = [];
  for (let round = 0; round < DUELS; round++) duels.push([await time(program), await time(other)]);
  return winsMost(duels);
}

function withResult(operands: Tensor[], apply: (operands: Tensor[]) => Tensor): [Tensor[], Tensor] {
  return [operands, apply(operands)];
}

/** The same device, as if it had been measured to be otherwise. */
function tunedAs(gpu: Gpu, changes: Partial<Tuning>): Gpu {
  return { ...gpu, target: { ...gpu.target, tuning: { ...gpu.target.tuning, ...changes } } };
}

/** Whether a sum of two large tensors is faster where these are copied into textures first. */
async function doCopiesPay(gpu: Gpu): Promise<boolean> {
  const compile = async (textureFromLoads: number | null) => {
    const graph = new Graph();
    const inputs = ["a", "b"].map((name) => graph.source(name, [LOADS, 4]));
    const y: Tensor = graph.apply(add, inputs, {});
    const device = tunedAs(gpu, { textureFromLoads });
    const program = await Program.compile(device, { label: "tuning", graph, inputs, outputs: [y] });
    program.run();
    return program;
  };
  using withTextures = await compile(1);
  using withBuffers = await compile(null);
  return await isFaster(withTextures, withBuffers, timeAll);
}

/** Milliseconds of a program, with its copies. */
async function timeAll(program: Program): Promise<number> {
  const kernels = await program.profile(1);
  return kernels.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
}
