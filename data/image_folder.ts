/**
 * Folders of pictures, with the rules of torchvision's `ImageFolder`: each folder is a class, classes have the labels 0,
 * 1 and so on in the order of their names, and the pictures of a class lie in its folder or below, in the order of their
 * paths. Links are followed.
 *
 * Unlike there, a folder of pictures without classes will do (every label is -1 then), hidden files and folders are
 * passed over, and a class may be empty, so that labels agree between the folders of a training and a test set.
 */
import { UserError } from "../errors.ts";
import { BrokenRowError, checkRows, type Dataset, type DatasetRow, type DatasetRows } from "./dataset.ts";
import { describeError, statOrExplain } from "./stat_or_explain.ts";

/** File names' ends of what `decodeImage` reads. */
const PICTURES = /\.(jpe?g|png|webp)$/i;
/** Those of pictures that it does not read. */
const OTHER_PICTURES = /\.(avif|bmp|gif|heic|jp2|pgm|ppm|tiff?)$/i;
/** Files that are read at the same time: a disk far away answers many at once. */
const READS_AT_ONCE = 16;

/** Whether a file's name is that of a picture that can be read. */
export function isPictureName(name: string): boolean {
  return PICTURES.test(name);
}

/** What `ImageFolder.open` can be told. */
export interface ImageFolderOptions {
  /** Gets a sentence where something is left out. */
  onWarning?(message: string): void;
}

/** Pictures of one folder; the folders below have their own. */
interface Listing {
  /** From the root, with a slash at the end; empty for the root itself. */
  path: string;
  label: number;
  /** Sorted names. */
  files: string[];
}

/** A folder of pictures, whose names are in memory. */
export class ImageFolder implements Dataset {
  readonly #listings: readonly Listing[];
  /** Number of the first row of each listing. */
  readonly #starts: readonly number[];
  /** How many pictures there are. */
  readonly rowCount: number;
  /** Whether the pictures lie in folders of classes. */
  readonly hasLabels: boolean;

  private constructor(
    readonly path: string,
    listings: readonly Listing[],
    readonly classNames: readonly string[] | undefined,
  ) {
    let rows = 0;
    this.hasLabels = classNames !== undefined;
    this.#listings = listings;
    this.#starts = listings.map(({ files }) => (rows += files.length) - files.length);
    this.rowCount = rows;
  }

  /**
   * Finds the pictures of a folder: a second or so for each half million.
   *
   * @throws {UserError} where there is no such folder, or no picture in it
   */
  static async open(path: string, { onWarning }: ImageFolderOptions = {}): Promise<ImageFolder> {
    const info = await statOrExplain(path);
    if (!info.isDirectory) throw new UserError(`${path}: expected a folder of pictures, found a file.`);
    const walk = new Walk(path);
    const { files, folders } = walk.list("");
    const classes: Listing[][] = [];
    for (const [label, name] of folders.entries()) {
      classes.push(walk.listBelow(`${name}/`, label));
    }
    const isEmpty = (listings: readonly Listing[]) => listings.every((listing) => listing.files.length === 0);
    const hasClasses = files.length === 0 && !classes.every(isEmpty);
    const listings = hasClasses ? classes.flat() : [{ path: "", label: -1, files }, ...classes.flat()];
    if (!hasClasses) { for (const listing of listings) listing.label = -1; }
    const skipped = walk.describeSkipped();
    if (isEmpty(listings)) {
      throw new UserError(
        `${path}: expected JPEG, PNG or WebP pictures in it or in the folders of its classes, found none.` +
          (skipped === "" ? "" : ` Left out: ${skipped}.`),
      );
    }
    if (skipped !== "") onWarning?.(`${path}: left out ${skipped}`);
    const empty = hasClasses ? folders.filter((_, label) => isEmpty(classes[label])) : [];
    if (empty.length > 0) {
      onWarning?.(
        `${path}: no picture of ${empty.length === 1 ? "the class" : `${empty.length} classes`} ${
          preview(empty)
        }`,
      );
    }
    if (files.length > 0 && !classes.every(isEmpty)) {
      onWarning?.(
        `${path}: pictures lie beside the folders ${
          preview(folders)
        }, so these are not taken as classes; every ` +
          "picture is used, without a label",
      );
    }
    return new ImageFolder(
      path,
      listings.filter((listing) => listing.files.length > 0),
      hasClasses ? folders : undefined,
    );
  }

  /**
   * Reads files.
   *
   * @throws {RangeError} for a number that is no row
   */
  async readRows(rows: ArrayLike<number>): Promise<DatasetRows> {
    checkRows(this, rows);
    const results = new Array<DatasetRow | BrokenRowError>(rows.length);
    const waiting = Array.from(rows).entries();
    const readWaiting = async () => {
      for (const [i, row] of waiting) results[i] = await this.#read(row);
    };
    await Promise.all(Array.from({ length: READS_AT_ONCE }, readWaiting));
    return results;
  }

  /** Paths of the files in the folder. */
  readKeys(rows: ArrayLike<number>): string[] {
    checkRows(this, rows);
    return Array.from(rows, (row) => this.#locate(row).key);
  }

  /** That of the last class, whether it has a picture or not; `undefined` where there are no classes. */
  largestLabel(): number | undefined {
    return this.classNames && this.classNames.length - 1;
  }

  /** An error that names the file. */
  brokenRow(row: number, reason: string): BrokenRowError {
    return new BrokenRowError(this.path, row, `${this.path}/${this.#locate(row).key}`, reason);
  }

  /** Does nothing: no file stays open. */
  close(): void {}

  /** `close`, for `using`. */
  [Symbol.dispose](): void {}

  #locate(row: number): { key: string; label: number } {
    let [low, high] = [0, this.#starts.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#starts[middle] <= row) low = middle;
      else high = middle - 1;
    }
    const { path, label, files } = this.#listings[low];
    return { key: path + files[row - this.#starts[low]], label };
  }

  async #read(row: number): Promise<DatasetRow | BrokenRowError> {
    const { key, label } = this.#locate(row);
    try {
      return { row, key, label, image: await Deno.readFile(`${this.path}/${key}`) };
    } catch (error) {
      return this.brokenRow(row, `it can no longer be read (${describeError(error)})`);
    }
  }
}

/** One look through a folder. */
class Walk {
  readonly #root: string;
  /** How many files were passed over, by the ends of their names. */
  readonly #skipped = { pictures: new Map<string, number>(), others: new Map<string, number>() };

  constructor(root: string) {
    this.#root = root.replace(/(?<=.)\/+$/, "");
  }

  /** Names of the pictures and of the folders in a folder, sorted. */
  list(path: string): { files: string[]; folders: string[] } {
    const files: string[] = [];
    const folders: string[] = [];
    for (const entry of readFolder(`${this.#root}/${path}`)) {
      const { name } = entry;
      if (name.startsWith(".")) continue;
      const { isFile, isDirectory } = entry.isSymlink ? this.#follow(path + name) : entry;
      if (isDirectory) folders.push(name);
      else if (isFile && isPictureName(name)) files.push(name);
      else this.#skip(name);
    }
    return { files: files.sort(), folders: folders.sort() };
  }

  /** Everything in a folder and below it; `path` ends with a slash. */
  listBelow(path: string, label: number): Listing[] {
    const listings: Listing[] = [];
    const visit = (path: string, above: readonly string[]) => {
      const real = Deno.realPathSync(`${this.#root}/${path}`);
      if (above.includes(real)) return; // a link that leads back up
      const { files, folders } = this.list(path);
      listings.push({ path, label, files });
      for (const name of folders) visit(`${path}${name}/`, [...above, real]);
    };
    visit(path, [Deno.realPathSync(this.#root)]);
    // As os.walk() does without the slash: "a" before "a b" and "a/b".
    return listings.sort((a, b) => a.path.slice(0, -1) < b.path.slice(0, -1) ? -1 : 1);
  }

  /** Counts of what was passed over; empty where that is nothing. */
  describeSkipped(): string {
    const describe = (
      what: readonly [one: string, several: string],
      counts: ReadonlyMap<string, number>,
      advice: string,
    ) => {
      const total = counts.values().reduce((sum, count) => sum + count, 0);
      if (total === 0) return [];
      const ends = [...counts].sort().map(([end, count]) => `${count} ${end}`);
      return [`${total} ${what[total === 1 ? 0 : 1]} (${preview(ends)})${advice}`];
    };
    return [
      ...describe(
        ["picture of another format", "pictures of another format"],
        this.#skipped.pictures,
        "; make them PNG to have them read",
      ),
      ...describe(["file that is no picture", "files that are no pictures"], this.#skipped.others, ""),
    ].join(", and ");
  }

  #skip(name: string): void {
    const counts = OTHER_PICTURES.test(name) ? this.#skipped.pictures : this.#skipped.others;
    const [end] = /\.[^.]+$/.exec(name) ?? ["without an ending"];
    counts.set(end, (counts.get(end) ?? 0) + 1);
  }

  #follow(path: string): { isFile: boolean; isDirectory: boolean } {
    try {
      return Deno.statSync(`${this.#root}/${path}`);
    } catch {
      return { isFile: false, isDirectory: false }; // a link to nothing
    }
  }
}

function* readFolder(path: string): Generator<Deno.DirEntry> {
  try {
    yield* Deno.readDirSync(path);
  } catch (error) {
    throw new UserError(`${path} cannot be read: ${describeError(error)}.`);
  }
}

function preview(names: readonly string[]): string {
  return names.length <= 5
    ? names.join(", ")
    : `${names.slice(0, 5).join(", ")} and ${names.length - 5} more`;
}
