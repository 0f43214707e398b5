/**
 * WebDataset shards: tar archives, gzip-compressed or not, in which the files of a sample follow each other and have
 * their path up to the first dot of the name in common: `0001.jpg` and `0001.cls`
 * (https://github.com/webdataset/webdataset). The picture is the first `.jpg`, `.jpeg`, `.png` or `.webp`; the label is
 * the integer in `.cls`, or `label` or `cls` in `.json`; everything else is passed over.
 */
import { basename } from "node:path";
import tar from "tar-stream";
import { UserError } from "../../errors.ts";
import { concatenateBytes } from "../bytes.ts";
import { BrokenRowError } from "../dataset.ts";
import { isPictureName } from "../image_folder.ts";
import { parseLabel } from "../tsv.ts";
import type { RowSource, SourceRow } from "./row_source.ts";

/** Files of a sample that are of use. */
interface Sample {
  key: string;
  image?: Uint8Array;
  cls?: string;
  json?: string;
}

/** One file of an archive. */
export interface ArchiveFile {
  /** Path in the archive. */
  name: string;
  /** Reads its content. */
  read(): Promise<Uint8Array>;
}

/**
 * Files of a tar archive, compressed or not, in their order; what is not read is passed over.
 *
 * @throws {UserError} where the archive is damaged or cut off
 */
export async function* readArchive(path: string): AsyncGenerator<ArchiveFile> {
  const extract = tar.extract();
  extract.on("error", () => {}); // it also ends the loop below
  let cause: unknown; // the first error; what follows from it says less
  const feeding = feed(await openStream(path), extract).catch((error) => {
    cause ??= error;
    extract.destroy(error);
  });
  const damaged = (error: unknown) => {
    cause ??= error;
    return new UserError(`${path}: the archive is damaged or cut off (${(cause as Error).message})`, {
      cause,
    });
  };
  try {
    for await (const entry of extract) {
      entry.on("error", () => {}); // as above
      const { name, type } = entry.header;
      let wasRead = false;
      const read = async () => {
        wasRead = true;
        const chunks: Uint8Array[] = [];
        try {
          for await (const chunk of entry) chunks.push(chunk as Uint8Array);
        } catch (error) {
          throw damaged(error);
        }
        return concatenateBytes(...chunks);
      };
      if (type === "file") yield { name, read };
      if (!wasRead) entry.resume();
    }
    await feeding;
  } catch (error) {
    throw damaged(error);
  } finally {
    extract.destroy();
    await feeding;
  }
}

/**
 * A shard as a source of rows.
 *
 * @throws {UserError} while rows are read, where the archive is damaged or cut off
 */
export function openShard(path: string): RowSource {
  async function* rows(): AsyncGenerator<SourceRow | BrokenRowError> {
    let sample: Sample | undefined;
    let row = 0;
    const finish = () => toRow(path, row++, sample!);
    for await (const file of readArchive(path)) {
      const name = basename(file.name);
      if (name.startsWith(".")) continue;
      const stem = name.split(".", 1)[0];
      const key = file.name.slice(0, file.name.length - name.length + stem.length).replace(/^\.\//, "");
      if (sample !== undefined && sample.key !== key) {
        yield finish();
        sample = undefined;
      }
      sample ??= { key };
      const end = name.slice(stem.length + 1).toLowerCase();
      if (isPictureName(name)) sample.image ??= await file.read();
      else if (end === "cls" || end === "json") sample[end] = new TextDecoder().decode(await file.read());
    }
    if (sample !== undefined) yield finish();
    if (row === 0) throw new UserError(`${path}: expected samples of a picture and its label, found no file`);
  }
  return { path, rows, [Symbol.dispose]() {} };
}

function toRow(path: string, row: number, { key, image, cls, json }: Sample): SourceRow | BrokenRowError {
  const broken = (reason: string) => new BrokenRowError(path, row, `${path} sample ${key}`, reason);
  if (image === undefined) return broken("expected a .jpg, .png or .webp file, found none");
  const text = (cls ?? labelIn(json))?.trim();
  if (text === undefined) return { key, label: -1, image, broken };
  const label = parseLabel(text);
  if (label === undefined) {
    return broken(`expected an integer label, found ${JSON.stringify(text.slice(0, 40))}`);
  }
  return { key, label, image, broken };
}

function labelIn(json: string | undefined): string | undefined {
  if (json === undefined) return undefined;
  try {
    const { label, cls } = JSON.parse(json);
    const found = label ?? cls;
    return typeof found === "number" ? String(found) : undefined;
  } catch {
    return undefined;
  }
}

async function openStream(path: string): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const start = new Uint8Array(2);
  {
    using file = await Deno.open(path);
    await file.read(start);
  }
  const { readable } = await Deno.open(path);
  return start[0] === 0x1f && start[1] === 0x8b
    ? readable.pipeThrough(new DecompressionStream("gzip"))
    : readable;
}

/** Writes a stream into another kind of stream, as long as that takes it. */
async function feed(from: ReadableStream<Uint8Array>, into: tar.Extract): Promise<void> {
  for await (const chunk of from) {
    if (into.destroyed) return;
    if (!into.write(chunk)) await drained(into);
  }
  into.end(undefined);
}

/** Resolves when there is room for more, or nobody reads on. */
async function drained(into: tar.Extract): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  into.once("drain", resolve).once("close", resolve);
  await promise;
  into.off("drain", resolve).off("close", resolve);
}
