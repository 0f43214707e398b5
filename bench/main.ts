/**
 * `deno task bench [NAME ...] [--rounds N]`: side by side with tfjs, jax-js and PyTorch, in one run on one adapter. What is
 * found is kept under `bench/results`, and `bench/RESULTS.md` is written anew.
 */
import { runMain } from "../cli/terminal/run_main.ts";
import { type Gpu, openGpu } from "../kernels/gpu.ts";
import { measureTuning } from "../kernels/tuning/measure.ts";
import { parseBenchFlags } from "./bench_flags.ts";
import * as jax from "./jax.ts";
import { describeMachine } from "./machine.ts";
import { record, SECTION_ORDER, tableOf, writeDocument } from "./report.ts";
import { SECTIONS } from "./sections.ts";
import { printTable } from "./table.ts";
import * as tfjs from "./tfjs.ts";

/** Sections without rounds. */
const ONCE = SECTION_ORDER.filter((name) => SECTIONS[name].isOnce);

const HELP = `Usage: deno task bench [NAME ...] [--rounds N] [--dry-run]
       deno task bench --rewrite

Times this project in turn with @tensorflow/tfjs-backend-webgpu and @jax-js/jax, on one adapter, and beside PyTorch where
python3 has it. Keeps what it finds under bench/results and writes bench/RESULTS.md with a chart for each. The kernels of
sections with a * are chosen by a measurement first, as deno task distill does it.
Without names everything is run (half an hour on a software adapter, and what vit takes).

${
  SECTION_ORDER.map((name) =>
    `${SECTIONS[name].isTuned ? "*" : " "} ${name.padEnd(14)}${SECTIONS[name].help}`
  ).join("\n")
}

  --rounds N    rounds of each, of which the median counts; ${ONCE.join(", ")} have none [default: 5]
  --dry-run     print what is found, and keep nothing
  --rewrite     measure nothing: write bench/RESULTS.md and its charts of bench/results and bench/NOTES.md`;

async function main(): Promise<void> {
  const { help, names, rounds, dryRun, rewrite } = parseBenchFlags(Deno.args);
  if (help) {
    console.log(HELP);
    return;
  }
  if (rewrite) return await writeDocument();
  const gpu = await openGpu("bench");
  const machine = await describeMachine(gpu);
  console.log(
    `adapter: ${machine.adapter}, Deno ${Deno.version.deno}, ${machine.processor}, ${machine.cores} cores`,
  );
  let tuned: Gpu | undefined;
  async function withFastestKernels(): Promise<Gpu> {
    return tuned ??= { ...gpu, target: { ...gpu.target, tuning: await measureTuning(gpu) } };
  }
  await tfjs.openTfjs();
  await jax.openJax();
  for (const name of names) {
    const { run, isTuned, isOnce } = SECTIONS[name];
    const section = { name, ...await run(isTuned ? await withFastestKernels() : gpu, rounds) };
    printTable(section.title, tableOf(section));
    if (!dryRun && section.rows.length > 0) {
      await record(section, machine, `./seed bench ${name}${isOnce ? "" : ` --rounds ${rounds}`}`);
    }
  }
  gpu.destroy();
}

if (import.meta.main) await runMain(main); // which ends though the libraries keep their devices
