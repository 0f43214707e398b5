/** How a step's time and a dataset's index grow with the work: measured beside the line that one expects. */
import { join } from "node:path";
import type { Gpu } from "../kernels/gpu.ts";
import { totalWork } from "../kernels/schedule.ts";
import { scheduleStep } from "../methods/seed/step.ts";
import { median } from "./measure.ts";
import type { Curve, Row } from "./section.ts";
import { batchOf, DIMENSION, startStep, stepOptions, type StepSize } from "./student_step.ts";

const USUAL: StepSize = { encoder: "mobilenetv3_small", batch: 32, imageSize: 32, queueSize: 4096 };
const BATCHES = [8, 16, 32, 64, 128, 256, 512];
const IMAGE_SIZES = [32, 64, 128, 224, 320, 448];
const QUEUES = [10, 12, 14, 16, 18, 20].map((power) => 2 ** power);
const STUDENTS = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"];
const ROWS = [1e3, 1e4, 1e5, 1e6, 1e7];

/** An image of one pixel, as PNG: rows are to be many, and not large. */
const PIXEL =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/** Median ms of a step that is waited for, and the bytes of its plan and its queue. */
async function timeStep(gpu: Gpu, size: StepSize, rounds: number): Promise<{ ms: number; bytes: number }> {
  const options = stepOptions(size);
  using step = await startStep(gpu, options);
  const views = batchOf(options);
  const times: number[] = [];
  for (let round = -1; round < rounds; round++) {
    const start = performance.now();
    await step.run(views);
    if (round >= 0) times.push(performance.now() - start);
  }
  const [{ plan }] = scheduleStep(gpu.target, options);
  return { ms: median(times), bytes: plan.bytes + options.queueSize * DIMENSION * 4 };
}

/** Operations of a step. */
function flopsOf(gpu: Gpu, size: StepSize): number {
  return scheduleStep(gpu.target, stepOptions(size)).reduce((sum, part) => sum + totalWork(part).flops, 0);
}

/** A TSV of so many rows, and what it takes to open it: ms, and MiB of the process. */
async function openRows(rows: number): Promise<{ ms: number; mebibytes: number }> {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "train.tsv");
    await writeRows(path, rows);
    await openAlone(path); // makes the index
    const { ms, bytes, rows: found } = await openAlone(path);
    if (found !== rows) throw new Error(`${found} rows of ${rows}`);
    return { ms, mebibytes: bytes / 2 ** 20 };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Opens a TSV in a process of its own, whose memory has nothing else in it. */
async function openAlone(path: string): Promise<{ ms: number; bytes: number; rows: number }> {
  const program = new URL("./open_rows.ts", import.meta.url).pathname;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", program, path],
  }).output();
  const text = new TextDecoder();
  if (code !== 0) throw new Error(text.decode(stderr));
  return JSON.parse(text.decode(stdout));
}

async function writeRows(path: string, rows: number): Promise<void> {
  using file = await Deno.create(path);
  const encoder = new TextEncoder();
  const writer = file.writable.getWriter();
  const inBlock = 10_000;
  for (let first = 0; first < rows; first += inBlock) {
    const lines = Array.from(
      { length: Math.min(inBlock, rows - first) },
      (_, i) => `${first + i}\t${i % 10}\t${PIXEL}\n`,
    );
    await writer.write(encoder.encode(lines.join("")));
  }
  writer.releaseLock();
}

/** What is measured of a size. */
export interface Point {
  name: string;
  /** What the time should grow with. */
  x: number;
  value: number;
  /** What else is shown of it. */
  facts?: Record<string, string>;
}

/** A curve and its rows: what is expected goes through the last point, beside what the first one takes where that stays. */
export function grow(
  title: string,
  { x, y, hasConstant = false }: { x: string; y: string; hasConstant?: boolean },
  points: readonly Point[],
): { curve: Curve; rows: Row[] } {
  const [first, last] = [points[0], points.at(-1)!];
  const slope = hasConstant ? (last.value - first.value) / (last.x - first.x) : last.value / last.x;
  const expected = ({ x }: Point) => hasConstant ? first.value + slope * (x - first.x) : slope * x;
  return {
    curve: {
      ...{ title, x, y },
      points: points.map((point) => ({ x: point.x, measured: point.value, expected: expected(point) })),
    },
    rows: points.map((point) => ({
      name: `${title}: ${point.name}`,
      facts: {
        [y]: point.value.toPrecision(3),
        expected: expected(point).toPrecision(3),
        "of expected": (point.value / expected(point)).toFixed(2),
        ...point.facts,
      },
    })),
  };
}

/** Times all of them. */
export async function measureGrowth(gpu: Gpu, rounds: number): Promise<{ rows: Row[]; curves: Curve[] }> {
  const stepPoint = async (name: string, x: number, changes: Partial<StepSize>): Promise<Point> => {
    console.log(`a step: ${name}`);
    const { ms, bytes } = await timeStep(gpu, { ...USUAL, ...changes }, rounds);
    return { name, x, value: ms, facts: { MiB: (bytes / 2 ** 20).toFixed(0) } };
  };
  const inTurn = async <T>(values: readonly T[], measure: (value: T) => Promise<Point>) => {
    const points: Point[] = [];
    for (const value of values) points.push(await measure(value));
    return points;
  };
  const ms = "ms";
  const grown = [
    grow(
      "batch",
      { x: "images in a batch", y: ms },
      await inTurn(BATCHES, (batch) => stepPoint(`${batch} images`, batch, { batch })),
    ),
    grow(
      "image size",
      { x: "pixels of an image", y: ms },
      await inTurn(
        IMAGE_SIZES,
        (imageSize) => stepPoint(`${imageSize} px`, imageSize ** 2, { imageSize, batch: 8 }),
      ),
    ),
    grow(
      "queue",
      { x: "keys in the queue", y: ms, hasConstant: true },
      await inTurn(QUEUES, (queueSize) => stepPoint(`${queueSize} keys`, queueSize, { queueSize })),
    ),
    grow(
      "student",
      { x: "GFLOP a step", y: ms },
      await inTurn(STUDENTS, (encoder) => {
        const flops = flopsOf(gpu, { ...USUAL, encoder });
        return stepPoint(`${encoder}, ${(flops / 1e9).toFixed(1)} GFLOP`, flops / 1e9, { encoder });
      }),
    ),
    grow(
      "rows of a TSV",
      { x: "rows", y: ms },
      await inTurn(ROWS, async (rows) => {
        console.log(`a TSV: ${rows} rows`);
        const { ms, mebibytes } = await openRows(rows);
        return { name: `${rows}`, x: rows, value: ms, facts: { MiB: mebibytes.toFixed(1) } };
      }),
    ),
  ];
  return { rows: grown.flatMap(({ rows }) => rows), curves: grown.map(({ curve }) => curve) };
}
