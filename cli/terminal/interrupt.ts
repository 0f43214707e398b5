/** Ctrl-C and its kin: the first one asks the run to stop in good order, the second one ends it. */

import { readVariable } from "../../actors/ranks/launcher.ts";
import { StoppedByRank } from "../../actors/ranks/ranks.ts";
import { UserError } from "../../errors.ts";
import { shellWord } from "../../methods/permissions.ts";
import { CLEAR_LINE, openTerminal } from "./progress.ts";

/** The exit code of a program that SIGINT ended, as shells count. */
export const INTERRUPTED_CODE = 130;

/** A terminal and `deno task` both pass on the same Ctrl-C: signals this close together, in ms, are one. */
const SAME_KEY_PRESS = 300;

/** Exit codes of the signals that stop a run: 128 and the signal's number; of SIGTERM, that of SIGINT. */
const CODES = {
  SIGINT: INTERRUPTED_CODE,
  SIGTERM: INTERRUPTED_CODE,
  SIGHUP: 129,
  SIGQUIT: 131,
  SIGUSR2: 140,
} as const;

/** The signals that there are here. */
const SIGNALS: readonly (keyof typeof CODES)[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2"];

/** The run was stopped by a signal. `runMain` ends with its {@linkcode Interrupted.code}. */
export class Interrupted extends UserError {
  override name = "Interrupted";
  /** The exit code. */
  readonly code: number;

  constructor(code: number = INTERRUPTED_CODE) {
    super("interrupted");
    this.code = code;
  }
}

/** Returns an error as what ended this process: the stop of another rank as one of this rank. */
export function asInterrupted(error: unknown): unknown {
  return error instanceof StoppedByRank ? new Interrupted(error.code) : error;
}

/** What a command line has of the flags that a run is resumed with. */
export interface ResumeFlags {
  /** Whether it names the output folder. */
  namesOutput: boolean;
  /** The value of its `--resume`. */
  resume: string | undefined;
}

/** What is said of a run that was stopped, to be typed in a shell: a flag that is given twice is refused. */
export function howToGoOn(output: string, { namesOutput, resume }: ResumeFlags): string {
  const rerun = "to resume, rerun the same command";
  if (resume === "auto") return rerun; // which needs --output
  const added = `${namesOutput ? "" : `--output ${shellWord(output)} `}--resume auto`;
  return `${rerun} with ${added}${resume === undefined ? "" : ` in place of --resume ${shellWord(resume)}`}`;
}

/** Says something on a line of its own: a terminal shows Ctrl-C as `^C` behind what is on the line. */
export function sayOnLine(text: string): void {
  const terminal = openTerminal();
  if (terminal === null) console.error(text);
  else terminal.write(`${CLEAR_LINE}${text}\n`);
}

/** A signal that aborts with {@linkcode Interrupted}, and the way to stop listening. */
export interface InterruptSignal extends Disposable {
  readonly signal: AbortSignal;
}

/**
 * Listens for SIGINT, SIGTERM, SIGQUIT, SIGHUP (a closed terminal) and SIGUSR2 (what Slurm and mpirun can send some time before a
 * job's end). The first one aborts the signal and says so; the next one ends the program at once, with its exit code. A SIGHUP
 * never does that: a terminal that closes sends several, and nobody is there who would want the program to hurry. With
 * `SEED_NOHUP=1`, which `./seed` sets where `nohup` started it, the program goes on.
 *
 * @param say shows a line to the person, on stderr by default
 * @param elsewhere aborts with a {@linkcode StoppedByRank} where a signal came to another process of the run, which does as one to
 * this process, or with the error of one that failed
 *
 * @example
 * ```ts ignore
 * using interrupt = interruptSignal();
 * await runSteps({ signal: interrupt.signal });
 * interrupt.signal.throwIfAborted();
 * ```
 */
export function interruptSignal(
  say: (line: string) => void = sayOnLine,
  elsewhere?: AbortSignal,
): InterruptSignal {
  const controller = new AbortController();
  let firstAt = 0;
  const onSignal = (name: keyof typeof CODES) => {
    if (!controller.signal.aborted) {
      firstAt = performance.now();
      say("stopping; press Ctrl-C again to quit immediately");
      controller.abort(new Interrupted(CODES[name]));
    } else if (name !== "SIGHUP" && performance.now() - firstAt > SAME_KEY_PRESS) Deno.exit(CODES[name]);
  };
  const onStopElsewhere = () => {
    if (controller.signal.aborted) return;
    firstAt = performance.now(); // the same signal may come to this process too
    const { reason } = elsewhere!;
    say(`stopping: ${reason.message}`);
    controller.abort(asInterrupted(reason));
  };
  elsewhere?.addEventListener("abort", onStopElsewhere);
  if (elsewhere?.aborted) onStopElsewhere();
  // Deno forgets that nohup has SIGHUP ignored, listens to it with any other signal, and ends the program if nobody else does.
  const ignores = readVariable("SEED_NOHUP") === "1";
  const listeners = SIGNALS.map((name) =>
    [name, name === "SIGHUP" && ignores ? () => {} : () => onSignal(name)] as const
  );
  for (const [name, listener] of listeners) Deno.addSignalListener(name, listener);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      elsewhere?.removeEventListener("abort", onStopElsewhere);
      for (const [name, listener] of listeners) Deno.removeSignalListener(name, listener);
    },
  };
}

/** Keeps the signals that stop a run from ending this program, from now on: its own work is done, and others still write. */
export function outliveSignals(): void {
  for (const name of SIGNALS) Deno.addSignalListener(name, () => {});
}
