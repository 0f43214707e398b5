/** The actors of every pipeline by name, to have others in their places. Those of a method are in its folder. */
import { UserError } from "../errors.ts";
import { requireModuleUrl } from "./module_url.ts";

/** Name of an actor's module. */
export type ActorRole =
  /** Reads and decodes images, and packs them into batches. */
  | "tsv_reader"
  /** Makes views of images on the GPU. */
  | "augmenter"
  /** Gives features or embeddings of views. */
  | "encoder"
  /** Evaluates an encoder by weighted kNN. */
  | "evaluator"
  /** Exchanges gradients and keys with the other processes of a run. */
  | "gradient_exchange"
  /** Projects features onto a plane. */
  | "projector"
  /** Gives batches their places in the queue of a distillation. */
  | "queue_keeper"
  /** Trains the student of a distillation. */
  | "student_trainer"
  /** Pretrains an encoder by MoCo. */
  | "moco_trainer"
  /** Trains linear probes on features. */
  | "linear_trainer"
  /** Trains an encoder with its classifier, and classifies. */
  | "finetune_trainer";

/**
 * URLs of modules that replace built-in actors, such as `new URL("./my_reader.ts", import.meta.url).href`. The
 * default export of such a module is a `defineActor()` with the same protocol and configuration.
 */
export type ActorModules = Partial<Record<ActorRole, string>>;

const ROLES = Object.keys(
  {
    tsv_reader: true,
    augmenter: true,
    encoder: true,
    evaluator: true,
    gradient_exchange: true,
    projector: true,
    queue_keeper: true,
    student_trainer: true,
    moco_trainer: true,
    linear_trainer: true,
    finetune_trainer: true,
  } satisfies Record<ActorRole, true>,
);

/**
 * Makes sure that a program's modules are those of actors that there are, and named by absolute URLs.
 *
 * @throws {UserError} that names the first one that is not
 */
export function checkActorModules(modules: ActorModules): void {
  for (const [role, url] of Object.entries(modules)) {
    if (!ROLES.includes(role)) {
      throw new UserError(`actors: expected names among ${ROLES.join(", ")}, found ${role}`);
    }
    if (url !== undefined && url !== null) requireModuleUrl(`actors.${role}`, url);
  }
}

/**
 * Where an actor's module is: the built-in one, or the one that takes its place.
 *
 * @param folder of the built-in one: a method's own for its actors
 */
export function actorUrl(
  role: ActorRole,
  modules: ActorModules = {},
  folder: string = import.meta.url,
): URL {
  return new URL(modules[role] ?? `./${role}.ts`, folder);
}
