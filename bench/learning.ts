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
import { sampleOptions } from "../methods/seed/defaults.ts";
import { runDistillation } from "../methods/seed/run.ts";
import { runKnnEvaluation } from "../methods/knn.ts";
import { runLinearEvaluation } from "../methods/linear_probe/run.ts";
import { LINEAR_SAMPLE_DEFAULTS } from "../methods/linear_probe/options.ts";
import { leave } from "../cli/terminal/run_main.ts";
import { SAMPLE_DATA, SAMPLE_TEACHER } from "../data/sample.ts";
import { describeAdapter } from "../kernels/gpu.ts";
import { exportEncoder } from "../models/export/export_encoder.ts";
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
const train = join(SAMPLE_DATA, "train.tsv");
const test = join(SAMPLE_DATA, "test.tsv");

/** An encoder in a file. */
interface Judged {
  path: string;
  arch: string;
}

/** Top-1 in percent. */
interface Scores {
  knn: number;
  probe: number;
}

function say(text: string): void {
  console.error(`${new Date().toISOString().slice(11, 19)} ${text}`);
}

function makeFolder(folder: string, name: string): string {
  const path = join(folder, name);
  Deno.mkdirSync(path);
  return path;
}

/** Distils, and returns the last checkpoint. */
async function trained(
  folder: string,
  name: string,
  changes: Partial<Parameters<typeof sampleOptions>[0]>,
): Promise<string> {
  say(`${name}: training`);
  const options = sampleOptions({
    testData: null,
    insight: false,
    ...changes,
    output: makeFolder(folder, name),
  });
  const { checkpoint, firstLoss, lastLoss } = await runDistillation(options);
  say(`${name}: mean loss ${firstLoss.toFixed(3)} in the first epoch, ${lastLoss.toFixed(3)} in the last`);
  return checkpoint;
}

async function evaluate(folder: string, { path, arch }: Judged): Promise<Scores> {
  const [{ top1: knn }] = await runKnnEvaluation({ path, arch }, {
    bankData: train,
    queryData: test,
    imageSize: 32,
    ks: [20],
    temperature: 0.07,
  });
  const output = Deno.makeTempDirSync({ dir: folder });
  const { scores } = await runLinearEvaluation({
    ...LINEAR_SAMPLE_DEFAULTS,
    data: train,
    testData: test,
    output,
    arch,
    pretrained: path,
    which: "student",
    resume: null,
    evaluate: false,
    classes: null,
  });
  return { knn, probe: Math.max(...scores.map(({ last }) => last.top1)) };
}

/** One seed's row for each way to come to a student. */
async function runSeed(folder: string, seed: number): Promise<Map<string, Scores>> {
  const still = { seed, lr: 0, epochs: 1 };
  const fresh = await trained(folder, "untrained", still);
  const teacher = await trained(folder, "random teacher", {
    ...still,
    studentArch: TEACHER,
    seed: seed + 1000,
  });
  const exported = join(folder, "random_teacher.pth.tar");
  await exportEncoder({
    checkpoint: teacher,
    output: exported,
    format: "pth",
    part: "encoder",
    which: "student",
    names: "moco",
    imageSize: 32,
    normalize: false,
    force: true,
  });
  const course = { seed, epochs: Number(epochs) };
  const random = await trained(folder, "random targets", { ...course, distill: exported });
  const distilled = await trained(folder, "distilled", course);
  const scores = new Map<string, Scores>();
  for (
    const [name, path, arch] of [
      ["untrained student", fresh, STUDENT],
      ["student, random targets", random, STUDENT],
      ["student, distilled", distilled, STUDENT],
      ["teacher", SAMPLE_TEACHER, TEACHER],
    ]
  ) {
    scores.set(name, await evaluate(folder, { path, arch }));
    say(`${name}: ${JSON.stringify(scores.get(name))}`);
  }
  return scores;
}

const folder = keep ?? Deno.makeTempDirSync({ prefix: "seed_learning_" });
Deno.mkdirSync(folder, { recursive: true });
try {
  const runs: Map<string, Scores>[] = [];
  for (let seed = 0; seed < Number(seeds); seed++) {
    runs.push(await runSeed(makeFolder(folder, `seed${seed}`), seed));
  }
  console.log(`adapter: ${(await describeAdapter()).name}; ${STUDENT}, ${epochs} epochs, ${seeds} seeds`);
  const cell = (name: string, measure: keyof Scores) => {
    const values = runs.map((run) => run.get(name)![measure]);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const spread = new Set(values.map((value) => value.toFixed(1))).size === 1
      ? ""
      : ` (${Math.min(...values).toFixed(1)} to ${Math.max(...values).toFixed(1)})`;
    return `${mean.toFixed(1)} %${spread}`;
  };
  printTable("Top-1 on the bundled test images", [
    ["", "weighted kNN, k = 20", "linear probe"],
    ...runs[0].keys().map((name) => [name, cell(name, "knn"), cell(name, "probe")]),
  ]);
} finally {
  if (keep === undefined) Deno.removeSync(folder, { recursive: true });
}
leave(0);
