/** What commands that train have in common: a folder that is locked, a run that is shown and recorded, and how it ends. */
import { relative } from "node:path";
import type { TrainingEvents } from "../../actors/events.ts";
import { StoppedByRank } from "../../actors/ranks/ranks.ts";
import type { World } from "../../actors/ranks/world.ts";
import type { Run } from "../../actors/run.ts";
import { StoppedError } from "../../actors/stopped_error.ts";
import { RELAUNCH_PATIENCE_MS } from "../../data/folder_lock.ts";
import { counted } from "../../data/printable.ts";
import { describeAdapter } from "../../kernels/gpu.ts";
import type { Tuning } from "../../kernels/tuning/tuning.ts";
import type { OutputSettings } from "../../methods/method.ts";
import { isIn } from "../../methods/output_folder.ts";
import { findCheckpointToResume } from "../../methods/resume_auto.ts";
import type { PlannedKnn } from "../../methods/encoder_training/events.ts";
import { NothingToDoError } from "../../methods/nothing_to_do.ts";
import { removeLeftovers } from "../../models/checkpoint/run_checkpoints.ts";
import type { RunFigure, RunRecord, ScoreRow } from "../../ui/records.ts";
import type { RunChoices } from "../flags/run_flags.ts";
import { OutputFolder, SUPERSEDED_SCORES } from "../output/output_folder.ts";
import { describeStart, gatherFacts, type RankFacts } from "../output/rank_facts.ts";
import { type RankEvent, RankFiles } from "../output/rank_files.ts";
import { RankRate } from "../output/rank_rate.ts";
import { readStartsBefore } from "../output/run_so_far.ts";
import { endOf, type RecordedInput, type RunEnd, type RunRecorder } from "../output/run_recorder.ts";
import { findTuning } from "../output/run_tuning.ts";
import { EventWriter } from "../output/tensorboard/event_writer.ts";
import { watchRun } from "../output/watched_run.ts";
import { formatDuration } from "../terminal/duration.ts";
import {
  asInterrupted,
  howToGoOn,
  Interrupted,
  interruptSignal,
  type ResumeFlags,
  sayOnLine,
} from "../terminal/interrupt.ts";
import type { RunConsole } from "../terminal/run_console.ts";
import { reportError } from "../terminal/run_main.ts";
import type { ExpectedEvaluations } from "../terminal/time_left.ts";

/** What a run will be. */
interface Plan {
  /** Images of an epoch. */
  images: number;
  stepsPerEpoch: number;
  /** Steps that epochs of another batch size had more, or fewer if below 0. */
  extraSteps?: number;
  /** Steps of the whole run. */
  totalSteps: number;
  /** Steps done before. */
  firstStep: number;
  /** Images of an evaluation by kNN, `null` where there is none; left out where the run makes others. */
  knn?: PlannedKnn | null;
}

/** The same for a record. */
function recordOf(
  { images, stepsPerEpoch, extraSteps = 0, totalSteps, firstStep, knn }: Plan,
  epochs: number,
): NonNullable<RunRecord["plan"]> {
  return {
    ...{ images, steps_per_epoch: stepsPerEpoch, total_steps: totalSteps, first_step: firstStep, epochs },
    ...extraSteps !== 0 && { extra_steps: extraSteps },
    ...knn === null && { knn },
    ...knn && { knn: { bank: knn.bank, queries: knn.queries, held_out: knn.heldOut } },
  };
}

/** Where a run is shown and recorded. */
export interface Stage {
  folder: OutputFolder;
  shown: RunConsole;
  recorder: RunRecorder;
  /** Name of the adapter. */
  adapter: string;
  /** Returns nothing where no event file is asked for, or none can be written. */
  openEventFile(): EventWriter | undefined;
  /** The run begins: records its settings, by their names in the library, and how many ranks it has. */
  recordSettings(config: object): void;
  /** Works on the event file; a failure is a warning. */
  tensorBoard<T>(work: () => T): T | undefined;
  /**
   * Records what the run will be, and begins to show its steps. Of a run that goes on in its folder, rows of the steps to come are
   * dropped; before any other one, all rows are.
   *
   * @param earlier tells which scores of steps up to the first one are made again too, and which ones are set aside, as those to come
   * are not to be compared with them
   */
  begin(
    plan: Plan,
    how: { printFreq: number; evaluations: ExpectedEvaluations },
    earlier: { isRepeated?(row: ScoreRow): boolean; isSuperseded?(row: ScoreRow): boolean },
  ): void;
  /**
   * Records what an evaluation of a checkpoint will be, which has no steps of its own. Rows of an earlier use of the folder are
   * dropped.
   *
   * @param epochs that the checkpoint has
   */
  beginEvaluation(plan: Omit<Plan, "totalSteps">, epochs: number): void;
  /** Keeps an evaluation, a row for each classifier, and tells programs of it. */
  score(rows: readonly ScoreRow[], event: object): void;
  /** Path of a file as it is shown: from the output folder on. */
  nameOf(path: string): string;
  /** Shows what runs of every method tell. */
  tell(event: TrainingEvents): void;
}

/** Prints a warning of before a run is shown. */
export function printWarning(text: string): void {
  console.error(`warning: ${text}`);
}

/** How long a run took, in seconds. */
export interface Took {
  /** Since it was started. */
  seconds: number;
  /** With its earlier starts, where it was resumed and they are known. */
  secondsInAll?: number;
}

/** `--resume auto`: the checkpoint that a run goes on from, of a folder that nobody else writes to. */
export async function findNewest(
  output: string,
  method: { checkResume(checkpoint: string): Promise<void> },
): Promise<Resumed> {
  return { resume: await findCheckpointToResume(output, method, printWarning) };
}

/** Who reads the images, and where they are kept decoded. */
export function describeReaders({ workers }: { workers: number }, { cache }: { cache: string }): string[] {
  const readers = counted(workers, "Worker");
  const cores = counted(navigator.hardwareConcurrency, "core");
  return [`readers   ${readers} for ${cores}`, `cache     ${cache}`];
}

/** Words and figures of that. */
export function describeTime({ seconds, secondsInAll }: Took): string {
  return formatDuration(seconds) +
    (secondsInAll === undefined ? "" : ` since resuming, ${formatDuration(secondsInAll)} in all`);
}

/** The same for a record: of the whole run, and of its last start where that is not all. */
export function timesOf({ seconds, secondsInAll }: Took): RunFigure[] {
  const unit = "s";
  if (secondsInAll === undefined) return [{ name: "time", value: seconds, unit }];
  return [{ name: "time", value: secondsInAll, unit }, {
    name: "time since resuming",
    value: seconds,
    unit,
  }];
}

/** Options that are known when the checkpoint to go on from is. */
export interface Resumed {
  resume: string | null;
  /** Where the checkpoint is the encoder's too. */
  pretrained?: string | null;
}

/** A command line that trains. */
export interface Training<Event, Result, Before> {
  task: string;
  /** The processes that train together; one does where it is left out. */
  world?: World;
  options: {
    output: string;
    resume: string | null;
    tuning?: Tuning | null;
    epochs: number;
    batchSize: number;
    /** Whether `resume` is only evaluated. */
    evaluate?: boolean;
  };
  command: RunChoices & { resumesIfThere: boolean; resumeFlags: ResumeFlags; warnings: readonly string[] };
  /** What the run reads, for its record. */
  inputs(): readonly RecordedInput[];
  /**
   * `--resume auto`: finds the checkpoint that the run goes on from, and what follows from it. Called when the folder is locked: a
   * run that is just ending writes its last one before that.
   */
  findStart?(): Promise<Resumed>;
  /** The message that a step is, where the run may be profiled. */
  step?: { actor: string; message: string };
  /** Reads what is known of the run that is gone on with, when its folder is locked. */
  before(): Promise<Before>;
  run(settings: OutputSettings & { signal: AbortSignal }, before: Before): Run<Event, Result>;
  show(stage: Stage, before: Before): View<Event, Result>;
}

/** What is made of a run's events for people. */
export interface View<Event, Result> {
  take(event: Event): void;
  /** Ends what is being done for the event file. */
  settle?(): Promise<void>;
  /** Comes when all else is written. */
  conclude?(): Promise<void>;
  /** What came of it, for its record. */
  figures(result: Result, took: Took): RunFigure[];
  /** Lines to be shown after the last step. */
  describe(result: Result, took: Took): string[];
}

/**
 * Trains, shows that, and records it.
 *
 * @throws {Interrupted} where a signal ended the run
 * @throws {UserError} for what it reads or writes
 */
export async function train<Event extends { type: string }, Result extends object, Before>(
  training: Training<Event, Result, Before>,
): Promise<void> {
  if (training.world === undefined || training.world.rank === 0) await lead(training);
  else await follow(training, training.world);
}

/** Has the first rank find something out, where there are several, and returns it. */
export async function shared<T>(world: World | undefined, make: () => Promise<T>): Promise<T> {
  return world === undefined ? await make() : await world.share(make);
}

/**
 * Has all ranks begin one run: its folder is the first one's, which has opened it, and so is what it resumes from.
 *
 * @param readBefore is called by the first one
 * @param isKept whether the folder stays as it is, as the first one knows
 * @param resumed what the first one has found to go on from
 */
async function beginTogether<Before>(
  world: World,
  options: { output: string },
  readBefore: () => Promise<Before>,
  isKept = false,
  resumed?: Resumed,
): Promise<{ before: Before; isKept: boolean; ranks: RankFacts[] }> {
  const { output } = options;
  const shared = await world.share(async () => ({ output, isKept, resumed, before: await readBefore() }));
  // Without --output its name is the time.
  Object.assign(options, { output: shared.output, ...shared.resumed });
  return { before: shared.before, isKept: shared.isKept, ranks: await gatherFacts(world) };
}

/** Trains as one of the ranks beside the first, which write only what is theirs. */
async function follow<Event extends { type: string }, Result extends object, Before>(
  { options, command, run, before: readBefore, step }: Training<Event, Result, Before>,
  world: World,
): Promise<void> {
  using interrupt = interruptSignal(() => {});
  const { before, isKept, ranks } = await beginTogether(world, options, readBefore);
  if (command.tune) options.tuning = await world.share<Tuning | null>(() => null);
  const { output, batchSize } = options;
  const facts = ranks[world.rank];
  using files = new RankFiles({ output, isKept, batchSize, ranks: world, facts, step, warn: printWarning });
  let how: RunEnd["status"] = "finished";
  try {
    await using running = run({ signal: interrupt.signal, ranks: world.settings }, before);
    for await (const event of running) {
      world.hasStepped ||= event.type === "step";
      files.take(event as { type: string } as RankEvent);
    }
    await running.result;
  } catch (caught) {
    const error = caught instanceof StoppedError ? caught.cause : caught;
    if (error instanceof NothingToDoError && command.resumesIfThere) return;
    how = error instanceof StoppedByRank || error instanceof Interrupted ? "interrupted" : "failed";
    if (how === "failed") files.log(reportError(error).text);
    throw error;
  } finally {
    await files.finish(how);
  }
}

/** Trains alone, or as the first rank. */
async function lead<Event extends { type: string }, Result extends object, Before>(
  { task, options, command, world, ...training }: Training<Event, Result, Before>,
): Promise<void> {
  const resume = command.resumesIfThere ? "auto" : options.resume;
  const { name: adapter } = await describeAdapter();
  const { evaluate = false } = options;
  // Another run that was started in the same second has the same name.
  using folder = command.resumeFlags.namesOutput
    ? OutputFolder.open(options.output, resume, world && RELAUNCH_PATIENCE_MS, evaluate)
    : OutputFolder.openNew(options.output);
  options.output = folder.path;
  if (resume !== null && !evaluate) await removeLeftovers(options.output);
  const resumed = await training.findStart?.();
  Object.assign(options, resumed);
  const goesOnHere = options.resume !== null && isIn(options.output, options.resume);
  const start = world && await beginTogether(world, options, training.before, folder.isKept, resumed);
  const before = start === undefined ? await training.before() : start.before;
  using interrupt = interruptSignal((line) => {
    sayOnLine(line);
    try {
      folder.log(line);
    } catch {
      // The run ends with that error: folder.failed.
    }
  }, world?.stopped);
  const started = performance.now();
  // An evaluation takes its own time, not that of the training before it.
  const startsBefore = evaluate ? undefined : await readStartsBefore(task, options.resume);
  const elapsed = (): Took => {
    const seconds = (performance.now() - started) / 1000;
    return { seconds, ...startsBefore && { secondsInAll: seconds + startsBefore.seconds } };
  };
  const rate = start && world &&
    new RankRate(
      { rank: world.rank, size: world.size, host: start.ranks[0].host, adapter },
      options.batchSize,
    );
  const inputs = training.inputs();
  const facts = { task, args: Deno.args, adapter, inputs, started, before: startsBefore };
  const rerun = evaluate ? undefined : howToGoOn(folder.path, command.resumeFlags);
  await using watched = await watchRun(
    folder,
    { ...command, howToGoOn: rerun },
    { ...facts, rank: rate && (() => rate.record()) },
  );
  const { shown, recorder } = watched;
  if (start !== undefined) {
    const { lines, warnings } = describeStart(start.ranks);
    for (const line of lines) shown.say(line);
    for (const warning of warnings) shown.warn(warning);
  }
  using files = new DisposableStack();
  const tensorBoard = <T>(work: () => T) => shown.effort.attempt("the TensorBoard event file", work);
  const view = training.show({
    ...{ folder, shown, recorder, adapter, tensorBoard },
    openEventFile() {
      if (command.tensorboard) return tensorBoard(() => files.use(new EventWriter(options.output)));
    },
    recordSettings(config) {
      const ranks = world?.size ?? 1;
      folder.begin({ ...config, ...ranks > 1 && { ranks } }, options.tuning);
    },
    nameOf: (path) => relative(options.output, path),
    score(rows, event) {
      for (const row of rows) recorder.score(row);
      shown.tell("evaluation", event);
    },
    begin(facts, { printFreq, evaluations }, { isRepeated, isSuperseded }) {
      const { epochs, batchSize } = options;
      const { firstStep, stepsPerEpoch, extraSteps = 0 } = facts;
      recorder.plan(recordOf(facts, epochs));
      const firstEpoch = Math.floor((firstStep - extraSteps) / stepsPerEpoch);
      if (goesOnHere && isSuperseded !== undefined && folder.setScoresAside(isSuperseded) > 0) {
        shown.say(
          `accuracies so far may be of other images or settings; they are now in ${SUPERSEDED_SCORES}`,
        );
      }
      if (goesOnHere) folder.dropMetricsFrom(firstEpoch, firstStep, isRepeated);
      else folder.dropRows();
      shown.start({ ...facts, epochs, batchSize, printFreq, evaluations });
    },
    beginEvaluation(facts, epochs) {
      recorder.plan(recordOf({ ...facts, totalSteps: facts.firstStep }, epochs));
      folder.dropRows();
    },
    tell(event) {
      if (event.type === "actors") recorder.actors(event.actors);
      else if (event.type === "warning") shown.warn(event.text);
      else if (event.type === "progress") shown.progress(event);
      else if (event.type === "checkpoint") {
        shown.tell(event.type, event);
        shown.show(`checkpoint saved to ${relative(options.output, event.path)}`);
      } else shown.say(event.text);
    },
  }, before);

  let result: Result;
  let end: RunEnd = { status: "failed" };
  /** What programs are told of a run without a result. */
  let ending: RunEnd | undefined;
  let report: string | undefined;
  try {
    if (command.tune) options.tuning = await shared(world, () => findTuning(options, shown));
    // Where what it must write cannot be written, it is stopped, and saves what it has.
    const signal = AbortSignal.any([interrupt.signal, folder.failed]);
    await using run = training.run({ signal, lock: folder.lock, ranks: world?.settings }, before);
    for await (const event of run) {
      if (event.type === "step") rate?.step();
      view.take(event);
    }
    result = await run.result;
    shown.effort.endRun();
    end = { status: "finished", results: view.figures(result, elapsed()) };
  } catch (caught) {
    shown.effort.endRun();
    const error = caught instanceof StoppedError ? caught.cause : caught;
    // A command line that serves a run until its end may be started once more.
    if (error instanceof NothingToDoError && command.resumesIfThere) {
      shown.notice(error.message);
      ending = { status: "finished" };
      return;
    }
    const noted = asInterrupted(error);
    watched.noteError(noted);
    end = ending = endOf(noted);
    throw error;
  } finally {
    await view.settle?.();
    await shown.stop();
    report = await recorder.finish(end);
    await view.conclude?.();
    if (ending !== undefined) shown.tell("end", ending); // a program waits for a last line
  }
  const took = elapsed();
  for (const line of view.describe(result, took)) shown.report(line);
  if (report !== undefined) {
    shown.tell("report", { path: report });
    shown.report(`report    ${relative(options.output, report)}`);
  }
  shown.tell("result", { ...result, ...took });
}
