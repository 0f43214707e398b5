/** `deno task lincls`: flags in, progress and files out. The run itself is `methods/linear_probe/run.ts`. */
import { describeEvaluationResize } from "../../actors/evaluation_resize.ts";
import type { LinearEvent, LinearPlan } from "../../methods/linear_probe/events.ts";
import type { LinearResult } from "../../methods/linear_probe/run.ts";
import type { LinearOptions } from "../../methods/linear_probe/options.ts";
import { BEST_CHECKPOINT } from "../../methods/linear_probe/linear_trainer.ts";
import { NothingToDoError } from "../../methods/nothing_to_do.ts";
import { linearProbe } from "../../methods/runs.ts";
import { describeAdapter } from "../../kernels/gpu.ts";
import { removeLeftovers } from "../../models/checkpoint/run_checkpoints.ts";
import { ENCODERS } from "../../models/registry.ts";
import type { RunFigure } from "../../ui/records.ts";
import { formatDuration } from "../terminal/duration.ts";
import { encoderTable } from "../terminal/encoder_table.ts";
import { checkLinclsInputs, findCheckpointToResume } from "../flags/inputs.ts";
import { interruptSignal } from "../terminal/interrupt.ts";
import { parseLinclsFlags } from "../flags/lincls_flags.ts";
import { OutputFolder } from "../output/output_folder.ts";
import { loadPlugin } from "../flags/plugin.ts";
import { runMain } from "../terminal/run_main.ts";
import { endOf, type RecordedInput, type RunEnd } from "../output/run_recorder.ts";
import { isUnfinished } from "../output/run_so_far.ts";
import { findTuning } from "../output/run_tuning.ts";
import { formatTable } from "../terminal/table.ts";
import { EventWriter } from "../output/tensorboard/event_writer.ts";
import { watchRun } from "../output/watched_run.ts";

/** What is shown before the first step. */
function describeRun(options: LinearOptions, plan: LinearPlan, adapter: string): string[] {
  const { arch, pretrained, epochs, batchSize, imageSize, lr } = options;
  const { trainImages, testImages, classes, features, batchesPerEpoch, firstEpoch } = plan;
  const training = `${epochs} epochs of ${batchesPerEpoch} batches of ${batchSize}, learning rate ${
    lr.join(", ")
  }`;
  const resumed = firstEpoch > 0 ? `, from epoch ${firstEpoch + 1}` : "";
  return [
    `adapter   ${adapter}`,
    `encoder   ${arch}, ${pretrained ?? "fresh weights"}`,
    `images  ${trainImages} to learn from, ${testImages} to classify, ${imageSize} x ${imageSize}`,
    `evaluate  ${describeEvaluationResize(plan.evalResize, imageSize)}`,
    `probe     ${classes} classes over ${features} features`,
    options.evaluate ? `classify  with ${options.resume}` : `training  ${training}${resumed}`,
    `output    ${options.output}`,
  ];
}

function percent(value: number): string {
  return `${value.toFixed(2)} %`;
}

/** What is shown after the last step. */
function describeResult(
  { scores, chosen, checkpoint }: LinearResult,
  { output, evaluate }: LinearOptions,
  seconds: number,
): string[] {
  const rows = scores.map(({ lr, last, best, diverged }) => [
    String(lr),
    ...diverged ? ["diverged", "", ""] : [percent(last.top1), percent(last.top5), last.loss.toFixed(4)],
    ...evaluate ? [] : [diverged ? "" : percent(best)],
  ]);
  const heading = ["learning rate", "top-1", "top-5", "loss", ...evaluate ? [] : ["best top-1"]];
  const files = checkpoint === null
    ? []
    : [`last      ${checkpoint}`, `best      ${output}/${BEST_CHECKPOINT}`];
  const { lr, best } = scores[chosen];
  return [
    `${evaluate ? "classified" : "trained"} in ${formatDuration(seconds)}`,
    ...files,
    "",
    formatTable([heading, ...rows]),
    ...scores.length > 1 ? ["", `the best is ${percent(best)}, with learning rate ${lr}`] : [],
  ];
}

/** What it reads, for its record. */
function inputsOf({ pretrained, trainData, testData }: LinearOptions): RecordedInput[] {
  return [
    { role: "images", path: trainData, kind: "images" },
    { role: "test images", path: testData, kind: "images" },
    ...pretrained === null ? [] : [{ role: "encoder", path: pretrained, kind: "file" as const }],
  ];
}

/** What came of it, for its record. */
function figuresOf({ scores, chosen }: LinearResult, seconds: number): RunFigure[] {
  const { best, last } = scores[chosen];
  return [
    { name: "time", value: seconds, unit: "s" },
    { name: "linear classifier, best top-1", value: best, unit: "%" },
    { name: "linear classifier, last top-1", value: last.top1, unit: "%" },
    { name: "linear classifier, last top-5", value: last.top5, unit: "%" },
  ];
}

async function main(): Promise<void> {
  await loadPlugin(Deno.args);
  const command = parseLinclsFlags(Deno.args, { encoders: ENCODERS.map(({ name }) => name), encoderTable });
  if (command.help !== undefined) return console.log(command.help);
  const { options: request, resumesIfThere } = command;
  if (resumesIfThere) request.resume = await findCheckpointToResume(request.output, "lincls");
  const options = await checkLinclsInputs(request);
  const adapter = await describeAdapter();
  using folder = OutputFolder.open(options.output, {
    isResuming: resumesIfThere || options.resume !== null,
  });
  if (resumesIfThere || options.resume !== null) await removeLeftovers(options.output);
  const isToBeFinished = await isUnfinished("lincls", options.output, options.resume);
  using interrupt = interruptSignal();
  const started = performance.now();
  await using watched = await watchRun(folder, command, {
    task: "lincls",
    args: Deno.args,
    adapter: adapter.name,
    inputs: inputsOf(options),
  });
  const { shown, recorder } = watched;
  const { effort } = shown;
  using files = new DisposableStack();
  let writer: EventWriter | undefined;
  const tensorBoard = <T>(work: () => T) => effort.attempt("the TensorBoard event file", work);

  let stepsPerEpoch = 1;
  const take = (event: LinearEvent) => {
    switch (event.type) {
      case "plan": {
        const { tuning, ...config } = options;
        folder.begin({ ...config, printFreq: command.printFreq }, tuning);
        if (!options.evaluate && command.tensorboard) {
          writer = tensorBoard(() => files.use(new EventWriter(options.output)));
        }
        for (const line of describeRun(options, event, adapter.name)) shown.say(line);
        if (options.evaluate) return;
        const firstStep = event.firstEpoch * event.batchesPerEpoch;
        if (options.resume !== null) {
          // Where all epochs are done, the last one is evaluated once more.
          const isLast = event.firstEpoch >= options.epochs;
          folder.dropMetricsFrom(event.firstEpoch, firstStep, ({ step }) => isLast && step === firstStep);
        }
        stepsPerEpoch = event.batchesPerEpoch;
        recorder.plan({
          pictures: event.trainImages,
          stepsPerEpoch,
          totalSteps: options.epochs * stepsPerEpoch,
          firstStep,
          epochs: options.epochs,
        });
        return shown.start({
          epochs: options.epochs,
          stepsPerEpoch: event.batchesPerEpoch,
          firstStep,
          batchSize: options.batchSize,
          // Steps over features that are kept take no time.
          printFreq: options.cacheFeatures ? event.batchesPerEpoch : command.printFreq,
        });
      }
      case "actors":
        return recorder.actors(event.actors);
      case "step":
        return shown.step({ epoch: event.epoch, step: event.step, loss: event.score.loss, lr: event.lr });
      case "epoch": {
        const { epoch, learningRates, tested, diverged } = event;
        const sound = tested.filter((_, i) => !diverged[i]);
        if (sound.length === 0) return;
        const best = sound.reduce((a, b) => b.top1 > a.top1 ? b : a);
        const which = tested.length === 1 ? "" : ` (best of ${tested.length} learning rates)`;
        recorder.score({
          of: "student",
          by: "linear",
          step: (epoch + 1) * stepsPerEpoch,
          top1: best.top1,
          top5: best.top5,
        });
        tensorBoard(() => {
          writer?.scalar("lincls_acc1", best.top1, epoch);
          writer?.scalar("learning_rate", learningRates[tested.indexOf(best)], epoch);
        });
        return shown.say(
          `test after epoch ${epoch + 1}: top-1 ${percent(best.top1)}, top-5 ${percent(best.top5)}${which}`,
        );
      }
      case "note":
        return shown.say(event.text);
      case "warning":
        return shown.warn(event.text);
    }
  };

  let result: LinearResult;
  let end: RunEnd = { status: "failed" };
  let report: string | undefined;
  try {
    if (command.tune) options.tuning = await findTuning(options, shown);
    // Where what it must write cannot be written, it is stopped, and saves what it has.
    const signal = AbortSignal.any([interrupt.signal, folder.failed]);
    await using run = linearProbe(options, { signal, lock: folder.lock, isUnfinished: isToBeFinished });
    for await (const event of run) take(event);
    result = await run.result;
    end = { status: "finished", results: figuresOf(result, (performance.now() - started) / 1000) };
  } catch (error) {
    // A command line that serves a run until its end may be started once more.
    if (error instanceof NothingToDoError && resumesIfThere) return shown.notice(error.message);
    watched.noteError(error);
    end = endOf(error);
    throw error;
  } finally {
    await shown.stop();
    report = await recorder.finish(end);
  }
  const seconds = (performance.now() - started) / 1000;
  for (const line of describeResult(result, options, seconds)) shown.report(line);
  if (report !== undefined) shown.report(`report    ${report}`);
  shown.result({ ...result, seconds });
}

if (import.meta.main) await runMain(main);
