/**
 * The least that a command line needs: `deno task doctor --permissions TASK ...` prints it as flags of `deno run`. The
 * tasks in `deno.json` may do more, so that they work whatever paths they are given.
 */
import { tmpdir } from "node:os";
import { basename, dirname, isAbsolute, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { isNpmPackage, NPM_SOURCE } from "../../data/convert/npm_package.ts";
import { lineIndexPath } from "../../data/line_index.ts";
import { ENCODERS, studentNames, teacherNames } from "../../models/registry.ts";
import { LOOPBACK } from "../../ui/page_address.ts";
import type { PageOptions } from "../../ui/server.ts";
import { parseCompareFlags } from "./compare_flags.ts";
import { parseDistillFlags } from "./distill_flags.ts";
import { parseEmbedFlags } from "./embed_flags.ts";
import { parseExportFlags } from "./export_flags.ts";
import { UsageError } from "./flags.ts";
import { parseInspectFlags } from "./inspect_flags.ts";
import { parseKnnFlags } from "./knn_flags.ts";
import { parseLinclsFlags } from "./lincls_flags.ts";
import { callersFolder } from "./paths.ts";
import { loadPlugin, pluginOf, pluginOption } from "./plugin.ts";
import { parseTsvFlags } from "./tsv_flags.ts";
import { parseUiFlags, usualOutput } from "./ui_flags.ts";

/** What a program may do: the lists of `deno run`'s flags of these names. An empty list is no permission. */
export interface Permissions {
  read: readonly string[];
  write: readonly string[];
  /** Names of variables; `"*"` for all. */
  env: readonly string[] | "*";
  ffi: readonly string[];
  sys: readonly string[];
  net: readonly string[];
  run: readonly string[];
}

/** What a task needs for its arguments, beyond what its kind does. */
interface Needs extends Partial<Permissions> {
  /** It decodes images, with native code of an npm package. */
  decodes?: boolean;
  /** It computes on a device, in Workers, which read their modules by themselves. */
  computes?: boolean;
}

/** What detect-libc, which sharp asks for its binary, reads on Linux; it fails where it may not. */
const LDD = "/usr/bin/ldd";

/** The folder of the project; `undefined` where its modules are not files. */
const PROJECT = import.meta.url.startsWith("file:")
  ? fileURLToPath(new URL("../..", import.meta.url)).replace(/[\\/]$/, "")
  : undefined;

/** The folder under which npm's packages lie, the native parts of sharp among them. */
function npmFolder(): string {
  const path = fileURLToPath(import.meta.resolve("sharp"));
  const [, modules] = /^(.*?[\\/]node_modules)[\\/]/.exec(path) ?? [];
  return modules ?? path.replace(/[\\/]sharp[\\/][^\\/]+[\\/]lib[\\/][^\\/]+$/, ""); // REGISTRY/sharp/VERSION/lib/index.js
}

/** Those of some paths that there are. */
function given(...paths: (string | null | undefined)[]): string[] {
  return paths.filter((path) => path !== null && path !== undefined);
}

/** Images to read: a folder, or a file with its index beside it. */
function dataAt(...paths: (string | null)[]): string[] {
  return given(...paths).flatMap((path) => path.endsWith(".tsv") ? [path, lineIndexPath(path)] : [path]);
}

/** The folder of a run, or that of all runs where the name of the next one has the time in it. */
function outputAt(output: string, args: readonly string[]): string {
  return args.some((arg) => /^--?output(=|$)/.test(arg)) ? output : dirname(output);
}

/** A command that runs: `--help` was refused before it was read. */
function running<Command extends { help?: string }>(command: Command): Extract<Command, { help: undefined }> {
  return command as Extract<Command, { help: undefined }>;
}

/** What tasks that train have in common. */
function trainingNeeds(
  args: readonly string[],
  { options, tensorboard, page }: {
    options: { data: string; testData: string | null; resume: string | null; output: string };
    tensorboard: boolean;
    page: PageOptions | undefined;
  },
  ...checkpoints: (string | null)[]
): Needs {
  const { data, testData, resume } = options;
  const output = outputAt(options.output, args);
  // Where it goes on, with the settings that lie beside the checkpoint.
  const resumed = resume === null ? [] : [dirname(resume)];
  return {
    decodes: true,
    computes: true,
    read: [...dataAt(data, testData), ...given(...checkpoints), ...resumed, output],
    write: [output],
    // The host's name is in that of TensorBoard's file, the others are in the run's record.
    sys: [...tensorboard ? ["hostname"] : [], "cpus", "systemMemoryInfo"],
    net: page === undefined ? [] : [page.hostname ?? LOOPBACK],
  };
}

/** What each task needs for its arguments; relative paths start from `folder`. */
const TASKS: Readonly<Record<string, (args: string[], folder: string) => Needs>> = {
  distill(args, folder) {
    const command = running(
      parseDistillFlags(args, { encoders: studentNames(), teachers: teacherNames(), folder }),
    );
    return trainingNeeds(args, command, command.options.distill, command.options.studentInit);
  },
  lincls(args, folder) {
    const command = running(parseLinclsFlags(args, { encoders: encoderNames(), folder }));
    return trainingNeeds(args, command, command.options.pretrained);
  },
  knn(args, folder) {
    const { request } = running(parseKnnFlags(args, { encoders: encoderNames(), folder }));
    const { data, testData, pretrained } = request;
    return { decodes: true, computes: true, read: [...dataAt(data, testData), ...given(pretrained)] };
  },
  embed(args, folder) {
    const { request, file, sheet } = running(parseEmbedFlags(args, { encoders: encoderNames(), folder }));
    const written = given(file?.path, sheet).map((path) => dirname(path));
    const read = [...dataAt(request.data), request.pretrained, ...written];
    return { decodes: true, computes: true, read, write: written };
  },
  tsv(args, folder) {
    const { sources, output } = running(parseTsvFlags(args, { folder }));
    const written = given(output).map((path) => path.endsWith(".tsv") ? dirname(path) : path);
    const files = sources.filter((source) => !NPM_SOURCE.test(source));
    const isFetched = files.length < sources.length;
    const temporary = isFetched || files.some((path) => isNpmPackage(path)) ? [tmpdir()] : [];
    return {
      decodes: true,
      read: [...dataAt(...files), ...written, ...temporary],
      write: [...written, ...temporary],
      ...isFetched && { run: ["npm"], env: "*" }, // npm gets the environment
    };
  },
  export(args, folder) {
    const { options } = running(parseExportFlags(args, { encoders: encoderNames(), folder }));
    const written = dirname(options.output ?? options.checkpoint);
    return { read: [options.checkpoint, written], write: [written] };
  },
  inspect(args, folder) {
    return { read: [running(parseInspectFlags(args, { folder })).path] };
  },
  ui(args, folder) {
    const { folders, hostname } = running(parseUiFlags(args, { folder }));
    return { read: folders.length > 0 ? folders : [usualOutput(folder)], net: [hostname] };
  },
  compare(args, folder) {
    const { folders, plot } = running(parseCompareFlags(args, { folder }));
    const written = given(plot).map((path) => dirname(path));
    return { read: [...folders, ...written], write: written };
  },
  models: () => ({ env: [] }),
};

/** Names of the tasks whose permissions are known. */
export const RESTRICTED_TASKS: readonly string[] = Object.keys(TASKS);

function encoderNames(): string[] {
  return ENCODERS.map(({ name }) => name);
}

/** A path as it is given, and as the system resolves it: files are replaced at the latter. */
function withTarget(path: string): string[] {
  for (let [there, rest] = [path, ""];;) {
    try {
      return [path, join(Deno.realPathSync(there), rest)];
    } catch {
      if (dirname(there) === there) return [path];
      [there, rest] = [dirname(there), join(basename(there), rest)]; // it will be made
    }
  }
}

/** Paths without those that lie in another one of them. */
function outermost(paths: readonly string[]): string[] {
  const each = [...new Set(paths.flatMap(withTarget))];
  const isInside = (path: string, folder: string) => {
    const inside = relative(folder, path);
    return inside !== "" && !inside.startsWith("..") && !isAbsolute(inside);
  };
  return each.filter((path) => !each.some((other) => isInside(path, other)));
}

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
  if (args.some((arg) => arg === "--help" || arg === "-h")) {
    throw new UsageError(`--permissions ${task}: --help needs none; give the flags of a command that runs`);
  }
  await loadPlugin(args);
  const { decodes = false, computes = false, ...needs } = TASKS[task]([...args], folder);
  const plugins = (pluginOption(pluginOf(args), folder).plugins ?? []).filter((url) =>
    url.startsWith("file:")
  );
  const isLinux = Deno.build.os === "linux";
  return {
    read: outermost([
      ...computes || plugins.length > 0 ? given(PROJECT) : [], // a plugin imports parts.ts, or mod.ts
      ...needs.read ?? [],
      ...plugins.map((url) => dirname(fileURLToPath(url))),
      ...decodes && isLinux ? [LDD] : [],
    ]),
    write: outermost(needs.write ?? []),
    env: needs.env ?? [
      ...["HOME", "INIT_CWD", "TERM"],
      ...computes ? ["DENO_WEBGPU_BACKEND", "XDG_RUNTIME_DIR"] : [],
      ...decodes ? ["npm_package_config_libvips"] : [],
    ],
    ffi: decodes ? [npmFolder()] : [],
    sys: needs.sys ?? [],
    net: needs.net ?? [],
    run: needs.run ?? [],
  };
}

/** Permissions as flags of `deno run`. */
export function permissionFlags(permissions: Permissions): string[] {
  return Object.entries(permissions).flatMap(([name, values]: [string, readonly string[] | "*"]) => {
    if (values === "*") return [`--allow-${name}`];
    if (values.length === 0) return [];
    return [`--allow-${name}=${values.map((value) => value.replaceAll(",", ",,")).join(",")}`];
  });
}

/** A word as a POSIX shell reads it. */
function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The command that runs a task with these permissions and no other, to be typed in a shell. */
export function restrictedCommand(task: string, args: readonly string[], permissions: Permissions): string {
  const program = PROJECT === undefined ? `cli/${task}.ts` : join(PROJECT, "cli", `${task}.ts`);
  return ["deno", "run", "--no-prompt", ...permissionFlags(permissions), program, ...args]
    .map(shellWord).join(" ");
}
