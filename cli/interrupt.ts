/** Ctrl-C: the first one asks the run to stop in good order, the second one ends it. */

import { UserError } from "../errors.ts";

/** The exit code of a program that SIGINT ended, as shells count. */
export const INTERRUPTED_CODE = 130;

/** A terminal and `deno task` both pass on the same Ctrl-C: signals this close together, in ms, are one. */
const SAME_KEY_PRESS = 300;

/** The run was stopped by SIGINT or SIGTERM. `runMain` ends with {@linkcode INTERRUPTED_CODE}. */
export class Interrupted extends UserError {
  override name = "Interrupted";
  constructor() {
    super("interrupted");
  }
}

/** What is said of a run that was stopped. */
export function howToGoOn(output: string): string {
  return `to go on, give the same command with --output ${output} --resume auto`;
}

/** A signal that aborts with {@linkcode Interrupted}, and the way to stop listening. */
export interface InterruptSignal extends Disposable {
  readonly signal: AbortSignal;
}

/**
 * Listens for SIGINT and SIGTERM. The first one aborts the signal and says so; the next one ends the program at once
 * with exit code 130.
 *
 * @param say shows a line to the person, on stderr by default
 *
 * @example
 * ```ts ignore
 * using interrupt = interruptSignal();
 * await runSteps({ signal: interrupt.signal });
 * interrupt.signal.throwIfAborted();
 * ```
 */
export function interruptSignal(say: (line: string) => void = console.error): InterruptSignal {
  const controller = new AbortController();
  let firstAt = 0;
  const onSignal = () => {
    if (!controller.signal.aborted) {
      firstAt = performance.now();
      say("stopping; press Ctrl-C again to end at once");
      controller.abort(new Interrupted());
    } else if (performance.now() - firstAt > SAME_KEY_PRESS) Deno.exit(INTERRUPTED_CODE);
  };
  const signals: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];
  for (const name of signals) Deno.addSignalListener(name, onSignal);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const name of signals) Deno.removeSignalListener(name, onSignal);
    },
  };
}
