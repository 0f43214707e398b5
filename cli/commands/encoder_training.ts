/** What commands that train an encoder show of it and record, whatever the method. */
import { relative } from "node:path";
import { countProbes } from "../../actors/diagnostics.ts";
import { describeEvaluationResize } from "../../actors/evaluation_resize.ts";
import { counted } from "../../data/printable.ts";
import type { EncoderTrainingEvent, EncoderTrainingPlan } from "../../methods/encoder_training/events.ts";
import { type EncoderTrainingOptions, hasProbeSet } from "../../methods/encoder_training/options.ts";
import type { EncoderTrainingResult } from "../../methods/encoder_training/run.ts";
import type { RunSoFar } from "../../methods/encoder_training/prepare.ts";
import { HELD_OUT } from "../../methods/held_out.ts";
import type { RunFigure, ScoreRow } from "../../ui/records.ts";
import type { RecordedInput } from "../output/run_recorder.ts";
import { lossesOfEpoch } from "../output/run_so_far.ts";
import type { EventWriter } from "../output/tensorboard/event_writer.ts";
import { RunEvents } from "../output/tensorboard/run_events.ts";
import { formatTable } from "../terminal/table.ts";
import type { ExpectedEvaluations } from "../terminal/time_left.ts";
import { RunDiagnostics } from "./run_diagnostics.ts";
import { describeReaders, describeTime, type Stage, timesOf, type Took } from "./training.ts";

/** How a task speaks of its runs. */
export interface Wording<Options> {
  /** What the encoder is called that is trained: `student`. */
  noun: string;
  /** Whether it is compared with a teacher. */
  hasTeacher: boolean;
  /** Tag of local views in the event file. */
  localViews: string;
  /** The message that a step is. */
  step: { actor: string; message: string };
  /** Returns what is shown before the first step. */
  describeRun(options: Options, plan: EncoderTrainingPlan, adapter: string): string[];
  /** Returns every option, also those that follow from others. */
  describeOptions(options: Options, printFreq: number): Record<string, unknown>;
}

/** Returns the test images of a run, for its record. */
export function testImagesOf({ testData: path }: EncoderTrainingOptions): RecordedInput[] {
  return path === null || path === HELD_OUT ? [] : [{ role: "test images", path, kind: "images" }];
}

/** Returns the lines that are shown of readers, evaluation, training and output before the first step. */
export function describeTraining(
  options: EncoderTrainingOptions,
  plan: EncoderTrainingPlan,
  queue: string,
): string[] {
  const { epochs, batchSize, imageSize, output, testData } = options;
  const batches = counted(plan.batchesPerEpoch, "batch", "batches");
  const resumed = plan.firstStep > 0 ? `, from step ${plan.firstStep + 1}` : "";
  return [
    ...describeReaders(options, plan),
    ...testData === null && !hasProbeSet(options)
      ? []
      : [`evaluate  ${describeEvaluationResize(plan.evalResize, imageSize)}`],
    `training  ${counted(epochs, "epoch")} of ${batches} of ${batchSize}${resumed}, queue ${queue}`,
    `output    ${output}`,
  ];
}

/** What of a plan tells an epoch from its steps. */
type CountedSteps = Pick<EncoderTrainingPlan, "batchesPerEpoch" | "extraSteps" | "firstStep">;

/** Whether some steps are an epoch. Steps of before may be of epochs of another batch size. */
function areEpoch(
  [first, last]: readonly [number, number],
  { batchesPerEpoch, extraSteps = 0, firstStep }: CountedSteps,
): boolean {
  return (last - extraSteps) % batchesPerEpoch === 0 && last - first === batchesPerEpoch - 1 &&
    (extraSteps === 0 || first > firstStep);
}

/** Which steps a mean loss is of: an epoch, or part of one. */
function describeSteps(steps: readonly [number, number], plan: CountedSteps): string {
  const [first, last] = steps;
  return areEpoch(steps, plan)
    ? `epoch ${(last - (plan.extraSteps ?? 0)) / plan.batchesPerEpoch - 1}`
    : first === last
    ? `step ${first}`
    : `steps ${first} to ${last}`;
}

/** What is shown after the last step. */
function describeResult(
  { knn, firstLoss, firstLossSteps, lastLoss, lastLossSteps, steps, checkpoint }: EncoderTrainingResult,
  took: Took,
  { output, knnK }: EncoderTrainingOptions,
  plan: CountedSteps,
  noun: string,
  isHeldOut: boolean,
): string[] {
  const mean = (loss: number, steps: readonly [number, number]) =>
    `${loss.toFixed(4)} in ${describeSteps(steps, plan)}`;
  const losses = Number.isNaN(lastLoss)
    ? "loss unknown"
    : `mean loss ${firstLoss === lastLoss ? "" : `${mean(firstLoss, firstLossSteps)}, `}${
      mean(lastLoss, lastLossSteps)
    }`;
  const lines = [
    `${counted(steps, "step")} in ${describeTime(took)}; ${losses}`,
    `output    ${output}`,
    `${noun.padEnd(9)} ${relative(output, checkpoint)}`,
  ];
  if (knn === null) return lines;
  const row = (name: string, accuracy: { top1: number } | null) => [
    name,
    accuracy === null ? "unknown" : `${accuracy.top1.toFixed(1)} %`,
  ];
  const table = formatTable([
    [`weighted kNN, k = ${knnK}${isHeldOut ? ", held-out labels" : ""}`, "top-1"],
    ...knn.teacher === undefined ? [] : [row("teacher", knn.teacher)],
    row(`${noun} before`, knn.before),
    row(`${noun} after`, knn.after),
  ]);
  return [...lines, "", table];
}

/** The mean losses of a record: of the first epoch that is known and of the last one, or of the steps that there were. */
function lossFigures(
  { firstLoss, firstLossSteps, lastLoss, lastLossSteps }: EncoderTrainingResult,
  isFirst: boolean,
  plan: CountedSteps,
): RunFigure[] {
  if (Number.isNaN(lastLoss)) return [];
  const { batchesPerEpoch, extraSteps = 0 } = plan;
  const [first, last] = firstLossSteps;
  const firstSteps = extraSteps !== 0
    ? `steps ${first} to ${last}`
    : isFirst && areEpoch(firstLossSteps, plan)
    ? "first epoch"
    : last - first === batchesPerEpoch - 1
    ? `one epoch from step ${first}`
    : describeSteps(firstLossSteps, plan);
  const lastSteps = areEpoch(lastLossSteps, plan) ? "last epoch" : describeSteps(lastLossSteps, plan);
  const figure = (steps: string, value: number) => ({ name: `mean loss, ${steps}`, value, unit: "" });
  return [
    ...firstSteps === lastSteps ? [] : [figure(firstSteps, firstLoss)],
    figure(lastSteps, lastLoss),
  ];
}

/** What came of it, for its record: figures of the whole run, as far as it is known, and of its last start. */
function figuresOf(
  result: EncoderTrainingResult,
  { batchSize, knnK, resume }: EncoderTrainingOptions,
  took: Took,
  plan: CountedSteps & Pick<EncoderTrainingPlan, "totalSteps">,
  noun: string,
  isHeldOut: boolean,
): RunFigure[] {
  const figure = (name: string, value: number, unit = "") => ({ name, value, unit });
  const evaluated = (who: string, { top1 }: { top1: number }) =>
    figure(`${who}, weighted kNN (k = ${knnK}${isHeldOut ? ", held-out labels" : ""}) top-1`, top1, "%");
  const { steps, knn } = result;
  const isFirst = resume === null || result.firstLossSteps[0] === 1; // the losses of a run that is resumed elsewhere may not be known
  return [
    figure("steps", resume === null ? steps : plan.totalSteps),
    ...resume === null ? [] : [figure("steps since resuming", steps)],
    ...timesOf(took),
    ...steps === 0
      ? []
      : [figure("images per second since the start, overall", steps * batchSize / took.seconds)],
    ...lossFigures(result, isFirst, plan),
    ...knn === null ? [] : [
      ...knn.teacher === undefined ? [] : [evaluated("teacher", knn.teacher)],
      ...knn.before === null ? [] : [evaluated(`${noun} before`, knn.before)],
      evaluated(`${noun} after`, knn.after),
    ],
  ];
}

/**
 * Returns the evaluations to come: all encoders at the beginning, after some epochs, and at the end; none where nothing is
 * evaluated. Of epochs without kNN those by the probe set are left out: there are as many as keep up with training.
 *
 * @param isKnown whether the beginning was evaluated before the run is resumed
 */
export function expectEvaluations(
  options: Pick<EncoderTrainingOptions, "knnEvery" | "insight" | "images">,
  { images: rowCount, batchesPerEpoch, extraSteps = 0, firstStep, totalSteps, knn }: Pick<
    EncoderTrainingPlan,
    "images" | "batchesPerEpoch" | "extraSteps" | "firstStep" | "totalSteps" | "knn"
  >,
  isKnown: boolean,
  hasTeacher: boolean,
): ExpectedEvaluations {
  const { knnEvery } = options;
  const probes = hasProbeSet(options) ? countProbes(knn?.heldOut === false ? knn.queries : rowCount) : 0;
  const images = (knn === null ? 0 : knn.bank + knn.queries) + probes;
  if (images === 0) return { count: 0, images, besideTraining: true };
  const every = knn === null || knnEvery === 0 ? Infinity : knnEvery * batchesPerEpoch;
  const [first, last] = [firstStep - extraSteps, totalSteps - extraSteps];
  const between = Math.ceil(last / every) - 1 - Math.floor(first / every);
  return {
    count: (isKnown ? 0 : hasTeacher ? 2 : 1) + Math.max(0, between) + 1,
    images,
    besideTraining: true,
  };
}

/**
 * Shows the training of an encoder, and keeps its records.
 *
 * @param soFar records of the run to resume
 */
export function showEncoderTraining<Options extends EncoderTrainingOptions>(
  stage: Stage,
  options: Options,
  wording: Wording<Options>,
  printFreq: number,
  soFar: RunSoFar | undefined,
) {
  const isKnown = soFar !== undefined && soFar.accuracies.length > 0;
  const { shown, recorder, tensorBoard } = stage;
  const { noun } = wording;
  let writer: EventWriter | undefined;
  let runEvents: RunEvents | undefined;
  let planned = { batchesPerEpoch: 1, extraSteps: 0, firstStep: 0, totalSteps: 0 };
  let isHeldOut = false;
  let drawing: Promise<void> = Promise.resolve();
  const diagnostics = new RunDiagnostics(stage, options.output, wording.step);

  function begin(plan: Extract<EncoderTrainingEvent, { type: "plan" }>): void {
    const { batchesPerEpoch: stepsPerEpoch, extraSteps = 0, firstStep, totalSteps } = plan;
    planned = { batchesPerEpoch: stepsPerEpoch, extraSteps, firstStep, totalSteps };
    isHeldOut = plan.knn?.heldOut ?? false;
    stage.recordSettings(wording.describeOptions(options, printFreq));
    writer = stage.openEventFile();
    const losses = lossesOfEpoch(soFar?.losses ?? [], { stepsPerEpoch, extraSteps, firstStep });
    const { batchSize } = options;
    runEvents = writer && new RunEvents(writer, { stepsPerEpoch, extraSteps, batchSize, losses });
    const { type, notes, ...told } = plan;
    shown.tell(type, { ...told, epochs: options.epochs, batchSize: options.batchSize });
    for (const line of wording.describeRun(options, plan, stage.adapter)) shown.show(line);
    for (const text of notes) shown.say(text);
    // Where they are not by the same images and settings, the beginning is evaluated again, and epochs of before are no
    // longer compared with.
    const isSuperseded = ({ by }: ScoreRow) => !isKnown && by === "knn";
    const facts = { images: plan.images, stepsPerEpoch, extraSteps, totalSteps, firstStep, knn: plan.knn };
    const evaluations = expectEvaluations(options, plan, isKnown, wording.hasTeacher);
    stage.begin(facts, { printFreq, evaluations }, { isSuperseded });
  }

  function score({ of, step, top1, top5 }: Extract<EncoderTrainingEvent, { type: "knn" }>): void {
    const row: ScoreRow = { of, by: "knn", step, top1, top5, ...isHeldOut && { held_out: true } };
    stage.score([row], row);
    const { batchesPerEpoch, extraSteps, firstStep, totalSteps } = planned;
    // Of the beginning there is no epoch.
    if (of === "teacher" || step === 0 || (options.resume === null && step === firstStep)) return;
    const epoch = Math.ceil((step - extraSteps) / batchesPerEpoch) - 1;
    if (step < totalSteps) shown.show(`weighted kNN after epoch ${epoch}: top-1 ${top1.toFixed(1)} %`);
    tensorBoard(() => {
      writer?.scalar("knn_top1", top1, epoch);
      writer?.scalar("knn_top5", top5, epoch);
    });
  }

  function take(event: EncoderTrainingEvent): void {
    switch (event.type) {
      case "plan":
        return begin(event);
      case "step":
        shown.step(event);
        return tensorBoard(() => runEvents?.step(event));
      case "stats":
      case "trace":
      case "profile":
        return diagnostics.take(event, runEvents);
      case "views": {
        const { pixels, count, size, isLocal } = event;
        const draw = async () =>
          await runEvents?.views(isLocal ? wording.localViews : "views", pixels, count, size);
        drawing = drawing.then(() => tensorBoard(draw));
        return;
      }
      case "knn":
        return score(event);
      case "snapshot":
        return recorder.snapshot(event);
      case "probe-set":
        return recorder.probeSet(event);
      case "neighbours":
        return recorder.neighbours(event);
      case "progress":
        return stage.tell({ ...event, of: event.of === "student" ? noun : event.of });
      default:
        return stage.tell(event);
    }
  }

  return {
    take,
    settle: () => drawing,
    conclude: () => diagnostics.conclude(),
    figures: (result: EncoderTrainingResult, took: Took) =>
      figuresOf(result, options, took, planned, noun, isHeldOut),
    describe: (result: EncoderTrainingResult, took: Took) =>
      describeResult(result, took, options, planned, noun, isHeldOut),
  };
}
