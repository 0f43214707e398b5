/**
 * Encoders that are trained and then evaluated, one after the other, each in a folder of its own. What is finished is not
 * done again, and a training that was broken off is resumed: so the same command goes on where it was stopped.
 */
import { join, relative, resolve } from "node:path";
import {
  distill,
  type DistillInput,
  knn,
  type LinearInput,
  linearProbe,
  pretrain,
  type PretrainInput,
} from "../mod.ts";
import { replaceTextFile } from "../data/replace_file.ts";
import { UserError } from "../errors.ts";
import { NothingToDoError } from "../methods/nothing_to_do.ts";
import { findNewestCheckpoint } from "../models/checkpoint/run_checkpoints.ts";
import { fingerprintImages, readJson } from "./folder_notes.ts";

/** How an encoder comes to be. */
export type Work =
  /** It is in a file. */
  | { method: "given"; path: string }
  /** It is pretrained by MoCo-v2. */
  | { method: "moco"; options: Partial<PretrainInput> }
  /** It is distilled from the encoder of another experiment, of that one's seed 0 if it has no others. */
  | { method: "seed"; teacher: string; options: Partial<DistillInput> };

/** One encoder. */
export interface Experiment {
  /** Names its folder. */
  name: string;
  /** Name of the encoder in the registry. */
  arch: string;
  work: Work;
  /** Whether it is trained on all images that there are, and not on those of the others. */
  onAll?: boolean;
}

/** What is found of an encoder. */
export interface Result {
  checkpoint: string;
  /** Top-1 of weighted kNN, in percent. */
  knn: number;
  /** Top-1 of the best of the linear classifiers, in percent. */
  linear: number;
  /** Images a second while it was trained; `null` where too few steps were timed, or none. */
  imagesPerSecond: number | null;
}

/** What all experiments have alike. */
export interface ExperimentsOptions {
  /** Folder of the experiments' folders. */
  output: string;
  /** Images to train on, which are also the bank of kNN and what linear classifiers are trained on. */
  data: string;
  /** All images that there are; those of `data` where it is left out. */
  allData?: string;
  /** Images to evaluate on. */
  testData: string;
  /** Neighbours that vote in kNN. */
  knnK: number;
  /** Settings of the linear classifiers; of several learning rates the best one counts. */
  linear: Partial<LinearInput>;
  /** Settings of every training. */
  training?: Pick<PretrainInput, "tuning" | "plugins">;
  /** Stops what is under way, which then saves a checkpoint. */
  signal?: AbortSignal;
  /** Gets lines of progress. */
  say(text: string): void;
}

/** Error of an experiment that cannot be trained or evaluated, as where it diverges. Others may go on. */
export class ExperimentError extends UserError {
  override name = "ExperimentError";

  /** Takes the name of the experiment with its seed, and why it failed. */
  constructor(readonly run: string, cause: UserError) {
    super(`${run}: ${cause.message}`, { cause });
  }
}

const RESULT = "result.json";
const EXPERIMENT = "experiment.json";

/** Steps that are not timed: kernels are compiled and images decoded then. */
const WARM_UP_STEPS = 10;
/** Time between two lines of progress, in ms. */
const BETWEEN_LINES = 30_000;

/** Runs experiments, and keeps what they find. */
export class Experiments {
  readonly #options: ExperimentsOptions;
  /** Where encoders are that were not made here: not always where they were when they were evaluated. */
  readonly #given = new Map<string, string>();
  /** Fingerprints of datasets, by path. */
  readonly #fingerprints = new Map<string, Promise<string>>();

  constructor(options: ExperimentsOptions) {
    this.#options = options;
  }

  /** Returns what an experiment has found, if it is finished; nothing where its folder has one with other settings or images. */
  async result(experiment: Experiment, seed = 0): Promise<Result | undefined> {
    const { name } = experiment;
    const before = readJson(join(this.#folder(name, seed), EXPERIMENT));
    return isSame(before, await this.#settingsOf(experiment, seed)) ? this.#found(name, seed) : undefined;
  }

  /** What has been found in a folder, whatever its settings. */
  #found(name: string, seed: number): Result | undefined {
    const folder = this.#folder(name, seed);
    const result = readJson(join(folder, RESULT)) as Result | undefined;
    return result && { ...result, checkpoint: resolve(folder, result.checkpoint) }; // the output folder may have been moved
  }

  /**
   * Trains and evaluates an encoder, unless that has been done.
   *
   * @throws {ExperimentError} where it diverges, or its teacher has not been made
   * @throws {UserError} where the folder has an experiment with other settings or images
   */
  async run(experiment: Experiment, seed = 0): Promise<Result> {
    const { name, work } = experiment;
    const folder = this.#folder(name, seed);
    await this.#claim(folder, await this.#settingsOf(experiment, seed));
    if (work.method === "given") this.#given.set(name, work.path);
    const known = this.#found(name, seed);
    if (known !== undefined) return known;
    try {
      return await this.#find(experiment, folder, seed);
    } catch (error) {
      if (this.#options.signal?.aborted || !(error instanceof UserError)) throw error;
      throw new ExperimentError(`${name}, seed ${seed}`, error);
    }
  }

  /** Trains and evaluates an encoder, and keeps what is found. */
  async #find({ name, arch, work, onAll }: Experiment, folder: string, seed: number): Promise<Result> {
    const say = (text: string) => this.#options.say(`${name}, seed ${seed}: ${text}`);
    const { checkpoint, imagesPerSecond } = work.method === "given"
      ? { checkpoint: work.path, imagesPerSecond: null }
      : await this.#train(work, { arch, folder, seed, onAll, say });
    const scores = await this.#evaluate(checkpoint, folder, say);
    const found: Result = { checkpoint, imagesPerSecond, ...scores };
    await replaceTextFile(
      join(folder, RESULT),
      JSON.stringify(
        { ...found, checkpoint: isIn(folder, checkpoint) ? relative(folder, checkpoint) : checkpoint },
        null,
        2,
      ) + "\n",
    );
    say(`kNN ${found.knn.toFixed(1)} %, linear ${found.linear.toFixed(1)} %`);
    return found;
  }

  #folder(name: string, seed: number): string {
    return join(this.#options.output, name, `seed${seed}`);
  }

  async #settingsOf({ work, ...rest }: Experiment, seed: number): Promise<Settings> {
    const { path: _, ...settings } = { path: "", ...work }; // a file may be elsewhere
    const { data: train, testData, allData = train } = this.#options;
    const data = {
      train: await this.#fingerprint(train),
      test: await this.#fingerprint(testData),
      ...rest.onAll && { all: await this.#fingerprint(allData) },
    };
    return { ...rest, seed, ...settings, data };
  }

  #fingerprint(path: string): Promise<string> {
    const known = this.#fingerprints.get(path) ?? fingerprintImages(path);
    this.#fingerprints.set(path, known);
    return known;
  }

  /** Notes what is run in a folder, and refuses one in which that was something else. */
  async #claim(folder: string, settings: Settings): Promise<void> {
    const path = join(folder, EXPERIMENT);
    const before = readJson(path);
    if (before === undefined) {
      await Deno.mkdir(folder, { recursive: true });
      await replaceTextFile(path, JSON.stringify(settings, null, 2) + "\n");
    } else if (!isSame(before, settings)) {
      throw new UserError(
        `${folder} holds an experiment with other settings or images (${EXPERIMENT}): choose another folder, or remove it`,
      );
    }
  }

  async #train(
    work: Exclude<Work, { method: "given" }>,
    { arch, folder, seed, onAll = false, say }:
      & Pick<Experiment, "arch" | "onAll">
      & { folder: string; seed: number; say(text: string): void },
  ): Promise<Pick<Result, "checkpoint" | "imagesPerSecond">> {
    const { allData, training, signal } = this.#options;
    const data = onAll && allData !== undefined ? allData : this.#options.data;
    const output = join(folder, "run");
    const options = <Options>(own: Partial<Options>) => ({
      ...training,
      seed,
      ...own,
      data,
      output,
      testData: null, // the evaluation follows
      insight: false,
      statsEvery: 0,
      keep: 1,
      resume: "auto",
    });
    const run = work.method === "moco" ? pretrain({ ...options(work.options), arch }, { signal }) : distill(
      { ...options(work.options), studentArch: arch, distill: this.#teacherOf(work.teacher, seed) },
      { signal },
    );
    const speed = new Speed();
    let spoken = performance.now();
    let total = 0;
    say("training");
    try {
      for await (const event of run) {
        if (event.type === "plan") total = event.totalSteps;
        if (event.type === "warning") say(`warning: ${event.text}`);
        if (event.type !== "step") continue;
        speed.step(performance.now());
        if (performance.now() - spoken < BETWEEN_LINES) continue;
        spoken = performance.now();
        say(`step ${event.step} of ${total}, loss ${event.loss.toFixed(3)}`);
      }
      const { checkpoint } = await run.result;
      const batch = work.options.batchSize!;
      const rate = speed.stepsPerSecond;
      return { checkpoint, imagesPerSecond: rate === null ? null : rate * batch };
    } catch (error) {
      if (!(error instanceof NothingToDoError)) throw error;
      // It was trained to its end, and not evaluated.
      return { checkpoint: (await findNewestCheckpoint(output, say))!, imagesPerSecond: null };
    }
  }

  /** The checkpoint of a teacher: that of the same seed, where it has been made for each. */
  #teacherOf(name: string, seed: number): string {
    const checkpoint = this.#given.get(name) ?? (this.#found(name, seed) ?? this.#found(name, 0))?.checkpoint;
    if (checkpoint === undefined) throw new UserError(`its teacher, ${name}, has not been made`);
    return checkpoint;
  }

  async #evaluate(
    pretrained: string,
    folder: string,
    say: (text: string) => void,
  ): Promise<Pick<Result, "knn" | "linear">> {
    const { data, testData, knnK, linear, training, signal } = this.#options;
    say("evaluating");
    const plugins = training?.plugins;
    const [{ top1 }] = await knn({ pretrained, data, testData, knnK: [knnK], plugins }, { signal }).result;
    const output = join(folder, "linear");
    await Deno.remove(output, { recursive: true }).catch(() => {}); // of an evaluation that was broken off
    const { scores } = await linearProbe({ ...linear, pretrained, data, testData, output, plugins }, {
      signal,
    })
      .result;
    await Deno.remove(output, { recursive: true });
    return { knn: top1, linear: Math.max(...scores.map(({ last }) => last.top1)) };
  }
}

/** What is noted of an experiment, by which it is known again. */
type Settings = Record<string, unknown>;

/** Folders from before 2026-11-30 do not say of which images they are, and a teacher's has its title in the table. */
function isSame(before: unknown, { data, ...settings }: Settings): boolean {
  const { data: known = data, title: _, ...others } = before as Settings ?? {};
  return JSON.stringify([others, known]) === JSON.stringify([settings, data]);
}

/** How fast steps come, without the first ones. */
class Speed {
  #steps = 0;
  #from = 0;
  #to = 0;

  step(at: number): void {
    this.#steps++;
    if (this.#steps === WARM_UP_STEPS) this.#from = at;
    this.#to = at;
  }

  get stepsPerSecond(): number | null {
    const timed = this.#steps - WARM_UP_STEPS;
    return timed < WARM_UP_STEPS ? null : timed / (this.#to - this.#from) * 1000;
  }
}

function isIn(folder: string, path: string): boolean {
  return !relative(folder, path).startsWith("..");
}

/** Prints a line of progress, with the time of day. */
export function sayTime(text: string): void {
  console.error(`${new Date().toISOString().slice(11, 19)} ${text}`);
}

/** Mean, and in parentheses the least and the most where they differ as they are shown. */
export function spreadOf(values: readonly number[], digits = 1): string {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const [least, most] = [Math.min(...values), Math.max(...values)].map((value) => value.toFixed(digits));
  return mean.toFixed(digits) + (least === most ? "" : ` (${least} to ${most})`);
}
