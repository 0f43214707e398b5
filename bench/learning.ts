/**
 * `deno task bench:learning`: does a student learn from its teacher, and not
 * merely from being trained? On the bundled images, weighted kNN and a linear probe evaluate
 *
 * - the student with fresh weights, its batch norm measured on the training images (a distillation of an epoch at a
 *   learning rate of 0): without that, a fresh network's activations vanish in evaluation;
 * - the student after as many steps towards random targets: the same distillation under a teacher of the same
 *   architecture with fresh weights, its batch norm measured likewise;
 * - the student after the same steps under the bundled teacher; and that teacher itself.
 *
 * All students of a seed begin with the same weights and see the same batches. Prints a table in Markdown.
 */
import { parseArgs } from "@std/cli/parse-args";
import { join } from "node:path";
import { UsageError } from "../cli/flags/flags.ts";
import { resolvePath } from "../cli/flags/paths.ts";
import { runMain } from "../cli/terminal/run_main.ts";
import { SAMPLE_DATA, SAMPLE_TEACHER } from "../data/sample.ts";
import { describeAdapter } from "../kernels/gpu.ts";
import { LINEAR_SAMPLE_DEFAULTS } from "../methods/linear_probe/options.ts";
import { SAMPLE_DEFAULTS } from "../methods/seed/defaults.ts";
import { type Experiment, Experiments, sayTime, spreadOf, type Work } from "./experiments.ts";
import { readCount, refuseUnknown } from "./flags.ts";
import { printTable } from "./table.ts";

const HELP = `Usage: deno task bench:learning [options]

Does a student learn from its teacher, and not merely from being trained? On the bundled images, weighted kNN and a linear
probe evaluate a student with fresh weights, one that was trained towards random targets, one that was distilled, and
the teacher. Prints a table.

  --seeds N       seeds of each student [default: 1]
  --epochs E      epochs of each student [default: 6]
  --keep FOLDER   keep the runs in this folder; the same command goes on there where it was stopped`;

/** What the flags say. */
interface LearningCommand {
  help?: undefined;
  seeds: number;
  epochs: number;
  /** Folder of the runs; a temporary one if there is none. */
  keep?: string;
}

/**
 * Reads the flags of `deno task bench:learning`.
 *
 * @throws {UsageError} for a flag that there is not, or a value that it does not take
 */
export function parseLearningFlags(args: string[]): LearningCommand | { help: string } {
  const flags = parseArgs(args, {
    string: ["seeds", "epochs", "keep"],
    boolean: ["help"],
    default: { seeds: "1", epochs: "6" },
    unknown: refuseUnknown("bench:learning"),
  });
  if (flags.help) return { help: HELP };
  if (flags.keep === "") throw new UsageError("--keep: expected a folder, found nothing");
  return {
    seeds: readCount("--seeds", flags.seeds),
    epochs: readCount("--epochs", flags.epochs),
    keep: flags.keep === undefined ? undefined : resolvePath(flags.keep),
  };
}

const STUDENT = "mobilenetv3_small";
const TEACHER = "resnet18";

/** The experiments of a seed, in their order; those with a title are rows of the table. */
function experimentsOf(seed: number, epochs: number): (Experiment & { title?: string })[] {
  const distilled = (
    teacher: string,
    changes: Partial<typeof SAMPLE_DEFAULTS> & { weights?: string },
  ): Work => ({
    method: "seed",
    teacher,
    options: { ...SAMPLE_DEFAULTS, epochs, ...changes },
  });
  const still = { lr: 0, epochs: 1 };
  return [
    { name: "teacher", arch: TEACHER, work: { method: "given", path: SAMPLE_TEACHER } },
    { title: "untrained student", name: "untrained", arch: STUDENT, work: distilled("teacher", still) },
    {
      name: "random teacher",
      arch: TEACHER,
      work: distilled("teacher", { ...still, seed: seed + 1000 }),
    },
    {
      title: "student, random targets",
      name: "random targets",
      arch: STUDENT,
      work: distilled("random teacher", { weights: "module.student" }),
    },
    { title: "student, distilled", name: "distilled", arch: STUDENT, work: distilled("teacher", {}) },
    { title: "teacher", name: "teacher", arch: TEACHER, work: { method: "given", path: SAMPLE_TEACHER } },
  ];
}

async function main(): Promise<void> {
  const command = parseLearningFlags(Deno.args);
  if (command.help !== undefined) {
    console.log(command.help);
    return;
  }
  const { seeds, epochs, keep } = command;
  const folder = keep ?? Deno.makeTempDirSync({ prefix: "seed_learning_" });
  try {
    const experiments = new Experiments({
      output: folder,
      data: join(SAMPLE_DATA, "train.tsv"),
      testData: join(SAMPLE_DATA, "test.tsv"),
      knnK: 20,
      linear: LINEAR_SAMPLE_DEFAULTS,
      say: sayTime,
    });
    const found = new Map<string, { knn: number[]; linear: number[] }>();
    for (let seed = 0; seed < seeds; seed++) {
      for (const { title, ...experiment } of experimentsOf(seed, epochs)) {
        const isSame = experiment.work.method === "given"; // for every seed
        const { knn, linear } = await experiments.run(experiment, isSame ? 0 : seed);
        if (title === undefined) continue;
        const row = found.get(title) ?? { knn: [], linear: [] };
        found.set(title, { knn: [...row.knn, knn], linear: [...row.linear, linear] });
      }
    }
    console.log(`adapter: ${(await describeAdapter()).name}; ${STUDENT}, ${epochs} epochs, ${seeds} seeds`);
    printTable("Top-1 on the bundled test images, %", [
      ["", "weighted kNN, k = 20", "linear probe"],
      ...found.entries().map(([title, { knn, linear }]) => [title, spreadOf(knn), spreadOf(linear)]),
    ]);
  } finally {
    if (keep === undefined) Deno.removeSync(folder, { recursive: true });
  }
}

if (import.meta.main) await runMain(main);
