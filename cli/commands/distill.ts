/** `deno task distill`: flags in, progress and files out. The run itself is `methods/seed/run.ts`. */
import { relative } from "node:path";
import type { DistillEvent, DistillPlan } from "../../methods/seed/events.ts";
import type { DistillResult } from "../../methods/seed/run.ts";
import { describeEvaluationResize } from "../../actors/evaluation_resize.ts";
import { augmentationOf } from "../../methods/seed/augmentation.ts";
import { type DistillOptions, hasProbeSet } from "../../methods/seed/options.ts";
import type { RunProfile } from "../../actors/run_profile.ts";
import { counted } from "../../data/printable.ts";
import { distill } from "../../methods/runs.ts";
import { DEFAULT_LOSS } from "../../models/loss/losses.ts";
import { studentNames, teacherNames } from "../../models/registry.ts";
import type { RunFigure, ScoreRow, StatsRow } from "../../ui/records.ts";
import { parseDistillFlags } from "../flags/distill_flags.ts";
import { flagName } from "../flags/flags.ts";
import { checkDistillInputs, findCheckpointToResume } from "../flags/inputs.ts";
import { loadPlugin } from "../flags/plugin.ts";
import { describeProfile, writeTrace } from "../output/profile_report.ts";
import type { RunConsole } from "../terminal/run_console.ts";
import { runMain } from "../terminal/run_main.ts";
import type { RecordedInput } from "../output/run_recorder.ts";
import { readRunSoFar } from "../output/run_so_far.ts";
import { formatTable } from "../terminal/table.ts";
import type { ExpectedEvaluations } from "../terminal/time_left.ts";
import type { EventWriter } from "../output/tensorboard/event_writer.ts";
import { RunEvents } from "../output/tensorboard/run_events.ts";
import { describeTime, type Stage, timesOf, type Took, train } from "./training.ts";

/** The message that a step is. */
const STEP = { actor: "student_trainer", message: "train" };

/** What is shown before the first step. */
function describeRun(options: DistillOptions, plan: DistillPlan, adapter: string): string[] {
  const { teacherArch, teacherSsl, studentArch, distill, data, output, epochs, batchSize, queue } = options;
  const { imageSize, smallViews, smallSize } = options;
  const resumed = plan.firstStep > 0 ? `, from step ${plan.firstStep + 1}` : "";
  return [
    `adapter   ${adapter}`,
    `teacher   ${teacherArch} (${teacherSsl}), ${distill}`,
    `student   ${studentArch}${options.resume === null ? "" : `, resumed from ${options.resume}`}`,
    `images    ${plan.images} in ${data}, ${imageSize} x ${imageSize}${
      smallViews === 0 ? "" : `, and ${smallViews} small views of ${smallSize} x ${smallSize}`
    }`,
    ...options.testData === null && !hasProbeSet(options)
      ? []
      : [`evaluate  ${describeEvaluationResize(plan.evalResize, imageSize)}`],
    `training  ${counted(epochs, "epoch")} of ${
      counted(plan.batchesPerEpoch, "batch", "batches")
    } of ${batchSize}${resumed}, queue ${queue}`,
    `output    ${output}`,
  ];
}

/** Which steps a mean loss is of: an epoch, or part of one. */
function describeSteps([first, last]: readonly [number, number], stepsPerEpoch: number): string {
  const isEpoch = last % stepsPerEpoch === 0 && last - first === stepsPerEpoch - 1;
  return isEpoch
    ? `epoch ${last / stepsPerEpoch - 1}`
    : first === last
    ? `step ${first}`
    : `steps ${first} to ${last}`;
}

/** What is shown after the last step. */
function describeResult(
  { knn, firstLoss, firstLossSteps, lastLoss, lastLossSteps, steps, checkpoint }: DistillResult,
  took: Took,
  { output, knnK }: DistillOptions,
  stepsPerEpoch: number,
): string[] {
  const mean = (loss: number, steps: readonly [number, number]) =>
    `${loss.toFixed(4)} in ${describeSteps(steps, stepsPerEpoch)}`;
  const losses = Number.isNaN(lastLoss)
    ? "no loss is known"
    : `mean loss ${firstLoss === lastLoss ? "" : `${mean(firstLoss, firstLossSteps)}, `}${
      mean(lastLoss, lastLossSteps)
    }`;
  const lines = [
    `${counted(steps, "step")} in ${describeTime(took)}; ${losses}`,
    `output    ${output}`,
    `student   ${relative(output, checkpoint)}`,
  ];
  if (knn === null) return lines;
  const row = (name: string, accuracy: { top1: number } | null) => [
    name,
    accuracy === null ? "unknown" : `${accuracy.top1.toFixed(1)} %`,
  ];
  const table = formatTable([
    [`weighted kNN, k = ${knnK}`, "top-1"],
    row("teacher", knn.teacher),
    row("student before", knn.before),
    row("student after", knn.after),
  ]);
  return [...lines, "", table];
}

/** Every option, also those that follow from others; what was measured of the adapter is kept by itself. */
function describeOptions(
  { tuning: _, ...options }: DistillOptions,
  printFreq: number,
): Record<string, unknown> {
  return { ...options, printFreq, augmentation: augmentationOf(options), loss: options.loss ?? DEFAULT_LOSS };
}

/** What the run reads, for its record. */
function inputsOf({ data, testData, distill, images }: DistillOptions): RecordedInput[] {
  return [
    ...images === undefined ? [{ role: "images", path: data, kind: "images" as const }] : [],
    ...testData === null ? [] : [{ role: "test images", path: testData, kind: "images" as const }],
    { role: "teacher", path: distill, kind: "file" },
  ];
}

/** What came of it, for its record: figures of the whole run, as far as it is known, and of its last start. */
function figuresOf(
  { steps, firstLoss, firstLossSteps: [first], lastLoss, knn }: DistillResult,
  { batchSize, knnK, resume }: DistillOptions,
  took: Took,
  totalSteps: number,
): RunFigure[] {
  const figure = (name: string, value: number, unit = "") => ({ name, value, unit });
  const evaluated = (who: string, { top1 }: { top1: number }) =>
    figure(`${who}, weighted kNN (k = ${knnK}) top-1`, top1, "%");
  const isFirst = resume === null || first === 1; // the losses of a run that is resumed elsewhere may not be known
  return [
    figure("steps", resume === null ? steps : totalSteps),
    ...resume === null ? [] : [figure("steps since the resume", steps)],
    ...timesOf(took),
    ...steps === 0
      ? []
      : [figure("images a second since the start, all told", steps * batchSize / took.seconds)],
    ...Number.isNaN(lastLoss) ? [] : [
      figure(isFirst ? "mean loss, first epoch" : `mean loss from step ${first} on, an epoch`, firstLoss),
      figure("mean loss, last epoch", lastLoss),
    ],
    ...knn === null ? [] : [
      evaluated("teacher", knn.teacher),
      ...knn.before === null ? [] : [evaluated("student before", knn.before)],
      evaluated("student after", knn.after),
    ],
  ];
}

/** The evaluations to come: teacher and student at the beginning, after some epochs, and at the end. */
function expectEvaluations(
  { testData, knnEvery }: DistillOptions,
  { images, batchesPerEpoch, firstStep, totalSteps }: DistillPlan,
  isKnown: boolean,
): ExpectedEvaluations {
  const every = testData === null || knnEvery === 0 ? Infinity : knnEvery * batchesPerEpoch;
  const between = Math.ceil(totalSteps / every) - 1 - Math.floor(firstStep / every);
  return { count: (isKnown ? 0 : 2) + Math.max(0, between) + 1, images, besideTraining: true };
}

/**
 * Shows a distillation, and keeps its records.
 *
 * @param isKnown whether the evaluations before the first step are known
 */
function show(stage: Stage, options: DistillOptions, printFreq: number, isKnown: boolean) {
  const { folder, shown, recorder, tensorBoard } = stage;
  let writer: EventWriter | undefined;
  let runEvents: RunEvents | undefined;
  let [stepsPerEpoch, firstStep, totalSteps] = [1, 0, 0];
  let drawing: Promise<void> = Promise.resolve();
  let profile: RunProfile | undefined;

  function begin(plan: Extract<DistillEvent, { type: "plan" }>): void {
    ({ batchesPerEpoch: stepsPerEpoch, firstStep, totalSteps } = plan);
    folder.begin(describeOptions(options, printFreq), options.tuning);
    writer = stage.openEventFile();
    runEvents = writer && new RunEvents(writer, { stepsPerEpoch, batchSize: options.batchSize });
    const { type, notes, ...planned } = plan;
    shown.tell(type, { ...planned, epochs: options.epochs, batchSize: options.batchSize });
    for (const line of describeRun(options, plan, stage.adapter)) shown.show(line);
    for (const text of notes) shown.say(text);
    // Where they are not by the same images and settings, the beginning is evaluated again.
    const isRepeated = ({ of, by, step }: ScoreRow) =>
      !isKnown && by === "knn" && (of === "teacher" || step === 0 || step === firstStep);
    const facts = { pictures: plan.images, stepsPerEpoch, totalSteps, firstStep };
    const evaluations = expectEvaluations(options, plan, isKnown);
    stage.begin(facts, { printFreq, evaluations }, stage.isResuming ? isRepeated : undefined);
  }

  function score({ of, step, top1, top5 }: Extract<DistillEvent, { type: "knn" }>): void {
    const row: ScoreRow = { of, by: "knn", step, top1, top5 };
    stage.score([row], row);
    // Of the beginning there is no epoch.
    if (of === "teacher" || step === 0 || (options.resume === null && step === firstStep)) return;
    const epoch = Math.ceil(step / stepsPerEpoch) - 1;
    if (step < totalSteps) shown.show(`weighted kNN after epoch ${epoch}: top-1 ${top1.toFixed(1)} %`);
    tensorBoard(() => {
      writer?.scalar("knn_top1", top1, epoch);
      writer?.scalar("knn_top5", top5, epoch);
    });
  }

  function take(event: DistillEvent): void {
    switch (event.type) {
      case "plan":
        return begin(event);
      case "step":
        shown.step(event);
        return tensorBoard(() => runEvents?.step(event));
      case "stats": {
        const { epoch, step, gradientNorms, weightNorms, deviceSeconds, deviceBytes, processBytes } = event;
        const row: StatsRow = {
          ...{ epoch, step, time: Date.now() / 1000 },
          ...{ gradient_norms: gradientNorms, weight_norms: weightNorms },
          ...{ device_seconds: deviceSeconds, device_bytes: deviceBytes, process_bytes: processBytes },
        };
        recorder.stats(row);
        shown.tell("stats", row);
        return tensorBoard(() => runEvents?.stats(event));
      }
      case "views": {
        const { pixels, count, size, isLocal } = event;
        const draw = async () =>
          await runEvents?.views(isLocal ? "small_views" : "views", pixels, count, size);
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
      case "trace":
        return recorder.trace(event.actor, event.spans);
      case "profile":
        profile = event;
        return;
      default:
        return stage.tell(event);
    }
  }

  async function conclude(): Promise<void> {
    if (profile === undefined) return;
    for (const table of describeProfile(profile, STEP)) shown.report(`${table}\n`);
    const write = async () => await writeTrace(options.output, profile!);
    const trace = await shown.effort.attempt("profile.json", write);
    if (trace !== undefined) shown.report(`trace     ${stage.nameOf(trace)}`);
  }

  return {
    take,
    settle: () => drawing,
    conclude,
    figures: (result: DistillResult, took: Took) => figuresOf(result, options, took, totalSteps),
    describe: (result: DistillResult, took: Took) => describeResult(result, took, options, stepsPerEpoch),
  };
}

/** Shows what a recipe stands for, and the other flags with it. */
function sayRecipe(recipe: string, options: Record<string, unknown>, { say }: Pick<RunConsole, "say">): void {
  say(`recipe    ${recipe}, with the flags:`);
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined) say(`  ${flagName(name).padEnd(16)}${JSON.stringify(value)}`);
  }
}

async function main(): Promise<void> {
  await loadPlugin(Deno.args);
  const command = parseDistillFlags(Deno.args, {
    encoders: studentNames(),
    teachers: teacherNames(),
  });
  if (command.help !== undefined) return console.log(command.help);
  const options = await checkDistillInputs(command.options);
  const { imageSize, evalResize } = command.options;
  const asked = { imageSize, evalResize }; // the run says where the others are from
  if (command.resumesIfThere) options.resume = await findCheckpointToResume(options.output, "distill");
  const { printFreq, recipe, profile, traceActors: trace } = command;
  await train({
    task: "distill",
    options,
    command,
    inputs: inputsOf(options),
    before: () => readRunSoFar(options),
    run: (settings, soFar) => distill({ ...options, ...asked }, { ...settings, profile, trace, soFar }),
    show(stage, soFar) {
      if (recipe !== undefined) sayRecipe(recipe, describeOptions(options, printFreq), stage.shown);
      return show(stage, options, printFreq, soFar !== undefined && soFar.accuracies.length > 0);
    },
  });
}

if (import.meta.main) await runMain(main);
