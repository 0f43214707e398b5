/** The folder that a run writes to: no other run's files in it are replaced or mixed with its own. */
import { basename, dirname, join } from "node:path";
import type { Emit, NoticeEvent } from "../actors/events.ts";
import { FolderLock } from "../data/folder_lock.ts";
import { counted } from "../data/printable.ts";
import { readLinesSync } from "../data/read_lines.ts";
import { UserError } from "../errors.ts";
import { BEST_CHECKPOINT, listCheckpointsSync, setAsideLater } from "../models/checkpoint/run_checkpoints.ts";

/** What a run must not have left in a folder that another one is to write to. */
interface EarlierRun {
  /** Of metrics. */
  rows: number;
  /** Paths, the newest last, but for the best one, which comes before all. A checkpoint of another name is no run's, such as a teacher. */
  checkpoints: string[];
}

function readEarlierRun(folder: string): EarlierRun {
  let rows = 0;
  try {
    // What a crash left half written is no row.
    for (const line of readLinesSync(join(folder, "metrics.jsonl"))) rows += Number(line.endsWith("\n"));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) {
      throw new UserError(`${join(folder, "metrics.jsonl")} cannot be read: ${(error as Error).message}`);
    }
  }
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
  const best = names.includes(BEST_CHECKPOINT) ? [join(folder, BEST_CHECKPOINT)] : [];
  return { rows, checkpoints: [...best, ...listCheckpointsSync(folder).map(({ path }) => path)] };
}

/**
 * Makes a folder, with the missing ones above it.
 *
 * @returns the folders that were made, the innermost first, for {@linkcode removeMadeFolders}
 */
export function makeFolder(path: string): string[] {
  const made: string[] = [];
  for (let folder = path; isMissing(folder); folder = dirname(folder)) made.push(folder);
  Deno.mkdirSync(path, { recursive: true });
  return made;
}

/**
 * Makes a folder that was not there, with the missing ones above it: where there is something of its name, that name gets `-2`,
 * `-3` and so on at its end. Of several processes that ask for one name at once, each gets a folder of its own.
 *
 * @returns as {@linkcode makeFolder} does; the first one is the folder
 */
export function makeNewFolder(path: string): string[] {
  const above = makeFolder(dirname(path));
  for (let folder = path, i = 2;; folder = `${path}-${i++}`) {
    try {
      Deno.mkdirSync(folder);
      return [folder, ...above];
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    }
  }
}

/** Whether there is nothing at a path. What lies above the folder of a run may be without permissions, for which Deno would ask. */
function isMissing(path: string): boolean {
  const states = (["read", "write"] as const).map((name) => Deno.permissions.querySync({ name, path }).state);
  if (!states.every((state) => state === "granted")) return false;
  try {
    Deno.statSync(path);
    return false;
  } catch (error) {
    return error instanceof Deno.errors.NotFound;
  }
}

/** Removes what {@linkcode makeFolder} made for a run that never began, up to the first folder that is not empty. */
export function removeMadeFolders(made: readonly string[]): void {
  for (const folder of made) {
    try {
      Deno.removeSync(folder);
    } catch {
      return;
    }
  }
}

/**
 * Takes a folder that is there for a run to write to. The one rule for the library and the command line: a folder that
 * holds a run is taken only to resume that run.
 *
 * @param resume the checkpoint that the run goes on from; `auto` for the folder's newest one, where it has any
 * @param patienceMs how long it waits for another run to end, a moment where it is left out
 * @throws {UserError} where another run writes to the folder, or has left rows of `metrics.jsonl` or checkpoints there
 */
export function takeOutputFolder(output: string, resume: string | null, patienceMs?: number): FolderLock {
  const lock = FolderLock.take(output, patienceMs);
  try {
    if (resume !== "auto" && (resume === null || !isIn(output, resume))) refuseEarlierRun(output);
    return lock;
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
}

/** Returns whether a file lies in a folder; one that is missing is what its reader complains of. */
export function isIn(folder: string, file: string): boolean {
  try {
    return Deno.realPathSync(dirname(file)) === Deno.realPathSync(folder);
  } catch {
    return true;
  }
}

/** The last checkpoint of a run before it goes on. */
export interface LastCheckpoint {
  /** Name of any of the run's checkpoints. */
  name: string;
  /** Epoch, from 0, that the last one was written in or after. */
  epoch: number;
  /** Epochs done by then, where the run keeps the best checkpoint too. */
  epochsDone?: number;
}

/**
 * Sets the checkpoints aside that come after the one that a run goes on from, where that is in the run's own folder: they are of
 * training that is given up. The next `resume: "auto"` would go on with them, and `keep` count them; the best one would be taken for
 * one of this run.
 *
 * @throws {UserError} where one cannot get another name
 */
export async function setAsideAbandoned(
  { output, resume }: { output: string; resume: string | null },
  last: LastCheckpoint,
  emit: Emit<NoticeEvent>,
): Promise<void> {
  if (resume === null || !isIn(output, resume)) return;
  let moved: string[];
  try {
    moved = await setAsideLater(output, { ...last, resume });
  } catch (error) {
    throw new UserError(
      `${output}: a checkpoint that is later than ${resume} cannot get another name: ${
        (error as Error).message
      }; move it ` +
        "elsewhere yourself",
      { cause: error },
    );
  }
  if (moved.length === 0) return;
  const names = moved.map((path) => basename(path)).join(", ");
  const text = `the run goes on from ${resume}: later checkpoints now end in .superseded (${names})`;
  emit({ type: "note", text });
}

function refuseEarlierRun(output: string): void {
  const { rows, checkpoints } = readEarlierRun(output);
  const found = [
    ...rows > 0 ? [`${counted(rows, "row")} in metrics.jsonl`] : [],
    ...checkpoints.length > 0 ? [counted(checkpoints.length, "checkpoint")] : [],
  ];
  if (found.length === 0) return;
  const last = checkpoints.at(-1); // the one that `--resume auto` takes, where it takes any
  throw new UserError(
    `--output ${output} already holds a run (${found.join(" and ")}): choose another folder` +
      (last === undefined ? "" : `, or resume that run with --resume ${last}`),
  );
}
