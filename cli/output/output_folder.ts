/**
 * What a run leaves in `--output`: settings, log, metrics, and what the page and the report show (checkpoints are written by
 * their owner).
 */

import { dirname, join } from "node:path";
import { type GenericSchema, pick } from "valibot";
import type { TraceSpan } from "../../actors/runtime/mod.ts";
import { UserError } from "../../errors.ts";
import {
  isIn,
  makeFolder,
  makeNewFolder,
  removeMadeFolders,
  takeOutputFolder,
} from "../../methods/output_folder.ts";
import type { FolderLock } from "../../data/folder_lock.ts";
import { readLinesSync } from "../../data/read_lines.ts";
import { replacePartsSync, replaceTextFileSync, writeAll } from "../../data/replace_file.ts";
import { openTemporary } from "../../data/temporary.ts";
import { formatTuning, type Tuning } from "../../kernels/tuning/tuning.ts";
import { METRICS_ROW, parseRecord, SCORE_ROW } from "../../ui/record_schemas.ts";
import type { MetricsRow, ScoreRow, StatsRow } from "../../ui/records.ts";
import { attemptWrite, formatLog, formatTrace, LineFile } from "./line_file.ts";
import { snakeCase } from "./snake_case.ts";

/** What must be known of a row of `metrics.jsonl` to tell whether a resumed run makes it again. */
const STEP_OF_ROW = pick(METRICS_ROW, ["epoch", "step"]);

/** A line a step. */
const METRICS = "metrics.jsonl";

/** A line for each encoder or classifier that was evaluated. */
const SCORES = "scores.jsonl";

/** Where such lines go that are not comparable with those of the run as it goes on. */
export const SUPERSEDED_SCORES: string = `${SCORES}.superseded`;

/** A line for each step that tells of itself. */
const STATS = "stats.jsonl";

/** The run's choice of kernels. */
export const TUNING_FILE = "tuning.json";

/** Whether there is anything at a path. */
export function isThere(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    return !(error instanceof Deno.errors.NotFound);
  }
}

/**
 * Writes a little into a folder and takes it away again: a full disk still opens files, only a write finds out.
 *
 * @throws {UserError} that says why nothing can be written there
 */
function probe(folder: string): void {
  attemptWrite(folder, () => {
    using temporary = openTemporary(join(folder, "probe"));
    writeAll(temporary.file, new Uint8Array(4096));
  });
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // it was never made
  }
}

function writeWhole(path: string, text: string): void {
  attemptWrite(path, () => replaceTextFileSync(path, text));
}

/** The lines of a file that is there. */
function* linesOf(path: string): Generator<string> {
  try {
    yield* readLinesSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw new UserError(`${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

/** Whether there is a file at a path, and anything in it. */
function holdsText(path: string): boolean {
  if (!isThere(path)) return false;
  const { isFile, size } = Deno.statSync(path);
  return isFile && size > 0;
}

/** Leaves the rows of a file that are wanted, and returns how many it took out. What a crash left half written is no row. */
function dropRows<Row>(
  path: string,
  schema: GenericSchema<unknown, Row>,
  isWanted: (row: Row) => boolean,
): number {
  const dropped = new Set<number>();
  let [place, isCut] = [0, false];
  for (const line of linesOf(path)) {
    isCut = !line.endsWith("\n");
    if (isCut) break;
    const { value, problem } = parseRecord(schema, line);
    if (problem !== undefined) {
      throw new UserError(`${path} line ${place + 1}: ${problem}; correct the line, or move the file away`);
    }
    if (!isWanted(value)) dropped.add(place);
    place++;
  }
  if (dropped.size > 0 || isCut) {
    const isKept = (line: string, i: number) => line.endsWith("\n") && !dropped.has(i);
    attemptWrite(path, () => replacePartsSync(path, linesOf(path).filter(isKept)));
  }
  return dropped.size;
}

/**
 * An open output folder. Every line goes to the system as it is written, so a crash of the program loses none.
 *
 * `config.json`, `tuning.json`, `log.txt` and `metrics.jsonl` are the run's duty: where one of them cannot be written, that
 * throws and aborts {@linkcode OutputFolder.failed}, so that the run ends whoever was writing. What else is written here
 * (records, scores, traces) is for those who look at the run, and throws alone.
 *
 * A folder that holds another run is refused ({@linkcode takeOutputFolder}). The lines of a run that resumes come after the
 * old ones. Where a checkpoint is only evaluated, its own folder stays as it is: nothing that is written here reaches it.
 */
export class OutputFolder implements Disposable {
  readonly path: string;
  /** Keeps other runs out of the folder. */
  readonly lock: FolderLock;
  /** Whether the folder holds the run that is evaluated, and stays as it is. */
  readonly isKept: boolean;
  /** Folders that were made for it, the innermost first. */
  readonly #made: readonly string[];
  readonly #failure = new AbortController();
  #hasBegun = false;
  /** By name, those that lines are added to. */
  readonly #files = new Map<string, LineFile>();

  private constructor(path: string, lock: FolderLock, made: readonly string[], isKept: boolean) {
    this.path = path;
    this.lock = lock;
    this.isKept = isKept;
    this.#made = made;
    if (isKept) return;
    for (const name of ["log.txt", METRICS]) this.#openToAppend(name);
  }

  /** Aborted with a {@linkcode UserError} when something that the run must write could not be written. */
  get failed(): AbortSignal {
    return this.#failure.signal;
  }

  /**
   * Makes the folder where it is missing and opens its files. Folders that were made for a run that never begins
   * ({@linkcode OutputFolder.begin}) are removed at the end.
   *
   * @param resume the checkpoint that the run goes on from, `auto` for the folder's newest one where it has any
   * @param patienceMs how long it waits for another run to end, a moment where it is left out
   * @param evaluates whether that checkpoint is only evaluated: then its own folder is kept as it is
   * @throws {UserError} where the folder cannot be made or written, and where it holds another run
   */
  static open(
    path: string,
    resume: string | null = null,
    patienceMs?: number,
    evaluates = false,
  ): OutputFolder {
    const made = attemptWrite(path, () => makeFolder(path));
    return OutputFolder.#open(path, made, resume, patienceMs, evaluates);
  }

  /**
   * {@linkcode OutputFolder.open} with a folder that was not there, for a run whose folder the program names: `path`, or that
   * with a number at its end ({@linkcode makeNewFolder}).
   *
   * @throws {UserError} where the folder cannot be made or written
   */
  static openNew(path: string): OutputFolder {
    const made = attemptWrite(path, () => makeNewFolder(path));
    return OutputFolder.#open(made[0], made);
  }

  static #open(
    path: string,
    made: readonly string[],
    resume: string | null = null,
    patienceMs?: number,
    evaluates = false,
  ): OutputFolder {
    let lock: FolderLock | undefined;
    let folder: OutputFolder;
    try {
      lock = attemptWrite(path, () => takeOutputFolder(path, resume, patienceMs));
      folder = new OutputFolder(path, lock, made, evaluates && resume !== null && isIn(path, resume));
    } catch (error) {
      lock?.[Symbol.dispose]();
      removeMadeFolders(made);
      throw error;
    }
    try {
      if (!folder.isKept) probe(path);
      return folder;
    } catch (error) {
      folder[Symbol.dispose]();
      throw error;
    }
  }

  /** Whether the run has begun. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /**
   * The run begins: what it needs is there and fits. Writes `config.json`, with the original's names (`distillT` becomes
   * `distill_t`), and `tuning.json`, each whole or not at all.
   */
  begin(config: object, tuning: Tuning | null | undefined): void {
    if (this.isKept) return;
    this.#hasBegun = true;
    const entries = Object.entries(config).map(([name, value]) => [snakeCase(name), value]);
    const text = JSON.stringify(Object.fromEntries(entries), null, 2) + "\n";
    this.#must(() => {
      this.lock.identity.check();
      writeWhole(join(this.path, "config.json"), text);
      if (tuning) writeWhole(join(this.path, TUNING_FILE), formatTuning(tuning));
    });
  }

  /** Whether the folder is still in its place. */
  get isInPlace(): boolean {
    return this.lock.identity.find() === undefined;
  }

  /**
   * Writes a file of records anew, whole or not at all; `name` may have a folder in it.
   *
   * @throws {FolderLostError} where the folder is gone: it is not made again
   */
  writeRecord(name: string, record: unknown): void {
    if (this.isKept) return;
    this.lock.identity.check();
    const path = join(this.path, name);
    const folder = dirname(path);
    if (folder !== this.path && !isThere(folder)) attemptWrite(folder, () => Deno.mkdirSync(folder));
    writeWhole(path, JSON.stringify(record));
  }

  /** Removes a file of records that no longer holds, where there is one. */
  removeRecord(name: string): void {
    if (this.isKept) return;
    this.lock.identity.check();
    removeIfThere(join(this.path, name));
  }

  /** Adds a row to `scores.jsonl`. */
  score(row: ScoreRow): void {
    this.#append(SCORES, JSON.stringify(row) + "\n");
  }

  /** Adds a row to `stats.jsonl`. */
  stats(row: StatsRow): void {
    this.#append(STATS, JSON.stringify(row) + "\n");
  }

  /** Adds lines to `log.txt`, each with the time. */
  log(text: string): void {
    this.#must(() => this.#append("log.txt", formatLog(text)));
  }

  /** Adds a row to `metrics.jsonl`. */
  metrics(row: MetricsRow): void {
    const { epoch, step, loss, lr, images_per_second, time, loss_scale, skipped_steps } = row;
    const text = JSON.stringify({
      epoch,
      step,
      loss,
      lr,
      images_per_second,
      time,
      loss_scale,
      skipped_steps,
    });
    this.#must(() => this.#append(METRICS, text + "\n"));
  }

  /**
   * Moves rows of `scores.jsonl` that those of a resumed run are not to be compared with to the end of
   * {@linkcode SUPERSEDED_SCORES}. Returns how many.
   *
   * @param isSuperseded tells which ones
   */
  setScoresAside(isSuperseded: (row: ScoreRow) => boolean): number {
    const path = join(this.path, SCORES);
    const rows = [...linesOf(path)].filter((line) => {
      const { value } = parseRecord(SCORE_ROW, line);
      return value !== undefined && isSuperseded(value);
    });
    if (rows.length === 0) return 0;
    const aside = join(this.path, SUPERSEDED_SCORES);
    attemptWrite(aside, () => Deno.writeTextFileSync(aside, rows.join(""), { append: true }));
    dropRows(path, SCORE_ROW, (row) => !isSuperseded(row));
    return rows.length;
  }

  /**
   * Takes the rows that a resumed run makes again out of `metrics.jsonl`, `scores.jsonl` and `stats.jsonl`. Returns how many of the former.
   *
   * @param epoch where the run goes on, from 0
   * @param stepsDone of the whole run; those of `epoch` among them are kept
   * @param isJudgedAgain tells which scores of steps up to then are made again too
   */
  dropMetricsFrom(
    epoch: number,
    stepsDone: number,
    isJudgedAgain: (row: ScoreRow) => boolean = () => false,
  ): number {
    dropRows(
      join(this.path, SCORES),
      SCORE_ROW,
      (row) => row.step <= stepsDone && !isJudgedAgain(row),
    );
    dropRows(join(this.path, STATS), STEP_OF_ROW, (row) => row.step <= stepsDone);
    this.#files.get(METRICS)?.[Symbol.dispose]();
    try {
      return dropRows(
        join(this.path, METRICS),
        STEP_OF_ROW,
        (row) => row.epoch < epoch || (row.epoch === epoch && row.step <= stepsDone),
      );
    } finally {
      this.#openToAppend(METRICS);
    }
  }

  /**
   * Takes all rows out of `metrics.jsonl`, `scores.jsonl` and `stats.jsonl`, whatever they are: they are of an earlier use of the
   * folder, and would be shown as those of the run that begins.
   */
  dropRows(): void {
    if (this.isKept) return;
    this.#files.get(METRICS)?.[Symbol.dispose]();
    try {
      for (const path of [METRICS, SCORES, STATS].map((name) => join(this.path, name)).filter(holdsText)) {
        attemptWrite(path, () => replacePartsSync(path, []));
      }
    } finally {
      this.#openToAppend(METRICS);
    }
  }

  [Symbol.dispose](): void {
    for (const file of this.#files.values()) file[Symbol.dispose]();
    const isUnused = this.#made.length > 0 && !this.#hasBegun && this.isInPlace;
    if (isUnused) {
      for (const name of ["log.txt", METRICS]) removeIfThere(join(this.path, name));
    }
    this.lock[Symbol.dispose]();
    if (isUnused) removeMadeFolders(this.#made); // where nobody put anything into them
  }

  /** Adds a line to `actors.jsonl` for each thing that an actor did. */
  trace(actor: string, spans: readonly TraceSpan[]): void {
    this.#append("actors.jsonl", formatTrace(actor, spans));
  }

  #openToAppend(name: string): LineFile {
    const file = new LineFile(join(this.path, name));
    this.#files.set(name, file);
    return file;
  }

  #append(name: string, lines: string): void {
    if (this.isKept) return;
    (this.#files.get(name) ?? this.#openToAppend(name)).append(lines);
  }

  /** Writes what the run must write. */
  #must(write: () => void): void {
    try {
      write();
    } catch (error) {
      this.#failure.abort(error);
      throw error;
    }
  }
}
