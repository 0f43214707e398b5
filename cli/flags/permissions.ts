/**
 * The least that a command line needs: `deno task doctor --permissions TASK ...` prints it as flags of `deno run`. The
 * tasks in `deno.json` may do more, so that they work whatever paths they are given.
 */
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { isNpmPackage, NPM_SOURCE } from "../../data/convert/npm_package.ts";
import { isThere } from "../../data/require_new.ts";
import {
  checkpointAt,
  dataAt,
  given,
  imagesAt,
  type Needs,
  permissionFlags,
  type Permissions,
  permissionsFor,
  PROJECT,
  shellWord,
  trainingNeeds,
} from "../../methods/permissions.ts";
import { DISTILLATION } from "../../methods/seed/encoder_method.ts";
import { encoderNames, studentNames, teacherNames } from "../../models/registry.ts";
import { LOOPBACK, readPageAddress } from "../../ui/page_address.ts";
import type { PageOptions } from "../../ui/server.ts";
import { parseCompareFlags } from "./compare_flags.ts";
import { parseDistillFlags } from "./distill_flags.ts";
import { parseEmbedFlags } from "./embed_flags.ts";
import { parseExportFlags } from "./export_flags.ts";
import { helpExtent, UsageError } from "./flags.ts";
import { parseInspectFlags } from "./inspect_flags.ts";
import { parseKnnFlags } from "./knn_flags.ts";
import { parseLinclsFlags } from "./lincls_flags.ts";
import { callersFolder } from "./paths.ts";
import { loadPlugin, pluginOf, pluginOption } from "./plugin.ts";
import { parsePretrainFlagsOf } from "./inputs.ts";
import { checkpointsOfArch, parsePretrainFlags } from "./pretrain_flags.ts";
import { parseTsvFlags } from "./tsv_flags.ts";
import { parseUiFlags, usualOutput } from "./ui_flags.ts";

/** The folder of a run, or that of all runs where the name of the next one has the time in it. */
function outputAt(output: string, args: readonly string[]): string {
  return args.some((arg) => /^--?output(=|$)/.test(arg)) ? output : dirname(output);
}

/** A command that runs: `--help` was refused before it was read. */
function running<Command extends { help?: string }>(command: Command): Extract<Command, { help: undefined }> {
  return command as Extract<Command, { help: undefined }>;
}

/** What tasks that train need on the command line. */
function trainingCommand(
  args: readonly string[],
  { options, tensorboard, page }: {
    options: { data: string; testData: string | null; resume: string | null; output: string; cache: string };
    tensorboard: boolean;
    page: PageOptions | undefined;
  },
  ...checkpoints: (string | null)[]
): Needs {
  const needs = trainingNeeds({ ...options, output: outputAt(options.output, args) }, ...checkpoints);
  return {
    ...needs,
    // The host's name is in that of TensorBoard's file, the others are in the run's record.
    sys: [...tensorboard ? ["hostname"] : [], "cpus", "systemMemoryInfo", ...needs.sys ?? []],
    net: page === undefined ? [] : [readPageAddress(page.hostname ?? LOOPBACK).host],
  };
}

/** What each task needs for its arguments; relative paths start from `folder`. */
const TASKS: Readonly<Record<string, (args: string[], folder: string) => Needs | Promise<Needs>>> = {
  distill(args, folder) {
    const command = running(
      parseDistillFlags(args, { encoders: studentNames(), teachers: teacherNames(), folder }),
    );
    const needs = trainingCommand(args, command, command.options.distill, command.options.studentInit);
    return { ...needs, devices: DISTILLATION.devices };
  },
  async pretrain(args, folder) {
    const context = { encoders: encoderNames(), folder };
    const { pretrained } = checkpointsOfArch(args, context) ?? {};
    // Other commands' files need not be there yet either.
    const isKnown = pretrained === undefined || await isThere(pretrained);
    const command = running(
      isKnown ? await parsePretrainFlagsOf(args, context) : parsePretrainFlags(args, context),
    );
    return trainingCommand(args, command, command.options.pretrained);
  },
  lincls(args, folder) {
    const command = running(parseLinclsFlags(args, { encoders: encoderNames(), folder }));
    return trainingCommand(args, command, command.options.pretrained);
  },
  knn(args, folder) {
    const { request } = running(parseKnnFlags(args, { encoders: encoderNames(), folder }));
    const { data, testData, pretrained } = request;
    return {
      decodes: true,
      computes: true,
      read: [...dataAt(data, testData), ...checkpointAt(pretrained)],
      sys: ["systemMemoryInfo"],
    };
  },
  embed(args, folder) {
    const { request, file, sheet } = running(parseEmbedFlags(args, { encoders: encoderNames(), folder }));
    const written = given(file?.path, sheet).map((path) => dirname(path));
    const read = [...imagesAt(request.data), ...checkpointAt(request.pretrained), ...written];
    return { decodes: true, computes: true, read, write: written };
  },
  tsv(args, folder) {
    const { sources, output } = running(parseTsvFlags(args, { folder }));
    const written = given(output).map((path) => path.endsWith(".tsv") ? dirname(path) : path);
    const files = sources.filter((source) => !NPM_SOURCE.test(source));
    const isFetched = files.length < sources.length;
    const temporary = isFetched || files.some((path) => isNpmPackage(path)) ? [tmpdir()] : [];
    return {
      decodes: true, // with --check, and of CIFAR's files in either direction
      read: [...dataAt(...files), ...written, ...temporary],
      write: [...written, ...temporary],
      ...isFetched && { run: ["npm"], env: "*" }, // npm gets the environment
    };
  },
  export(args, folder) {
    const { options } = running(parseExportFlags(args, { encoders: encoderNames(), folder }));
    const written = dirname(options.output ?? options.checkpoint);
    return { read: [...checkpointAt(options.checkpoint), written], write: [written] };
  },
  inspect(args, folder) {
    return { read: checkpointAt(running(parseInspectFlags(args, { folder })).path) };
  },
  ui(args, folder) {
    const { folders, hostname } = running(parseUiFlags(args, { folder }));
    return {
      read: folders.length > 0 ? folders : [usualOutput(folder)],
      net: [readPageAddress(hostname).host],
    };
  },
  compare(args, folder) {
    const { folders, plot } = running(parseCompareFlags(args, { folder }));
    const written = given(plot).map((path) => dirname(path));
    return { read: [...folders, ...written], write: written };
  },
  models: () => ({ env: [] }),
};

/** Variables that every command asks for. */
const COMMAND_ENV = ["HOME", "INIT_CWD", "TERM"];

/** Names of the tasks whose permissions are known. */
export const RESTRICTED_TASKS: readonly string[] = Object.keys(TASKS);

/**
 * Returns the least that a task needs for its arguments. A plugin's own imports are not looked into: of them only what
 * lies in its folder is let in.
 *
 * @param task one of {@linkcode RESTRICTED_TASKS}
 * @param args as the task's command line has them
 * @param folder that relative paths start from; the caller's by default
 * @throws {UsageError} for another task, and for arguments that the task would refuse
 */
export async function permissionsOf(
  task: string,
  args: readonly string[],
  folder: string = callersFolder(),
): Promise<Permissions> {
  if (!Object.hasOwn(TASKS, task)) {
    throw new UsageError(`--permissions: expected one of ${RESTRICTED_TASKS.join(", ")}, found "${task}"`);
  }
  if (helpExtent(args) !== undefined) {
    throw new UsageError(`--permissions ${task}: --help needs none; give the flags of an actual run`);
  }
  await loadPlugin(args);
  const { env = COMMAND_ENV, ...needs } = await TASKS[task]([...args], folder);
  return permissionsFor({ ...needs, env, ...pluginOption(pluginOf(args), folder) });
}

/** The command that runs a task with these permissions and no other, to be typed in a shell. */
export function restrictedCommand(task: string, args: readonly string[], permissions: Permissions): string {
  const program = join(PROJECT ?? "", "cli", "commands", `${task}.ts`);
  return ["deno", "run", "--no-prompt", ...permissionFlags(permissions), program, ...args]
    .map(shellWord).join(" ");
}
