/**
 * The steps that a trainer takes, one after the other: which batches make one, what is told of it, when training has
 * diverged, and when a checkpoint may be written.
 */
import { type BatchNumber, countSteps, nextOf, type StepCount } from "../../actors/batch_number.ts";
import type { WarningEvent } from "../../actors/events.ts";
import type { BatchPosition } from "../../actors/messages.ts";
import type { Trainer } from "../../actors/trainer.ts";
import { UserError } from "../../errors.ts";
import type { LossScale } from "../../kernels/ops/loss_scale/loss_scale.ts";
import { type BatchInGroup, groupOf, isLast } from "../../models/training_step.ts";
import type { StatsEvent } from "./events.ts";
import type { StepOptions } from "./step_options.ts";
import type { StepOutcome } from "./step_results.ts";

/** What the steps belong to. */
export interface StepsOfRun extends StepCount {
  options: StepOptions;
  /** Epoch and batch of the first batch that will come. */
  first: BatchNumber;
  /** Learning rate of the epoch before it, or of its own: what a checkpoint says before the first step. */
  lr: number;
  /** Loss scaling at the start. */
  lossScale: LossScale | undefined;
  /** Steps that changed the weights before. */
  steps?: number;
  /** What may keep training from diverging, beside a lower `--lr`: `a higher --temp (now 0.2)`. */
  advice: readonly string[];
  /** Tells the run. */
  tell(event: WarningEvent | StatsEvent): Promise<void>;
}

/** A batch that is trained on. */
export interface TakenBatch {
  position: BatchPosition;
  /** The encoder's learning rate. */
  lr: number;
  /** Batches of the run before it. */
  step: number;
  /** Which of the batches that make a step it is. */
  group: BatchInGroup;
  /** Whether its step is to tell of itself, if the weights change with it. */
  takesStats: boolean;
}

/** The steps of one trainer. */
export class TrainedSteps {
  readonly #trainer: Trainer;
  readonly #run: StepsOfRun;
  #hasBegun = false;
  /** The last batch that was trained on; before the first one `batch` is one less than the first. */
  #last: BatchNumber & { lr: number };
  #lossScale: LossScale | undefined;
  #changes: number;
  #areStatsDue = false;
  /** Whether a checkpoint is to be written when the batches that accumulate have become a step. */
  #isSaveDue = false;

  constructor(trainer: Trainer, run: StepsOfRun) {
    this.#trainer = trainer;
    this.#run = run;
    const { first: { epoch, batch }, lr, lossScale, steps = 0 } = run;
    this.#last = { epoch, batch: batch - 1, lr };
    this.#lossScale = lossScale;
    this.#changes = steps;
  }

  /** The last batch that was trained on, and the encoder's learning rate then; `batch` is -1 before an epoch's first one. */
  get last(): BatchNumber & { lr: number } {
    return this.#last;
  }

  /** Whether a batch was trained on. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** The batch to come. */
  get next(): BatchNumber {
    return nextOf(this.#last, this.#run.batchesPerEpoch);
  }

  /** Batches trained on in the whole run: PyTorch's `num_batches_tracked`. */
  get step(): number {
    return this.#stepAfter(this.#last);
  }

  /** Loss scaling after the last step that was told of. */
  get lossScale(): LossScale | undefined {
    return this.#lossScale;
  }

  /** Steps that changed the weights, up to the last one that was told of: an optimizer's `step`. */
  get changes(): number {
    return this.#changes;
  }

  #stepAfter({ epoch, batch }: BatchNumber): number {
    return countSteps(this.#run, { epoch, batch }) + 1;
  }

  #groupOf({ batch }: BatchNumber): BatchInGroup {
    return groupOf(batch, this.#run.batchesPerEpoch, this.#run.options.accumulate);
  }

  /** Takes the next batch, whose step is then to be submitted. */
  take(position: BatchPosition, lr: number): TakenBatch {
    const { statsEvery } = this.#run.options;
    const { epoch, batch } = position;
    const step = this.step;
    const group = this.#groupOf(position);
    this.#areStatsDue ||= statsEvery > 0 && (step + 1) % statsEvery === 0;
    const takesStats = this.#areStatsDue;
    if (isLast(group)) this.#areStatsDue = false;
    this.#last = { epoch, batch, lr };
    this.#hasBegun = true;
    return { position, lr, step, group, takesStats };
  }

  /**
   * Tells of a step when its result has come back from the device, and the step before has been told of.
   *
   * @param tell is given the result, and whether it counts: a step that was skipped does not
   */
  report<Result extends StepOutcome & { loss: number }>(
    batch: TakenBatch,
    result: Promise<Result>,
    tell: (result: Result, step: { number: number; counts: boolean }) => Promise<void>,
  ): Promise<void> {
    return this.#trainer.report(async (before) => {
      const found = await result;
      await before; // which may have had more to tell
      this.#lossScale = found.lossScale;
      this.#changes = found.steps;
      const counts = await this.#check(batch, found);
      const number = this.#stepAfter(batch.position);
      if (found.stats !== undefined) { // before the step, after which the run may be over
        const { allocatedBytes: deviceBytes } = this.#trainer.gpu;
        const { rss: processBytes } = Deno.memoryUsage();
        const { epoch } = batch.position;
        const stats = { epoch, step: number, ...found.stats, deviceBytes, processBytes };
        await this.#run.tell({ type: "stats", ...stats });
      }
      await tell(found, { number, counts });
    });
  }

  /** Stops the run where a step is not finite, or says that it was skipped; returns whether it counts. */
  async #check(
    { position: { epoch, batch }, lr, group }: TakenBatch,
    { loss, isApplied, lossScale }: StepOutcome & { loss: number },
  ): Promise<boolean> {
    const { onNan, amp } = this.#run.options;
    // Mixed precision skips a step now and then, and that is its way.
    if (Number.isFinite(loss) && (isApplied || amp)) return true;
    // The weights change with the last batch of a group alone, which then says that all of it was skipped.
    if (onNan === "skip" && !isLast(group)) return false;
    const where = `epoch ${epoch}, batch ${batch}`;
    if (onNan === "stop" || isApplied) {
      const found = Number.isFinite(loss)
        ? `the gradients are not finite in ${where} (the loss is ${loss})`
        : `the loss is ${loss} in ${where}`;
      throw new UserError(
        `${found}: training has diverged. Earlier checkpoints are intact; ${this.advise(lr)}`,
      );
    }
    const text = `step skipped in ${where}: the gradients are not finite, and the loss is ${loss}`;
    await this.#run.tell({ type: "warning", text: `${text} (${lossScale!.skipped} so far)`, isCommon: true });
    return false;
  }

  /** Suggests settings that may keep training from diverging. */
  advise(lr = this.#last.lr): string {
    const { options: { lr: given, onNan, amp }, advice } = this.#run;
    const all = [
      `a lower --lr (now ${given}${given === lr ? "" : `, ${lr} at this step`})`,
      ...advice,
      ...onNan === "skip" ? [] : ["--on-nan skip"],
      ...amp ? ["no --amp"] : [],
    ];
    return `try ${new Intl.ListFormat("en-US", { type: "disjunction" }).format(all)}`;
  }

  /** Fails where something that a checkpoint holds is not finite. */
  requireFinite(what: string, values: Iterable<readonly [string, Float32Array]>): void {
    const { epoch, batch } = this.#last;
    this.#trainer.requireFinite(
      values,
      (problem) =>
        `${what} ${problem} after epoch ${epoch}, batch ${batch}: training has diverged, so no checkpoint is written. ` +
        `Earlier checkpoints are intact; ${this.advise()}`,
    );
  }

  /**
   * Whether a checkpoint may be written now. Between batches that accumulate it may not: then it is due after the last of
   * them.
   */
  maySave(): boolean {
    const isBetween = this.#last.batch < 0 || isLast(this.#groupOf(this.#last));
    this.#isSaveDue = !isBetween;
    return isBetween;
  }

  /**
   * Whether a checkpoint is to be written after the batch that was just trained on.
   *
   * @param isDue whether there is a reason besides one that was put off
   */
  savesNow(isDue: boolean): boolean {
    return (this.#isSaveDue || isDue) && this.maySave();
  }
}
