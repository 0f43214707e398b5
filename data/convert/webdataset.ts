/**
 * WebDataset shards: tar archives in which the files of a sample follow each other, by the rule of webdataset's
 * `base_plus_ext` and `group_by_keys` (https://github.com/webdataset/webdataset, `tariterators.py`): a file's key is its
 * path up to the first dot of its NAME, its extension all that follows, in lower case. `a.b/0001.JPG` and `a.b/0001.cls`
 * are of the sample `a.b/0001`, and `0001.1.jpg` and `0001.2.jpg` are of one sample too.
 *
 * A row has one image: the first whose whole extension is `jpg`, `png` or another of `IMAGE_EXTENSIONS`, else the first
 * whose extension ends so (`seg.png`). The label is the integer in `.cls`, or `label` or `cls` in `.json`. What is left
 * out is counted.
 */
import { BrokenRowError } from "../dataset.ts";
import { IMAGE_EXTENSIONS } from "../image_header.ts";
import { MAX_IMAGE_BYTES, MAX_LABEL_BYTES } from "../limits.ts";
import { describeLabelProblem, parseLabel } from "../tsv.ts";
import { type ArchiveFile, readArchive } from "./archive.ts";
import type { RowSource, SourceRow } from "./row_source.ts";

/** Extensions of what `decodeImage` reads. */
const IMAGES = new Set(IMAGE_EXTENSIONS);

/** Kinds of files that are named in a warning. */
const MAX_KINDS = 5;

/** What `openShard` can be told. */
export interface ShardOptions {
  /** Gets sentences about files that were left out, and an end that is missing, when all rows have been read. */
  onWarning?(message: string): void;
}

/** Files of a sample that are of use. */
interface Sample {
  key: string;
  /** All its extensions. */
  extensions: Set<string>;
  /** The chosen image, of which extension. */
  image?: { extension: string; content: Uint8Array };
  cls?: string;
  json?: string;
  /** Why it is of no use. */
  problem?: string;
}

/**
 * Splits a path as webdataset's `base_plus_ext` does; `undefined` for a name without an extension, and, unlike there, for
 * hidden files, which macOS puts beside every file (`a/._0001.jpg`).
 */
function splitName(path: string): { key: string; extension: string } | undefined {
  const [, key, extension] = /^((?:.*\/)?[^./]+)\.([^/]*)$/s.exec(path) ?? [];
  return key === undefined
    ? undefined
    : { key: key.replace(/^\.\//, ""), extension: extension.toLowerCase() };
}

/** webdataset's `skip_meta`: facts about the shard, which are no sample. */
const META = /^__[^/]*__($|\/)/;

/** Counts of files that became no part of a row. */
class LeftOut {
  images = 0;
  #firstImage = "";
  #others = 0;
  readonly #kinds = new Map<string, number>();

  image(key: string, extension: string): void {
    if (this.images++ === 0) this.#firstImage = `${key}.${extension}, of the sample ${key}`;
  }

  other(kind: string): void {
    this.#others++;
    this.#kinds.set(kind, (this.#kinds.get(kind) ?? 0) + 1);
  }

  /** Sentences about them; none where there is nothing to say. */
  describe(path: string): string[] {
    const sentences: string[] = [];
    if (this.images > 0) {
      sentences.push(
        `${path}: left out ${this.images} ${
          this.images === 1 ? "image" : "images"
        }, since a row has one image and ` +
          `their samples already have another (the first: ${this.#firstImage}). A sample's name ends at its ` +
          "first dot: rename files that are separate samples",
      );
    }
    if (this.#others > 0) {
      const kinds = [...this.#kinds].sort((a, b) => b[1] - a[1]).map(([kind, count]) => `${count} ${kind}`);
      const shown = kinds.length > MAX_KINDS ? [...kinds.slice(0, MAX_KINDS), "others"] : kinds;
      sentences.push(
        `${path}: left out ${this.#others} ${
          this.#others === 1 ? "file that is" : "files that are"
        } neither the ` +
          `image nor the label of a sample (${shown.join(", ")})`,
      );
    }
    return sentences;
  }
}

/**
 * A shard as a source of rows.
 *
 * @throws {UserError} while rows are read, where the archive is damaged or cut off
 */
export function openShard(path: string, { onWarning }: ShardOptions = {}): RowSource {
  async function* rows(): AsyncGenerator<SourceRow | BrokenRowError> {
    const leftOut = new LeftOut();
    let sample: Sample | undefined;
    let row = 0;
    const finish = () => toRow(path, row++, sample!);
    try {
      for await (const file of readArchive(path, { onWarning })) {
        if (META.test(file.name)) continue;
        const name = splitName(file.name);
        if (name === undefined) {
          leftOut.other("hidden or without an extension");
          continue;
        }
        if (sample !== undefined && sample.key !== name.key) {
          yield finish();
          sample = undefined;
        }
        sample ??= { key: name.key, extensions: new Set() };
        await addFile(sample, name.extension, file, leftOut);
      }
      if (sample !== undefined) yield finish();
    } finally {
      for (const sentence of leftOut.describe(path)) onWarning?.(sentence);
    }
    if (row === 0) onWarning?.(`${path}: expected samples of an image and its label, found none`);
  }
  return { path, rows, [Symbol.dispose]() {} };
}

/** Takes a file into its sample, if it is of use there. */
async function addFile(
  sample: Sample,
  extension: string,
  file: ArchiveFile,
  leftOut: LeftOut,
): Promise<void> {
  const read = async (limit: number): Promise<Uint8Array | undefined> => {
    if (file.link !== undefined) {
      sample.problem ??= `expected a file .${extension}, found a ${file.link}: make the archive with ` +
        "`tar --hard-dereference --dereference`, which stores files in the place of links";
      return undefined;
    }
    if (file.size <= limit) return await file.read();
    sample.problem ??= `expected at most ${limit} bytes in .${extension}, found ${file.size}`;
    return undefined;
  };
  const isImage = IMAGES.has(extension.slice(extension.lastIndexOf(".") + 1));
  if (!isImage && extension !== "cls" && extension !== "json") {
    leftOut.other(`.${extension}${file.link === undefined ? "" : " (link)"}`);
    return;
  }
  if (sample.extensions.has(extension)) {
    sample.problem ??= `expected one file of each extension in a sample, found two .${extension}`;
    return;
  }
  sample.extensions.add(extension);
  if (extension === "cls" || extension === "json") {
    const text = await read(MAX_LABEL_BYTES);
    sample[extension] = text && new TextDecoder().decode(text);
    return;
  }
  const before = sample.image;
  if (before !== undefined && (!IMAGES.has(extension) || IMAGES.has(before.extension))) {
    leftOut.image(sample.key, extension);
    return;
  }
  if (before !== undefined) leftOut.image(sample.key, before.extension);
  const content = await read(MAX_IMAGE_BYTES);
  if (content !== undefined) sample.image = { extension, content };
}

function toRow(
  path: string,
  row: number,
  { key, image, cls, json, problem }: Sample,
): SourceRow | BrokenRowError {
  const broken = (reason: string) => new BrokenRowError(path, row, `${path} sample ${key}`, reason);
  if (problem !== undefined) return broken(problem);
  if (image === undefined) return broken(`expected an image (.${IMAGE_EXTENSIONS.join(", .")}), found none`);
  try {
    const text = (cls ?? labelIn(json))?.trim();
    const label = text === undefined ? -1 : parseLabel(text);
    if (label === undefined) return broken(describeLabelProblem(text!));
    return { key, label, image: image.content, broken };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return broken(`expected valid JSON in .json (${error.message})`);
  }
}

/** The label that a `.json` file says, as text; `undefined` where it says none. */
function labelIn(json: string | undefined): string | undefined {
  if (json === undefined) return undefined;
  const facts: unknown = JSON.parse(json);
  if (typeof facts !== "object" || facts === null) return undefined;
  const { label, cls } = facts as { label?: unknown; cls?: unknown };
  const found = label ?? cls;
  if (found === undefined || found === null) return undefined;
  return typeof found === "string" ? found : JSON.stringify(found);
}
