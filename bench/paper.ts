/**
 * `deno task bench:paper`: the comparison of SEED's paper on CIFAR-10, and its ablations. Each student is trained by MoCo-v2
 * alone and by SEED, for as many epochs, and evaluated by kNN and linear classification. `--help` says more.
 */
import { tuneAdapter } from "../mod.ts";
import { interruptSignal } from "../cli/terminal/interrupt.ts";
import { runMain } from "../cli/terminal/run_main.ts";
import { UserError } from "../errors.ts";
import { openGpu } from "../kernels/gpu.ts";
import { ExperimentError, Experiments, sayTime } from "./experiments.ts";
import { describeMachine } from "./machine.ts";
import { findPaperData, preparePaperData } from "./paper_data.ts";
import { parsePaperFlags } from "./paper_flags.ts";
import { type PaperPlan, planOf } from "./paper_sizes.ts";
import { paperSection } from "./paper_table.ts";
import { record, tableOf } from "./report.ts";
import { printTable } from "./table.ts";

async function main(): Promise<number> {
  const command = parsePaperFlags(Deno.args);
  if (command.help !== undefined) {
    console.log(command.help);
    return 0;
  }
  const { size, settings, output, shared, table, dryRun } = command;
  using interrupt = interruptSignal(sayTime);
  const { signal } = interrupt;
  const data = table
    ? await findPaperData(command.data, output, size)
    : await preparePaperData(command.data, output, size, sayTime, signal);
  const plan = planOf(size);
  const experiments = new Experiments({
    output,
    data: data.train,
    allData: data.all,
    testData: data.test,
    knnK: size.knnK,
    linear: size.linear,
    training: { tuning: table ? null : await tuneAdapter() },
    signal,
    say: sayTime,
  });
  const failed: ExperimentError[] = [];
  const findSection = () => paperSection(size, plan, experiments, data, { shared, failed });
  if (table) {
    const section = await findSection();
    if (section.rows.length === 0) {
      throw new UserError(`${output}: no run with these settings is finished there`);
    }
    printTable(section.title, tableOf(section));
    return 0;
  }
  try {
    await runSteps(plan.steps, experiments, failed, sayTime, signal);
  } finally {
    const section = await findSection();
    if (section.rows.length > 0) printTable(section.title, tableOf(section));
  }
  if (!dryRun) {
    const gpu = await openGpu("bench");
    try {
      await record(await findSection(), await describeMachine(gpu), `./seed bench:paper ${settings}`);
    } finally {
      gpu.destroy();
    }
  }
  for (const { message } of failed) console.error(`failed: ${message}`);
  return failed.length > 0 ? 1 : 0;
}

/**
 * Runs what a plan has. One that fails, as one that diverges would at each start, is noted, and the others go on.
 *
 * @param failed gets the errors of those
 */
export async function runSteps(
  steps: PaperPlan["steps"],
  experiments: Experiments,
  failed: ExperimentError[],
  say: (text: string) => void,
  signal?: AbortSignal,
): Promise<void> {
  for (const [i, { experiment, seed }] of steps.entries()) {
    signal?.throwIfAborted();
    if (await experiments.result(experiment, seed) === undefined) say(`run ${i + 1} of ${steps.length}`);
    try {
      await experiments.run(experiment, seed);
    } catch (error) {
      signal?.throwIfAborted(); // with the reason, in place of what it led to
      if (!(error instanceof ExperimentError)) throw error;
      say(`failed: ${error.message}`);
      failed.push(error);
    }
  }
}

if (import.meta.main) await runMain(main);
