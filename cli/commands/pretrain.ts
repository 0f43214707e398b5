/** `deno task pretrain`: flags in, progress and files out. The run itself is `methods/encoder_training/run.ts`. */
import type { World } from "../../actors/ranks/world.ts";
import type { EncoderTrainingPlan } from "../../methods/encoder_training/events.ts";
import { augmentationOf, type PretrainOptions } from "../../methods/moco/options.ts";
import { METHODS } from "../../methods/registry.ts";
import { pretrain } from "../../methods/runs.ts";
import { encoderNames } from "../../models/registry.ts";
import { checkPretrainInputs, parsePretrainFlagsOf } from "../flags/inputs.ts";
import { loadPlugin } from "../flags/plugin.ts";
import { isThere } from "../output/output_folder.ts";
import { readRunSoFar } from "../output/run_so_far.ts";
import { runOnRanks } from "../terminal/ranked_main.ts";
import { describeTraining, showEncoderTraining, testImagesOf, type Wording } from "./encoder_training.ts";
import { findNewest, train } from "./training.ts";

/** What is shown before the first step. */
function describeRun(options: PretrainOptions, plan: EncoderTrainingPlan, adapter: string): string[] {
  const { arch, data, imageSize, mocoK, bnSplits, resume } = options;
  const splits = bnSplits === 1 ? "" : `, batch norm in ${bnSplits} groups`;
  return [
    `adapter   ${adapter}`,
    `encoder   ${arch}${resume === null ? "" : `, resumed from ${resume}`}`,
    `images    ${plan.images} in ${data}, two views of ${imageSize} x ${imageSize}`,
    ...describeTraining(options, plan, `${mocoK}${splits}`),
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

/** Does what the command line says, as one of the ranks where there are several; returns the exit code, nothing for 0. */
export async function main(world?: World): Promise<void> {
  await loadPlugin(Deno.args);
  const command = await parsePretrainFlagsOf(Deno.args, { encoders: encoderNames() });
  if (command.help !== undefined) return console.log(command.help);
  const options = await checkPretrainInputs(command.options, command);
  const { printFreq, profile, traceActors: trace } = command;
  const testData = command.options.testData ?? undefined; // the run looks for the test images itself
  await train({
    task: "pretrain",
    world,
    options,
    command,
    inputs: () => [
      { role: "images", path: options.data, kind: "data" },
      ...testImagesOf(options),
      // A run that goes on does without it.
      ...options.pretrained === null || (options.resume !== null && !isThere(options.pretrained))
        ? []
        : [{ role: "encoder", path: options.pretrained, kind: "file" as const }],
    ],
    ...command.resumesIfThere && { findStart: () => findNewest(options.output, METHODS.moco) },
    step: WORDING.step,
    before: () => readRunSoFar("pretrain", options),
    run: (settings, soFar) => pretrain({ ...options, testData }, { ...settings, profile, trace, soFar }),
    show: (stage, soFar) => showEncoderTraining(stage, options, WORDING, printFreq, soFar),
  });
}

if (import.meta.main) await runOnRanks(main);
