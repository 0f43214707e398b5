/** The outermost layer of every command: errors for people, exit codes, and an end that comes. */

import { setOneThread } from "../../actors/one_thread.ts";
import { givenPlugins, pluginInStack } from "../../actors/plugins.ts";
import { readLauncher, readVariable } from "../../actors/ranks/launcher.ts";
import { ActorCrash, asUserError, errorsIn } from "../../actors/runtime/failure.ts";
import { printable, printableLine } from "../../data/printable.ts";
import { UserError } from "../../errors.ts";
import { DeviceLostError, hasHardware } from "../../kernels/gpu.ts";
import { UsageError } from "../flags/flags.ts";
import { reasonOf } from "../output/line_file.ts";
import { Interrupted } from "./interrupt.ts";

/** What is shown of an error, and the exit code that goes with it. */
export interface ErrorReport {
  text: string;
  code: number;
}

/**
 * Puts an error into words. A {@linkcode UserError} is its message alone, in one line, wherever it was thrown; anything
 * else is a bug and shows its stack: of a plugin where it is in that stack, else of the program. Errors that were thrown at once
 * are shown one below the other, and the exit code is that of the first.
 *
 * Exit codes: 2 for a wrong command line, 130 for an interrupted run (129 after SIGHUP, 131 after SIGQUIT, 140 after SIGUSR2), 1 for every other
 * error.
 */
export function reportError(caught: unknown, options: { colors?: boolean } = {}): ErrorReport {
  const [first, ...later] = errorsIn(caught).map((error) => reportOne(error, options));
  return { ...first, text: [first, ...later].map(({ text }) => text).join("\n") };
}

function reportOne(caught: unknown, { colors = false }: { colors?: boolean }): ErrorReport {
  const error = asUserError(caught);
  const label = colors ? "\x1b[1;31merror\x1b[0m" : "error";
  if (error instanceof Interrupted) return { text: error.message, code: error.code };
  if (error instanceof UserError) {
    return { text: `${label}: ${printableLine(error.message)}`, code: error instanceof UsageError ? 2 : 1 };
  }
  // A device that is lost is no fault of the program; whether there is another one shows at the next start.
  if (error instanceof ActorCrash && error.failure.name === DeviceLostError.name) {
    return { text: `${label}: ${printableLine(error.failure.message)} (in ${error.actor})`, code: 1 };
  }
  // Of an actor's crash the cause has the stack that matters: the one inside the actor.
  const details = error instanceof ActorCrash
    ? `in ${error.actor}: ${printable(Deno.inspect(error.cause))}`
    : printable(Deno.inspect(error));
  return { text: `${label}: ${blame(error)}\n${details}`, code: 1 };
}

/** Says whose bug an error is. What a plugin gave the program may fail after the plugin's functions have returned. */
function blame(error: unknown): string {
  const plugin = pluginInStack(error);
  if (plugin !== undefined) return `the plugin ${printableLine(plugin)} failed`;
  const plugins = givenPlugins().map((url) => printableLine(url)).join(", ");
  return plugins === ""
    ? "this is a bug in the program, please report it"
    : `this is a bug in the plugin ${plugins}, or else in the program: please report it then`;
}

/** How long what is still alive at a command's end may take to end by itself, in ms. */
const LEAVE_MS = 3000;

/** How long a GPU's driver is given to take its devices back from Workers that have ended, in ms. */
const DRIVER_MS = 1000;

/**
 * Ends the program with an exit code, as soon as nothing is left to do. Workers that have stopped are still giving back
 * their devices then, and the last of it goes on when they count as ended: NVIDIA's driver crashes when the process exits
 * meanwhile, so that is waited for. What does not end by itself is not waited for longer than {@linkcode LEAVE_MS}.
 *
 * @param lingerMs how long to stay at least
 */
export function leave(code: number, lingerMs: number = hasHardware() ? DRIVER_MS : 0): void {
  Deno.exitCode = code;
  if (lingerMs > 0) setTimeout(() => {}, lingerMs);
  Deno.unrefTimer(setTimeout(() => Deno.exit(code), LEAVE_MS));
}

/** Shows an error. Returns its exit code. */
function show(error: unknown, printError: (text: string) => void): number {
  const { text, code } = reportError(error, { colors: Deno.stderr.isTerminal() && !Deno.noColor });
  printError(text);
  return code;
}

/** What the system says of a terminal that is closed; of a pipe that nobody reads, Deno says nothing itself. */
const TERMINAL_GONE = new Set(["EIO", "ENXIO", "EPIPE"]);

/**
 * Makes the console fit for text from anywhere: control characters are written out, and what is said to a terminal that was
 * closed is lost, so that whoever says it can still save its work. What the system refuses otherwise, as on a full disk, is
 * lost on stderr, where nobody could be told of it; on stdout it is a {@linkcode UserError}.
 *
 * @returns prints an error whose control characters are the program's own
 */
export function guardConsole(): (text: string) => void {
  const guarded = (name: "log" | "error" | "warn" | "info") => {
    const print = console[name].bind(console);
    const isStdout = name === "log" || name === "info";
    return (...args: unknown[]) => {
      try {
        print(...args);
      } catch (error) {
        const { code } = error as { code?: string };
        if (code === undefined) throw error;
        if (!isStdout || TERMINAL_GONE.has(code)) return;
        throw new UserError(`stdout: ${reasonOf(error)}`, { cause: error });
      }
    };
  };
  const printError = guarded("error");
  for (const name of ["log", "error", "warn", "info"] as const) {
    const print = guarded(name);
    console[name] = (...args) => print(...args.map((arg) => typeof arg === "string" ? printable(arg) : arg));
  }
  return printError;
}

/** Whether the environment asks for all actors on one thread, where it may be read. */
function readOneThread(): boolean {
  return readVariable("SEED_ONE_THREAD") === "1";
}

/** The first version of Deno that has what is used here, as `./seed` has it. */
const LEAST_DENO = [2, 9];

/** @throws {UserError} where Deno is too old */
function requireDeno(): void {
  const [major, minor] = Deno.version.deno.split(".").map(Number);
  if (major > LEAST_DENO[0] || (major === LEAST_DENO[0] && minor >= LEAST_DENO[1])) return;
  throw new UserError(
    `this is Deno ${Deno.version.deno}: expected ${
      LEAST_DENO.join(".")
    } or later. \`deno upgrade\` gets it, and \`./seed TASK\` ` +
      "installs one for this folder alone",
  );
}

/** Which of the processes that a launcher started do a command. */
export interface RunMainOptions {
  /**
   * `first` (default): the first one alone, and the others leave at once, so that nothing is done or written twice. `all`: all,
   * which the command knows of; see `runOnRanks()`.
   */
  ranks?: "first" | "all";
}

/**
 * Runs a command to its end and leaves the program, whatever Workers or timers are still alive.
 *
 * @param main returns the exit code, nothing for 0
 *
 * @example
 * ```ts ignore
 * if (import.meta.main) await runMain(() => distill(Deno.args));
 * ```
 */
export async function runMain(
  main: () => Promise<number | void>,
  { ranks = "first" }: RunMainOptions = {},
): Promise<void> {
  if (ranks === "first" && (readLauncher(readVariable)?.rank ?? 0) > 0) return leave(0);
  const printError = guardConsole();
  // An error that nobody awaited may have left the command waiting for ever; of one that has ended it says nothing new.
  let hasEnded = false;
  const onError = (error: unknown) => hasEnded || Deno.exit(show(error, printError));
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    onError(event.reason);
  });
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    onError(event.error);
  });
  if (readOneThread()) setOneThread(true);
  let code: number | void;
  try {
    requireDeno();
    code = await main();
  } catch (error) {
    code = show(error, printError);
  }
  hasEnded = true;
  leave(code ?? 0);
}
