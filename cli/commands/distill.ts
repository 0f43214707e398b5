/** `deno task distill`: flags in, progress and files out. The run itself is `methods/encoder_training/run.ts`. */
import type { World } from "../../actors/ranks/world.ts";
import type { EncoderTrainingPlan } from "../../methods/encoder_training/events.ts";
import { METHODS } from "../../methods/registry.ts";
import { distill } from "../../methods/runs.ts";
import { augmentationOf } from "../../methods/seed/augmentation.ts";
import type { DistillOptions } from "../../methods/seed/options.ts";
import { DEFAULT_LOSS } from "../../models/loss/losses.ts";
import { findEncoder, studentNames, teacherNames } from "../../models/registry.ts";
import { parseDistillFlags } from "../flags/distill_flags.ts";
import { flagName } from "../flags/flags.ts";
import { checkDistillInputs } from "../flags/inputs.ts";
import { loadPlugin } from "../flags/plugin.ts";
import type { RecordedInput } from "../output/run_recorder.ts";
import { readRunSoFar } from "../output/run_so_far.ts";
import type { RunConsole } from "../terminal/run_console.ts";
import { runOnRanks } from "../terminal/ranked_main.ts";
import { describeTraining, showEncoderTraining, testImagesOf, type Wording } from "./encoder_training.ts";
import { findNewest, train } from "./training.ts";

/** What is shown before the first step. */
function describeRun(options: DistillOptions, plan: EncoderTrainingPlan, adapter: string): string[] {
  const { teacherArch, teacherSsl, studentArch, distill, data, queue } = options;
  const { imageSize, smallViews, smallSize } = options;
  return [
    `adapter   ${adapter}`,
    `teacher   ${teacherArch} (${teacherSsl}), ${distill}`,
    `student   ${studentArch}${options.resume === null ? "" : `, resumed from ${options.resume}`}`,
    `images    ${plan.images} in ${data}, ${imageSize} x ${imageSize}${
      smallViews === 0 ? "" : `, and ${smallViews} small views of ${smallSize} x ${smallSize}`
    }`,
    ...describeTraining(options, plan, `${queue}`),
  ];
}

/** Every option, also those that follow from others; what was measured of the adapter is kept by itself. */
function describeOptions(
  { tuning: _, ...options }: DistillOptions,
  printFreq: number,
): Record<string, unknown> {
  return { ...options, printFreq, augmentation: augmentationOf(options), loss: options.loss ?? DEFAULT_LOSS };
}

const WORDING: Wording<DistillOptions> = {
  noun: "student",
  hasTeacher: true,
  localViews: "small_views",
  step: { actor: "student_trainer", message: "train" },
  describeRun,
  describeOptions,
};

/** What the run reads, for its record. */
function inputsOf(options: DistillOptions): RecordedInput[] {
  const { data, distill, images } = options;
  return [
    ...images === undefined ? [{ role: "images", path: data, kind: "data" as const }] : [],
    ...testImagesOf(options),
    { role: "teacher", path: distill, kind: "file" },
  ];
}

/** Shows what a recipe stands for, and the other flags with it. */
function sayRecipe(recipe: string, options: Record<string, unknown>, { say }: Pick<RunConsole, "say">): void {
  say(`recipe    ${recipe}, with these settings:`);
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined) say(`  ${flagName(name).padEnd(16)}${JSON.stringify(value)}`);
  }
}

/** Does what the command line says, as one of the ranks where there are several; returns the exit code, nothing for 0. */
export async function main(world?: World): Promise<void> {
  await loadPlugin(Deno.args);
  const command = parseDistillFlags(Deno.args, {
    encoders: studentNames(),
    teachers: teacherNames(),
  });
  if (command.help !== undefined) return console.log(command.help);
  const options = await checkDistillInputs(command.options, command);
  const { imageSize, evalResize, testData } = command.options;
  const { heads } = findEncoder(options.teacherArch);
  // The run says where the views are from, and looks for the test images itself.
  const asked = { imageSize, evalResize, heads, testData: testData ?? undefined };
  const { printFreq, recipe, profile, traceActors: trace } = command;
  await train({
    task: "distill",
    world,
    options,
    command,
    inputs: () => inputsOf(options),
    ...command.resumesIfThere && { findStart: () => findNewest(options.output, METHODS.seed) },
    step: WORDING.step,
    before: () => readRunSoFar("distill", options),
    run: (settings, soFar) => distill({ ...options, ...asked }, { ...settings, profile, trace, soFar }),
    show(stage, soFar) {
      if (recipe !== undefined) sayRecipe(recipe, describeOptions(options, printFreq), stage.shown);
      const described: Wording<DistillOptions> = {
        ...WORDING,
        describeOptions: (...of) => ({ ...describeOptions(...of), ...recipe !== undefined && { recipe } }),
      };
      return showEncoderTraining(stage, options, described, printFreq, soFar);
    },
  });
}

if (import.meta.main) await runOnRanks(main);
