/** Work that only observes a run: where it fails there is a warning, and the run goes on. */
import { printableLine } from "../data/printable.ts";
import { UserError } from "../errors.ts";
import { errorsIn, joinErrors } from "./runtime/failure.ts";
import { ActorCrash, ActorStopped } from "./runtime/mod.ts";

/**
 * Does what only observes a run: the page, its records, the report, event files, snapshots, maps. Each has a name.
 * The first failure of a name is a warning; later ones are not told of. No failure goes any further.
 *
 * Everything else is the run's own duty: its settings, log, metrics and checkpoints, and what is computed for them. A run
 * whose duty cannot be done stops and saves what it has, so nothing of it may be done here.
 *
 * @example
 * ```ts ignore
 * const effort = new BestEffort(console.warn);
 * effort.attempt("the event file", () => writer.scalar("loss", 1, 0));
 * ```
 */
export class BestEffort {
  readonly #warn: (text: string) => void;
  readonly #failed = new Set<string>();
  #isRunOver = false;

  /** @param warn takes one line for each name that fails, and the stack behind it where the failure is a bug */
  constructor(warn: (text: string) => void) {
    this.#warn = warn;
  }

  /**
   * Does the work. Neither throws nor rejects.
   *
   * @param name of what observes, as the warning has it: `the event file`
   * @returns what the work returns; nothing where it failed
   */
  attempt<T>(name: string, work: () => Promise<T>): Promise<T | undefined>;
  attempt<T>(name: string, work: () => T): T | undefined;
  attempt<T>(name: string, work: () => T | Promise<T>): T | undefined | Promise<T | undefined> {
    try {
      const result = work();
      return result instanceof Promise ? result.catch((error) => this.fail(name, error)) : result;
    } catch (error) {
      return this.fail(name, error);
    }
  }

  /** Notes that the run is over: what fails from now on is a warning that does not say that the run continues. */
  endRun(): void {
    this.#isRunOver = true;
  }

  /** Takes a failure that was found elsewhere. */
  fail(name: string, error: unknown): undefined {
    // What could not be done because the run is ending is no failure.
    if (error instanceof ActorStopped || this.#failed.has(name)) return;
    this.#failed.add(name);
    try {
      this.#warn(`${name} failed${this.#isRunOver ? "" : ", and the run continues"}: ${describe(error)}`);
    } catch {
      // The warning could not be written, which is the business of the log.
    }
  }
}

function describe(caught: unknown): string {
  return joinErrors(errorsIn(caught).map(describeOne));
}

function describeOne(error: unknown): string {
  if (error instanceof ActorCrash) {
    return error.isUserError ? printableLine(error.failure.message) : error.message;
  }
  if (error instanceof UserError || isSystemError(error)) return printableLine(error.message);
  return `this is a bug in the program, please report it\n${Deno.inspect(error)}`;
}

function isSystemError(error: unknown): error is Error {
  if (!(error instanceof Error)) return false;
  // Of some errors, such as that of a full disk, Deno has no class of its own, but the system's name.
  return "code" in error && /^E[A-Z\d]+$/.test(String(error.code)) ||
    Object.values(Deno.errors).some((kind) => error instanceof kind);
}
