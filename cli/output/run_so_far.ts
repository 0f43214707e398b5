/** What the records in an output folder say of the run that is gone on with. */
import { dirname, join } from "node:path";
import { type GenericSchema, pick } from "valibot";
import type { EncoderTrainingOptions } from "../../methods/encoder_training/options.ts";
import { HELD_OUT } from "../../methods/held_out.ts";
import type { KnownLoss, RunSoFar } from "../../methods/encoder_training/prepare.ts";
import { fingerprintDataset, fingerprintFile } from "../../data/fingerprint.ts";
import { openDataset, resolveDataset } from "../../data/open_dataset.ts";
import { readLastLinesSync, readLinesSync } from "../../data/read_lines.ts";
import { CONFIG, METRICS_ROW, parseRecord, RUN_RECORD, SCORE_ROW } from "../../ui/record_schemas.ts";
import type { RunRecord } from "../../ui/records.ts";
import { snakeCase } from "./snake_case.ts";

/** The options that an evaluation by kNN depends on, besides images and teacher, which are compared by content. */
const KNN_OPTIONS = [
  "teacherArch",
  "studentArch",
  "arch",
  "weights",
  "imageSize",
  "teacherSize",
  "maxPixels",
  "fastDecode",
  "evalResize",
  "knnK",
  "knnImages",
  "knnT",
] as const;

/** What is needed of a row of `metrics.jsonl`. */
const LOSS_OF_ROW = pick(METRICS_ROW, ["step", "loss"]);
const TIME_OF_ROW = pick(METRICS_ROW, ["time"]);

async function readText(path: string): Promise<string> {
  return await Deno.readTextFile(path).catch(() => ""); // it was killed before it had any, or they were removed
}

/** The rows of a file; a line that is none is named where a resumed run drops rows. */
function readRows<Row>(path: string, schema: GenericSchema<unknown, Row>): Row[] {
  const rows: Row[] = [];
  try {
    for (const line of readLinesSync(path)) {
      const { value, problem } = parseRecord(schema, line);
      if (problem === undefined) rows.push(value);
    }
  } catch {
    // As with a record: there is none, or it cannot be read.
  }
  return rows;
}

/** A record; nothing where there is none, and a warning where it cannot be read. */
async function readRecord<T>(path: string, schema: GenericSchema<unknown, T>): Promise<T | undefined> {
  const text = await readText(path);
  if (text === "") return undefined;
  const { value, problem } = parseRecord(schema, text);
  if (problem !== undefined) console.error(`warning: ${path} is ignored: ${problem}`);
  return value;
}

/** The record of the run that wrote a checkpoint: that of its folder. */
async function recordOf(task: string, checkpoint: string): Promise<RunRecord | undefined> {
  const record = await readRecord(join(dirname(checkpoint), "run.json"), RUN_RECORD);
  return record?.task === task ? record : undefined;
}

/** Whether a file lies in the output folder: a run that goes on elsewhere has an end of its own. */
async function isIn(output: string, file: string): Promise<boolean> {
  const [here, there] = await Promise.all([output, dirname(file)].map((path) => Deno.realPath(path)));
  return here === there;
}

/**
 * Whether the run in a folder has not come to its end, as its record says.
 *
 * @param resume the checkpoint that is gone on from
 */
export async function isUnfinished(task: string, output: string, resume: string | null): Promise<boolean> {
  const record = resume === null || !await isIn(output, resume) ? undefined : await recordOf(task, resume);
  return record !== undefined && record.status !== "finished";
}

/**
 * When a run that is gone on with first began, and how long its starts took so far; `undefined` where nothing says so. One
 * that was killed took until its last step.
 */
export async function readStartsBefore(task: string, resume: string | null): Promise<RunRecord["before"]> {
  const record = resume === null ? undefined : await recordOf(task, resume);
  if (record === undefined) return undefined;
  const { before = { started_at: record.started_at, seconds: 0 }, started_at: startedAt } = record;
  const seconds = record.seconds ?? secondsUntilLastStep(dirname(resume!), startedAt);
  return { ...before, seconds: before.seconds + seconds };
}

/** By the rows themselves: when the file was written last, a copy of the folder may not say. */
function secondsUntilLastStep(folder: string, startedAt: string): number {
  let lines: string[] = [];
  try {
    lines = readLastLinesSync(join(folder, "metrics.jsonl"));
  } catch {
    // As with a record: there is none, or it cannot be read.
  }
  const lastStep = lines.map((line) => parseRecord(TIME_OF_ROW, line).value?.time).find((time) =>
    time !== undefined
  );
  const seconds = (lastStep ?? NaN) - Date.parse(startedAt) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : 0; // it was killed before its first step
}

/** The losses of a run's steps, by its records. */
function readLosses(folder: string): KnownLoss[] {
  return readRows(join(folder, "metrics.jsonl"), LOSS_OF_ROW);
}

/** Losses of the steps that a fine-tuning that is gone on with has done; none where the checkpoint's folder says nothing of it. */
export async function readLossesBefore(task: string, resume: string | null): Promise<KnownLoss[]> {
  const record = resume === null ? undefined : await recordOf(task, resume);
  return record === undefined ? [] : readLosses(dirname(resume!));
}

/**
 * Returns the losses of the epoch in which a run goes on, of the steps before that; NaN where one was not finite.
 *
 * @param extraSteps that epochs of another batch size had more, or fewer if below 0
 */
export function lossesOfEpoch(
  losses: readonly KnownLoss[],
  { stepsPerEpoch, extraSteps = 0, firstStep }: {
    stepsPerEpoch: number;
    extraSteps?: number;
    firstStep: number;
  },
): number[] {
  const epochStart = firstStep - (firstStep - extraSteps) % stepsPerEpoch;
  return losses.filter(({ step }) => step > epochStart && step <= firstStep).map(({ loss }) => loss ?? NaN);
}

/** Options that name the encoders of a run, and say what a teacher sees. */
type NamedEncoders =
  & Partial<Record<"distill" | "teacherArch" | "studentArch" | "arch" | "weights", string>>
  & { teacherSize?: number };

/** What is known of the run that is resumed; `undefined` where the checkpoint's folder says nothing of it. */
export async function readRunSoFar(
  task: string,
  options: EncoderTrainingOptions & NamedEncoders,
): Promise<RunSoFar | undefined> {
  const { output, resume, limitSteps } = options;
  const record = resume === null ? undefined : await recordOf(task, resume);
  if (record === undefined) return undefined;
  const folder = dirname(resume!);
  const losses = readLosses(folder);
  // The scores of another folder are not in this one's files: there the encoders are evaluated again.
  if (!await isIn(output, resume!)) return { accuracies: [], losses, isUnfinished: false };
  const config = await readRecord(join(folder, "config.json"), CONFIG) ?? {};
  const isUnfinished = record.status !== "finished";
  const known: Record<string, unknown> = { fast_decode: false, ...config }; // runs of before have no such setting
  const isSameKnn = KNN_OPTIONS.every((name) => known[snakeCase(name)] === options[name]) &&
    await hasSameTeacher(record, options, known) && await hasSameImages(record, options, known);
  const scores = isSameKnn ? readRows(join(folder, "scores.jsonl"), SCORE_ROW) : [];
  const isSameLimit = limitSteps !== null && config.limit_steps === limitSteps;
  const { knn_every: knnEvery } = config;
  return {
    accuracies: scores.filter(({ by }) => by === "knn"),
    ...isSameKnn && typeof knnEvery === "number" && { knnEvery },
    losses,
    isUnfinished,
    ...isUnfinished && isSameLimit && { end: record.plan?.total_steps },
  };
}

/**
 * Whether the teacher is that of the record. Its weights are compared with the checkpoint's before the run goes on, unless it does
 * so whatever differs.
 *
 * @param known the options of the record
 */
async function hasSameTeacher(
  { inputs }: RunRecord,
  { distill, resumeAnyway = false }: Pick<EncoderTrainingOptions, "resumeAnyway"> & NamedEncoders,
  known: Record<string, unknown>,
): Promise<boolean> {
  if (distill === known.distill || distill === undefined || !resumeAnyway) return true;
  const fingerprint = inputs.find(({ role }) => role === "teacher")?.fingerprint;
  return fingerprint !== undefined && await fingerprintFile(distill) === fingerprint;
}

/**
 * Whether the images to classify, and those that vote, are those of the record, whatever their paths; where it was killed before
 * it had looked at them, those of the same path may be.
 *
 * @param known the options of the record
 */
async function hasSameImages(
  { inputs }: RunRecord,
  { data, testData, knnImages, seed }: Pick<
    EncoderTrainingOptions,
    "data" | "testData" | "knnImages" | "seed"
  >,
  known: Record<string, unknown>,
): Promise<boolean> {
  const isHeldOut = testData === HELD_OUT;
  if (testData === null || known.test_data === null) return testData === known.test_data;
  if (isHeldOut !== (known.test_data === HELD_OUT)) return false;
  const isSame = async (role: string, path: string, isSamePath: boolean) => {
    using dataset = await openDataset(path);
    // The seed chooses whose labels are held out, and the images of a sample.
    if (seed !== known.seed && (isHeldOut || dataset.rowCount > knnImages)) return false;
    const fingerprint = inputs.find((input) => input.role === role)?.fingerprint;
    return fingerprint === undefined ? isSamePath : await fingerprintDataset(dataset) === fingerprint;
  };
  return await isSame("images", await resolveDataset(data, "train"), data === known.data) &&
    (isHeldOut || await isSame("test images", testData, testData === known.test_data));
}
