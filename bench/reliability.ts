/**
 * Does it survive, and does it stay the size it is? `deno task bench:reliability` trains a small student
 * for many steps and watches memory and file handles; then it trains another one while actors crash at random, and compares
 * what is saved with a run that nothing happened to. Writes a chart into `docs/`, and prints the figures.
 */
import { parseArgs } from "@std/cli/parse-args";
import * as echarts from "echarts";
import { join } from "node:path";
import { Random } from "../data/random.ts";
import type { ActorsEvent } from "../actors/events.ts";
import { distill, type DistillInput, type DistillOptions, sampleOptions } from "../mod.ts";
import { UsageError } from "../cli/flags/flags.ts";
import { runMain } from "../cli/terminal/run_main.ts";
import { formatTable } from "../cli/terminal/table.ts";
import { readCount, refuseUnknown } from "./flags.ts";
import { AllocatedMemory, type HeapMessage, HEAPS } from "./memory_in_use.ts";

const PLUGIN = new URL("../examples/custom_encoder.ts", import.meta.url).href;
const COLLECT_GARBAGE = import.meta.resolve("./collect_garbage.ts");
const CHART = new URL("../docs/soak.svg", import.meta.url);
const MIB = 2 ** 20;
/** Some fewer than come about in its 500 steps. */
const CRASHES_AN_EPOCH = 8;
/** From one crash to the next, at most; half of it on average. By steps, so that a faster machine has as many. */
const STEPS_TO_CRASH = 90;

/** A distillation into a student so small that a step takes some ten milliseconds. */
function smallRun(output: string, changes: Partial<DistillOptions>): DistillInput {
  return sampleOptions({
    output,
    plugins: [PLUGIN],
    studentArch: "tiny_convnet",
    testData: null,
    imageSize: 16,
    batchSize: 8,
    queue: 256,
    workers: 2,
    lr: 0.01,
    keep: 2,
    ...changes,
  });
}

/** What is in use. */
export interface Usage {
  step: number;
  /** Of the process, with what lies free in it. */
  residentMiB: number;
  /** What is allocated, by all Workers and the adapter, and not given back. */
  allocatedMiB: number;
  /** What cannot be collected of the heaps of all Workers. */
  heapMiB: number;
  /** What is resident and neither in the heaps nor in the C library's arenas. */
  otherMiB: number;
  files: number;
}

/**
 * Trains for so many steps, and looks a hundred times at what is in use. The garbage of every Worker is collected on the way,
 * for which Deno must run with `--v8-flags=--expose-gc`.
 */
export async function soak(output: string, steps: number): Promise<Usage[]> {
  const options = smallRun(output, {
    epochs: Math.ceil(steps / 500),
    limitSteps: steps,
    plugins: [PLUGIN, COLLECT_GARBAGE],
  });
  const every = Math.max(1, Math.floor(steps / 100));
  using allocated = new AllocatedMemory();
  const heaps = new Map<string, HeapMessage>();
  const channel = new BroadcastChannel(HEAPS);
  channel.onmessage = ({ data }: MessageEvent<HeapMessage>) => heaps.set(data.name, data);
  const found: Usage[] = [];
  for await (const event of distill(options)) {
    if (event.type !== "step" || event.step % every !== 0) continue;
    const sum = (of: "used" | "kept") => heaps.values().reduce((sum, heap) => sum + heap[of], 0);
    const { used, kept } = allocated.read();
    const { rss } = Deno.memoryUsage();
    found.push({
      step: event.step,
      residentMiB: rss / MIB,
      allocatedMiB: used / MIB,
      heapMiB: sum("used") / MIB,
      otherMiB: (rss - sum("kept") - kept) / MIB,
      files: [...Deno.readDirSync("/proc/self/fd")].length,
    });
  }
  channel.close();
  return found;
}

/** What a storm of crashes did. */
export interface Storm {
  /** How often each actor crashed. */
  crashes: Record<string, number>;
  steps: number;
  /** Steps that were told of twice, or not at all. */
  stepsLost: number;
  /** Whether the checkpoint has the bytes of the run without a crash. */
  isSame: boolean;
}

/** Trains twice, the second time with so many crashes of actors that are drawn at random, at moments that are. Seed 2 strikes all of them. */
export async function storm(output: string, crashes: number, seed = 2): Promise<Storm> {
  const random = new Random(seed, "storm");
  const run = async (name: string, faults: number) => {
    const options = smallRun(join(output, name), {
      epochs: Math.ceil(crashes / CRASHES_AN_EPOCH),
      saveEvery: { steps: 25 },
      maxRestarts: crashes,
    });
    const counts: Record<string, number> = {};
    const steps: number[] = [];
    let left = faults;
    await using distillation = distill(options);
    let timer: ReturnType<typeof setTimeout> | undefined;
    let nextAt = 0;
    let actors: ActorsEvent["actors"] = new Map();
    const strike = () => {
      timer = undefined;
      const names = [...actors.keys()];
      const name = names[random.integer(0, names.length - 1)];
      if (left === 0 || name === undefined) return;
      left--;
      counts[name] = (counts[name] ?? 0) + 1;
      const actor = actors.get(name)!;
      // A Worker with a GPU device in it cannot be ended from outside without danger to the process.
      const hasDevice = !/reader|keeper/.test(name);
      if (hasDevice || random.chance(0.5)) actor.crash(new Error("struck by lightning"));
      else actor.kill();
      // Some more while the run recovers.
      if (random.chance(0.2)) timer = setTimeout(strike, random.uniform(0, 1000));
    };
    for await (const event of distillation) {
      if (event.type === "actors") actors = event.actors;
      if (event.type !== "step") continue;
      steps.push(event.step);
      if (left === 0 || timer !== undefined || event.step < nextAt) continue;
      nextAt = event.step + random.integer(10, STEPS_TO_CRASH);
      timer = setTimeout(strike, random.uniform(0, 100)); // at any moment of a step
    }
    clearTimeout(timer);
    const { checkpoint } = await distillation.result;
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await Deno.readFile(checkpoint)));
    return { counts, steps, digest: digest.toHex(), left };
  };
  const calm = await run("calm", 0);
  const stormy = await run("stormy", crashes);
  if (stormy.left > 0) throw new Error(`the run was over before the last ${stormy.left} crashes`);
  return {
    crashes: stormy.counts,
    steps: stormy.steps.length,
    stepsLost: calm.steps.filter((step, i) => stormy.steps[i] !== step).length,
    isSame: calm.digest === stormy.digest,
  };
}

/** Resident memory and the main thread's heap over the steps, as an SVG for light and dark pages. */
function drawUsage(found: readonly Usage[]): string {
  const grey = { color: "#808080" };
  const line = (name: string, color: string, of: (usage: Usage) => number) => ({
    type: "line" as const,
    name,
    data: found.map((usage) => [usage.step, Number(of(usage).toFixed(1))]),
    showSymbol: false,
    lineStyle: { color, width: 2 },
    itemStyle: { color },
  });
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width: 720, height: 280 });
  chart.setOption({
    animation: false,
    backgroundColor: "transparent",
    legend: { textStyle: grey, top: 0 },
    grid: { left: 8, right: 16, top: 40, bottom: 8, containLabel: true },
    xAxis: { type: "value", name: "steps", nameTextStyle: grey, axisLabel: grey, max: "dataMax" },
    yAxis: {
      type: "value",
      name: "MiB",
      nameTextStyle: grey,
      axisLabel: grey,
      splitLine: { lineStyle: { opacity: 0.4 } },
    },
    series: [
      line("resident memory", "#1f77b4", ({ residentMiB }) => residentMiB),
      line("allocated", "#2a9d5c", ({ allocatedMiB }) => allocatedMiB),
      line("heaps of all Workers", "#d6811f", ({ heapMiB }) => heapMiB),
    ],
  });
  const svg = chart.renderToSVGString();
  chart.dispose(); // else it would wait for frames for ever
  return svg;
}

const HELP = `Usage: deno task bench:reliability [STEPS] [CRASHES]

Trains a small student for STEPS steps [default: 20000] and watches memory and file handles. Then trains another one while
actors crash CRASHES times [default: 50], and compares what is saved with a run that nothing happened to. Writes
docs/soak.svg, and prints the figures.`;

/**
 * Reads the numbers of `deno task bench:reliability`.
 *
 * @throws {UsageError} for what is no such number, and for flags
 */
export function parseReliabilityFlags(
  args: string[],
): { help?: undefined; steps: number; crashes: number } | { help: string } {
  const { _: numbers, help } = parseArgs(args, {
    string: ["_"],
    boolean: ["help"],
    unknown: refuseUnknown("bench:reliability", { takesNames: true }),
  });
  if (help) return { help: HELP };
  const [steps = "20000", crashes = "50", ...more] = numbers as string[];
  if (more.length > 0) {
    throw new UsageError(`expected STEPS and CRASHES, found ${more.join(" ")} behind them`);
  }
  return { steps: readCount("STEPS", steps), crashes: readCount("CRASHES", crashes) };
}

async function main(): Promise<number> {
  const command = parseReliabilityFlags(Deno.args);
  if (command.help !== undefined) {
    console.log(command.help);
    return 0;
  }
  const { steps, crashes } = command;
  const output = await Deno.makeTempDir({ prefix: "seed_reliability_" });
  try {
    const begin = performance.now();
    const found = await soak(join(output, "soak"), steps);
    const minutes = (performance.now() - begin) / 60_000;
    await Deno.writeTextFile(CHART, drawUsage(found));
    const rows = [0.1, 0.25, 0.5, 0.75, 1].map((share) => found[Math.ceil(share * found.length) - 1]);
    console.log(`${steps} steps in ${minutes.toFixed(1)} minutes\n`);
    console.log(formatTable([
      ["step", ...rows.map(({ step }) => String(step))],
      ["resident MiB", ...rows.map(({ residentMiB }) => residentMiB.toFixed(0))],
      ["allocated MiB", ...rows.map(({ allocatedMiB }) => allocatedMiB.toFixed(0))],
      ["heaps MiB", ...rows.map(({ heapMiB }) => heapMiB.toFixed(0))],
      ["file handles", ...rows.map(({ files }) => String(files))],
    ]));
    const { crashes: counts, steps: done, stepsLost, isSame } = await storm(output, crashes);
    const injected = Object.values(counts).reduce((sum, count) => sum + count, 0);
    console.log();
    console.log(formatTable([
      ["actor", "crashes"],
      ...Object.entries(counts).map(([name, count]) => [name, String(count)]),
    ]));
    console.log(
      `\n${injected} crashes in ${done} steps; steps lost: ${stepsLost}; the checkpoint has ` +
        (isSame ? "the bytes of a run without a crash" : "OTHER BYTES than a run without a crash"),
    );
    if (stepsLost > 0 || !isSame) return 1;
  } finally {
    await Deno.remove(output, { recursive: true });
  }
  return 0;
}

if (import.meta.main) await runMain(main);
