/**
 * What every trainer is: an actor with a device that turns batches into steps, tells of each step when its result has come
 * back, sends the buffers back to their origin, and writes checkpoints that are whole and finite.
 */
import { FolderIdentity } from "../data/folder_identity.ts";
import { UserError } from "../errors.ts";
import { type Gpu, openGpu } from "../kernels/gpu.ts";
import type { Tuning } from "../kernels/tuning/tuning.ts";
import type { TorchValue } from "../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../models/checkpoint/torch_writer.ts";
import { describeBadEntry } from "../models/finite.ts";
import type { DecodedBatch, TsvReader } from "./messages.ts";
import { Origins } from "./origins.ts";
import {
  type ActorContext,
  type ActorDefinition,
  type ActorRef,
  defineActor,
  type Handlers,
  type Protocol,
} from "./runtime/mod.ts";

/** What a trainer needs to know of its run, whatever the method. */
export interface TrainerOptions {
  /** Folder that checkpoints go to. */
  output: string;
  /** What was measured of the adapter. */
  tuning?: Tuning | null;
}

type TrainerContext = Pick<ActorContext<never>, "wait" | "work" | "fail" | "signal" | "onStop">;

/** What a method's trainer is given. */
export class Trainer {
  readonly gpu: Gpu;
  readonly #context: TrainerContext;
  readonly #origins = new Origins();
  /** Never another folder that was put in the place of the run's own; none before the first checkpoint makes it. */
  readonly #folder: FolderIdentity | undefined;
  /** Settles when the newest step has been told of. */
  #reported: Promise<void> = Promise.resolve();
  /** Settles when no checkpoint is being written. */
  #writing: Promise<void> = Promise.resolve();

  constructor(
    gpu: Gpu,
    context: TrainerContext,
    folder: FolderIdentity | undefined,
  ) {
    this.gpu = gpu;
    this.#context = context;
    this.#folder = folder;
    context.onStop(() => this.#writing);
  }

  /** Returns what checkpoints are written from. It is closed when the actor has stopped and nothing is being written any more. */
  keep<Source extends Disposable>(source: Source): Source {
    this.#context.onStop(async () => {
      await this.#writing;
      source[Symbol.dispose]();
    });
    return source;
  }

  /** Takes the references that buffers are sent back by, once more after a restart. */
  connect({ readers }: { readers: ActorRef<TsvReader>[] }): void {
    this.#origins.connect(readers);
  }

  /** Sends a batch's buffers back. */
  giveBack(batch: DecodedBatch): Promise<void> {
    return this.#origins.giveBack(batch);
  }

  /**
   * Submits a step, and returns its result to come. A software device computes until it is submitted, and that is work also
   * while reports of steps before it wait for whoever takes them.
   */
  begin<Result>(submit: () => Promise<Result>): Promise<Result> {
    let result: Promise<Result>;
    this.#context.work("submit", () => {
      result = Promise.try(submit);
      return Promise.resolve();
    });
    return result!;
  }

  /**
   * Tells of a step, after those before it, and waits for the one before: so the device always has a step to do while the
   * result of another is on its way. Where a report fails, so does the actor.
   *
   * @param report awaits the step's result
   */
  async report(report: (before: Promise<void>) => Promise<void>): Promise<void> {
    const before = this.#reported;
    this.#reported = report(before);
    this.#reported.catch(this.#context.fail);
    await before;
  }

  /** When every step so far has been told of. */
  get reported(): Promise<void> {
    return this.#reported;
  }

  /**
   * Fails where something that a checkpoint would hold is not finite: the one before it stays.
   *
   * @param explain makes a sentence of what is wrong with an entry
   */
  requireFinite(
    values: Iterable<readonly [string, Float32Array]>,
    explain: (problem: string) => string,
  ): void {
    for (const [key, data] of values) {
      const problem = describeBadEntry(key, data);
      if (problem !== undefined) throw new UserError(explain(problem));
    }
  }

  /**
   * Writes a checkpoint, whole or not at all. When the actor has stopped, nothing is being written any more: who comes after it
   * goes on from what it finds. However long that takes, it is work, and no wait for another actor.
   */
  async write(path: string, checkpoint: TorchValue): Promise<void> {
    this.#context.signal.throwIfAborted();
    this.#folder?.check();
    await this.#context.work("checkpoint", () => {
      const writing = writeTorchFile(path, checkpoint);
      this.#writing = writing.catch(() => {}); // who waits for it here is told
      return this.#context.wait(writing);
    });
  }
}

/**
 * Defines the trainer of a method.
 *
 * @param create compiles the step on the trainer's device, loads weights, and returns the handlers
 */
export function defineTrainer<P extends Protocol<P>, Config extends { options: TrainerOptions }>(
  create: (trainer: Trainer, config: Config, context: ActorContext<P>) => Promise<Handlers<P>>,
): ActorDefinition<P, Config> {
  return defineActor<P, Config>(async (config, context) => {
    const { output, tuning } = config.options;
    const folder = FolderIdentity.of(output);
    context.onStop(() => folder?.[Symbol.dispose]());
    const gpu = await openGpu(context.name, tuning);
    context.onStop(() => gpu.destroy());
    return { handlers: await create(new Trainer(gpu, context, folder), config, context) };
  });
}
