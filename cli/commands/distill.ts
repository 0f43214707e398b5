/** `deno task distill`: flags in, progress and files out. The run itself is `methods/seed/run.ts`. */
import type { DistillEvent, DistillPlan } from "../../methods/seed/events.ts";
import type { DistillResult } from "../../methods/seed/run.ts";
import { describeEvaluationResize } from "../../actors/evaluation_resize.ts";
import { augmentationOf } from "../../methods/seed/augmentation.ts";
import { type DistillOptions, hasProbeSet } from "../../methods/seed/options.ts";
import { NothingToDoError } from "../../methods/nothing_to_do.ts";
import type { RunProfile } from "../../actors/run_profile.ts";
import { distill } from "../../methods/runs.ts";
import { describeAdapter } from "../../kernels/gpu.ts";
import { removeLeftovers } from "../../models/checkpoint/run_checkpoints.ts";
import { DEFAULT_LOSS } from "../../models/loss/losses.ts";
import { studentNames, teacherNames } from "../../models/registry.ts";
import type { RunFigure } from "../../ui/records.ts";
import { parseDistillFlags } from "../flags/distill_flags.ts";
import { encoderTable } from "../terminal/encoder_table.ts";
import { flagName } from "../flags/flags.ts";
import { formatDuration } from "../terminal/duration.ts";
import { checkDistillInputs, findCheckpointToResume } from "../flags/inputs.ts";
import { interruptSignal } from "../terminal/interrupt.ts";
import { OutputFolder } from "../output/output_folder.ts";
import { loadPlugin } from "../flags/plugin.ts";
import { describeProfile, writeTrace } from "../output/profile_report.ts";
import { runMain } from "../terminal/run_main.ts";
import { endOf, type RecordedInput, type RunEnd } from "../output/run_recorder.ts";
import { readRunSoFar } from "../output/run_so_far.ts";
import { findTuning } from "../output/run_tuning.ts";
import { formatTable } from "../terminal/table.ts";
import { EventWriter } from "../output/tensorboard/event_writer.ts";
import { RunEvents } from "../output/tensorboard/run_events.ts";
import { watchRun } from "../output/watched_run.ts";

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
    `images  ${plan.images} in ${data}, ${imageSize} x ${imageSize}${
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

async function main(): Promise<void> {
  await loadPlugin(Deno.args);
  const command = parseDistillFlags(Deno.args, {
    encoders: studentNames(),
    teachers: teacherNames(),
    encoderTable,
  });
  if (command.help !== undefined) {
    console.log(command.help);
    return;
  }
  const options = await checkDistillInputs(command.options);
  if (command.resumesIfThere) options.resume = await findCheckpointToResume(options.output, "distill");
  const isResuming = command.resumesIfThere || options.resume !== null;
  const adapter = await describeAdapter();
  using folder = OutputFolder.open(options.output, { isResuming });
  if (isResuming) await removeLeftovers(options.output);
  const soFar = await readRunSoFar(options);
  const isKnown = soFar !== undefined && soFar.accuracies.length > 0;
  using interrupt = interruptSignal();
  const started = performance.now();

  await using watched = await watchRun(folder, command, {
    task: "distill",
    args: Deno.args,
    adapter: adapter.name,
    inputs: inputsOf(options),
  });
  const { shown, recorder } = watched;
  const { effort } = shown;
  using files = new DisposableStack();
  let writer: EventWriter | undefined;
  const tensorBoard = <T>(work: () => T) => effort.attempt("the TensorBoard event file", work);
  let runEvents: RunEvents | undefined;
  let [stepsPerEpoch, firstStep] = [1, 0];
  let drawing: Promise<void> = Promise.resolve();
  let profile: RunProfile | undefined;
  if (command.recipe !== undefined) {
    shown.say(`recipe    ${command.recipe}, with the flags:`);
    for (const [name, value] of Object.entries(describeOptions(options, command.printFreq))) {
      if (value === undefined) continue;
      shown.say(`  ${flagName(name).padEnd(16)}${JSON.stringify(value)}`);
    }
  }

  const take = (event: DistillEvent) => {
    switch (event.type) {
      case "plan":
        folder.begin(describeOptions(options, command.printFreq), options.tuning);
        if (command.tensorboard) {
          writer = tensorBoard(() => files.use(new EventWriter(options.output)));
        }
        for (const line of describeRun(options, event, adapter.name)) shown.say(line);
        [stepsPerEpoch, firstStep] = [event.batchesPerEpoch, event.firstStep];
        recorder.plan({
          pictures: event.images,
          stepsPerEpoch,
          totalSteps: event.totalSteps,
          firstStep,
          epochs: options.epochs,
        });
        if (isResuming) {
          folder.dropMetricsFrom(
            Math.floor(firstStep / stepsPerEpoch),
            firstStep,
            // Where they are not by the same images and settings, the beginning is evaluated again.
            ({ of, by, step }) =>
              !isKnown && by === "knn" && (of === "teacher" || step === 0 || step === firstStep),
          );
        }
        runEvents = writer &&
          new RunEvents(writer, { stepsPerEpoch: event.batchesPerEpoch, batchSize: options.batchSize });
        return shown.start({
          epochs: options.epochs,
          stepsPerEpoch: event.batchesPerEpoch,
          totalSteps: event.totalSteps,
          firstStep: event.firstStep,
          batchSize: options.batchSize,
          printFreq: command.printFreq,
        });
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
      case "knn": {
        const { of, step, top1, top5 } = event;
        recorder.score({ of, by: "knn", step, top1, top5 });
        // Of the beginning there is no epoch.
        if (of === "teacher" || step === 0 || (options.resume === null && step === firstStep)) return;
        const epoch = Math.ceil(step / stepsPerEpoch) - 1;
        return tensorBoard(() => {
          writer?.scalar("knn_top1", top1, epoch);
          writer?.scalar("knn_top5", top5, epoch);
        });
      }
      case "actors":
        return recorder.actors(event.actors);
      case "snapshot":
        return recorder.snapshot(event);
      case "probe-set":
        return recorder.gallery(event);
      case "neighbours":
        return recorder.survey(event);
      case "trace":
        return recorder.trace(event.actor, event.spans);
      case "profile":
        profile = event;
        return;
      case "note":
        return shown.say(event.text);
      case "warning":
        return shown.warn(event.text);
    }
  };

  let result: DistillResult;
  let end: RunEnd = { status: "failed" };
  let report: string | undefined;
  try {
    if (command.tune) options.tuning = await findTuning(options, shown);
    // Where what it must write cannot be written, it is stopped, and saves what it has.
    const signal = AbortSignal.any([interrupt.signal, folder.failed]);
    await using run = distill(options, {
      signal,
      profile: command.profile,
      trace: command.traceActors,
      lock: folder.lock,
      soFar,
    });
    for await (const event of run) take(event);
    result = await run.result;
    end = { status: "finished", results: figuresOf(result, options, (performance.now() - started) / 1000) };
  } catch (error) {
    // A command line that serves a run until its end may be started once more.
    if (error instanceof NothingToDoError && command.resumesIfThere) return shown.notice(error.message);
    watched.noteError(error);
    end = endOf(error);
    throw error;
  } finally {
    await drawing;
    await shown.stop();
    report = await recorder.finish(end);
    if (profile !== undefined) {
      for (const table of describeProfile(profile, STEP)) shown.report(`${table}\n`);
      const trace = await effort.attempt(
        "profile.json",
        async () => await writeTrace(options.output, profile!),
      );
      if (trace !== undefined) shown.report(`trace     ${trace}`);
    }
  }
  const seconds = (performance.now() - started) / 1000;
  for (const line of describeResult(result, seconds, options.knnK)) shown.report(line);
  if (report !== undefined) shown.report(`report    ${report}`);
  shown.result({ ...result, seconds });
}

if (import.meta.main) await runMain(main);
