/** Where a run's choice of kernels comes from, and where it is kept. */
import { dirname, join } from "node:path";
import { tuneAdapter } from "../../actors/adapter_tuning.ts";
import type { DistillOptions } from "../../methods/seed/options.ts";
import { describeAdapter } from "../../kernels/gpu.ts";
import { parseTuning, type Tuning } from "../../kernels/tuning/tuning.ts";
import { TUNING_FILE } from "./output_folder.ts";
import type { RunConsole } from "../terminal/run_console.ts";

/**
 * The table that a run begins with: of the run that it goes on with, so that the bits stay the same, where that ran on this
 * adapter; else the adapter's, which is measured where nothing is known of it.
 */
export async function findTuning(
  { resume }: Pick<DistillOptions, "resume">,
  shown: Pick<RunConsole, "say" | "warn">,
): Promise<Tuning> {
  const earlier = resume === null
    ? undefined
    : await earlierTuning(join(dirname(resume), TUNING_FILE), shown);
  let isAnnounced = false;
  return earlier ?? await tuneAdapter({
    onProgress() {
      if (isAnnounced) return;
      isAnnounced = true;
      shown.say(
        "finding the fastest kernels on this adapter: once, some seconds (--no-tune skips this)",
      );
    },
    onWarning: (text) => shown.warn(text),
  });
}

/** The table of the run that is gone on with; `undefined` where it has none, or one of another adapter. */
async function earlierTuning(path: string, { warn }: Pick<RunConsole, "warn">): Promise<Tuning | undefined> {
  const earlier = await readIfThere(path);
  if (earlier?.adapter === undefined) return earlier;
  const { name } = await describeAdapter();
  if (earlier.adapter === name) return earlier;
  warn(
    `${path} was measured on ${earlier.adapter}, but this adapter is ${name}: kernels are chosen again, and results ` +
      "differ in the last bits from a run that stayed there",
  );
  return undefined;
}

async function readIfThere(path: string): Promise<Tuning | undefined> {
  try {
    return parseTuning(await Deno.readTextFile(path), path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
