/**
 * `deno task bench:learning [--seeds N] [--epochs N] [--keep FOLDER]`: does a student learn from its teacher, and not
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
import { leave } from "../cli/terminal/run_main.ts";
import { SAMPLE_DATA, SAMPLE_TEACHER } from "../data/sample.ts";
import { describeAdapter } from "../kernels/gpu.ts";
import { LINEAR_SAMPLE_DEFAULTS } from "../methods/linear_probe/options.ts";
import { SAMPLE_DEFAULTS } from "../methods/seed/defaults.ts";
import { type Experiment, Experiments, sayTime, spreadOf, type Work } from "./experiments.ts";
import { printTable } from "./table.ts";

const { seeds, epochs, keep, help } = parseArgs(Deno.args, {
  string: ["seeds", "epochs", "keep"],
  boolean: ["help"],
  default: { seeds: "1", epochs: "6" },
});
if (help) {
  console.log("Usage: deno task bench:learning [--seeds N] [--epochs N] [--keep FOLDER]");
  Deno.exit(0);
}

const STUDENT = "mobilenetv3_small";
const TEACHER = "resnet18";

/** The experiments of a seed, in their order; those with a title are rows of the table. */
function experimentsOf(seed: number): (Experiment & { title?: string })[] {
  const distilled = (
    teacher: string,
    changes: Partial<typeof SAMPLE_DEFAULTS> & { weights?: string },
  ): Work => ({
    method: "seed",
    teacher,
    options: { ...SAMPLE_DEFAULTS, epochs: Number(epochs), ...changes },
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
  for (let seed = 0; seed < Number(seeds); seed++) {
    for (const { title, ...experiment } of experimentsOf(seed)) {
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
leave(0);
