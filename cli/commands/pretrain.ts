/** `deno task pretrain`: flags in, progress and files out. The run itself is `methods/encoder_training/run.ts`. */
import { describeEvaluationResize } from "../../actors/evaluation_resize.ts";
import { counted } from "../../data/printable.ts";
import type { EncoderTrainingPlan } from "../../methods/encoder_training/events.ts";
import { hasProbeSet } from "../../methods/encoder_training/options.ts";
import { augmentationOf, type PretrainOptions } from "../../methods/moco/options.ts";
import { HELD_OUT } from "../../methods/held_out.ts";
import { METHODS } from "../../methods/registry.ts";
import { findCheckpointToResume } from "../../methods/resume_auto.ts";
import { pretrain } from "../../methods/runs.ts";
import { encoderNames } from "../../models/registry.ts";
import { checkPretrainInputs } from "../flags/inputs.ts";
import { loadPlugin } from "../flags/plugin.ts";
import { parsePretrainFlags } from "../flags/pretrain_flags.ts";
import type { RecordedInput } from "../output/run_recorder.ts";
import { readRunSoFar } from "../output/run_so_far.ts";
import { runMain } from "../terminal/run_main.ts";
import { showEncoderTraining, type Wording } from "./encoder_training.ts";
import { describeReaders, printWarning, train } from "./training.ts";

/** What is shown before the first step. */
function describeRun(options: PretrainOptions, plan: EncoderTrainingPlan, adapter: string): string[] {
  const { arch, data, output, epochs, batchSize, imageSize, mocoK, bnSplits, resume } = options;
  const resumed = plan.firstStep > 0 ? `, from step ${plan.firstStep + 1}` : "";
  const splits = bnSplits === 1 ? "" : `, batch norm in ${bnSplits} groups`;
  return [
    `adapter   ${adapter}`,
    `encoder   ${arch}${resume === null ? "" : `, resumed from ${resume}`}`,
    `images    ${plan.images} in ${data}, two views of ${imageSize} x ${imageSize}`,
    ...describeReaders(options, plan),
    ...options.testData === null && !hasProbeSet(options)
      ? []
      : [`evaluate  ${describeEvaluationResize(plan.evalResize, imageSize)}`],
    `training  ${counted(epochs, "epoch")} of ${
      counted(plan.batchesPerEpoch, "batch", "batches")
    } of ${batchSize}${resumed}, queue ${mocoK}${splits}`,
    `output    ${output}`,
  ];
}

const WORDING: Wording<PretrainOptions> = {
  noun: "encoder",
  hasTeacher: false,
  localViews: "key_views",
  step: { actor: "moco_trainer", message: "encode" },
  describeRun,
  describeOptions: ({ tuning: _, ...options }, printFreq) => ({
    ...options,
    printFreq,
    augmentation: augmentationOf(options),
  }),
};

/** What the run reads, for its record. */
function inputsOf({ data, testData }: PretrainOptions): RecordedInput[] {
  return [
    { role: "images", path: data, kind: "images" },
    ...testData === null || testData === HELD_OUT
      ? []
      : [{ role: "test images", path: testData, kind: "images" as const }],
  ];
}

async function main(): Promise<void> {
  await loadPlugin(Deno.args);
  const command = parsePretrainFlags(Deno.args, { encoders: encoderNames() });
  if (command.help !== undefined) return console.log(command.help);
  const options = await checkPretrainInputs(command.options);
  if (command.resumesIfThere) {
    options.resume = await findCheckpointToResume(options.output, METHODS.moco, printWarning);
  }
  const { printFreq, profile, traceActors: trace } = command;
  await train({
    task: "pretrain",
    options,
    command,
    inputs: inputsOf(options),
    before: () => readRunSoFar("pretrain", options),
    run: (settings, soFar) => pretrain(options, { ...settings, profile, trace, soFar }),
    show(stage, soFar) {
      const isKnown = soFar !== undefined && soFar.accuracies.length > 0;
      return showEncoderTraining(stage, options, WORDING, printFreq, isKnown);
    },
  });
}

if (import.meta.main) await runMain(main);
