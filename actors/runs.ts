/** The library's way in: what the command line does, for programs. Every option has the command line's default. */
import { FolderLock } from "../data/folder_lock.ts";
import { findDataset, resolveDataset } from "../data/open_dataset.ts";
import { openEncoderSource } from "../models/encoder_source.ts";
import { resolveTeacher } from "../models/teacher.ts";
import { PAPER_DEFAULTS } from "./defaults.ts";
import {
  type DistillPlan,
  type DistillResult,
  type DistillStep,
  runDistillation,
  type RunSoFar,
} from "./distillation.ts";
import {
  EMBED_DEFAULTS,
  type EmbeddedRows,
  type EmbeddingOptions,
  type EmbeddingResult,
  runEmbedding,
} from "./embedding.ts";
import { KNN_DEFAULTS, type KnnOptions, type KnnPlan, runKnnEvaluation } from "./knn_evaluation.ts";
import {
  type LinearEpoch,
  type LinearPlan,
  type LinearResult,
  type LinearStep,
  runLinearEvaluation,
} from "./linear_evaluation.ts";
import { LINEAR_DEFAULTS, type LinearOptions } from "./linear_options.ts";
import type { EvaluationResize } from "./evaluation_resize.ts";
import type { GalleryPictures, SurveyReport } from "./insight.ts";
import type { Accuracy, EvaluatedEncoder, TrainingLook, ViewSample } from "./messages.ts";
import type { DistillOptions } from "./options.ts";
import type { RunProfile } from "./run_profile.ts";
import { importPlugins } from "./plugins.ts";
import { Run, type RunSettings } from "./run.ts";
import type { ActorSystem, TraceSpan } from "./runtime/mod.ts";

/** What every run may tell. */
export type NoticeEvent =
  /** Something a person should know. */
  | { type: "note"; text: string }
  /** Something is not as expected, and the run goes on. */
  | { type: "warning"; text: string };

/** What a distillation tells. */
export type DistillEvent =
  | NoticeEvent
  /** The files are open and fit each other; actors start now. */
  | ({ type: "plan" } & DistillPlan)
  /** The actors are spawned; they are the run's own, and may be asked for their `stats()`. */
  | { type: "actors"; actors: ActorSystem["actors"] }
  /** A step is done. */
  | ({ type: "step" } & DistillStep)
  /** Some views of the first batch. */
  | ({ type: "views" } & ViewSample)
  /** A look into a step: views, and what teacher and student make of the queue. */
  | ({ type: "look"; step: number } & TrainingLook)
  /** The pictures that teacher and student are compared by. */
  | ({ type: "gallery" } & GalleryPictures)
  /** What one of them finds alike in the gallery. */
  | ({ type: "survey" } & SurveyReport)
  /** Somebody was judged; `step` says for how many steps the student had been trained. */
  | ({ type: "knn"; of: "teacher" | "student"; step: number } & Accuracy)
  /** What an actor did, some of it at a time; where this is asked for. */
  | { type: "trace"; actor: string; spans: readonly TraceSpan[] }
  /** Where the time went; where this is asked for. */
  | ({ type: "profile" } & RunProfile);

/** Where a distillation's pictures and teacher are and its files go; all else has a default. */
export type DistillInput = Pick<DistillOptions, "data" | "distill" | "output"> & Partial<DistillOptions>;

/** {@linkcode RunSettings} of a run that writes to a folder. */
export interface OutputSettings extends RunSettings {
  /** The caller's hold on the output folder; the run takes the folder itself where this is left out. */
  lock?: FolderLock;
}

/**
 * Makes the output folder and does the work of a run that writes to it: no other run may, and the run ends as soon as the
 * folder is removed, moved or replaced.
 *
 * @throws {FolderLostError}
 */
async function inOutputFolder<T>(
  output: string,
  caller: FolderLock | undefined,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (caller === undefined) await Deno.mkdir(output, { recursive: true });
  using own = caller === undefined ? FolderLock.take(output) : undefined;
  const { identity } = (caller ?? own)!;
  using lost = identity.watch();
  const result = await work(AbortSignal.any([signal, lost.signal]));
  identity.check();
  return result;
}

/** {@linkcode OutputSettings} of a distillation. */
export interface DistillSettings extends OutputSettings {
  /** Trace all actors, and measure every kernel at the end. */
  profile?: boolean;
  /** Tell of every message that an actor handles, and of what it waits for. */
  trace?: boolean;
  /** What is known of the run that `resume` goes on with; what its records do not say is found out again. */
  soFar?: RunSoFar;
}

/** {@linkcode OutputSettings} of a linear evaluation. */
export interface LinearSettings extends OutputSettings {
  /** Whether the one that `resume` goes on with has not come to its end; where only that is missing, it is made up for. */
  isUnfinished?: boolean;
}

/** The options with everything that was left out: by the files, and else by {@linkcode PAPER_DEFAULTS}. */
async function resolveDistillInput(input: DistillInput): Promise<DistillOptions> {
  const teacher = await resolveTeacher(input.distill, {
    arch: input.teacherArch ?? null,
    ssl: input.teacherSsl ?? null,
  });
  return {
    ...PAPER_DEFAULTS,
    resume: null,
    studentInit: null,
    saveEvery: null,
    limitSteps: null,
    tuning: null,
    ...input,
    testData: input.testData === undefined ? await findDataset(input.data, "test") ?? null : input.testData,
    teacherArch: teacher.arch,
    teacherSsl: teacher.ssl,
  };
}

/**
 * Distils a teacher into a student. A run that is stopped saves a checkpoint of where training is.
 *
 * @throws {FolderLostError} in the run's result, where the output folder is removed, moved or replaced
 * @throws {UserError} in the run's result, for data and checkpoints that cannot be used
 * @throws {ActorCrash} there, when an actor fails more often than `maxRestarts` allows
 */
export function distill(
  input: DistillInput,
  { profile = false, trace = false, lock, soFar, ...settings }: DistillSettings = {},
): Run<DistillEvent, DistillResult> {
  return new Run(async (tell, signal) => {
    await importPlugins(input.plugins);
    const options = await resolveDistillInput(input);
    return await inOutputFolder(options.output, lock, signal, (signal) =>
      runDistillation(
        options,
        {
          onPlan: (plan) => tell({ type: "plan", ...plan }),
          onActors: (actors) => tell({ type: "actors", actors }),
          onStep: (report) => tell({ type: "step", ...report }),
          onViews: (views) => tell({ type: "views", ...views }),
          onKnn: (report) => tell({ type: "knn", ...report }),
          onLook: (look) => tell({ type: "look", ...look }),
          onGallery: (gallery) => tell({ type: "gallery", ...gallery }),
          onSurvey: (report) => tell({ type: "survey", ...report }),
          ...trace && {
            onTrace: (actor: string, spans: readonly TraceSpan[]) => tell({ type: "trace", actor, spans }),
          },
          ...profile && { onProfile: (found: RunProfile) => tell({ type: "profile", ...found }) },
          onNote: (text) => tell({ type: "note", text }),
          onWarning: (text) => tell({ type: "warning", text }),
        },
        signal,
        soFar,
      ));
  }, settings);
}

/** What a linear evaluation tells. */
export type LinearEvent =
  | NoticeEvent
  /** The files are open and fit each other; actors start now. */
  | ({ type: "plan" } & LinearPlan)
  /** The actors are spawned, once more after a crash. */
  | { type: "actors"; actors: ActorSystem["actors"] }
  /** A step is done. */
  | ({ type: "step" } & LinearStep)
  /** An epoch is done, and the test pictures are classified. */
  | ({ type: "epoch" } & LinearEpoch);

/** The encoder, where its pictures are and its files go; all else has a default. */
export type LinearInput =
  & Pick<LinearOptions, "pretrained" | "trainData" | "testData" | "output">
  & Partial<LinearOptions>;

/**
 * Judges an encoder by linear classifiers on its frozen features. A run that is stopped saves a checkpoint of the last
 * whole epoch.
 *
 * @throws {UserError} in the run's result, for data and checkpoints that cannot be used
 */
export function linearProbe(
  input: LinearInput,
  { lock, isUnfinished, ...settings }: LinearSettings = {},
): Run<LinearEvent, LinearResult> {
  return new Run(async (tell, signal) => {
    await importPlugins(input.plugins);
    const which = input.which ?? "student";
    const arch = await archOf(input.pretrained, input.arch, which);
    const options = {
      ...LINEAR_DEFAULTS,
      resume: null,
      evaluate: false,
      classes: null,
      ...input,
      which,
      arch,
    };
    return await inOutputFolder(options.output, lock, signal, (signal) =>
      runLinearEvaluation(
        options,
        {
          onPlan: (plan) => tell({ type: "plan", ...plan }),
          onActors: (actors) => tell({ type: "actors", actors }),
          onStep: (report) => tell({ type: "step", ...report }),
          onEpoch: (epoch) => tell({ type: "epoch", ...epoch }),
          onNote: (text) => tell({ type: "note", text }),
          onWarning: (text) => tell({ type: "warning", text }),
        },
        signal,
        isUnfinished,
      ));
  }, settings);
}

/** Name of the encoder in a checkpoint. */
async function archOf(
  path: string | null,
  arch: string | undefined,
  which: LinearOptions["which"],
): Promise<string> {
  if (path === null) {
    if (arch === undefined) {
      throw new TypeError("without a checkpoint the name of an encoder is needed: arch");
    }
    return arch;
  }
  using source = await openEncoderSource(path, { arch, which, part: "backbone" });
  return source.encoder.name;
}

/** What a kNN evaluation tells. */
export type KnnEvent =
  | NoticeEvent
  /** The files are open; actors start now. */
  | ({ type: "plan" } & KnnPlan);

/** The encoder and the pictures; all else has a default. */
export type KnnInput =
  & { encoder: EvaluatedEncoder }
  & Pick<KnnOptions, "bankData" | "queryData">
  & Partial<KnnOptions>;

/**
 * Judges an encoder by the nearest neighbours of its pooled features. The result has one accuracy a number of neighbours.
 *
 * @throws {UserError} in the run's result, for data and checkpoints that cannot be used
 */
export function knn({ encoder, ...input }: KnnInput, settings?: RunSettings): Run<KnnEvent, Accuracy[]> {
  return new Run(async (tell, signal) => {
    await importPlugins(input.plugins);
    return await runKnnEvaluation(encoder, { ...KNN_DEFAULTS, ...input }, {
      onPlan: (plan) => tell({ type: "plan", ...plan }),
      onWarning: (text) => tell({ type: "warning", text }),
    }, signal);
  }, settings);
}

/** What an embedding tells. */
export type EmbedEvent =
  | NoticeEvent
  /** The data is open. */
  | { type: "plan"; pictures: number; evalResize: EvaluationResize }
  /** The actors are spawned, once more after a crash. */
  | { type: "actors"; actors: ActorSystem["actors"] }
  /** More pictures are embedded, in the order of their rows. */
  | ({ type: "rows" } & EmbeddedRows);

/** The checkpoint of an encoder, and pictures; all else has a default. */
export type EmbedInput =
  & { pretrained: string; which?: LinearOptions["which"]; arch?: string }
  & Pick<EmbeddingOptions, "data">
  & Partial<Omit<EmbeddingOptions, "encoder" | "dimension">>;

/** An embedding under way. */
export class EmbedRun extends Run<EmbedEvent, EmbeddingResult> {
  /** The embedded rows from now on. */
  rows(): ReadableStream<EmbeddedRows> {
    return this.stream().pipeThrough(
      new TransformStream<EmbedEvent, EmbeddedRows>({
        transform(event, controller) {
          if (event.type === "rows") controller.enqueue(event);
        },
      }),
    );
  }
}

/**
 * Embeds every picture of some data.
 *
 * @throws {UserError} in the run's result, for data and checkpoints that cannot be used
 */
export function embed({ pretrained, which, arch, ...input }: EmbedInput, settings?: RunSettings): EmbedRun {
  return new EmbedRun(async (tell, signal) => {
    await importPlugins(input.plugins);
    const data = await resolveDataset(input.data, "train");
    const output = input.output ?? EMBED_DEFAULTS.output;
    const part = output === "feature" ? "backbone" : "encoder";
    using source = await openEncoderSource(pretrained, { arch, which, part });
    const dimension = output === "feature" ? source.encoder.features : source.head.dimension;
    const encoder = { path: pretrained, arch: source.encoder.name, which };
    return await runEmbedding({ ...EMBED_DEFAULTS, ...input, output, data, dimension, encoder }, {
      onPlan: (plan) => tell({ type: "plan", ...plan }),
      onActors: (actors) => tell({ type: "actors", actors }),
      onRows: (rows) => tell({ type: "rows", ...rows }),
      onWarning: (text) => tell({ type: "warning", text }),
    }, signal);
  }, settings);
}
