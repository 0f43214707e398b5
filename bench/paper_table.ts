/** What `deno task bench:paper` has found so far, as a section of `bench/RESULTS.md`. */
import { findEncoder, summarize, usualHead } from "../models/registry.ts";
import { type ExperimentError, type Experiments, type Result, spreadOf } from "./experiments.ts";
import type { PaperData } from "./paper_data.ts";
import type { PaperPlan, PaperRow, PaperSize } from "./paper_sizes.ts";
import type { Row, Section } from "./section.ts";

/** Of EfficientNet's batch norm, as PyTorch counts it; the other students have 0.1. */
const EFFICIENTNET_MOMENTUM = 0.01;

const KNN = "kNN top-1, %";

/**
 * The section, of the rows of which a seed at least is finished.
 *
 * @param shared whether the machine did other work meanwhile, so that speeds mean nothing
 * @param failed of those that failed
 */
export async function paperSection(
  size: PaperSize,
  { steps, rows }: PaperPlan,
  experiments: Experiments,
  { images }: Pick<PaperData, "images">,
  { shared, failed = [] }: { shared: boolean; failed?: readonly ExperimentError[] },
): Promise<Section> {
  const planned = new Map(steps.map(({ experiment }) => [experiment.name, experiment]));
  const resultOf: ResultOf = async (name, seed) => {
    const experiment = planned.get(name)!;
    const { work } = experiment;
    // What a teacher with other settings taught is not what the row says either.
    if (work.method === "seed" && await resultOf(work.teacher, 0) === undefined) return undefined;
    return await experiments.result(experiment, seed);
  };
  const finished = (await Promise.all(steps.map(({ experiment: { name }, seed }) => resultOf(name, seed))))
    .filter((result) => result !== undefined).length;
  const found = await Promise.all(
    rows.map((row) => rowOf(row, planned.get(row.experiment)!.arch, resultOf, shared)),
  );
  const { name, title, about = "" } = size.section;
  return {
    name,
    title,
    about:
      `Weighted kNN (k = ${size.knnK}) and a linear classifier on frozen features, of ${images.train} training and ` +
      `${images.test} test images. Each student is trained for ${size.epochs} epochs, and by SEED under the teacher of the ` +
      "first row. Mean over the seeds, with the least and the most in parentheses. " +
      (size.ablationSeeds === 0 ? "" : "Rows that begin with `SEED, `, `--loss` or `MoCo-v2, ` have the " +
        `settings of ${size.students[0]}, but for those that they name. `) +
      freshNote(size, images.train) +
      "The best of the learning rates " +
      `${size.linear.lr!.join(", ")} of the linear classifier counts. Parameters include the head.` +
      (about && ` ${about}`) +
      (finished === steps.length ? "" : ` ${finished} of ${steps.length} runs are finished.`) +
      (failed.length === 0 ? "" : ` Failed: ${failed.map(({ run }) => run).join("; ")}.`),
    rows: found.flat(),
    figure: { fact: KNN, says: "kNN top-1 in percent", unit: "" },
  };
}

/** Says what rows of fresh weights are worth, of encoders whose running statistics move slowly. */
function freshNote({ students, moco }: PaperSize, images: number): string {
  if (!students.some((arch) => arch.startsWith("efficientnet"))) return "";
  const batches = Math.floor(images / moco.batchSize!);
  const initial = (100 * (1 - EFFICIENTNET_MOMENTUM) ** batches).toFixed(0);
  return "Fresh weights have batch norm's statistics of one epoch at a learning rate of 0. EfficientNet's take a hundredth " +
    `of each batch: after ${batches} batches, ${initial} % of them are the initial ones. So its row is no baseline. `;
}

/** Returns what an experiment of the plan has found, if it is finished. */
type ResultOf = (name: string, seed: number) => Promise<Result | undefined>;

async function rowOf(
  { title, experiment, seeds }: PaperRow,
  arch: string,
  resultOf: ResultOf,
  shared: boolean,
): Promise<Row[]> {
  const results = (await Promise.all(Array.from({ length: seeds }, (_, seed) => resultOf(experiment, seed))))
    .filter((result) => result !== undefined);
  if (results.length === 0) return [];
  const encoder = findEncoder(arch);
  const { parameters } = summarize(encoder, usualHead(encoder), 32);
  const rates = results.flatMap(({ imagesPerSecond }) => imagesPerSecond ?? []);
  return [{
    name: title,
    facts: {
      [KNN]: spreadOf(results.map(({ knn }) => knn)),
      "linear top-1, %": spreadOf(results.map(({ linear }) => linear)),
      seeds: String(results.length),
      parameters: `${(parameters / 1e6).toFixed(1)} M`,
      ...!shared && { "images/s": rates.length === 0 ? "" : spreadOf(rates, 0) },
    },
  }];
}
