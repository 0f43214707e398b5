/** Where a distillation begins: fresh, or where a checkpoint left off; and whether that is a checkpoint of this run. */
import { CheckpointError, type Fail } from "../../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { fingerprintWeights } from "../../models/checkpoint/fingerprint_weights.ts";
import {
  readResumeState,
  type RunOrigin,
  type SavedResumeState,
} from "../../models/checkpoint/resume_state.ts";
import type { Term } from "../../models/checkpoint/run_terms.ts";
import { checkSavedTensors, readStudentCheckpoint, requireFiniteStudent, transpose } from "./checkpoint.ts";
import { isCounter } from "../../models/checkpoint/named_tensor.ts";
import type { StateEntry } from "../../models/encoder_builder.ts";
import { initializeQueue } from "../../models/initialize.ts";
import { findEncoder, summarize } from "../../models/registry.ts";
import { groupOf } from "../../models/training_step.ts";
import type { NamedValues } from "../../actors/messages.ts";
import { localViewsOf } from "./augmentation.ts";
import type { DistillOptions } from "./options.ts";
import type { Emit, NoticeEvent } from "../../actors/events.ts";
import { checkTerms, type RunIdentity } from "../terms.ts";
import { initialStudent, openStudentInit } from "./student_init.ts";
import type { Start } from "./training_pipeline.ts";

/**
 * Finds out which run this is: one that begins now, or the one that wrote the checkpoint of `resume`.
 *
 * @param terms of the options
 * @throws {CheckpointError} where the checkpoint is of another run, and the options do not insist
 */
export async function identifyRun(
  options: DistillOptions,
  terms: readonly Term[],
  emit: Emit<NoticeEvent>,
): Promise<RunIdentity> {
  const { resume, seed, startEpoch: epoch } = options;
  if (resume === null) return { terms, origin: { seed, epoch, studentInit: await fingerprintInit(options) } };
  using file = await openCheckpointFile(resume);
  const fail = (problem: string) => new CheckpointError(resume, problem);
  const { terms: saved, origin } = readResumeState(readStudentCheckpoint(file).resume, fail);
  checkTerms(resume, saved, terms, options.resumeAnyway ?? false, emit);
  return { terms, origin };
}

/** Of the weights that the student starts from; `null` for fresh ones. */
async function fingerprintInit(options: DistillOptions): Promise<string | null> {
  if (options.studentInit === null) return null;
  using init = await openStudentInit(options);
  return await fingerprintWeights(init.tensors);
}

/** The student's entries that the options describe. */
function stateOf({ studentArch, studentMlp, dim }: DistillOptions): readonly StateEntry[] {
  const head = { kind: studentMlp ? "mlp" : "linear", dimension: dim } as const;
  return summarize(findEncoder(studentArch), head, 64).state;
}

/**
 * The student before the first step of a run that is gone on with.
 *
 * @returns `undefined` where it cannot be made again: its checkpoints do not say how it began, or the file of
 * `studentInit` is another one, or not named
 */
export async function originalStudent(
  options: DistillOptions,
  origin: RunOrigin | undefined,
): Promise<NamedValues | undefined> {
  if (origin === undefined) return undefined;
  if (origin.studentInit === null) {
    return await initialStudent({ ...options, studentInit: null }, origin.seed, stateOf(options));
  }
  const isSame = await fingerprintInit(options).catch(() => null) === origin.studentInit;
  return isSame ? await initialStudent(options, origin.seed, stateOf(options)) : undefined;
}

/** The student in a checkpoint, in the form that it is evaluated in. */
export async function savedStudent(path: string): Promise<NamedValues> {
  using file = await openCheckpointFile(path);
  const values: NamedValues = [];
  for (const [key, tensor] of readStudentCheckpoint(file).student) {
    if (!isCounter(key)) values.push([key, await tensor.read()]);
  }
  return values;
}

/** The beginning of a fresh run, or where the checkpoint of `--resume` left off. */
export async function findStart(options: DistillOptions, batchesPerEpoch: number): Promise<Start> {
  const { resume, seed, dim, queue: size, startEpoch } = options;
  if (resume === null) {
    const local = localViewsOf(options) && initializeQueue(size, dim, seed, "small queue");
    const queue = { keys: initializeQueue(size, dim, seed), pointer: 0, ...local && { local } };
    return { epoch: startEpoch, batch: 0, queue };
  }
  using file = await openCheckpointFile(resume);
  const saved = readStudentCheckpoint(file);
  const fail = (problem: string) => new CheckpointError(resume, problem);
  if (saved.arch !== options.studentArch) {
    throw fail(
      `holds a ${saved.arch}, but --student-arch is ${options.studentArch}; use --student-arch ${saved.arch}`,
    );
  }
  checkStudent(saved.student, options, fail);
  await requireFiniteStudent(resume, saved);
  const { queue, queuePointer } = saved;
  if (queue === undefined || queuePointer === undefined) {
    throw fail("has no queue, so a run cannot resume from it");
  }
  if (queue.shape.length !== 2) throw fail(`has a queue of shape [${queue.shape}], not [dim, queue]`);
  if (queue.shape[0] !== dim || queue.shape[1] !== size) {
    throw fail(
      `has a queue of ${queue.shape[1]} keys of ${queue.shape[0]} numbers; use --queue ${
        queue.shape[1]
      } --dim ${queue.shape[0]}`,
    );
  }
  const { smallQueue } = saved;
  const wantsSmall = options.smallViews > 0;
  if (wantsSmall !== (smallQueue !== undefined)) {
    throw fail(
      wantsSmall
        ? "has no queue of small views, which --small-views needs; resume without that flag, or start a new run"
        : "is from a run with small views; use that run's --small-views and --small-size",
    );
  }
  if (smallQueue !== undefined && smallQueue.shape.join() !== queue.shape.join()) {
    throw fail(
      `has a queue of small views of shape [${smallQueue.shape}], but the other queue is [${queue.shape}]`,
    );
  }
  const local = smallQueue && transpose(await smallQueue.read(), dim, size);
  await checkSavedTensors(saved, fail);
  const batch = checkSameEpoch(readResumeState(saved.resume, fail), options, batchesPerEpoch, fail);
  const [pointer] = await queuePointer.read();
  if (!(Number.isInteger(pointer) && pointer >= 0 && pointer < size)) {
    throw fail(`is damaged: expected a queue_ptr from 0 to ${size - 1}, found ${pointer}`);
  }
  return {
    epoch: saved.epoch,
    batch,
    queue: { keys: transpose(await queue.read(), dim, size), pointer, ...local && { local } },
  };
}

/**
 * Where a checkpoint stopped within its epoch, in batches. Then the rest of the epoch must be what it would have been: its
 * order follows from images, batch size and seed. Where it is not and `resumeAnyway` insists, the epoch begins anew.
 */
function checkSameEpoch(
  saved: SavedResumeState,
  { batchSize, seed, accumulate, resumeAnyway = false }: DistillOptions,
  batchesPerEpoch: number,
  fail: Fail,
): number {
  if (saved.batch === 0) return 0;
  const problems: string[] = [];
  // Checkpoints of before have no batch_size.
  if ((saved.batchSize ?? batchSize) !== batchSize) {
    const then = saved.batchSize;
    problems.push(`batches of ${then}, but --batch-size is ${batchSize}; resume with --batch-size ${then}`);
  }
  if ((saved.seed ?? seed) !== seed) {
    const then = saved.seed;
    problems.push(`a run with --seed ${then}, but --seed is ${seed}; resume with --seed ${then}`);
  }
  if ((saved.batchesPerEpoch ?? batchesPerEpoch) !== batchesPerEpoch) {
    const then = saved.batchesPerEpoch;
    problems.push(`${then} batches, but now there are ${batchesPerEpoch}; resume with the same images`);
  }
  if (problems.length === 0 && groupOf(saved.batch, batchesPerEpoch, accumulate).index > 0) {
    problems.push(
      `${saved.batch} batches so far, in the middle of a step of --accumulate ${accumulate}; resume with that run's ` +
        "--accumulate",
    );
  }
  if (problems.length === 0 && saved.batch >= batchesPerEpoch) {
    problems.push(`more than ${saved.batch} batches, but now there are ${batchesPerEpoch}`);
  }
  if (problems.length === 0) return saved.batch;
  if (resumeAnyway) return 0;
  throw fail(`stopped within an epoch of ${problems[0]}, or restart that epoch with --resume-anyway`);
}

/** Names the first keys that differ from the student that the options describe. */
function checkStudent(
  found: ReadonlyMap<string, { shape: readonly number[] }>,
  options: DistillOptions,
  fail: Fail,
): void {
  const state = stateOf(options);
  const differing = state.filter(({ key, kind, shape }) =>
    kind !== "counter" && found.get(key)?.shape.join() !== shape.join()
  ).map(({ key, shape }) =>
    `${key} is ${found.has(key) ? `[${found.get(key)!.shape}]` : "missing"}, not [${shape}]`
  );
  if (differing.length === 0) return;
  const shown = differing.slice(0, 4).join("; ") +
    (differing.length > 4 ? `; and ${differing.length - 4} more` : "");
  throw fail(
    `does not fit the student that the flags describe: ${shown}. Check --student-arch, --student-mlp and --dim`,
  );
}
