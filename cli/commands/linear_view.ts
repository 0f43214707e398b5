/** What `deno task lincls` makes of a linear evaluation's events. */
import { existsSync } from "node:fs";
import { join, relative } from "node:path";
import { describeEvaluationResize } from "../../actors/evaluation_resize.ts";
import { counted } from "../../data/printable.ts";
import type { LinearEpoch, LinearEvent, LinearPlan } from "../../methods/linear_probe/events.ts";
import { BEST_CHECKPOINT } from "../../models/checkpoint/run_checkpoints.ts";
import type { LinearOptions } from "../../methods/linear_probe/options.ts";
import type { LinearResult } from "../../methods/linear_probe/run.ts";
import type { RunFigure, ScoreRow } from "../../ui/records.ts";
import type { RecordedInput } from "../output/run_recorder.ts";
import type { EventWriter } from "../output/tensorboard/event_writer.ts";
import { formatTable } from "../terminal/table.ts";
import { describeReaders, describeTime, type Stage, timesOf, type Took } from "./training.ts";

/** What is shown before the first step. */
function describeRun(options: LinearOptions, plan: LinearPlan, { adapter, folder }: Stage): string[] {
  const { arch, pretrained, epochs, batchSize, imageSize, lr } = options;
  const { trainImages, testImages, classes, features, batchesPerEpoch, firstEpoch } = plan;
  const training = `${counted(epochs, "epoch")} of ${
    counted(batchesPerEpoch, "batch", "batches")
  } of ${batchSize}, learning rate ${lr.join(", ")}`;
  const resumed = firstEpoch > 0 ? `, from epoch ${firstEpoch}` : "";
  return [
    `adapter   ${adapter}`,
    `encoder   ${arch}, ${pretrained ?? "random weights"}`,
    `images    ${
      options.evaluate ? "" : `${trainImages} training, `
    }${testImages} test, ${imageSize} x ${imageSize}`,
    ...describeReaders(options, plan),
    `evaluate  ${describeEvaluationResize(plan.evalResize, imageSize)}`,
    `probe     ${features} features, ${classes} classes`,
    options.evaluate ? `classify  with ${options.resume}` : `training  ${training}${resumed}`,
    describeOutput(folder),
  ];
}

/** Where the records of a run come to lie, as it is shown. */
export function describeOutput({ path, isKept }: Stage["folder"]): string {
  return `output    ${isKept ? `none: ${path} stays as it is` : path}`;
}

/** A share as it is shown. */
export function percent(value: number): string {
  return `${value.toFixed(2)} %`;
}

/** Where the last checkpoint and the best one are: a run that is resumed elsewhere and gets no better has none of the latter. */
export function describeCheckpoints(output: string, last: string | null): string[] {
  if (last === null) return [];
  const best = existsSync(join(output, BEST_CHECKPOINT)) ? [`best      ${BEST_CHECKPOINT}`] : [];
  return [`output    ${output}`, `last      ${relative(output, last)}`, ...best];
}

/** What is shown after the last step. */
function describeResult(
  { scores, chosen, isCheckpointChoice, checkpoint }: LinearResult,
  { output, evaluate }: LinearOptions,
  took: Took,
): string[] {
  const rows = scores.map(({ lr, last, best, diverged }) => [
    String(lr),
    ...diverged ? ["diverged", "", ""] : [percent(last.top1), percent(last.top5), last.loss.toFixed(4)],
    ...evaluate ? [] : [diverged ? "" : percent(best)],
  ]);
  const heading = ["learning rate", "top-1", "top-5", "loss", ...evaluate ? [] : ["best top-1"]];
  const { lr, best } = scores[chosen];
  const [label, choice] = !evaluate
    ? ["best", ""]
    : isCheckpointChoice
    ? ["result", ", the checkpoint's choice"]
    : ["result", ", whose best top-1 in the checkpoint is the highest"];
  return [
    `${evaluate ? "evaluated" : "trained"} in ${describeTime(took)}`,
    ...describeCheckpoints(output, checkpoint),
    "",
    formatTable([heading, ...rows]),
    ...scores.length > 1 ? ["", `${label}: ${percent(best)}, with learning rate ${lr}${choice}`] : [],
  ];
}

/** What it reads, for its record. */
export function inputsOf(
  { pretrained, data, testData }: Pick<LinearOptions, "pretrained" | "data" | "testData">,
): RecordedInput[] {
  return [
    { role: "images", path: data, kind: "images" },
    { role: "test images", path: testData, kind: "images" },
    ...pretrained === null ? [] : [{ role: "encoder", path: pretrained, kind: "file" as const }],
  ];
}

/** What came of it, for its record. */
function figuresOf({ scores, chosen }: LinearResult, took: Took): RunFigure[] {
  const { best, last } = scores[chosen];
  return [
    ...timesOf(took),
    { name: "linear classifier, best top-1", value: best, unit: "%" },
    { name: "linear classifier, last top-1", value: last.top1, unit: "%" },
    { name: "linear classifier, last top-5", value: last.top5, unit: "%" },
    ...scores.length === 1 ? [] : scores.map(({ lr, best, diverged }) => ({
      name: `learning rate ${lr}, best top-1`,
      value: diverged ? null : best,
      unit: "%",
    })),
  ];
}

/** Shows a linear evaluation, and keeps its records. */
export function showLinear(stage: Stage, options: LinearOptions, printFreq: number) {
  const { shown } = stage;
  const { tuning: _, ...config } = options;
  const { evaluate, epochs, cacheFeatures } = config;
  let writer: EventWriter | undefined;
  let [stepsPerEpoch, extraSteps] = [1, 0];

  /** Steps of the whole run up to an epoch's end. */
  const stepsAfter = (epoch: number) => extraSteps + (epoch + 1) * stepsPerEpoch;

  function begin(plan: Extract<LinearEvent, { type: "plan" }>): void {
    stage.recordSettings({ ...config, printFreq });
    if (!evaluate) writer = stage.openEventFile();
    const { type, notes, ...planned } = plan;
    shown.tell(type, { ...planned, epochs, batchSize: config.batchSize });
    for (const line of describeRun(options, plan, stage)) shown.show(line);
    for (const text of notes) shown.say(text);
    ({ batchesPerEpoch: stepsPerEpoch, extraSteps = 0 } = plan);
    const firstStep = stepsAfter(plan.firstEpoch - 1);
    const facts = { images: plan.trainImages, stepsPerEpoch, extraSteps, firstStep };
    if (evaluate) return stage.beginEvaluation(facts, plan.firstEpoch);
    // Where all epochs are done, the last one is evaluated once more.
    const isRepeated = ({ step }: ScoreRow) => plan.firstEpoch >= epochs && step === firstStep;
    stage.begin(
      { ...facts, totalSteps: stepsAfter(epochs - 1) },
      {
        printFreq: cacheFeatures ? stepsPerEpoch : printFreq, // steps over features that are kept take no time
        evaluations: {
          count: cacheFeatures ? 0 : epochs - plan.firstEpoch,
          images: plan.testImages,
          besideTraining: false,
        },
      },
      { isRepeated },
    );
  }

  function score({ epoch, learningRates, tested, diverged, chosen }: LinearEpoch): void {
    const step = stepsAfter(epoch);
    const { lr } = options;
    const sound = tested.filter((_, i) => !diverged[i]);
    if (sound.length === 0) return;
    const best = evaluate ? tested[chosen] : sound.reduce((a, b) => b.top1 > a.top1 ? b : a);
    const { top1, top5 } = best;
    const which = tested.length === 1
      ? ""
      : evaluate
      ? ` (learning rate ${lr[chosen]})`
      : ` (best of ${tested.length} learning rates)`;
    const row: ScoreRow = { of: "student", by: "linear", step, top1, top5 };
    // The page takes the best of an epoch's rows: of an evaluation there is the chosen one's alone.
    const rows = tested.flatMap((score, i) =>
      diverged[i] || (evaluate && i !== chosen)
        ? []
        : [{ ...row, top1: score.top1, top5: score.top5, lr: lr[i] }]
    );
    const each = tested.map(({ loss, top1, top5 }, i) => ({
      lr: lr[i],
      ...!evaluate && { learningRate: learningRates[i] },
      ...{ loss, top1, top5, diverged: diverged[i] },
    }));
    stage.score(tested.length === 1 ? [row] : rows, { ...row, epoch, learningRates: each });
    stage.tensorBoard(() => {
      writer?.scalar("lincls_acc1", top1, epoch);
      writer?.scalar("learning_rate", learningRates[tested.indexOf(best)], epoch);
    });
    shown.show(`test after epoch ${epoch}: top-1 ${percent(top1)}, top-5 ${percent(top5)}${which}`);
  }

  return {
    take(event: LinearEvent): void {
      switch (event.type) {
        case "plan":
          return begin(event);
        case "step":
          return shown.step({ epoch: event.epoch, step: event.step, loss: event.score.loss, lr: event.lr });
        case "epoch":
          return score(event);
        default:
          return stage.tell(event);
      }
    },
    figures: figuresOf,
    describe: (result: LinearResult, took: Took) => describeResult(result, options, took),
  };
}
