/**
 * What a method that trains a whole encoder says of itself; all else it has from this folder: how a run begins and goes on,
 * its pipeline, its trainer's duties, its evaluations, its checkpoints.
 */
import type { Emit, NoticeEvent } from "../../actors/events.ts";
import type { Encoder, EvaluatedEncoder, LocalViewOptions, Profiled } from "../../actors/messages.ts";
import type { ActorRef, Supervised, Supervisor } from "../../actors/runtime/mod.ts";
import type { Term } from "../../models/checkpoint/run_terms.ts";
import type { EncoderTrainerConfig } from "./encoder_trainer.ts";
import type { EncoderTrainer, QueueContents } from "./messages.ts";
import type { EncoderTrainingOptions } from "./options.ts";
import type { TrainedBy } from "./trained_encoder.ts";

/** Where the actors of a method's own are spawned. */
export interface LineSetup<Options> {
  supervisor: Supervisor;
  options: Options;
  /** Images of a batch that this process has: its share, where several ranks share a batch. */
  batch: number;
  /** Of a trainer that is started now; asked once more after a restart. */
  trainer(): EncoderTrainerConfig<Options>;
  /** Where the queue begins for those that are started now. */
  queue(): QueueContents;
  /** Batches done before the first one that will come. */
  done(): { epoch: number; batch: number };
}

/** The actors of a method's own. */
export interface Line {
  trainer: Supervised<EncoderTrainer>;
  /** Who gets the views. */
  entry(): ActorRef<Encoder>;
  /** Those between entry and trainer that have programs on a device. */
  profiled: readonly Pick<Supervised<Profiled>, "name" | "ref">[];
}

/** How a method's views are made, and what travels with them. */
export interface ViewChoices {
  augmentation: string;
  /** Of Beta(mixup, mixup), by which views are mixed; they are not where it is left out, or 0. */
  mixup?: number;
  /** Side of the views for a teacher, in pixels, where it is another one. */
  teacherSize?: number;
  local?: LocalViewOptions;
  embeddingLength: number;
  /** Numbers of a teacher's feature map on the device, where the loss compares maps. */
  mapLength?: number;
}

/** A method that trains an encoder. */
export interface EncoderMethod<Options extends EncoderTrainingOptions> extends TrainedBy<Options> {
  /** Actors that a batch goes through, reader and trainer among them. */
  readonly stages: number;
  /** Of those, how many compute at once for long, each on a device of its own. */
  readonly devices: number;
  /** How views are made of images, and the length of an embedding that travels with each; 0 for none. */
  views(options: Options): ViewChoices;
  /**
   * Looks into what else the method reads, a teacher for example, before any actor is started.
   *
   * @returns their fingerprints as terms
   */
  identify(options: Options, emit: Emit<NoticeEvent>): Promise<Term[]>;
  /** Returns the terms that are settings. */
  terms(options: Options): Term[];
  /** Returns whether the loss reads the queue. Default: it does. */
  readsQueue?(options: Options): boolean;
  /** Returns an encoder that the trained one is compared with; `undefined` where there is none. */
  teacher(options: Options): EvaluatedEncoder | undefined;
  /** Spawns the actors from the trainer up to the one that gets the views. */
  spawn(setup: LineSetup<Options>): Line;
}
