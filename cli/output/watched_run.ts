/** What shows a run to people: the console, its records, and the page where that is asked for. */
import { type PageOptions, servePage } from "../../ui/server.ts";
import { errorsIn } from "../../actors/runtime/failure.ts";
import { Interrupted } from "../terminal/interrupt.ts";
import type { OutputFolder } from "./output_folder.ts";
import { RunConsole } from "../terminal/run_console.ts";
import { reportError } from "../terminal/run_main.ts";
import { type RecorderOptions, RunRecorder } from "./run_recorder.ts";

/** A run that is watched. The page is served until it is disposed of. */
export interface WatchedRun extends AsyncDisposable {
  readonly shown: RunConsole;
  readonly recorder: RunRecorder;
  /** Logs the error that the run ends with, and says how to go on where that is possible. */
  noteError(error: unknown): void;
}

/** What a command line says about showing its run. */
export interface WatchOptions {
  quiet: boolean;
  json: boolean;
  page: PageOptions | undefined;
  /** To be shown first. */
  warnings: readonly string[];
  /** Says how to go on where a signal stops the run; left out where there is nothing to go on with. */
  howToGoOn?: string;
}

/**
 * Begins to show a run.
 *
 * @throws {UserError} where the page cannot be served
 */
export async function watchRun(
  folder: OutputFolder,
  { page: pageOptions, warnings, howToGoOn, ...how }: WatchOptions,
  facts: Omit<RecorderOptions, "effort" | "secondsLeft">,
): Promise<WatchedRun> {
  const shown = new RunConsole(folder, how);
  const { effort } = shown;
  const recorder = new RunRecorder(folder, { ...facts, effort, secondsLeft: () => shown.secondsLeft });
  const onProblem = (error: unknown) => effort.fail("the page", error);
  const page = pageOptions && await servePage([folder.path], { ...pageOptions, onProblem });
  shown.tell("start", { task: facts.task, adapter: facts.adapter, output: folder.path });
  if (page !== undefined) shown.say(`page      ${page.url}`);
  for (const warning of [...warnings, ...page?.warning === undefined ? [] : [page.warning]]) {
    shown.warn(warning);
  }
  return {
    shown,
    recorder,
    noteError(error) {
      // What it ends with is said even if it cannot be logged.
      effort.attempt("the log", () => {
        const isResumable = howToGoOn !== undefined && folder.hasBegun;
        if (errorsIn(error)[0] instanceof Interrupted && isResumable) shown.say(howToGoOn);
        folder.log(reportError(error).text);
      });
    },
    async [Symbol.asyncDispose]() {
      await effort.attempt("the page", async () => await page?.[Symbol.asyncDispose]());
    },
  };
}
