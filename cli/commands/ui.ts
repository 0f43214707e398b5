/** `deno task ui`: shows runs on a page until Ctrl-C. The page itself is in `ui/`. */
import { servePage } from "../../ui/server.ts";
import { MOST_SHOWN } from "../../ui/watchers.ts";
import { interruptSignal } from "../terminal/interrupt.ts";
import { findAllRuns, newestRun } from "../output/run_folders.ts";
import { runMain } from "../terminal/run_main.ts";
import { parseUiFlags, usualOutput } from "../flags/ui_flags.ts";

/** Runs that are named on the screen; the page lists all of them. */
const NAMED = 10;

/** Does what the command line says; returns the exit code, nothing for 0. */
export async function main(): Promise<void> {
  const command = parseUiFlags(Deno.args);
  if (command.help !== undefined) return console.log(command.help);
  const folders = command.folders.length > 0 ? command.folders : [await newestRun(usualOutput())];
  const runs = await findAllRuns(folders);
  const { promise: interrupted, resolve } = Promise.withResolvers<void>();
  using interrupt = interruptSignal(() => {});
  interrupt.signal.addEventListener("abort", () => resolve());
  await using page = await servePage(() => findAllRuns(folders, true), command);
  for (const run of runs.slice(0, NAMED)) console.log(`run       ${run}`);
  if (runs.length > NAMED) console.log(`          and ${runs.length - NAMED} more`);
  if (runs.length > MOST_SHOWN) {
    console.error(
      `warning: the page shows only ${MOST_SHOWN} of ${runs.length} runs, the newest of each folder first`,
    );
  }
  console.log(`page      ${page.url}     (stop with Ctrl-C)`);
  if (page.warning !== undefined) console.error(`warning: ${page.warning}`);
  await interrupted;
}

if (import.meta.main) await runMain(main);
