/**
 * SEED (Self-supervised Distillation for Visual Representation, ICLR 2021) as a system of actors on the GPU.
 *
 * A large, frozen, self-supervised teacher trains a small student without labels. {@linkcode distill} runs the
 * distillation, {@linkcode linearProbe} and {@linkcode knn} evaluate the student, and {@linkcode embed} computes
 * embeddings. The actors, their messages and the actor runtime are exported for programs that build their own
 * pipelines.
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
export type { AugmenterConfig, Views } from "./actors/augmenter.ts";
export type { BatchNumber, StepCount } from "./actors/batch_number.ts";
export type { ActorModules, ActorRole } from "./actors/catalog.ts";
export type { NeighboursReport, ProbeSet, ProbeSetEvents } from "./actors/diagnostics.ts";
export type { EncoderConfig } from "./actors/encoder.ts";
export { type ImageCacheOptions, ImageCaches } from "./actors/image_caches.ts";
export type { EvaluationSettings, KnnSettings, ProbeSetSettings } from "./actors/evaluation.ts";
export type { EvaluationResize, EvaluationResizeChoice } from "./actors/evaluation_resize.ts";
export type { EvaluationWatcher, EvaluatorConfig } from "./actors/evaluator.ts";
export type { GradientExchangeConfig } from "./actors/gradient_exchange.ts";
export type { RankPeers } from "./actors/ranks/peers.ts";
export type { GradientCompression, Ranks, RankSettings, Share } from "./actors/ranks/ranks.ts";
export type * from "./actors/events.ts";
export type { EncoderChoice } from "./actors/load_encoder.ts";
export type * from "./actors/messages.ts";
export { labelsOf, rowsOf } from "./actors/labelled_features.ts";
export { Run, type RunSettings } from "./actors/run.ts";
export { StoppedError } from "./actors/stopped_error.ts";
export {
  type ActorShare,
  chromeTrace,
  type KernelShare,
  kernelShares,
  type RunProfile,
  sharesOf,
  type TraceEvent,
  worstKernels,
} from "./actors/run_profile.ts";
export type { SpanTotals } from "./actors/span_totals.ts";
export type { Ceilings } from "./kernels/ceilings.ts";
export {
  type BufferBytes,
  EVALUATION_ORDER,
  makeBuffers,
  type ReadingOrder,
  TRAINING_ORDER,
  type TsvReaderConfig,
} from "./actors/tsv_reader.ts";
export { type ActorCatalog, actorUrl, spawnActor } from "./methods/catalog.ts";
export {
  EMBED_DEFAULTS,
  type EmbeddedRows,
  type EmbeddingOptions,
  type EmbeddingResult,
  type EmbedEvent,
  type Neighbours,
} from "./methods/embedding.ts";
export type { AskedViews } from "./methods/encoder_views.ts";
export type { BatchResult, ClassificationScore } from "./methods/classification.ts";
export type { FinetuneProgress } from "./methods/finetune/checkpoint.ts";
export type {
  FinetuneActorEvent,
  FinetuneEpoch,
  FinetuneEvent,
  FinetunePlan,
  FinetuneStep,
} from "./methods/finetune/events.ts";
export type { FinetuneTrainerConfig } from "./methods/finetune/finetune_trainer.ts";
export type { FinetuneTrainer, WrittenCheckpoint } from "./methods/finetune/messages.ts";
export type { FinetuneInput, FinetuneSettings } from "./methods/finetune/mod.ts";
export {
  FINETUNE_DEFAULTS,
  FINETUNE_SAMPLE_DEFAULTS,
  type FinetuneDefaults,
  type FinetuneOptions,
  type LearningRates,
} from "./methods/finetune/options.ts";
export type { FinetuneStart } from "./methods/finetune/prepare.ts";
export type { FinetuneResult } from "./methods/finetune/run.ts";
export { KNN_DEFAULTS, type KnnEvent, type KnnOptions, type KnnPlan } from "./methods/knn.ts";
export type {
  LinearActorEvent,
  LinearEpoch,
  LinearEvent,
  LinearPlan,
  LinearStep,
} from "./methods/linear_probe/events.ts";
export type { LinearTrainerConfig, RankOfEvaluation } from "./methods/linear_probe/linear_trainer.ts";
export type { LinearProgress, LinearTrainer, ProbeScore } from "./methods/linear_probe/messages.ts";
export type { LinearInput, LinearSettings } from "./methods/linear_probe/mod.ts";
export {
  type EncoderRole,
  LINEAR_DEFAULTS,
  LINEAR_SAMPLE_DEFAULTS,
  type LinearDefaults,
  type LinearOptions,
} from "./methods/linear_probe/options.ts";
export type { LinearResult, LinearScore } from "./methods/linear_probe/run.ts";
export {
  type Method,
  type MethodOptions,
  type OutputSettings,
  type RankedSettings,
  startMethod,
} from "./methods/method.ts";
export type { Needs, Permissions } from "./methods/permissions.ts";
export { NothingToDoError } from "./methods/nothing_to_do.ts";
export type {
  BooleanFlag,
  ChoiceFlag,
  Flag,
  FlagBase,
  FlagTable,
  IntegerFlag,
  IntegersFlag,
  NumberFlag,
  NumbersFlag,
  TextFlag,
} from "./methods/flag_table.ts";
export { METHODS } from "./methods/registry.ts";
export {
  distill,
  embed,
  type EmbeddedRow,
  type EmbedInput,
  EmbedRun,
  finetune,
  knn,
  type KnnInput,
  linearProbe,
  pretrain,
} from "./methods/runs.ts";
export {
  PRETRAIN_DEFAULTS,
  PRETRAIN_SAMPLE_DEFAULTS,
  type PretrainDefaults,
  samplePretrainOptions,
} from "./methods/moco/defaults.ts";
export type { MocoTrainer } from "./methods/moco/messages.ts";
export type { PretrainEvent, PretrainInput, PretrainResult, PretrainSettings } from "./methods/moco/mod.ts";
export type { MocoTrainerConfig } from "./methods/moco/moco_trainer.ts";
export type { PretrainOptions } from "./methods/moco/options.ts";
export { type Defaults, PAPER_DEFAULTS, SAMPLE_DEFAULTS, sampleOptions } from "./methods/seed/defaults.ts";
export { type Recipe, RECIPES } from "./methods/seed/recipes.ts";
export type { DistillEvent } from "./methods/seed/events.ts";
export type { KeyedBatch, QueueKeeper, StudentTrainer } from "./methods/seed/messages.ts";
export type { DistillInput, DistillSettings } from "./methods/seed/mod.ts";
export type { DistillOptions, TeacherSsl } from "./methods/seed/options.ts";
export type { QueueKeeperConfig } from "./methods/seed/queue_keeper.ts";
export type { DistillResult } from "./methods/seed/run.ts";
export type { StudentTrainerConfig } from "./methods/seed/student_trainer.ts";
export type { EncoderTrainerConfig, RankOfTraining } from "./methods/encoder_training/encoder_trainer.ts";
export type { KnownAccuracy } from "./methods/encoder_training/evaluations.ts";
export type {
  EncoderTrainingEvent,
  EncoderTrainingPlan,
  EncoderTrainingStats,
  EncoderTrainingStep,
  PlannedKnn,
  SavedEvent,
  StatsEvent,
  TrainerEvent,
  TrainingSnapshot,
} from "./methods/encoder_training/events.ts";
export type { EncoderTrainer, QueueContents, SavedTraining } from "./methods/encoder_training/messages.ts";
export type { EncoderTrainingOptions, SaveInterval } from "./methods/encoder_training/options.ts";
export type { KnownLoss, RunSoFar } from "./methods/encoder_training/prepare.ts";
export type { LossMeans } from "./methods/encoder_training/loss_ends.ts";
export type { EncoderTrainingResult } from "./methods/encoder_training/run.ts";
export type { DefaultsInput, SampleOptions } from "./methods/encoder_training/sample.ts";
export type { WithoutDefault } from "./methods/encoder_training/defaults.ts";
export type { TrainingOptions } from "./methods/training_options.ts";
export type { ProfileEvent, Wanted } from "./methods/watched_actors.ts";
export type { OptimizerName, StepOptions } from "./methods/encoder_training/step_options.ts";
export type { RunIdentity } from "./methods/terms.ts";
export type { RunOrigin } from "./models/checkpoint/resume_state.ts";
export type { NamedEncoder, Term, TermValue } from "./models/checkpoint/run_terms.ts";
export type { FeatureKind, Stem } from "./models/encoder.ts";
export type { TeacherFeature } from "./models/teacher.ts";
export type { EncoderPart } from "./models/encoder_parts.ts";
export type { Normalization } from "./models/images.ts";
export type { LayerNorms, StepStats } from "./models/step_stats.ts";
export type { QueueView, SimilarityMap } from "./models/similarity_map.ts";
export * from "./actors/runtime/mod.ts";
export { FolderIdentity, FolderLostError } from "./data/folder_identity.ts";
export { FolderLock } from "./data/folder_lock.ts";
export { takeOutputFolder } from "./methods/output_folder.ts";
export { maxPixelsOfAdapter } from "./actors/data_facts.ts";
export {
  BrokenRowError,
  type Dataset,
  type DatasetRow,
  type DatasetRows,
  type ReadLabelsOptions,
} from "./data/dataset.ts";
export {
  BrokenImageError,
  decodeImage,
  type DecodeOptions,
  decodeUnwritten,
  type Image,
  type UnwrittenImage,
} from "./data/decode.ts";
export type { ImageCacheHandle } from "./data/image_cache.ts";
export type { CacheFileHandle } from "./data/image_cache_file.ts";
export type { SystemMemory } from "./data/system_memory.ts";
export type { LineIndexOptions } from "./data/line_index.ts";
export {
  type DatasetOptions,
  findDataset,
  type FindOptions,
  openDataset,
  resolveDataset,
  type Split,
} from "./data/open_dataset.ts";
export { type PackableImage, type PackedImages, packImages, TABLE_STRIDE } from "./data/pack.ts";
export { SAMPLE_DATA, SAMPLE_TEACHER } from "./data/sample.ts";
export { UserError } from "./errors.ts";
export type { LossScale } from "./kernels/ops/loss_scale/loss_scale.ts";
export type { NormalizePixelsAttributes } from "./kernels/ops/normalize_pixels/normalize_pixels.ts";
export type { KernelTime } from "./kernels/profiler.ts";
export type { Work } from "./kernels/schedule.ts";
export type { ProductFamily, ProductKind, Tile, TileChoice, Tuning } from "./kernels/tuning/tuning.ts";
