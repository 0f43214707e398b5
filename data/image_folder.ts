/**
 * Folders of images, with the rules of torchvision's `ImageFolder`: each folder is a class, classes have the labels 0,
 * 1 and so on in the order of their names, and the images of a class lie in its folder or below, in the order of their
 * paths. Links are followed, to each folder once in a class.
 *
 * Unlike there, a folder of images without classes will do (every label is -1 then), hidden files and folders, and those of
 * macOS's archives, are passed over, and a class may be empty, so that labels agree between the folders of a training and a test set.
 */
import { UserError } from "../errors.ts";
import {
  BrokenRowError,
  checkRows,
  type Dataset,
  type DatasetRow,
  type DatasetRows,
  describeFile,
} from "./dataset.ts";
import { IMAGE_EXTENSIONS } from "./image_header.ts";
import { MAX_IMAGE_BYTES } from "./limits.ts";
import { describeError, describeKind, statOrExplain } from "./stat_or_explain.ts";

/** File names' ends of what `decodeImage` reads. */
const IMAGES = new RegExp(`\\.(${IMAGE_EXTENSIONS.join("|")})$`, "i");
/** Those of images that it does not read. */
const OTHER_IMAGES = /\.(avif|hei[cf]|ico|jp2|jxl|pam|psd|svg)$/i;
/** Files that are read at the same time: a disk far away answers many at once. */
const READS_AT_ONCE = 16;
/** Files that are described by one piece of text. */
const DESCRIBED_TOGETHER = 2 ** 16;

/** Whether a file's name is that of an image that can be read. */
export function isImageName(name: string): boolean {
  return IMAGES.test(name);
}

/** Whether a file or folder is no data of anybody's: hidden, or what unpacking an archive of macOS leaves beside its folders. */
export function isPassedOver(name: string): boolean {
  return name.startsWith(".") || name === "__MACOSX";
}

/** What `ImageFolder.open` can be told. */
export interface ImageFolderOptions {
  /** Gets a sentence where something is left out. */
  onWarning?(message: string): void;
}

/** Images of one folder; the folders below have their own. */
interface Listing {
  /** From the root, with a slash at the end; empty for the root itself. */
  path: string;
  label: number;
  /** Sorted names. */
  files: string[];
}

/** A folder of images, whose names are in memory. */
export class ImageFolder implements Dataset {
  readonly #listings: readonly Listing[];
  /** Number of the first row of each listing. */
  readonly #starts: readonly number[];
  /** How many images there are. */
  readonly rowCount: number;
  /** Whether the images lie in folders of classes. */
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
   * Finds the images of a folder: a second or so for each half million.
   *
   * @throws {UserError} where there is no such folder, or no image in it
   */
  static async open(path: string, { onWarning }: ImageFolderOptions = {}): Promise<ImageFolder> {
    const info = await statOrExplain(path);
    if (!info.isDirectory) {
      throw new UserError(`${path}: expected a folder of images, found ${describeKind(info)}.`);
    }
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
        `${path}: expected images (.${
          IMAGE_EXTENSIONS.join(", .")
        }) in it or in the folders of its classes, found none.` +
          (skipped === "" ? "" : ` Left out: ${skipped}.`),
      );
    }
    if (skipped !== "") onWarning?.(`${path}: left out ${skipped}`);
    if (walk.unreadable.length > 0) {
      onWarning?.(
        `${path}: left out the images of ${preview(walk.unreadable)}: ${NOT_UTF8}`,
      );
    }
    const empty = hasClasses ? folders.filter((_, label) => isEmpty(classes[label])) : [];
    if (empty.length > 0) {
      onWarning?.(
        `${path}: found no images of ${empty.length === 1 ? "the class" : `${empty.length} classes`} ${
          preview(empty)
        }`,
      );
    }
    if (files.length > 0 && !classes.every(isEmpty)) {
      onWarning?.(
        `${path}: found images next to the folders ${
          preview(folders)
        }, so these are not used as classes; all ` +
          "images are used, without labels",
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
   * @throws {UserError} where the system cannot read a file for a reason that is not the file's
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

  /** The number of the class of every image; -1 where there are no classes. The names in memory say it. */
  // deno-lint-ignore require-await -- as of data that is read for it
  async readLabels(): Promise<Int32Array<ArrayBuffer>> {
    const labels = new Int32Array(this.rowCount);
    for (const [i, { label, files }] of this.#listings.entries()) {
      labels.fill(label, this.#starts[i], this.#starts[i] + files.length);
    }
    return labels;
  }

  /** How many folders of classes there are; `undefined` where there are none. */
  get classCount(): number | undefined {
    return this.classNames?.length;
  }

  /** Names of the images, too; a second or so for each hundred thousand. */
  async *describeFiles(): AsyncIterable<string> {
    // The lines of ten million files are longer than a string may be.
    for (let first = 0; first < this.rowCount; first += DESCRIBED_TOGETHER) {
      const lines = new Array<string>(Math.min(DESCRIBED_TOGETHER, this.rowCount - first));
      const waiting = lines.keys();
      const describeWaiting = async () => {
        for (const i of waiting) {
          const { key } = this.#locate(first + i);
          const info = await Deno.stat(`${this.path}/${key}`).catch(() => undefined);
          lines[i] = info === undefined ? key : `${key} ${describeFile(info)}`;
        }
      };
      await Promise.all(Array.from({ length: READS_AT_ONCE }, describeWaiting));
      yield lines.join("\n");
    }
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
    const path = `${this.path}/${key}`;
    try {
      const info = await Deno.stat(path);
      if (!info.isFile) return this.brokenRow(row, `expected a file, found ${describeKind(info)}`);
      if (info.size > MAX_IMAGE_BYTES) {
        return this.brokenRow(row, `expected at most ${MAX_IMAGE_BYTES} bytes in a file, found ${info.size}`);
      }
      return { row, key, label, image: await Deno.readFile(path) };
    } catch (error) {
      if (isUnreadableName(key, error)) return this.brokenRow(row, `it cannot be read: ${NOT_UTF8}`);
      if (isAboutFile(error)) {
        return this.brokenRow(row, `it can no longer be read (${describeError(error)})`);
      }
      const advice = TOO_MANY_OPEN.has((error as { code?: string }).code ?? "")
        ? "raise the limit of open files, for example with `ulimit -n 65536`, and start the command again"
        : "the image may be sound, so that no other was put in its place";
      throw new UserError(`${path} could not be read: ${describeError(error)}; ${advice}.`, { cause: error });
    }
  }
}

/** Codes of the system for more open files than the process, or the whole system, may have. */
const TOO_MANY_OPEN = new Set(["EMFILE", "ENFILE"]);

/** Whether it is the file that cannot be read. Any other error would take healthy images out of a run, one by one. */
function isAboutFile(error: unknown): boolean {
  const { NotFound, PermissionDenied, NotADirectory, IsADirectory, FilesystemLoop } = Deno.errors;
  return [NotFound, PermissionDenied, NotADirectory, IsADirectory, FilesystemLoop].some((kind) =>
    error instanceof kind
  );
}

/** What a message says of names that the system has as other bytes, so that they lead nowhere as text. */
const NOT_UTF8 = "the name is not UTF-8 (\uFFFD marks invalid bytes); rename it, for example with " +
  "`convmv -f latin1 -t utf8 -r --notest`";

/** Whether a path that was listed leads nowhere because bytes of a name were replaced when it became text. */
function isUnreadableName(path: string, error: unknown): boolean {
  return path.includes("\uFFFD") && error instanceof Deno.errors.NotFound;
}

/** Beyond U+FFFF a character is two of UTF-16's units, of this range. */
const SURROGATE = /[\uD800-\uDFFF]/;

/** Sorts names by code points in place, as Python does. By UTF-16's units what lies beyond U+FFFF comes before U+E000. */
function sortNames(names: string[]): string[] {
  if (!names.some((name) => SURROGATE.test(name))) return names.sort();
  const points = new Map(
    names.map((name) => [name, Array.from(name, (character) => character.codePointAt(0)!)]),
  );
  return names.sort((a, b) => {
    const [left, right] = [points.get(a)!, points.get(b)!];
    const at = left.findIndex((point, i) => point !== right[i]);
    return at === -1 ? left.length - right.length : left[at] - (right[at] ?? -1);
  });
}

/** One look through a folder. */
class Walk {
  readonly #root: string;
  /** Folders whose names are not UTF-8. */
  readonly unreadable: string[] = [];
  #linksToSeen = 0;
  /** How many files were passed over, by the ends of their names. */
  readonly #skipped = { images: new Map<string, number>(), others: new Map<string, number>() };

  constructor(root: string) {
    this.#root = root.replace(/(?<=.)\/+$/, "");
  }

  /** Names of the images and of the folders in a folder, sorted. */
  list(path: string): { files: string[]; folders: string[] } {
    const files: string[] = [];
    const folders: string[] = [];
    for (const entry of this.#entries(path)) {
      const { name } = entry;
      if (isPassedOver(name)) continue;
      const info = entry.isSymlink ? this.#follow(path + name) : entry;
      if (info === undefined) this.#skip(name, "broken links");
      else if (info.isDirectory) folders.push(name);
      else if (!info.isFile) this.#skip(name, "pipes, sockets or devices");
      else if (isImageName(name)) files.push(name);
      else this.#skip(name);
    }
    return { files: sortNames(files), folders: sortNames(folders) };
  }

  /**
   * Everything in a folder and below it; `path` ends with a slash. A folder that links lead to again and again is looked
   * into once: folders that link each other would have as many paths as there are orders of them.
   */
  listBelow(path: string, label: number): Listing[] {
    const listings: Listing[] = [];
    const seen = new Set([this.#identify("")]);
    const visit = (path: string) => {
      const identity = this.#identify(path);
      if (seen.has(identity)) {
        this.#linksToSeen++;
        return;
      }
      seen.add(identity);
      const { files, folders } = this.list(path);
      listings.push({ path, label, files });
      for (const name of folders) visit(`${path}${name}/`);
    };
    visit(path);
    // As os.walk() does without the slash: "a" before "a b" and "a/b".
    const byPlace = new Map(listings.map((listing) => [listing.path.slice(0, -1), listing]));
    return sortNames([...byPlace.keys()]).map((place) => byPlace.get(place)!);
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
        ["image of an unsupported format", "images of unsupported formats"],
        this.#skipped.images,
        "; convert them to PNG, for example with ImageMagick's `mogrify -format png`",
      ),
      ...describe(["file that is not an image", "files that are not images"], this.#skipped.others, ""),
      ...this.#linksToSeen > 0
        ? [`${this.#linksToSeen} links to folders that are already in the class, or above it`]
        : [],
    ].join(", and ");
  }

  /** @param kind what it is, where its name does not say */
  #skip(name: string, kind?: string): void {
    const isOther = kind === undefined && OTHER_IMAGES.test(name);
    const counts = isOther ? this.#skipped.images : this.#skipped.others;
    const end = kind ?? /\.[^.]+$/.exec(name)?.[0] ?? "without an extension";
    counts.set(end, (counts.get(end) ?? 0) + 1);
  }

  /** Tells whether two paths lead to the same folder. */
  #identify(path: string): string {
    const whole = `${this.#root}/${path}`;
    try {
      return Deno.realPathSync(whole);
    } catch {
      return whole; // where it leads has no name in UTF-8, or it is gone
    }
  }

  /** What a link leads to; `undefined` where that is nothing. */
  #follow(path: string): Deno.FileInfo | undefined {
    try {
      return Deno.statSync(`${this.#root}/${path}`);
    } catch {
      return undefined;
    }
  }

  *#entries(path: string): Generator<Deno.DirEntry> {
    const whole = `${this.#root}/${path}`;
    try {
      yield* Deno.readDirSync(whole);
    } catch (error) {
      if (isUnreadableName(path, error)) this.unreadable.push(path.slice(0, -1));
      else throw new UserError(`${whole} cannot be read: ${describeError(error)}.`, { cause: error });
    }
  }
}

function preview(names: readonly string[]): string {
  return names.length <= 5
    ? names.join(", ")
    : `${names.slice(0, 5).join(", ")} and ${names.length - 5} more`;
}
