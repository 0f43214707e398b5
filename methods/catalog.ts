/** All built-in actors by name, to be spawned alone. */
import type { AugmenterConfig } from "../actors/augmenter.ts";
import { type ActorModules, type ActorRole, actorUrl as urlIn } from "../actors/catalog.ts";
import type { EncoderConfig } from "../actors/encoder.ts";
import type { EvaluatorConfig } from "../actors/evaluator.ts";
import type { GradientExchangeConfig } from "../actors/gradient_exchange.ts";
import type {
  Augmenter,
  Encoder,
  Evaluator,
  GradientExchange,
  Profiled,
  Projector,
  TsvReader,
} from "../actors/messages.ts";
import type {
  Actor,
  ActorDefinition,
  ActorSystem,
  ConfigOf,
  ProtocolOf,
  SpawnOptions,
} from "../actors/runtime/mod.ts";
import type { TsvReaderConfig } from "../actors/tsv_reader.ts";
import type { FinetuneTrainerConfig } from "./finetune/finetune_trainer.ts";
import type { FinetuneTrainer } from "./finetune/messages.ts";
import { METHODS } from "./registry.ts";
import type { LinearTrainerConfig } from "./linear_probe/linear_trainer.ts";
import type { LinearTrainer } from "./linear_probe/messages.ts";
import type { MocoTrainer } from "./moco/messages.ts";
import type { MocoTrainerConfig } from "./moco/moco_trainer.ts";
import type { QueueKeeper, StudentTrainer } from "./seed/messages.ts";
import type { QueueKeeperConfig } from "./seed/queue_keeper.ts";
import type { StudentTrainerConfig } from "./seed/student_trainer.ts";

/** Messages and configuration of each built-in actor. */
export interface ActorCatalog {
  /** Reads and decodes images. */
  tsv_reader: ActorDefinition<TsvReader, TsvReaderConfig>;
  /** Makes views. */
  augmenter: ActorDefinition<Augmenter, AugmenterConfig>;
  /** Computes features or embeddings. */
  encoder: ActorDefinition<Encoder & Profiled, EncoderConfig>;
  /** Evaluates an encoder by kNN, and finds nearest neighbours. */
  evaluator: ActorDefinition<Evaluator, EvaluatorConfig>;
  /** Exchanges gradients and keys with the other processes of a run. */
  gradient_exchange: ActorDefinition<GradientExchange, GradientExchangeConfig>;
  /** Projects features onto a plane. */
  projector: ActorDefinition<Projector, void>;
  /** Assigns batches their rows in the queue of a distillation. */
  queue_keeper: ActorDefinition<QueueKeeper, QueueKeeperConfig>;
  /** Trains the student of a distillation. */
  student_trainer: ActorDefinition<StudentTrainer, StudentTrainerConfig>;
  /** Pretrains an encoder by MoCo. */
  moco_trainer: ActorDefinition<MocoTrainer, MocoTrainerConfig>;
  /** Trains linear probes. */
  linear_trainer: ActorDefinition<LinearTrainer, LinearTrainerConfig>;
  /** Trains an encoder with its classifier, and classifies. */
  finetune_trainer: ActorDefinition<FinetuneTrainer, FinetuneTrainerConfig>;
}

/** Returns the URL of an actor's module: the built-in one, or its replacement in `modules`. */
export function actorUrl(role: ActorRole, modules: ActorModules = {}): URL {
  const method = Object.values(METHODS).find(({ actors }) => actors.includes(role));
  return urlIn(role, modules, method?.folder);
}

/**
 * Spawns a built-in actor, alone or next to others.
 *
 * ```ts ignore
 * const reader = spawnActor(system, "tsv_reader", { path: "train.tsv", ... });
 * await reader.ref.tell("connect", { augmenter });
 * ```
 *
 * @param name name of the actor; default: the name of its module
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
