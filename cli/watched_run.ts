/** What shows a run to people: the console, its records, and the page where that is asked for. */
import { type PageOptions, servePage } from "../ui/server.ts";
import type { OutputFolder } from "./output_folder.ts";
import { RunConsole } from "./run_console.ts";
import { type RecorderOptions, RunRecorder } from "./run_recorder.ts";

/** A run that is watched. The page is served until it is disposed of. */
export interface WatchedRun extends AsyncDisposable {
  readonly shown: RunConsole;
  readonly recorder: RunRecorder;
}

/** What a command line says about showing its run. */
export interface WatchOptions {
  quiet: boolean;
  json: boolean;
  page: PageOptions | undefined;
  /** To be shown first. */
  warnings: readonly string[];
}

/**
 * Begins to show a run.
 *
 * @throws {UserError} where the page cannot be served
 */
export async function watchRun(
  folder: OutputFolder,
  { page: pageOptions, warnings, ...how }: WatchOptions,
  facts: Omit<RecorderOptions, "onProblem">,
): Promise<WatchedRun> {
  const shown = new RunConsole(folder, how);
  const recorder = new RunRecorder(folder, { ...facts, onProblem: shown.warn });
  const page = pageOptions && await servePage([folder.path], pageOptions);
  if (page !== undefined) shown.say(`page      ${page.url}`);
  for (const warning of [...warnings, ...page?.warning === undefined ? [] : [page.warning]]) {
    shown.warn(warning);
  }
  return {
    shown,
    recorder,
    async [Symbol.asyncDispose]() {
      await page?.[Symbol.asyncDispose]();
    },
  };
}
