/** Files of a run that grow by whole lines, how their lines look, and what is said of a write that failed. */
import type { TraceSpan } from "../../actors/runtime/mod.ts";
import { printable } from "../../data/printable.ts";
import { writeAll } from "../../data/replace_file.ts";
import { UserError } from "../../errors.ts";

// What the system says about a write that failed, by its error number, for people.
const REASONS: readonly [pattern: RegExp, reason: string][] = [
  [/os error 28\b/, "the disk is full"],
  [/os error 122\b/, "the disk quota is used up"],
  [/os error 30\b/, "the file system is read-only"],
  [/os error 20\b|os error 17\b/, "expected a folder, found a file"],
  [/os error (1|13)\b/, "permission denied"],
  [/Requires all access/, "Deno does not allow programs to write there"],
];

/** Why something could not be written, in few words. */
export function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return REASONS.find(([pattern]) => pattern.test(message))?.[1] ?? message;
}

/** Says why a file or folder cannot be written, and that `--output` is where to change that. */
export function describeWriteError(error: unknown, path: string): UserError {
  return new UserError(
    `cannot write ${path}: ${reasonOf(error)}. Choose another output directory with --output`,
    {
      cause: error,
    },
  );
}

/**
 * Writes something.
 *
 * @throws {UserError} that says why it cannot be written
 */
export function attemptWrite<T>(path: string, write: () => T): T {
  try {
    return write();
  } catch (error) {
    throw error instanceof UserError ? error : describeWriteError(error, path);
  }
}

/** `2025-11-25T01:45:12Z`. */
function timestamp(): string {
  return new Date().toISOString().replace(/\.\d+/, "");
}

/** A file that grows by whole lines. */
export class LineFile implements Disposable {
  readonly #path: string;
  readonly #file: Deno.FsFile;
  #size: number;

  /** @throws {UserError} where it cannot be written */
  constructor(path: string) {
    this.#path = path;
    this.#file = attemptWrite(path, () => Deno.openSync(path, { append: true, create: true }));
    this.#size = this.#file.statSync().size;
  }

  /** Adds lines, or nothing: of a full disk half a line may fit, which the next one would be added to. */
  append(text: string): void {
    const bytes = new TextEncoder().encode(text);
    try {
      attemptWrite(this.#path, () => writeAll(this.#file, bytes));
      this.#size += bytes.length;
    } catch (error) {
      try {
        if (this.#file.statSync().size > this.#size) this.#file.truncateSync(this.#size);
      } catch {
        // the disk does not even do that
      }
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/**
 * Returns an entry of a log: lines with the time. Those after the first begin with `| `, so that no line feed in a name makes
 * what looks like an entry of its own.
 */
export function formatLog(text: string): string {
  const stamp = timestamp();
  return `${stamp} ${printable(text).replaceAll("\n", `\n${stamp} | `)}\n`;
}

/** Returns a line of JSON for each thing that an actor did. */
export function formatTrace(actor: string, spans: readonly TraceSpan[]): string {
  return spans.map(({ startMs, durationMs, kind, name, from }) => {
    const at = new Date(startMs).toISOString();
    return JSON.stringify({ at, actor, [kind]: name, from, ms: Math.round(1000 * durationMs) / 1000 }) + "\n";
  }).join("");
}
