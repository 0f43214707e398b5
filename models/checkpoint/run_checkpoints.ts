/** The checkpoints that a run leaves in its folder: which there are, and which are kept. */
import { basename, join } from "node:path";
import { setAside } from "../../data/replace_file.ts";
import { removeStaleTemporaries } from "../../data/temporary.ts";
import { type CheckpointFile, openCheckpointFile } from "./checkpoint_file.ts";
import { CheckpointError } from "./checkpoint_error.ts";

/** A checkpoint of a run. */
export interface RunCheckpoint {
  path: string;
  /** That it was written in or after, from 0, as its name says. */
  epoch: number;
}

/** Name of the best checkpoint of a run that classifies, as the original calls it. */
export const BEST_CHECKPOINT = "model_best.pth.tar";

const NAME = /checkpoint_(\d{4,})\.pth\.tar$/;
/** What earlier versions left where the program was killed while it wrote. */
const OLD_LEFTOVER = /^\..*checkpoint_\d{4,}\.pth\.tar\.[0-9a-f]{8}\.tmp$/;

/** When a file was written; it may be a link to nothing, or gone by now. */
function timeOf(path: string): number {
  try {
    return Deno.statSync(path).mtime?.getTime() ?? 0;
  } catch {
    return 0;
  }
}

/** {@linkcode listCheckpoints} for those that cannot wait. */
export function listCheckpointsSync(folder: string): RunCheckpoint[] {
  const found: (RunCheckpoint & { written: number })[] = [];
  try {
    for (const { name } of Deno.readDirSync(folder)) {
      const match = name.startsWith(".") ? null : NAME.exec(name);
      if (match === null) continue;
      const path = join(folder, name);
      found.push({ path, epoch: Number(match[1]), written: timeOf(path) });
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return found
    .sort((a, b) => a.epoch - b.epoch || a.written - b.written || (a.path < b.path ? -1 : 1))
    .map(({ path, epoch }) => ({ path, epoch }));
}

/**
 * The checkpoints in a folder, the oldest first; none where there is no folder. Of two of one epoch, which runs of different
 * --epochs name differently, the one that was written later is the newer.
 */
export function listCheckpoints(folder: string): Promise<RunCheckpoint[]> {
  return Promise.try(listCheckpointsSync, folder);
}

/**
 * The newest checkpoint in a folder that can be gone on from.
 *
 * @param onDamaged told of newer ones that cannot
 * @param check throws a {@linkcode CheckpointError} where what an open file holds cannot be gone on from
 * @returns `null` where there is none
 * @throws {CheckpointError} of the newest one, where none can be gone on from
 */
export async function findNewestCheckpoint(
  folder: string,
  onDamaged: (problem: string) => void,
  check: (file: CheckpointFile) => Promise<void> = () => Promise.resolve(),
): Promise<string | null> {
  const damaged: CheckpointError[] = [];
  for (const { path } of (await listCheckpoints(folder)).reverse()) {
    try {
      using file = await openCheckpointFile(path);
      await check(file);
      for (const { message } of damaged) onDamaged(message);
      return path;
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
      damaged.push(error);
    }
  }
  if (damaged.length > 0) throw damaged[0];
  return null;
}

/** A checkpoint's name without its epoch and the number of epochs: what those of one run have in common. */
function formOf(path: string): string {
  return basename(path).replaceAll(/(?<=T-Epoch_|checkpoint_)\d+/g, "");
}

/**
 * Removes all but `keep` checkpoints of a run from its folder: the one that was just written, and the newest of the others.
 * Those of other names are left alone, such as a copy that was put there. What cannot be removed stays.
 *
 * @param written path of the one that was just written
 * @param keep at least 1
 */
export async function pruneCheckpoints(folder: string, written: string, keep: number): Promise<void> {
  const form = formOf(written);
  const others = (await listCheckpoints(folder)).filter(({ path }) =>
    path !== written && formOf(path) === form
  );
  for (const { path } of others.slice(0, Math.max(0, others.length + 1 - keep))) {
    await Deno.remove(path).catch(() => {});
  }
}

/** What is added to the name of a checkpoint that is set aside. */
const SUPERSEDED = ".superseded";

/**
 * Reads something of the best checkpoint in a folder.
 *
 * @param read may throw a {@linkcode CheckpointError}
 * @returns `undefined` where there is none that can be read
 */
export async function readBest<Found>(
  folder: string,
  read: (file: CheckpointFile) => Found | Promise<Found>,
): Promise<Found | undefined> {
  try {
    using file = await openCheckpointFile(join(folder, BEST_CHECKPOINT));
    return await read(file);
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error;
    return undefined;
  }
}

/** The epochs that a checkpoint of a run that classifies has done; 0 where it does not say it. */
function epochsIn({ value }: CheckpointFile): number {
  const epoch = value instanceof Map ? value.get("epoch") : undefined;
  return typeof epoch === "number" ? epoch : 0;
}

/**
 * Sets aside a run's checkpoints of later epochs, under names that end in `.superseded`: nothing resumes from them, counts or
 * removes them. Those of other names are left alone.
 *
 * @param name of any checkpoint of the run
 * @param epoch the last one, from 0, whose checkpoint stays
 * @param epochsDone those after which the best checkpoint stays, in a run that classifies; without them it is left alone
 * @param resume path of a checkpoint that stays whatever its epoch
 * @returns the paths that they had
 */
export async function setAsideLater(
  folder: string,
  { name, epoch, epochsDone, resume }: {
    name: string;
    epoch: number;
    epochsDone?: number;
    resume: string;
  },
): Promise<string[]> {
  const form = formOf(name);
  const kept = await Deno.realPath(resume);
  const later = (await listCheckpoints(folder))
    .filter((checkpoint) => checkpoint.epoch > epoch && formOf(checkpoint.path) === form)
    .map(({ path }) => path);
  if (epochsDone !== undefined && (await readBest(folder, epochsIn) ?? 0) > epochsDone) {
    later.push(join(folder, BEST_CHECKPOINT));
  }
  const moved: string[] = [];
  for (const path of later) {
    if (await Deno.realPath(path).catch(() => path) === kept) continue;
    await setAside(path, SUPERSEDED);
    moved.push(path);
  }
  return moved;
}

/** Removes half-written checkpoints that killed runs have left in a folder, which nobody else may be writing to. */
export async function removeLeftovers(folder: string): Promise<void> {
  removeStaleTemporaries(folder, (name) => name.endsWith(".pth.tar"));
  for await (const { name } of Deno.readDir(folder)) {
    if (OLD_LEFTOVER.test(name)) await Deno.remove(join(folder, name)).catch(() => {});
  }
}
