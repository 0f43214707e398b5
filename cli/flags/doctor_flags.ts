/** The flags of `deno task doctor`. */
import type { FlagTable } from "../../methods/flag_table.ts";
import { DISTILL_DEFAULT_NOTES, distillFlags, type DistillNames } from "../../methods/seed/flags.ts";
import type { TeacherRequest } from "../../models/teacher.ts";
import { type FlagsContext, helpExtent, helpFlag, parseFlags } from "./flags.ts";
import { formatHelp } from "./help.ts";
import { callersFolder, resolvePath } from "./paths.ts";

const CHECKED = "What to check";

/** What the program depends on besides the arguments. */
export type DoctorFlagsContext = FlagsContext & DistillNames;

const OWN_FLAGS = {
  output: {
    kind: "text",
    metavar: "DIR",
    short: "o",
    group: CHECKED,
    help: "output directory of a run",
  },
  permissions: {
    kind: "text",
    metavar: "TASK",
    group: "Output",
    help:
      "instead of checking, print the command that runs TASK with the fewest Deno permissions; the arguments of TASK " +
      "follow it, e.g. doctor --permissions distill --data DATA --distill FILE --output DIR",
  },
  json: {
    kind: "boolean",
    group: "Output",
    help: "print a JSON array of the findings; with --permissions, of the permission flags",
  },
  help: helpFlag("Output"),
} as const satisfies FlagTable;

/** The flags of a distillation that choose its teacher, and those of this task. */
function makeTable(names: DistillNames) {
  const { weights, heads, feature, teacherArch, teacherSsl, plugin } = distillFlags(names);
  const group = CHECKED;
  return {
    data: { kind: "text", metavar: "DATA", group, help: "training images" },
    distill: { kind: "text", metavar: "FILE", group, help: "teacher checkpoint" },
    weights: { ...weights, group },
    heads: { ...heads, group },
    feature: { ...feature, group },
    teacherArch: { ...teacherArch, group },
    teacherSsl: { ...teacherSsl, group },
    plugin: { ...plugin, group },
    ...OWN_FLAGS,
  } as const satisfies FlagTable;
}

/** What is looked at. */
export interface DoctorRequest {
  /** `null` for the bundled ones. */
  data: string | null;
  /** `null` for the bundled one. */
  distill: string | null;
  /** What is said of the teacher beside its file. */
  teacher?: TeacherRequest;
  output: string;
}

/** What the command line asks for. */
export type DoctorCommand =
  | { help: string }
  | { help: undefined; restricted: undefined; request: DoctorRequest; json: boolean }
  | {
    help: undefined;
    /** The task whose permissions are asked for, and its arguments. */
    restricted: { task: string; args: string[] };
    json: boolean;
  };

/** Cuts a command line at `--permissions TASK`: what stands behind it is the task's. */
function splitAtTask(args: readonly string[]): { own: string[]; task?: string; rest: string[] } {
  const at = args.findIndex((arg) => /^--permissions(=|$)/.test(arg));
  if (at === -1) return { own: [...args], rest: [] };
  const end = args[at].includes("=") ? at + 1 : at + 2;
  const task = args.slice(at, end).join("=").split("=").slice(1).join("=");
  return { own: args.slice(0, end), task, rest: args.slice(end) };
}

/** The arguments that are not another task's. */
export function ownArguments(args: readonly string[]): string[] {
  return splitAtTask(args).own;
}

/**
 * Reads the command line of `deno task doctor`.
 *
 * @throws {UsageError} for a flag that is unknown or wrong
 */
export function parseDoctorFlags(
  args: readonly string[],
  { folder = callersFolder(), width, ...names }: DoctorFlagsContext,
): DoctorCommand {
  const { own, task, rest } = splitAtTask(args);
  if (helpExtent(own) !== undefined) {
    const help = formatHelp({
      usage: "deno task doctor [flags]     (or ./seed doctor [flags])",
      intro: [
        "Checks what a run needs: Deno, the adapter and its limits, memory, disk, images and the teacher checkpoint, " +
        "and says how to fix each problem. It changes nothing. The exit code is 1 if a run would fail.",
      ],
      table: makeTable(names),
      defaults: {
        data: "default: the bundled images",
        distill: "default: the bundled teacher",
        weights: DISTILL_DEFAULT_NOTES.weights,
        heads: DISTILL_DEFAULT_NOTES.heads,
        feature: DISTILL_DEFAULT_NOTES.feature,
        teacherArch: DISTILL_DEFAULT_NOTES.teacherArch,
        teacherSsl: "default: recognised from the checkpoint",
        plugin: DISTILL_DEFAULT_NOTES.plugin,
        output: "default: output/",
      },
      width,
    });
    return { help };
  }
  const { values } = parseFlags(makeTable(names), own);
  if (task !== undefined) {
    return { help: undefined, restricted: { task, args: rest }, json: values.json ?? false };
  }
  const path = (given: string | undefined) => given === undefined ? null : resolvePath(given, folder);
  const request = {
    data: path(values.data),
    distill: path(values.distill),
    teacher: {
      ...{ arch: values.teacherArch, ssl: values.teacherSsl },
      ...{ weights: values.weights, heads: values.heads, feature: values.feature },
    },
    output: resolvePath(values.output ?? "output", folder),
  };
  return { help: undefined, restricted: undefined, request, json: values.json ?? false };
}
