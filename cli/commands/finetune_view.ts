/** What `deno task lincls --finetune` makes of a fine-tuning's events. */
import { describeEvaluationResize } from "../../actors/evaluation_resize.ts";
import { counted } from "../../data/printable.ts";
import type { FinetuneEpoch, FinetuneEvent, FinetunePlan } from "../../methods/finetune/events.ts";
import type { KnownLoss } from "../../methods/encoder_training/prepare.ts";
import type { FinetuneOptions } from "../../methods/finetune/options.ts";
import type { FinetuneResult } from "../../methods/finetune/run.ts";
import type { RunFigure, ScoreRow } from "../../ui/records.ts";
import { lossesOfEpoch } from "../output/run_so_far.ts";
import type { EventWriter } from "../output/tensorboard/event_writer.ts";
import { RunEvents } from "../output/tensorboard/run_events.ts";
import { formatTable } from "../terminal/table.ts";
import { describeCheckpoints, describeOutput, percent } from "./linear_view.ts";
import { RunDiagnostics } from "./run_diagnostics.ts";
import { describeReaders, describeTime, type Stage, timesOf, type Took } from "./training.ts";

/** What is shown before the first step. */
function describeRun(options: FinetuneOptions, plan: FinetunePlan, { adapter, folder }: Stage): string[] {
  const { arch, pretrained, resume, epochs, batchSize, imageSize, lr, lrLastLayer } = options;
  const { trainImages, testImages, classes, features, batchesPerEpoch, firstStep } = plan;
  const training = `${counted(epochs, "epoch")} of ${
    counted(batchesPerEpoch, "batch", "batches")
  } of ${batchSize}, learning rate ${lr}, of the classifier ${lrLastLayer}`;
  const resumed = firstStep > 0 ? `, from step ${firstStep + 1}` : "";
  return [
    `adapter   ${adapter}`,
    `encoder   ${arch}, ${pretrained ?? resume ?? "random weights"}, trained too`,
    `images    ${
      options.evaluate ? "" : `${trainImages} training, `
    }${testImages} test, ${imageSize} x ${imageSize}`,
    ...describeReaders(options, plan),
    `evaluate  ${describeEvaluationResize(plan.evalResize, imageSize)}`,
    `classify  ${features} features, ${classes} classes`,
    ...options.evaluate ? [] : [`training  ${training}${resumed}`],
    describeOutput(folder),
  ];
}

/** What is shown after the last step. */
function describeResult(
  { last, best, checkpoint }: FinetuneResult,
  { output, evaluate }: FinetuneOptions,
  took: Took,
): string[] {
  const row = [
    percent(last.top1),
    percent(last.top5),
    last.loss.toFixed(4),
    ...evaluate ? [] : [percent(best)],
  ];
  const heading = ["top-1", "top-5", "loss", ...evaluate ? [] : ["best top-1"]];
  return [
    `${evaluate ? "evaluated" : "trained"} in ${describeTime(took)}`,
    ...describeCheckpoints(output, checkpoint),
    "",
    formatTable([heading, row]),
  ];
}

/** What came of it, for its record. */
function figuresOf({ last, best }: FinetuneResult, took: Took): RunFigure[] {
  return [
    ...timesOf(took),
    { name: "fine-tuned, best top-1", value: best, unit: "%" },
    { name: "fine-tuned, last top-1", value: last.top1, unit: "%" },
    { name: "fine-tuned, last top-5", value: last.top5, unit: "%" },
  ];
}

/** The message that a step is. */
const STEP = { actor: "finetune_trainer", message: "encode" };

/**
 * Shows a fine-tuning, and keeps its records.
 *
 * @param lossesBefore of the run to resume
 */
export function showFinetune(
  stage: Stage,
  options: FinetuneOptions,
  printFreq: number,
  lossesBefore: readonly KnownLoss[],
) {
  const { shown } = stage;
  const { tuning: _, ...config } = options;
  const { evaluate, epochs } = config;
  const diagnostics = new RunDiagnostics(stage, options.output, STEP);
  let writer: EventWriter | undefined;
  let runEvents: RunEvents | undefined;
  let [stepsPerEpoch, extraSteps, firstStep] = [1, 0, 0];

  /** Steps of the whole run up to an epoch's end. */
  const stepsAfter = (epoch: number) => extraSteps + (epoch + 1) * stepsPerEpoch;

  function begin(plan: Extract<FinetuneEvent, { type: "plan" }>): void {
    const { type, testsFirst, notes, ...planned } = plan;
    stage.recordSettings({ ...config, finetune: true, printFreq });
    if (!evaluate) writer = stage.openEventFile();
    shown.tell(type, { ...planned, epochs, batchSize: config.batchSize });
    for (const line of describeRun(options, plan, stage)) shown.show(line);
    for (const text of notes) shown.say(text);
    ({ batchesPerEpoch: stepsPerEpoch, extraSteps = 0, firstStep } = plan);
    const facts = { images: plan.trainImages, stepsPerEpoch, extraSteps, firstStep };
    if (evaluate) return stage.beginEvaluation(facts, plan.firstEpoch);
    const losses = lossesOfEpoch(lossesBefore, { stepsPerEpoch, extraSteps, firstStep });
    const { batchSize } = config;
    runEvents = writer && new RunEvents(writer, { stepsPerEpoch, extraSteps, batchSize, losses });
    const isRepeated = ({ step }: ScoreRow) => testsFirst && step === firstStep;
    stage.begin(
      { ...facts, totalSteps: stepsAfter(epochs - 1) },
      {
        printFreq,
        evaluations: {
          count: epochs - plan.firstEpoch + Number(testsFirst),
          images: plan.testImages,
          besideTraining: false,
        },
      },
      { isRepeated },
    );
  }

  function score({ epoch, isPartial, tested, trained, lr, lrLastLayer }: FinetuneEpoch): void {
    const { loss, top1, top5 } = tested;
    const step = isPartial ? firstStep : stepsAfter(epoch);
    const row: ScoreRow = { of: "student", by: "finetune", step, top1, top5 };
    stage.score([row], { ...row, epoch, loss, lr, lrLastLayer, trained });
    stage.tensorBoard(() => {
      runEvents?.pause();
      writer?.scalar("finetune_acc1", top1, epoch);
    });
    const learnt = trained === null ? "" : `, top-1 while learning ${percent(trained.top1)}`;
    const when = isPartial ? "within" : "after";
    shown.show(`test ${when} epoch ${epoch}: top-1 ${percent(top1)}, top-5 ${percent(top5)}${learnt}`);
  }

  return {
    take(event: FinetuneEvent): void {
      switch (event.type) {
        case "plan":
          return begin(event);
        case "step": {
          const { epoch, step, score: { loss }, lr, lossScale } = event;
          shown.step({ epoch, step, loss, lr, ...lossScale && { lossScale } });
          return stage.tensorBoard(() => runEvents?.step({ epoch, step, loss, lr }));
        }
        case "epoch":
          return score(event);
        case "stats":
        case "trace":
        case "profile":
          return diagnostics.take(event, runEvents);
        default:
          return stage.tell(event);
      }
    },
    conclude: () => diagnostics.conclude(),
    figures: figuresOf,
    describe: (result: FinetuneResult, took: Took) => describeResult(result, options, took),
  };
}
