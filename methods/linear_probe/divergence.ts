/** What becomes of a linear evaluation's learning rates that are too high. */
import { UserError } from "../../errors.ts";
import type { Emit, WarningEvent } from "../../actors/events.ts";
import type { ProbeScore } from "./messages.ts";

/** Which learning rates have diverged. One that has does not end the others. */
export class Divergence {
  readonly diverged: boolean[];
  /** Resolves with an error when all have. */
  readonly over: Promise<UserError>;
  isOver = false;
  readonly #end: (error: UserError) => void;
  readonly #rates: readonly number[];
  readonly #emit: Emit<WarningEvent>;

  constructor(rates: readonly number[], diverged: readonly boolean[], emit: Emit<WarningEvent>) {
    this.#rates = rates;
    this.diverged = [...diverged];
    this.#emit = emit;
    ({ promise: this.over, resolve: this.#end } = Promise.withResolvers<UserError>());
  }

  /** Looks at a loss of each. `learningRates` are after scaling. */
  look(scores: readonly ProbeScore[], learningRates: readonly number[], where: string): void {
    for (const [i, { loss }] of scores.entries()) {
      if (this.diverged[i] || Number.isFinite(loss)) continue;
      this.diverged[i] = true;
      const [rate, scaled] = [this.#rates[i], learningRates[i]];
      const given = `now ${rate}${rate === scaled ? "" : `, ${scaled} in this epoch`}`;
      if (this.diverged.every(Boolean)) {
        this.isOver = true;
        const all = this.#rates.length === 1
          ? "training has diverged"
          : `every learning rate (${this.#rates.join(", ")}) has diverged`;
        this.#end(
          new UserError(
            `the loss is ${loss} in ${where}: ${all}. Earlier checkpoints are intact; try a lower --lr (${given})`,
          ),
        );
      } else {
        const text =
          `learning rate ${rate} has diverged: its loss is ${loss} in ${where}. It can no longer be the best one; ` +
          "the others continue";
        this.#emit({ type: "warning", text, isCommon: true });
      }
    }
  }
}

/** Of a loss so far above that of guessing training has got nowhere, though it is finite. */
const LARGE_LOSS = 10;
/** And of an accuracy so near to that of guessing. */
const LOW_ACCURACY = 1.5;

/** Says what to do where the best classifier does no better than guessing, with a loss that is far worse. */
export function warnOfLargeLoss(
  { lr, last }: { lr: number; last: ProbeScore },
  classes: number,
  emit: Emit<WarningEvent>,
): void {
  const guessing = Math.log(classes);
  if (last.loss <= LARGE_LOSS * guessing || last.top1 > LOW_ACCURACY * 100 / classes) return;
  const text =
    `the loss is ${last.loss.toPrecision(3)} (chance: ${
      guessing.toFixed(2)
    }) and top-1 is at chance level: ` +
    `training has diverged; try a lower --lr (now ${lr})`;
  emit({ type: "warning", text, isCommon: true });
}
