/**
 * The import map of a plugin's own folder. Deno reads one import map a process, that of the program; a plugin that is named on
 * the command line has another. `node:module` lets a program resolve names itself, in each Worker and without a permission.
 */
import module from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { UserError } from "../errors.ts";

/** Specifiers by name, as an import map has them. */
type Names = Readonly<Record<string, string>>;

/** The import map of a folder. */
export interface PluginImports {
  /** Folder of its deno.json, as a URL with a slash at its end: only modules in it are resolved by it. */
  folder: string;
  /** Names, with targets that are URLs or begin with `npm:` or `jsr:`. */
  names: Names;
  /** Paths of what it is read from, and of what is named in it. */
  files: readonly string[];
}

/** What stands before a plugin's URL where these hooks are to load it: Deno resolves a URL of a file without asking them. */
const BY_HOOKS = "seed-plugin:";

/** This library by the names of a registry: a plugin is to register its parts in the copy that runs. */
const OWN_MODULES = /^jsr:\/?@seed\/distillation(?:@[^/]*)?(?:\/(parts))?$/;

/**
 * Returns the import map of the nearest deno.json above a plugin; `undefined` where there is none, where it may not be read,
 * and where the program resolves all its names likewise.
 *
 * @throws {UserError} for a file that is no JSON
 */
export function findPluginImports(plugin: string): PluginImports | undefined {
  if (!plugin.startsWith("file:")) return undefined;
  const config = findConfig(dirname(fileURLToPath(plugin)));
  if (config === undefined) return undefined;
  const { imports, importMap } = readJson(config);
  const path = imports === undefined && typeof importMap === "string"
    ? join(dirname(config), importMap)
    : config;
  const names = path === config ? imports : mayRead(path) ? readJson(path).imports : undefined;
  const own = Object.entries((names ?? {}) as Names)
    .map(([name, target]) => [name, absolute(String(target), path)] as const)
    .filter(([name, target]) => !isSame(name, target))
    .map(([name, target]) => [name, ownCopy(target) ?? target] as const);
  const folder = new URL(".", pathToFileURL(config)).href;
  if (own.length === 0) return undefined;
  const local = own.map(([, target]) => target).filter((target) => target.startsWith("file:"));
  const files = [config, path, ...local.map((target) => fileURLToPath(target).replace(/[\\/]$/, ""))];
  return { folder, names: Object.fromEntries(own), files };
}

const imported = new Map<string, Promise<void>>();

/** Imports a plugin whose folder has an import map. */
export function importByMap(plugin: string, imports: PluginImports): Promise<void> {
  const known = imported.get(plugin) ?? importWithHooks(plugin, imports);
  imported.set(plugin, known);
  return known;
}

async function importWithHooks(plugin: string, imports: PluginImports): Promise<void> {
  const { needed, later, usesMap } = await findImports(plugin, imports);
  if (!usesMap) return void await import(plugin);
  // Hooks cannot wait for packages. What is found in the text may be in a string: only where the plugin fails is it a problem.
  const problems: unknown[] = [];
  const attempt = (target: string) => import(target).catch((error) => problems.push(error));
  for (const target of needed) await attempt(target);
  for (const target of later) {
    // Deno resolves what a module imports by a literal before it runs the module; this one runs nothing.
    await attempt(`data:text/javascript,${encodeURIComponent(`() => import(${JSON.stringify(target)});`)}`);
  }
  resolveBy(imports);
  // With such a hook Deno loads a module before it looks at its imports. What packages require() would suffer by it.
  const loading = module.registerHooks({ load: (url, context, next) => next(url, context) });
  try {
    await import(BY_HOOKS + plugin);
  } catch (error) {
    throw problems[0] ?? error;
  } finally {
    loading.deregister();
  }
}

/** What a name stands for in a module; `undefined` where the map does not say it. */
export function resolveName(
  name: string,
  parent: string,
  { folder, names }: PluginImports,
): string | undefined {
  if (!parent.startsWith(folder)) return undefined;
  if (Object.hasOwn(names, name)) return names[name];
  const [prefix] = Object.keys(names)
    .filter((key) => name.startsWith(key.endsWith("/") ? key : `${key}/`))
    .toSorted((a, b) => b.length - a.length);
  if (prefix === undefined) return undefined;
  const target = names[prefix];
  // As Deno does, a package's name stands for what is in it too.
  return prefix.endsWith("/") || /^(npm|jsr):/.test(target) ? target + name.slice(prefix.length) : undefined;
}

const registered = new Set<string>();

/** Resolves the names of a folder's modules from now on, also of those that they import later. */
function resolveBy(imports: PluginImports): void {
  if (registered.has(imports.folder)) return;
  registered.add(imports.folder);
  module.registerHooks({
    resolve(specifier, context, next) {
      if (specifier.startsWith(BY_HOOKS)) {
        return { url: specifier.slice(BY_HOOKS.length), shortCircuit: true };
      }
      const parent = context.parentURL ?? "";
      const target = resolveName(specifier, parent, imports);
      // What the program's map does not know either is refused as without hooks, and not taken for a path.
      const isUnknown = target === undefined && parent.startsWith(imports.folder) &&
        !/^[./]|:/.test(specifier);
      return next(isUnknown ? import.meta.resolve(specifier) : target ?? specifier, context);
    },
  });
}

/** What holds no import: comments; and imports of types alone. Strings, which may look like either, stay. */
const NO_IMPORT =
  /("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|\/\/.*|\/\*[^]*?\*\/|\b(?:import|export)\s+type\s[^"';]*["'][^"'\n]*["']/g;

/** An import of a module, in its text: a static one, or one that is called. */
const IMPORT = /\b(?:from|import)\s*(\(?)\s*(["'])([^"'\n]+)\2/g;

/** What a plugin and the modules of its folder import from elsewhere. */
async function findImports(plugin: string, imports: PluginImports) {
  const [needed, later] = [new Set<string>(), new Set<string>()];
  let usesMap = false;
  const modules = new Set([plugin]);
  for (const url of modules) {
    const text = (await Deno.readTextFile(new URL(url))).replace(NO_IMPORT, (_, quoted) => quoted ?? "");
    for (const [, isCall, , name] of text.matchAll(IMPORT)) {
      const mapped = resolveName(name, url, imports);
      usesMap ||= mapped !== undefined;
      const target = mapped ?? (/^\.\.?\//.test(name) ? new URL(name, url).href : name);
      const isCode = !/\.(json|wgsl|txt|md|css)$/.test(target);
      if (target.startsWith(imports.folder)) { if (/\.[cm]?[jt]sx?$/.test(target)) modules.add(target); }
      else if (isCall === "" && isCode) needed.add(target);
      else if (/^(npm|jsr):/.test(target)) later.add(target);
    }
  }
  return { needed, later, usesMap };
}

/** The nearest deno.json or deno.jsonc, of a folder or those above it, that may be read. */
function findConfig(folder: string): string | undefined {
  for (const name of ["deno.json", "deno.jsonc"]) {
    const path = join(folder, name);
    if (mayRead(path) && isFile(path)) return path;
  }
  const above = dirname(folder);
  return above === folder ? undefined : findConfig(above);
}

/** Whether a file may be read without asking for it. */
function mayRead(path: string): boolean {
  return Deno.permissions.querySync({ name: "read", path }).state === "granted";
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** Reads JSON with comments and commas at ends. */
function readJson(path: string): Record<string, unknown> {
  const text = Deno.readTextFileSync(path)
    .replace(/("(?:\\.|[^"\\])*")|\/\/.*|\/\*[^]*?\*\//g, (_, quoted) => quoted ?? "")
    .replace(/("(?:\\.|[^"\\])*")|,(?=\s*[}\]])/g, (_, quoted) => quoted ?? "");
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError(`${path}: expected JSON, found ${(error as Error).message}`, { cause: error });
  }
}

/** The copy of this library that runs, where a target is one of a registry. */
function ownCopy(target: string): string | undefined {
  const found = OWN_MODULES.exec(target);
  return found === null ? undefined : import.meta.resolve(found[1] === "parts" ? "../parts.ts" : "../mod.ts");
}

function absolute(target: string, map: string): string {
  return /^(\.\.?)?\//.test(target) ? new URL(target, pathToFileURL(map)).href : target;
}

/** Whether the program's import map says the same. */
function isSame(name: string, target: string): boolean {
  try {
    return import.meta.resolve(name) === import.meta.resolve(target);
  } catch {
    return false; // it does not know the name
  }
}
