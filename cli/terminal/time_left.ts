/** How long a run will take yet: its steps, and the evaluations besides. */
import { RateMeter } from "./rate_meter.ts";

/** Steps that a trainer has under way: the results of the first ones come together, when shaders are compiled. */
export const STEPS_UNDER_WAY = 2;

/** What evaluations there will be. One of fewer images, e.g. by the probe set alone, is none of them. */
export interface ExpectedEvaluations {
  /** How many, from now on; the last one comes after the last step. */
  count: number;
  /** Images of one, as far as that is known before the first. */
  images: number;
  /** Whether all but the last go on next to training, and not in turn with it. */
  besideTraining: boolean;
}

/** What the whole is. */
export interface Work {
  totalSteps: number;
  batchSize: number;
  evaluations: ExpectedEvaluations;
}

/** An evaluation under way. */
interface Evaluation {
  /** When it was first heard of, and how many images were done then. */
  since: number;
  doneThen: number;
  done: number;
  total: number;
  /** Whether it is one of those that are expected. */
  isExpected: boolean;
}

/** Estimates from what was measured so far; all times in seconds. */
export class TimeLeft {
  readonly #work: Work;
  readonly #meter = new RateMeter(STEPS_UNDER_WAY);
  #step: number;
  /** When something was last done. */
  #last: number | undefined;
  #evaluation: Evaluation | undefined;
  #evaluated = 0;
  /** Of the newest evaluation. */
  #secondsPerImage: number | undefined;
  #imagesPerEvaluation: number;

  /** @param firstStep steps that are done already */
  constructor(work: Work, firstStep: number) {
    this.#work = work;
    this.#step = firstStep;
    this.#imagesPerEvaluation = work.evaluations.images;
  }

  /** A step is done. */
  step(step: number, now: number): void {
    this.#step = step;
    this.#last = now;
    this.#meter.add(this.#work.batchSize, now);
  }

  /** So many images of an evaluation are done; fewer than before, or of another total, are the next one's. */
  evaluate(done: number, total: number, now: number): void {
    // Training waits for it.
    if (!this.#work.evaluations.besideTraining) this.#meter.pause(now - (this.#last ?? now));
    this.#last = now;
    const before = this.#evaluation;
    if (before !== undefined && (done < before.done || total !== before.total)) this.#end();
    const isExpected = total >= this.#work.evaluations.images;
    const evaluation = this.#evaluation ??= { since: now, doneThen: done, done, total, isExpected };
    evaluation.done = done;
    if (isExpected) this.#imagesPerEvaluation = total;
    const measured = done - evaluation.doneThen;
    if (measured > 0 && now > evaluation.since) this.#secondsPerImage = (now - evaluation.since) / measured;
    if (done >= total) this.#end();
  }

  #end(): void {
    if (this.#evaluation?.isExpected) this.#evaluated++;
    this.#evaluation = undefined;
  }

  /** Images that are trained on in a second; `undefined` until that is known. */
  get imagesPerSecond(): number | undefined {
    return this.#meter.perSecond();
  }

  /** Until the end of the whole; `undefined` until that can be told. */
  seconds(): number | undefined {
    const { totalSteps, batchSize, evaluations: { count, besideTraining } } = this.#work;
    const rate = this.#meter.perSecond();
    const steps = totalSteps - this.#step;
    if (steps > 0 && rate === undefined) return undefined;
    const training = steps > 0 ? steps * batchSize / rate! : 0;
    // Until one was measured: as if embedding an image took as long as training on it.
    const perImage = this.#secondsPerImage ?? (rate === undefined ? undefined : 1 / rate);
    if (perImage === undefined) return count > this.#evaluated ? undefined : training;
    const { done, total, isExpected } = this.#evaluation ?? { done: 0, total: 0, isExpected: false };
    const current = (total - done) * perImage;
    // While there are steps the last one is to come, however many had as many images.
    const least = steps > 0 ? Math.min(count, 1) : 0;
    const toCome = Math.max(least, count - this.#evaluated - Number(isExpected));
    const one = this.#imagesPerEvaluation * perImage;
    if (!besideTraining || steps <= 0) return training + current + toCome * one;
    const last = Math.min(toCome, 1) * one;
    return Math.max(training, current + toCome * one - last) + last;
  }
}
