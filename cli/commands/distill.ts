/** `deno task distill`: flags in, progress and files out. The run itself is `methods/seed/run.ts`. */
import type { DistillEvent, DistillPlan } from "../../methods/seed/events.ts";
import type { DistillResult } from "../../methods/seed/run.ts";
import { describeEvaluationResize } from "../../actors/evaluation_resize.ts";
import { augmentationOf } from "../../methods/seed/augmentation.ts";
import { type DistillOptions, hasProbeSet } from "../../methods/seed/options.ts";
import type { RunProfile } from "../../actors/run_profile.ts";
import { distill } from "../../methods/runs.ts";
import { DEFAULT_LOSS } from "../../models/loss/losses.ts";
import { studentNames, teacherNames } from "../../models/registry.ts";
import type { RunFigure, ScoreRow } from "../../ui/records.ts";
import { parseDistillFlags } from "../flags/distill_flags.ts";
import { encoderTable } from "../terminal/encoder_table.ts";
import { flagName } from "../flags/flags.ts";
import { formatDuration } from "../terminal/duration.ts";
import { checkDistillInputs, findCheckpointToResume } from "../flags/inputs.ts";
import { loadPlugin } from "../flags/plugin.ts";
import { describeProfile, writeTrace } from "../output/profile_report.ts";
import type { RunConsole } from "../terminal/run_console.ts";
import { runMain } from "../terminal/run_main.ts";
import type { RecordedInput } from "../output/run_recorder.ts";
import { readRunSoFar } from "../output/run_so_far.ts";
import { formatTable } from "../terminal/table.ts";
import type { EventWriter } from "../output/tensorboard/event_writer.ts";
import { RunEvents } from "../output/tensorboard/run_events.ts";
import { type Stage, train } from "./training.ts";

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
    `training  ${epochs} epochs of ${plan.batchesPerEpoch} batches of ${batchSize}${resumed}, queue ${queue}`,
    `output    ${output}`,
  ];
}

/** What is shown after the last step. */
function describeResult(
  { knn, firstLoss, lastLoss, steps, checkpoint }: DistillResult,
  seconds: number,
  k: number,
): string[] {
  const losses = Number.isNaN(lastLoss)
    ? "no loss is known"
    : firstLoss === lastLoss
    ? `mean loss ${lastLoss.toFixed(4)}`
    : `mean loss ${firstLoss.toFixed(4)} in the first epoch, ${lastLoss.toFixed(4)} in the last`;
  const lines = [
    `${steps} ${steps === 1 ? "step" : "steps"} in ${formatDuration(seconds)}, ${losses}`,
    `student   ${checkpoint}`,
  ];
  if (knn === null) return lines;
  const row = (name: string, accuracy: { top1: number } | null) => [
    name,
    accuracy === null ? "unknown" : `${accuracy.top1.toFixed(1)} %`,
  ];
  const table = formatTable([
    [`weighted kNN, k = ${k}`, "top-1"],
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

/** What came of it, for its record. */
function figuresOf(
  { steps, firstLoss, lastLoss, knn }: DistillResult,
  { batchSize, knnK }: DistillOptions,
  seconds: number,
): RunFigure[] {
  const figure = (name: string, value: number, unit = "") => ({ name, value, unit });
  const evaluated = (who: string, { top1 }: { top1: number }) =>
    figure(`${who}, weighted kNN (k = ${knnK}) top-1`, top1, "%");
  return [
    figure("steps", steps),
    figure("time", seconds, "s"),
    ...steps === 0 ? [] : [figure("images a second, all told", steps * batchSize / seconds)],
    ...Number.isNaN(lastLoss) ? [] : [
      figure("mean loss, first epoch", firstLoss),
      figure("mean loss, last epoch", lastLoss),
    ],
    ...knn === null ? [] : [
      evaluated("teacher", knn.teacher),
      ...knn.before === null ? [] : [evaluated("student before", knn.before)],
      evaluated("student after", knn.after),
    ],
  ];
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
  let [stepsPerEpoch, firstStep] = [1, 0];
  let drawing: Promise<void> = Promise.resolve();
  let profile: RunProfile | undefined;

  function begin(plan: DistillPlan): void {
    ({ batchesPerEpoch: stepsPerEpoch, firstStep } = plan);
    folder.begin(describeOptions(options, printFreq), options.tuning);
    writer = stage.openEventFile();
    runEvents = writer && new RunEvents(writer, { stepsPerEpoch, batchSize: options.batchSize });
    for (const line of describeRun(options, plan, stage.adapter)) shown.say(line);
    // Where they are not by the same images and settings, the beginning is evaluated again.
    const isRepeated = ({ of, by, step }: ScoreRow) =>
      !isKnown && by === "knn" && (of === "teacher" || step === 0 || step === firstStep);
    const { images: pictures, totalSteps } = plan;
    const facts = { pictures, stepsPerEpoch, totalSteps, firstStep };
    stage.begin(facts, printFreq, stage.isResuming ? isRepeated : undefined);
  }

  function score({ of, step, top1, top5 }: Extract<DistillEvent, { type: "knn" }>): void {
    recorder.score({ of, by: "knn", step, top1, top5 });
    // Of the beginning there is no epoch.
    if (of === "teacher" || step === 0 || (options.resume === null && step === firstStep)) return;
    const epoch = Math.ceil(step / stepsPerEpoch) - 1;
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
    if (trace !== undefined) shown.report(`trace     ${trace}`);
  }

  return { take, settle: () => drawing, conclude };
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
    encoderTable,
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
    figures: (result, seconds) => figuresOf(result, options, seconds),
    describe: (result, seconds) => describeResult(result, seconds, options.knnK),
  });
}

if (import.meta.main) await runMain(main);
