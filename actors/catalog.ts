/** The actors by name, to be spawned alone, or to have others in their places. */
import type { AugmenterConfig } from "./augmenter.ts";
import type { EvaluatorConfig } from "./evaluator.ts";
import type { FeatureEncoderConfig } from "./feature_encoder.ts";
import type { LinearTrainerConfig } from "./linear_trainer.ts";
import type {
  Augmenter,
  Cartographer,
  Encoder,
  Evaluator,
  LinearTrainer,
  QueueKeeper,
  StudentTrainer,
  TeacherEncoder,
  TsvReader,
} from "./messages.ts";
import type { QueueKeeperConfig } from "./queue_keeper.ts";
import type {
  Actor,
  ActorDefinition,
  ActorSystem,
  ConfigOf,
  ProtocolOf,
  SpawnOptions,
} from "./runtime/mod.ts";
import type { StudentTrainerConfig } from "./student_trainer.ts";
import type { TeacherEncoderConfig } from "./teacher_encoder.ts";
import type { TsvReaderConfig } from "./tsv_reader.ts";

/** What each actor understands, and how it is started. */
export interface ActorCatalog {
  /** Reads and decodes pictures, and packs them into batches. */
  tsv_reader: ActorDefinition<TsvReader, TsvReaderConfig>;
  /** Makes views of pictures on the GPU. */
  augmenter: ActorDefinition<Augmenter, AugmenterConfig>;
  /** Embeds views with a frozen teacher. */
  teacher_encoder: ActorDefinition<TeacherEncoder, TeacherEncoderConfig>;
  /** Owns the queue of earlier embeddings. */
  queue_keeper: ActorDefinition<QueueKeeper, QueueKeeperConfig>;
  /** Trains the student. */
  student_trainer: ActorDefinition<StudentTrainer, StudentTrainerConfig>;
  /** Judges an encoder by weighted kNN. */
  evaluator: ActorDefinition<Evaluator, EvaluatorConfig>;
  /** Draws maps of features. */
  cartographer: ActorDefinition<Cartographer, void>;
  /** Gives features or embeddings of views. */
  feature_encoder: ActorDefinition<Encoder, FeatureEncoderConfig>;
  /** Trains linear probes on features. */
  linear_trainer: ActorDefinition<LinearTrainer, LinearTrainerConfig>;
}

/** Name of an actor's module. */
export type ActorRole = keyof ActorCatalog;

/**
 * Modules that take the places of built-in actors, as text: `new URL("./my_reader.ts", import.meta.url).href`. Such a module
 * exports by default what `defineActor()` made, of the same protocol and configuration.
 */
export type ActorModules = Partial<Record<ActorRole, string>>;

/** Where an actor's module is: the built-in one, or the one that takes its place. */
export function actorUrl(role: ActorRole, modules: ActorModules = {}): URL {
  return new URL(modules[role] ?? `./${role}.ts`, import.meta.url);
}

/**
 * Spawns a built-in actor, alone or next to others.
 *
 * ```ts ignore
 * const reader = spawnActor(system, "tsv_reader", { path: "train.tsv", ... });
 * await reader.ref.tell("connect", { augmenter });
 * ```
 *
 * @param name that of its module where it is left out
 */
// deno-lint-ignore no-explicit-any -- any definition
export function spawnActor<R extends ActorRole, D extends ActorDefinition<any, any> = ActorCatalog[R]>(
  system: ActorSystem,
  role: R,
  config: ConfigOf<D>,
  { name = role, ...options }: SpawnOptions & { name?: string } = {},
): Actor<ProtocolOf<D>> {
  return system.spawn<D>(name, actorUrl(role), config, options);
}
