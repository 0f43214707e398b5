/** Where a training begins: fresh, or where a checkpoint left off; and whether that is a checkpoint of this run. */
import { dirname } from "node:path";
import { UserError } from "../../errors.ts";
import { CheckpointError, type Fail } from "../../models/checkpoint/checkpoint_error.ts";
import { type CheckpointFile, openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { fingerprintWeights } from "../../models/checkpoint/fingerprint_weights.ts";
import { extraStepsOf, readResumeState, type RunOrigin } from "../../models/checkpoint/resume_state.ts";
import { listCheckpoints } from "../../models/checkpoint/run_checkpoints.ts";
import { compareTerms, describeOtherRun, type Term } from "../../models/checkpoint/run_terms.ts";
import { plainKey } from "../../models/checkpoint/state_dict.ts";
import { isCounter } from "../../models/checkpoint/named_tensor.ts";
import type { StateEntry } from "../../models/encoder_layers.ts";
import { IMAGENET_NORMALIZATION, type Normalization, normalizationOf } from "../../models/images.ts";
import { initializeQueue } from "../../models/initialize.ts";
import { findHead } from "../../models/heads.ts";
import { sampleSize } from "../../models/encoder.ts";
import { requireStem } from "../../models/encoder_source.ts";
import { encoderByFlags } from "../../models/encoder_by_flags.ts";
import { findEncoder, summarize } from "../../models/registry.ts";
import type { NamedValues } from "../../actors/messages.ts";
import type { Emit, NoticeEvent } from "../../actors/events.ts";
import { checkTerms, type RunIdentity } from "../terms.ts";
import { checkSavedTensors, readTrainingCheckpoint, requireFiniteTraining, transpose } from "./checkpoint.ts";
import { initialWeights, openInitialCheckpoint } from "./initial_weights.ts";
import type { FlagsOfEncoder, TrainedBy, TrainedEncoder } from "./trained_encoder.ts";
import { requireOptimizer } from "./optimizer_state.ts";
import type { EncoderTrainingOptions } from "./options.ts";
import { checkSameEpoch } from "./same_epoch.ts";
import type { Start } from "./training_pipeline.ts";

/**
 * Finds out which run this is: one that begins now, or the one that wrote the checkpoint of `resume`.
 *
 * @param terms of the options
 * @throws {CheckpointError} where the checkpoint is of another run, and the options do not insist
 */
export async function identifyRun<Options extends EncoderTrainingOptions>(
  method: TrainedBy<Options>,
  options: Options,
  terms: readonly Term[],
  emit: Emit<NoticeEvent>,
): Promise<RunIdentity> {
  const { resume, seed, startEpoch: epoch } = options;
  if (resume === null) {
    return { terms, origin: { seed, epoch, studentInit: await fingerprintInit(method.encoder(options)) } };
  }
  using file = await openCheckpointFile(resume);
  const fail = (problem: string) => new CheckpointError(resume, problem);
  const { terms: saved, origin } = readResumeState(readTrainingCheckpoint(method.layout, file).resume, fail);
  checkTerms(resume, saved, terms, options.resumeAnyway ?? false, emit);
  return { terms, origin };
}

/** Of the weights that the encoder starts from; `null` for fresh ones. */
async function fingerprintInit(encoder: TrainedEncoder): Promise<string | null> {
  if (encoder.init === null) return null;
  using init = await openInitialCheckpoint(encoder);
  return await fingerprintWeights(init.tensors);
}

/**
 * Finds out what the trained encoder's pixels are normalised by: as the checkpoint says that it starts from or is resumed from, and
 * else by ImageNet's mean and deviation.
 */
export async function findNormalization<Options extends EncoderTrainingOptions>(
  method: TrainedBy<Options>,
  options: Options,
): Promise<Normalization> {
  if (options.resume !== null) {
    using file = await openCheckpointFile(options.resume);
    return normalizationOf(readTrainingCheckpoint(method.layout, file).input);
  }
  const encoder = method.encoder(options);
  if (encoder.init === null) return IMAGENET_NORMALIZATION;
  using init = await openInitialCheckpoint(encoder);
  return init.normalization;
}

/** The entries of an encoder. */
function stateOf({ arch, head }: TrainedEncoder): readonly StateEntry[] {
  const encoder = findEncoder(arch);
  return summarize(encoder, head, sampleSize(encoder)).state;
}

/**
 * Fails where the encoder has its head under names that {@linkcode findHead} does not know, as a plugin may: its checkpoints would
 * be read as those of an encoder without a head.
 *
 * @throws {UserError}
 */
export function requireKnownHead(encoder: TrainedEncoder): void {
  const { arch, head: { kind, dimension } } = encoder;
  if (kind === "none") return;
  const found = findHead(new Map(stateOf(encoder).map((entry) => [plainKey(entry.key), entry])));
  if (found?.kind === kind && found.dimension === dimension) return;
  throw new UserError(
    `${arch}: expected a head of kind ${kind} and ${dimension} numbers under the name fc, by which checkpoints are read, found ` +
      `${
        found === undefined ? "none" : `one of kind ${found.kind} and ${found.dimension} numbers`
      }; declare it with projectionHead(builder, "fc", features, head)`,
  );
}

/**
 * The encoder before the first step of a run that is gone on with.
 *
 * @returns `undefined` where it cannot be made again: its checkpoints do not say how it began, or the file that it started
 * from is another one, or not named
 */
export async function originalWeights(
  encoder: TrainedEncoder,
  origin: RunOrigin | undefined,
): Promise<NamedValues | undefined> {
  if (origin === undefined) return undefined;
  const state = stateOf(encoder);
  if (origin.studentInit === null) {
    return await initialWeights({ ...encoder, init: null }, origin.seed, state);
  }
  const isSame = await fingerprintInit(encoder).catch(() => null) === origin.studentInit;
  return isSame ? await initialWeights(encoder, origin.seed, state) : undefined;
}

/** The trained encoder in a checkpoint, in the form that it is evaluated in. */
export async function savedWeights(
  method: Pick<TrainedBy<never>, "layout">,
  path: string,
): Promise<NamedValues> {
  using file = await openCheckpointFile(path);
  return await weightsIn(method, file);
}

/** {@linkcode savedWeights} of a file that is open. */
export async function weightsIn(
  { layout }: Pick<TrainedBy<never>, "layout">,
  file: CheckpointFile,
): Promise<NamedValues> {
  const values: NamedValues = [];
  for (const [key, tensor] of readTrainingCheckpoint(layout, file).encoder) {
    if (!isCounter(key)) values.push([key, await tensor.read()]);
  }
  return values;
}

/**
 * Opens the checkpoint of an epoch's end, the epoch counted from 0.
 *
 * @param resume the checkpoint that a run goes on from: it, or another one of its folder, may be of that end
 * @returns `undefined` where none is, or it cannot be read
 */
export async function openAfterEpoch<Options>(
  method: TrainedBy<Options>,
  options: Options & { resume: string },
  epoch: number,
): Promise<CheckpointFile | undefined> {
  const { resume } = options;
  const others = (await listCheckpoints(dirname(resume))).filter((other) => other.epoch === epoch).reverse();
  for (const path of [resume, ...others.map(({ path }) => path)]) {
    using opened = new DisposableStack();
    try {
      const file = opened.use(await openCheckpointFile(path));
      if (!isAfterEpoch(method, options, file, epoch)) continue;
      opened.move(); // it stays open
      return file;
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error; // damaged, or of something else
    }
  }
  return undefined;
}

function isAfterEpoch<Options>(
  method: TrainedBy<Options>,
  options: Options,
  file: CheckpointFile,
  epoch: number,
): boolean {
  const saved = readTrainingCheckpoint(method.layout, file);
  const { batch } = readResumeState(saved.resume, (problem) => new CheckpointError(file.path, problem));
  return saved.arch === method.encoder(options).arch && saved.epoch === epoch + 1 && batch === 0;
}

/**
 * The beginning of a fresh run, or where the checkpoint of `--resume` left off.
 *
 * @param terms the settings of this run
 */
export async function findStart<Options extends EncoderTrainingOptions>(
  method: TrainedBy<Options>,
  options: Options,
  batchesPerEpoch: number,
  terms: readonly Term[],
): Promise<Start> {
  const { resume, seed, startEpoch } = options;
  const { layout, flags } = method;
  const encoder = method.encoder(options);
  const { head: { dimension } } = encoder;
  const { size, hasLocal } = method.queue(options);
  if (resume === null) {
    const local = hasLocal ? initializeQueue(size, dimension, seed, "small queue") : undefined;
    const queue = { keys: initializeQueue(size, dimension, seed), pointer: 0, ...local && { local } };
    return { epoch: startEpoch, batch: 0, queue };
  }
  using file = await openCheckpointFile(resume);
  const saved = readTrainingCheckpoint(layout, file);
  const fail = (problem: string) => new CheckpointError(resume, problem);
  if (saved.arch !== encoder.arch) {
    const { arch = saved.arch, imageSize } = encoderByFlags(saved.arch);
    const back = [
      ...arch === encoderByFlags(encoder.arch).arch ? [] : [`${flags.arch} ${arch}`],
      ...imageSize === undefined || imageSize === options.imageSize ? [] : [`--image-size ${imageSize}`],
    ];
    throw fail(`holds a ${saved.arch}, but ${flags.arch} is ${encoder.arch}; use ${back.join(" ")}`);
  }
  requireStem(resume, findEncoder(encoder.arch), saved.input);
  // Other shapes come of other settings, which the checkpoint may name.
  const misfit = (problem: string) => {
    const { terms: before } = readResumeState(saved.resume, fail);
    const differences = before === undefined ? [] : compareTerms(before, terms, fail);
    const essential = differences.filter(({ isEssential }) => isEssential);
    return fail(essential.length === 0 ? problem : describeOtherRun(essential));
  };
  checkEncoder(saved.encoder, encoder, "", flags, misfit);
  if (method.trainsBoth) checkEncoder(saved.beside, encoder, layout.beside, flags, misfit);
  await requireFiniteTraining(resume, saved);
  requireOptimizer(
    { ...saved, hasOptimizer: (saved.sgd ?? saved.adamw) !== undefined },
    options.optimizer,
    fail,
  );
  const { queue, queuePointer } = saved;
  if (queue === undefined || queuePointer === undefined) {
    throw fail("has no queue, so a run cannot resume from it");
  }
  if (queue.shape.length !== 2) throw fail(`has a queue of shape [${queue.shape}], not [dim, queue]`);
  if (queue.shape[0] !== dimension || queue.shape[1] !== size) {
    throw misfit(
      `has a queue of ${queue.shape[1]} keys of ${queue.shape[0]} numbers; use ${flags.queue} ${
        queue.shape[1]
      } ${flags.dimension} ${queue.shape[0]}`,
    );
  }
  const { smallQueue } = saved;
  if (hasLocal !== (smallQueue !== undefined)) {
    throw fail(
      hasLocal
        ? "has no queue of small views, which --small-views needs; resume without that flag, or start a new run"
        : "is from a run with small views; use that run's --small-views and --small-size",
    );
  }
  if (smallQueue !== undefined && smallQueue.shape.join() !== queue.shape.join()) {
    throw fail(
      `has a queue of small views of shape [${smallQueue.shape}], but the other queue is [${queue.shape}]`,
    );
  }
  const local = smallQueue && transpose(await smallQueue.read(), dimension, size);
  await checkSavedTensors(saved, fail);
  const state = readResumeState(saved.resume, fail);
  const batch = checkSameEpoch(state, options, batchesPerEpoch, fail);
  const [pointer] = await queuePointer.read();
  if (!(Number.isInteger(pointer) && pointer >= 0 && pointer < size)) {
    throw fail(`is damaged: expected a queue_ptr from 0 to ${size - 1}, found ${pointer}`);
  }
  return {
    epoch: saved.epoch,
    batch,
    extraSteps: extraStepsOf(state, saved.epoch, batchesPerEpoch, fail),
    queue: { keys: transpose(await queue.read(), dimension, size), pointer, ...local && { local } },
  };
}

/** Names the first keys that differ from the encoder that the options describe. */
function checkEncoder(
  found: ReadonlyMap<string, { shape: readonly number[] }>,
  encoder: TrainedEncoder,
  prefix: string,
  flags: FlagsOfEncoder,
  fail: Fail,
): void {
  const differing = stateOf(encoder).filter(({ key, kind, shape }) =>
    kind !== "counter" && found.get(key)?.shape.join() !== shape.join()
  ).map(({ key, shape }) =>
    `${prefix}${key} is ${found.has(key) ? `[${found.get(key)!.shape}]` : "missing"}, not [${shape}]`
  );
  if (differing.length === 0) return;
  const shown = differing.slice(0, 4).join("; ") +
    (differing.length > 4 ? `; and ${differing.length - 4} more` : "");
  const { arch, head, dimension } = flags;
  throw fail(
    `does not fit the encoder that the flags describe: ${shown}. Check ${arch}, ${head} and ${dimension}`,
  );
}
