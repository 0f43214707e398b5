/**
 * `deno task lincls`: flags in, progress and files out. The runs themselves are `methods/linear_probe/run.ts`, and with
 * `--finetune` `methods/finetune/run.ts`.
 */
import type { World } from "../../actors/ranks/world.ts";
import type { FinetuneOptions } from "../../methods/finetune/options.ts";
import type { LinearOptions } from "../../methods/linear_probe/options.ts";
import { METHODS } from "../../methods/registry.ts";
import { findCheckpointToResume } from "../../methods/resume_auto.ts";
import { finetune, linearProbe } from "../../methods/runs.ts";
import { chosenEncoder, encoderNames } from "../../models/registry.ts";
import { checkFinetuneInputs, checkLinclsInputs } from "../flags/inputs.ts";
import {
  type FinetuneRequest,
  type LinclsCommand,
  type LinclsRequest,
  parseLinclsFlags,
  requireAnyEncoder,
} from "../flags/lincls_flags.ts";
import { loadPlugin } from "../flags/plugin.ts";
import { isThere } from "../output/output_folder.ts";
import { isUnfinished, readLossesBefore } from "../output/run_so_far.ts";
import { type RankedStop, runOnRanks } from "../terminal/ranked_main.ts";
import { showFinetune } from "./finetune_view.ts";
import { inputsOf, showLinear } from "./linear_view.ts";
import { findNewest, shared, train } from "./training.ts";

type Command<Method> = Extract<LinclsCommand, { method: Method }>;

/** The task's name in its records. */
const TASK = "lincls";

/**
 * What the run finds out itself, as it was asked for: it says where it has the views from, and looks for the images once. In
 * images that are found already, a class that is named as a split would be taken for one.
 */
function askedOf({ imageSize, evalResize, data, testData }: LinclsRequest | FinetuneRequest) {
  return { imageSize, evalResize, data, testData: testData ?? undefined };
}

/** Whether the run that is gone on with has not come to its end. */
async function isGoneOnWith({ output, resume }: LinearOptions | FinetuneOptions): Promise<boolean> {
  return await isUnfinished(TASK, output, resume);
}

/**
 * The checkpoint that `--resume auto` finds before the folder is locked: the options follow from it. What it passes over is told when the
 * folder is looked through again.
 *
 * @throws {UsageError} where there is none, and no encoder is named to begin with
 */
async function lookForCheckpoint(
  { output, pretrained, arch }: { output: string; pretrained: string | null; arch: string | null },
  method: { checkResume(checkpoint: string): Promise<void> },
  world: World | undefined,
): Promise<string | null> {
  const found = await shared(world, () => findCheckpointToResume(output, method, () => {})) ?? null;
  if (found === null) requireAnyEncoder({ pretrained: pretrained ?? undefined, arch: arch ?? undefined });
  return found;
}

/**
 * Leaves the file of the encoder out where it is gone, and the training goes on from a checkpoint, which has the encoder too.
 *
 * @param command its `warnings` get a sentence then
 */
function leaveOutLost({ options: request, warnings }: Command<"linear_probe" | "finetune">): void {
  const { pretrained, resume, evaluate } = request;
  if (pretrained === null || resume === null || evaluate || isThere(pretrained)) return;
  warnings.push(`--pretrained: ${pretrained} does not exist: the encoder is that of ${resume}`);
  // What chooses an encoder of that file says nothing of the checkpoint's.
  Object.assign(request, { pretrained: null, weights: undefined, which: "student" });
}

async function evaluateLinearly(command: Command<"linear_probe">, world: World | undefined): Promise<void> {
  const { options: request, resumesIfThere, printFreq } = command;
  if (resumesIfThere) request.resume = await lookForCheckpoint(request, METHODS.linear_probe, world);
  leaveOutLost(command);
  const options = await checkLinclsInputs(request);
  const findStart = async () => {
    const { resume } = await findNewest(options.output, METHODS.linear_probe);
    // Without one of its own the encoder is that of the checkpoint.
    return { resume, ...request.pretrained === null && { pretrained: resume } };
  };
  const asked = askedOf(request);
  await train({
    task: TASK,
    inputs: () => inputsOf(options),
    before: () => isGoneOnWith(options),
    world,
    options,
    command,
    ...resumesIfThere && { findStart },
    run: (settings, isUnfinished) =>
      linearProbe({ ...options, ...chosenEncoder(options.arch), ...asked }, {
        ...settings,
        isUnfinished,
      }),
    show: (stage) => showLinear(stage, options, printFreq),
  });
}

async function fineTune(command: Command<"finetune">, world: World | undefined): Promise<void> {
  const { options: request, resumesIfThere, printFreq, profile, traceActors: trace } = command;
  if (resumesIfThere) request.resume = await lookForCheckpoint(request, METHODS.finetune, world);
  leaveOutLost(command);
  const options = await checkFinetuneInputs(request, command);
  const findStart = () => findNewest(options.output, METHODS.finetune);
  const asked = askedOf(request);
  await train({
    task: TASK,
    inputs: () => inputsOf(options),
    before: async () => ({
      isUnfinished: await isGoneOnWith(options),
      losses: await readLossesBefore(TASK, options.resume),
    }),
    world,
    options,
    command,
    ...resumesIfThere && { findStart },
    run: (settings, { isUnfinished }) =>
      finetune({ ...options, ...chosenEncoder(options.arch), ...asked }, {
        ...settings,
        isUnfinished,
        profile,
        trace,
      }),
    show: (stage, { losses }) => showFinetune(stage, options, printFreq, losses),
  });
}

function readCommand(): LinclsCommand {
  return parseLinclsFlags(Deno.args, { encoders: encoderNames() });
}

/** A fine-tuning ends within an epoch, with a checkpoint of where it is; else there is that of the last whole epoch, or none. */
function stopOfRanks(): RankedStop {
  const command = readCommand();
  const isFinetuning = command.help === undefined && command.method === "finetune";
  return isFinetuning && !command.options.evaluate ? "together" : "at once";
}

/** Does what the command line says, as one of the ranks where there are several; returns the exit code, nothing for 0. */
export async function main(world?: World): Promise<void> {
  await loadPlugin(Deno.args);
  const command = readCommand();
  if (command.help !== undefined) return console.log(command.help);
  if (command.method === "linear_probe") return await evaluateLinearly(command, world);
  await fineTune(command, world);
}

if (import.meta.main) await runOnRanks(main, { stop: stopOfRanks });
