/**
 * SEED (Self-supervised Distillation for Visual Representation, ICLR 2021) as a system of actors on the GPU.
 *
 * A big, frozen, self-supervised teacher teaches a small student without labels. {@linkcode distill} runs the whole of
 * it, {@linkcode linearProbe} and {@linkcode knn} judge what it learnt, {@linkcode embed} uses it; the actors, their
 * messages and the runtime they live in are exported for programs that wire their own.
 *
 * ```ts ignore
 * import { distill, sampleOptions } from "@seed/distillation";
 *
 * await using run = distill(sampleOptions({ output: "output/mine", epochs: 1 }));
 * for await (const event of run) if (event.type === "step") console.log(event.step, event.loss);
 * console.log((await run.result).knn);
 * ```
 *
 * @module
 */

export { tuneAdapter, type TuneOptions } from "./actors/adapter_tuning.ts";
export type { DistillPlan, DistillResult, DistillStep, RunSoFar } from "./actors/distillation.ts";
export type {
  LinearEpoch,
  LinearPlan,
  LinearResult,
  LinearScore,
  LinearStep,
} from "./actors/linear_evaluation.ts";
export { KNN_DEFAULTS, type KnnOptions, type KnnPlan } from "./actors/knn_evaluation.ts";
export type { EvaluationSettings, GallerySettings, KnnSettings } from "./actors/evaluation.ts";
export type { GalleryPictures, SurveyReport } from "./actors/insight.ts";
export type { QueueView, SimilarityPicture } from "./models/similarity_picture.ts";
export {
  EMBED_DEFAULTS,
  type EmbeddedRows,
  type EmbeddingOptions,
  type EmbeddingResult,
  type Neighbours,
} from "./actors/embedding.ts";
export { Run, type RunSettings } from "./actors/run.ts";
export {
  distill,
  type DistillEvent,
  type DistillInput,
  type DistillSettings,
  embed,
  type EmbedEvent,
  type EmbedInput,
  EmbedRun,
  knn,
  type KnnEvent,
  type KnnInput,
  type LinearEvent,
  type LinearInput,
  linearProbe,
  type LinearSettings,
  type NoticeEvent,
  type OutputSettings,
} from "./actors/runs.ts";
export type { EncoderChoice } from "./actors/feature_encoder.ts";
export {
  type EncoderRole,
  LINEAR_DEFAULTS,
  LINEAR_SAMPLE_DEFAULTS,
  type LinearDefaults,
  type LinearOptions,
} from "./actors/linear_options.ts";
export type { DistillOptions, SaveInterval, TeacherSsl } from "./actors/options.ts";
export { NothingToDoError, type WarningEvents } from "./actors/recipe.ts";
export {
  type ActorShare,
  chromeTrace,
  type RunProfile,
  sharesOf,
  type TraceEvent,
} from "./actors/run_profile.ts";
export {
  type Defaults,
  PAPER_DEFAULTS,
  type Recipe,
  RECIPES,
  SAMPLE_DEFAULTS,
  sampleOptions,
} from "./actors/defaults.ts";
export {
  type ActorCatalog,
  type ActorModules,
  type ActorRole,
  actorUrl,
  spawnActor,
} from "./actors/catalog.ts";
export type { EvaluationResize, EvaluationResizeChoice } from "./actors/evaluation_resize.ts";
export type { AugmenterConfig, Views } from "./actors/augmenter.ts";
export type { EvaluatorConfig } from "./actors/evaluator.ts";
export type { FeatureEncoderConfig } from "./actors/feature_encoder.ts";
export type { LinearTrainerConfig } from "./actors/linear_trainer.ts";
export type { QueueKeeperConfig } from "./actors/queue_keeper.ts";
export type { RunIdentity } from "./actors/run_terms.ts";
export type { RunOrigin } from "./models/checkpoint/resume_state.ts";
export type { Term, TermValue } from "./models/checkpoint/run_terms.ts";
export type { StudentTrainerConfig } from "./actors/student_trainer.ts";
export type { TeacherEncoderConfig } from "./actors/teacher_encoder.ts";
export {
  EVALUATION_ORDER,
  type ReadingOrder,
  TRAINING_ORDER,
  type TsvReaderConfig,
} from "./actors/tsv_reader.ts";
export type { BatchNumber } from "./actors/batch_number.ts";
export type * from "./actors/messages.ts";
export * from "./actors/runtime/mod.ts";
export { FolderIdentity, FolderLostError } from "./data/folder_identity.ts";
export { FolderLock } from "./data/folder_lock.ts";
export { BrokenRowError, type Dataset, type DatasetRow, type DatasetRows } from "./data/dataset.ts";
export {
  BrokenImageError,
  decodeImage,
  type DecodeOptions,
  decodeUnwritten,
  type Picture,
  type UnwrittenPicture,
} from "./data/decode.ts";
export type { LineIndexOptions } from "./data/line_index.ts";
export {
  type DatasetOptions,
  findDataset,
  openDataset,
  resolveDataset,
  type Split,
} from "./data/open_dataset.ts";
export { type PackablePicture, type PackedPictures, packPictures } from "./data/pack.ts";
export { SAMPLE_DATA, SAMPLE_TEACHER } from "./data/sample.ts";
export { UserError } from "./errors.ts";
export type { LossScale } from "./kernels/ops/loss_scale/loss_scale.ts";
export type { KernelTime } from "./kernels/profiler.ts";
export type { Work } from "./kernels/schedule.ts";
export type { SmallViewOptions } from "./models/student_step.ts";
export type { ProductFamily, ProductKind, Tile, TileChoice, Tuning } from "./kernels/tuning/tuning.ts";
