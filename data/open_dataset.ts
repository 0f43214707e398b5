/** From what a person calls their data to something that rows are read from. */
import { basename } from "node:path";
import { UserError } from "../errors.ts";
import { CifarFiles, hasTrainFiles } from "./cifar.ts";
import type { Dataset } from "./dataset.ts";
import { ImageFolder, isImageName, isPassedOver } from "./image_folder.ts";
import type { LineIndexOptions } from "./line_index.ts";
import { describeSurroundings, requireFile, statOrExplain } from "./stat_or_explain.ts";
import { TsvFile } from "./tsv.ts";

/** Options for `openDataset`. */
export type DatasetOptions = LineIndexOptions;

/** Options for `findDataset` and `resolveDataset`. */
export interface FindOptions {
  /** Called with a message if a folder is taken for a class though it is named as a split. */
  onNote?(message: string): void;
}

/** Training or test data. */
export type Split = "train" | "test";

/** Where a folder has its data, by what it is for; the first one that is there counts. A slash asks for a folder. */
const PLACES: Readonly<Record<Split, readonly string[]>> = {
  train: ["train.tsv", "train/", "train.bin"],
  test: [
    "test.tsv",
    "val.tsv",
    // Before test/, which has no labels in ImageNet.
    "val/",
    "valid/",
    "validation/",
    "test/",
    "test_batch.bin",
    "test.bin",
  ],
};

/** Names of folders that are splits, as {@linkcode nameOfPlace} has them. */
const SPLIT_FOLDERS: Readonly<Record<Split, ReadonlySet<string>>> = {
  train: foldersOf(PLACES.train),
  test: foldersOf(PLACES.test),
};

function foldersOf(places: readonly string[]): Set<string> {
  return new Set(places.filter((place) => place.endsWith("/")).map((place) => place.slice(0, -1)));
}

/** Other names of folders that may be splits: `train2017`, `test_images`. The groups are which one, and what follows. */
const SPLIT_LIKE = /^(train|test|val)(?:ing|id|idation)?(?:[ _-]?(?:set|data|images|imgs))?([^a-z].*)?$/i;

/** Folders that the archives of CIFAR unpack to. */
const CIFAR_FOLDERS = ["cifar-10-batches-bin", "cifar-100-binary"];

/** Folders that they unpack to in other versions, which are not read. */
const OTHER_CIFAR_FOLDERS = ["cifar-10-batches-py", "cifar-100-python", "cifar-10-batches-mat"];

/**
 * Opens a TSV file, a folder of images, a binary CIFAR file, or a folder of CIFAR's `data_batch_*.bin`.
 *
 * @example
 * ```ts
 * using images = await openDataset("data/imagenet/train", { onWarning: console.warn });
 * const [first] = await images.readRows([0]);
 * ```
 * @throws {UserError} if there is no readable data set at the path
 */
export async function openDataset(path: string, options: DatasetOptions = {}): Promise<Dataset> {
  const info = await statOrExplain(path);
  if (info.isDirectory) {
    return hasTrainFiles(path) ? await CifarFiles.open(path, options) : await ImageFolder.open(path, options);
  }
  await requireFile(path, "a file or a folder");
  if (/\.bin$/i.test(path)) return await CifarFiles.open(path);
  if (isArchiveName(path)) {
    throw new UserError(
      `${path} is an archive, whose images cannot be read in any order: convert it with ` +
        "`deno task tsv`, or unpack it.",
    );
  }
  await checkText(path);
  return await TsvFile.open(path, options);
}

/** Whether a path is that of a tar archive, by its name. */
export function isArchiveName(path: string): boolean {
  return /\.(tar|tgz|tar\.gz)$/i.test(path);
}

/** Fails where a file cannot be a TSV, before its lines are looked for. */
async function checkText(path: string): Promise<void> {
  using file = await Deno.open(path);
  const start = new Uint8Array(4096);
  const count = await file.read(start) ?? 0;
  if (!start.subarray(0, count).includes(0)) return;
  throw new UserError(
    `${path}: expected a TSV file (key, label, base64 image), a folder of images or a CIFAR .bin file, found another ` +
      "binary file.",
  );
}

/**
 * Finds the data set that a path stands for. A file stands for itself in training, and has no test set. A folder stands for what it has for
 * the split, such as `train.tsv`, `train/` or the files of CIFAR, in capitals too. For training, a folder of images stands for
 * itself.
 *
 * @returns a path for {@linkcode openDataset}; `undefined` if the folder has nothing for the split
 * @throws {UserError} if the path does not exist, or if what it has instead of classes are splits
 */
export async function findDataset(
  data: string,
  split: Split,
  { onNote }: FindOptions = {},
): Promise<string | undefined> {
  const info = await statOrExplain(data);
  if (!info.isDirectory) {
    await requireFile(data, "a file or a folder");
    return split === "train" ? data : undefined;
  }
  const folder = data.replace(/(?<=.)\/+$/, "");
  const found = await findIn(folder, split);
  if (found !== undefined) return found;
  for (const name of CIFAR_FOLDERS) {
    const inside = await findIn(`${folder}/${name}`, split);
    if (inside !== undefined) return inside;
  }
  if (split === "test" || !looksLikeImages(folder)) return undefined;
  await checkClasses(folder);
  const taken = holdsImages(folder) ? [] : foldersIn(folder).filter(isSplitFolder);
  if (taken.length > 0) {
    onNote?.(
      `${folder}: taken for classes like the folders beside them: ${
        taken.join("/, ")
      }/. If these are splits, name the ` +
        "folder of the training images itself",
    );
  }
  return folder;
}

/**
 * Finds a data set like {@linkcode findDataset}, and throws if there is none.
 *
 * @throws {UserError} if there is none; says what was looked for and what was found
 */
export async function resolveDataset(data: string, split: Split, options?: FindOptions): Promise<string> {
  const found = await findDataset(data, split, options);
  if (found !== undefined) return found;
  const places = [...PLACES[split], ...split === "train" ? ["data_batch_1.bin", "images"] : []];
  const other = OTHER_CIFAR_FOLDERS.find((name) =>
    basename(data) === name || namesIn(`${data}/${name}`).length > 0
  );
  throw new UserError(
    `${data}: expected one of ${places.join(", ")}, found none. ` +
      (other === undefined
        ? await describeSurroundings(`${data}/${PLACES[split][0]}`)
        : `${other} is another version of CIFAR: download the binary version, or use a folder of images.`),
  );
}

/**
 * Finds a split like {@linkcode resolveDataset}; a file stands for itself in any.
 *
 * @throws {UserError} if there is none
 */
export async function resolveSplit(data: string, split: Split, options?: FindOptions): Promise<string> {
  const { isFile } = await statOrExplain(data);
  return isFile ? data : await resolveDataset(data, split, options);
}

async function findIn(folder: string, split: Split): Promise<string | undefined> {
  const names = namesIn(folder).map(({ name }) => name).sort();
  for (const place of PLACES[split]) {
    const [exact, isFolder] = [place.replace(/\/$/, ""), place.endsWith("/")];
    const others = names.filter((name) => name !== exact && nameOfPlace(name, isFolder) === exact);
    for (const name of [exact, ...others]) {
      const path = `${folder}/${name}`;
      const info = await Deno.stat(path).catch(() => undefined);
      if (info === undefined || info.isDirectory !== isFolder) continue;
      if (!isFolder) return path;
      if (!isClassAmongOthers(folder, path)) return unwrap(path, exact);
    }
  }
  return split === "train" && hasTrainFiles(folder) ? folder : undefined;
}

/** The name that {@linkcode PLACES} has for a file or folder: `Train`, `training` and `training_set` are `train`. */
function nameOfPlace(name: string, isFolder: boolean): string {
  const lower = name.toLowerCase();
  return isFolder ? lower.replace(/[ _-]?set$/, "").replace(/^(train|test)ing$/, "$1") : lower;
}

/** The folder of a split, or the one in it that has its name too, as archives unpack to: `test_set/test_set`. */
function unwrap(path: string, split: string): string {
  const only = onlyFolder(path);
  return only !== undefined && nameOfPlace(only, true) === split ? `${path}/${only}` : path;
}

/** The name of the only folder in a folder that has no images itself. */
function onlyFolder(folder: string): string | undefined {
  const folders = foldersIn(folder);
  return folders.length === 1 && !holdsImages(folder) ? folders[0] : undefined;
}

/**
 * Fails where the folders in a folder that stands for itself are no classes: where they are splits, alone or beside others,
 * and where the splits lie deeper.
 */
async function checkClasses(folder: string): Promise<void> {
  if (holdsImages(folder)) return;
  const expected = `${folder}: expected training images, or a folder for each class, found`;
  const advice = "Name the folder of the training images itself, or call it train/.";
  for (let name = onlyFolder(folder), at = folder; name !== undefined; name = onlyFolder(at)) {
    at = `${at}/${name}`;
    const found = await findIn(at, "train");
    if (found === undefined) continue;
    throw new UserError(
      `${expected} only ${name}/, which has training images of its own. Did you mean ${at}?`,
    );
  }
  const folders = foldersIn(folder);
  const inside = splitsInside(folder, folders);
  if (inside !== undefined) {
    const { name, splits } = inside;
    throw new UserError(
      `${expected} ${name}/ with ${splits.join("/, ")}/ in it, which are named as splits. ${advice}`,
    );
  }
  const splits = areAllSplits(folders) ? folders : differentSplits(folders);
  if (splits.length === 0) return;
  const only = splits.length === folders.length ? " only" : "";
  throw new UserError(
    `${expected}${only} ${splits.join("/, ")}/, which are named as splits. ${advice}`,
  );
}

/** Whether all folders have names that begin as those of splits: of different ones, or each as a split is called. */
function areAllSplits(folders: readonly string[]): boolean {
  const kinds = folders.map((name) => SPLIT_LIKE.exec(name)?.[1].toLowerCase());
  return kinds.length > 0 && !kinds.includes(undefined) &&
    (new Set(kinds).size > 1 || folders.every(isSplitFolder));
}

/**
 * The folders that are splits whatever lies beside them, since two different ones are there. With another word in its
 * name a folder may be a class: `train station`, `test tube`.
 */
function differentSplits(folders: readonly string[]): string[] {
  const splits = folders.flatMap((name) => {
    const [, kind, rest = ""] = SPLIT_LIKE.exec(name) ?? [];
    return kind === undefined || /\p{L}/u.test(rest) ? [] : [{ name, kind: kind.toLowerCase() }];
  });
  return new Set(splits.map(({ kind }) => kind)).size > 1 ? splits.map(({ name }) => name) : [];
}

/**
 * The first of some folders that has splits in it, as `images/` has where `labels/` has the same ones. To list the images
 * of all classes takes a while: behind a folder with images of its own, those with a `train/` are looked into.
 */
function splitsInside(
  folder: string,
  names: readonly string[],
): { name: string; splits: string[] } | undefined {
  let isClass = false;
  for (const name of names) {
    const path = `${folder}/${name}`;
    if (isClass && !isThere(`${path}/train`)) continue;
    const splits = differentSplits(foldersIn(path));
    if (splits.length > 0) return { name, splits };
    isClass ||= holdsImages(path);
  }
}

/** Whether a folder's name is that of a split. */
function isSplitFolder(name: string): boolean {
  const place = nameOfPlace(name, true);
  return SPLIT_FOLDERS.train.has(place) || SPLIT_FOLDERS.test.has(place);
}

/**
 * Whether a folder such as `train/` is a class, of trains: its images lie in it itself, and so do those of a folder
 * beside it that is no split. It is none where a folder of the other split lies there too.
 */
function isClassAmongOthers(folder: string, path: string): boolean {
  const folders = namesIn(folder).filter(({ name, isFile }) => !isFile && !isPassedOver(name));
  const places = folders.map(({ name }) => nameOfPlace(name, true));
  if (Object.values(SPLIT_FOLDERS).every((names) => places.some((place) => names.has(place)))) return false;
  return holdsImages(path) &&
    folders.some(({ name }) => !isSplitFolder(name) && holdsImages(`${folder}/${name}`));
}

/** Whether images, or links to some, lie in a folder itself. */
function holdsImages(folder: string): boolean {
  return namesIn(folder).some((entry) => isImageName(entry.name) && isFileIn(folder, entry));
}

/** Whether an entry of a folder is a file, or a link to one. */
function isFileIn(folder: string, { name, isFile, isSymlink }: Deno.DirEntry): boolean {
  if (!isSymlink) return isFile;
  try {
    return Deno.statSync(`${folder}/${name}`).isFile;
  } catch {
    return false; // a link to nothing
  }
}

/** Names of the folders in a folder, and of links to such, sorted. */
function foldersIn(folder: string): string[] {
  return namesIn(folder)
    .filter((entry) => !isPassedOver(entry.name) && !isFileIn(folder, entry))
    .map(({ name }) => name).sort();
}

function isThere(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

function namesIn(folder: string): Deno.DirEntry[] {
  try {
    return [...Deno.readDirSync(folder)];
  } catch {
    return [];
  }
}

/** Whether a folder has images, or folders that have some. */
function looksLikeImages(folder: string): boolean {
  const entries = namesIn(folder).filter(({ name }) => !isPassedOver(name));
  return holdsImages(folder) ||
    entries.some(({ name, isFile }) => !isFile && namesIn(`${folder}/${name}`).length > 0);
}
