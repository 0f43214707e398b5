/** The permissions of `deno run` that a run needs for its options: for programs, and for the command line. */
import { basename, dirname, isAbsolute, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheFileOf } from "../data/cache_choice.ts";
import { cifarNamesPaths } from "../data/cifar.ts";
import { classNamesPath } from "../data/class_names.ts";
import { lineIndexPath } from "../data/line_index.ts";
import { sharpModule } from "../data/sharp.ts";
import { findPluginImports } from "../actors/plugin_imports.ts";
import { UserError } from "../errors.ts";
import { HELD_OUT } from "./held_out.ts";
import { configsBeside } from "../models/checkpoint/transformers_config.ts";
import { isOfShards } from "../models/checkpoint/safetensors_shards.ts";

/** Permissions of a program: the lists that `deno run`'s flags of these names take. An empty list grants none. */
export interface Permissions {
  /** Paths that are read. */
  read: readonly string[];
  /** Paths that are written. */
  write: readonly string[];
  /** Names of environment variables; `"*"` for all. */
  env: readonly string[] | "*";
  /** Folders with native code. */
  ffi: readonly string[];
  /** Names of system information APIs. */
  sys: readonly string[];
  /** Network addresses. */
  net: readonly string[];
  /** Programs that are started. */
  run: readonly string[];
}

/** Permissions that a task needs for its options, beyond those of its kind. */
export interface Needs extends Partial<Permissions> {
  /** Whether it decodes images, with native code from an npm package. */
  decodes?: boolean;
  /** Whether it computes on a device, in Workers, which load their own modules. */
  computes?: boolean;
  /** Devices that compute at once, between which processors are divided; one where it is left out. */
  devices?: number;
  /** URLs of modules that it imports; their folders are read. */
  plugins?: readonly string[];
}

/** What detect-libc, which sharp asks for its binary, reads on Linux; it fails where it may not. */
const LDD = "/usr/bin/ldd";

/** The folder of this library; `undefined` where its modules are not files. */
export const PROJECT: string | undefined = import.meta.url.startsWith("file:")
  ? fileURLToPath(new URL("..", import.meta.url)).replace(/[\\/]$/, "")
  : undefined;

/** The folder under which npm's packages lie, the native parts of sharp among them. */
function npmFolder(): string {
  const path = fileURLToPath(sharpModule());
  const [, modules] = /^(.*?[\\/]node_modules)[\\/]/.exec(path) ?? [];
  return modules ?? path.replace(/[\\/]sharp[\\/][^\\/]+[\\/]lib[\\/][^\\/]+$/, ""); // REGISTRY/sharp/VERSION/lib/index.js
}

/** Those of some paths that there are. */
export function given(...paths: (string | null | undefined)[]): string[] {
  return paths.filter((path) => path !== null && path !== undefined);
}

/** Images to read, without their labels: a folder, or a file with what is read beside it. */
export function imagesAt(...paths: (string | null | undefined)[]): string[] {
  return given(...paths).flatMap((path) => {
    if (path.endsWith(".tsv")) return [path, lineIndexPath(path)];
    return /\.bin$/i.test(path) ? [path, ...cifarNamesPaths(path)] : [path];
  });
}

/** Images to read with their labels: {@linkcode imagesAt}, and the names of the classes of TSV files. */
export function dataAt(...paths: (string | null | undefined)[]): string[] {
  const tables = given(...paths).filter((path) => path.endsWith(".tsv"));
  return [...imagesAt(...paths), ...tables.map((path) => classNamesPath(path))];
}

/** A checkpoint to read: its file and what lies beside it, or the folder of the files that it is cut into. */
export function checkpointAt(...paths: (string | null | undefined)[]): string[] {
  return given(...paths).flatMap((path) =>
    isOfShards(path) ? [dirname(path)] : [path, ...configsBeside(path)]
  );
}

/** Returns what tasks that train have in common. */
export function trainingNeeds(
  { data, testData, resume, output, cache = "auto" }: {
    data: string;
    testData?: string | null;
    resume?: string | null;
    output: string;
    cache?: string;
  },
  ...checkpoints: (string | null | undefined)[]
): Needs {
  const file = cacheFileOf(cache);
  const written = [output, ...file === undefined ? [] : [dirname(file)]];
  return {
    decodes: true,
    computes: true,
    read: [
      // What to evaluate on is looked for beside a file, where it is not named.
      ...testData === undefined && data.endsWith(".tsv")
        ? [dirname(data)]
        : dataAt(data, testData === HELD_OUT ? null : testData),
      ...checkpointAt(...checkpoints),
      // Where it goes on, with the settings that lie beside the checkpoint.
      ...given(resume === "auto" ? null : resume).map((path) => dirname(path)),
      ...written,
    ],
    write: written,
    ...file !== undefined && { sys: ["statfs"] }, // how much room there is for it
  };
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

/** What a plugin is imported by, where its folder has an import map: that, and what it names. */
function importedFiles(plugin: string): string[] {
  const { files = [], names = {} } = findPluginImports(plugin) ?? {};
  return [...files, ...Object.values(names).some((name) => name.startsWith("npm:")) ? [npmFolder()] : []];
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
 * Returns the least that will do. A plugin's own imports are not looked into: only what lies in its folder is let in, and
 * what its import map names.
 */
export function permissionsFor(
  { decodes = false, computes = false, devices = 1, plugins = [], ...needs }: Needs,
): Permissions {
  const files = plugins.filter((url) => url.startsWith("file:"));
  const isLinux = Deno.build.os === "linux";
  return {
    read: outermost([
      ...computes || files.length > 0 ? given(PROJECT) : [], // a plugin imports parts.ts, or mod.ts
      ...needs.read ?? [],
      ...files.flatMap((url) => [dirname(fileURLToPath(url)), ...importedFiles(url)]),
      ...decodes && isLinux ? [LDD] : [],
    ]),
    write: outermost(needs.write ?? []),
    env: needs.env === "*" ? "*" : [
      ...needs.env ?? [],
      ...computes ? ["DENO_WEBGPU_BACKEND", "XDG_RUNTIME_DIR"] : [],
      ...devices > 1 ? ["LP_NUM_THREADS"] : [],
      ...decodes ? ["npm_package_config_libvips"] : [],
    ],
    ffi: decodes ? [npmFolder()] : [],
    sys: needs.sys ?? [],
    net: needs.net ?? [],
    run: needs.run ?? [],
  };
}

/** Returns permissions as flags of `deno run`. */
export function permissionFlags(permissions: Permissions): string[] {
  return Object.entries(permissions).flatMap(([name, values]: [string, readonly string[] | "*"]) => {
    if (values === "*") return [`--allow-${name}`];
    if (values.length === 0) return [];
    return [`--allow-${name}=${values.map((value) => value.replaceAll(",", ",,")).join(",")}`];
  });
}

/** Returns a word as a POSIX shell reads it. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The missing permission that an error comes of, in Deno's words; `undefined` where it comes of something else. */
function missingPermission(error: unknown): string | undefined {
  for (let cause = error, depth = 0; cause instanceof Error && depth < 16; cause = cause.cause, depth++) {
    // What cannot be imported for lack of a permission is a TypeError.
    const isMissing = cause.name === "NotCapable" || /^Requires \w+ access to /.test(cause.message);
    if (isMissing) return cause.message.replace(/, (specify the required permissions|run again) .*$/s, "");
  }
  return undefined;
}

/**
 * Does the work of a run. Where a permission is missing, its error says which one, and all that the run needs.
 *
 * @param needs asked for then only
 * @throws {UserError} for a missing permission; every other error as it is
 */
export async function explainPermissions<T>(
  { needs, work }: { needs: () => Needs; work: () => Promise<T> },
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const missing = missingPermission(error);
    if (missing === undefined) throw error;
    const flags = permissionFlags(permissionsFor(needs())).map(shellWord).join(" ");
    throw new UserError(`${missing}; with these options, the run needs: deno run ${flags}`, { cause: error });
  }
}
