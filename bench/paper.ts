/**
 * `deno task bench:paper`: the comparison of SEED's paper on CIFAR-10, and its ablations. Each student is trained by MoCo-v2
 * alone and by SEED, for as many epochs, and evaluated by kNN and linear classification. `--help` says more.
 */
import { tuneAdapter } from "../mod.ts";
import { interruptSignal } from "../cli/terminal/interrupt.ts";
import { runMain } from "../cli/terminal/run_main.ts";
import { UserError } from "../errors.ts";
import { openGpu } from "../kernels/gpu.ts";
import { Experiments, sayTime } from "./experiments.ts";
import { describeMachine } from "./machine.ts";
import { findPaperData, preparePaperData } from "./paper_data.ts";
import { parsePaperFlags } from "./paper_flags.ts";
import { planOf } from "./paper_sizes.ts";
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
  const findSection = () => paperSection(size, plan, experiments, data, { shared });
  if (table) {
    const section = await findSection();
    if (section.rows.length === 0) {
      throw new UserError(`${output}: no run with these settings is finished there`);
    }
    printTable(section.title, tableOf(section));
    return 0;
  }
  try {
    for (const [i, { experiment, seed }] of plan.steps.entries()) {
      signal.throwIfAborted();
      if (await experiments.result(experiment, seed) === undefined) {
        sayTime(`run ${i + 1} of ${plan.steps.length}`);
      }
      await experiments.run(experiment, seed);
    }
  } catch (error) {
    signal.throwIfAborted(); // with the reason, in place of what it led to
    throw error;
  } finally {
    const section = await findSection();
    if (section.rows.length > 0) printTable(section.title, tableOf(section));
  }
  if (dryRun) return 0;
  const gpu = await openGpu("bench");
  try {
    await record(await findSection(), await describeMachine(gpu), `./seed bench:paper ${settings}`);
  } finally {
    gpu.destroy();
  }
  return 0;
}

if (import.meta.main) await runMain(main);
