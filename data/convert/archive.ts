/** Tar archives, gzip-compressed or not, read from their beginning to their end. */
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import tar from "tar-stream";
import { UserError } from "../../errors.ts";

/** One file of an archive, or a link in the place of one. */
export interface ArchiveFile {
  /** Path in the archive. */
  name: string;
  /** Which link it is, and to what, in words; such have no content of their own. */
  link?: string;
  /** Bytes that its header declares, and that are there. Look at it before reading: a small archive may declare any. */
  size: number;
  /** Reads its content, `size` bytes. */
  read(): Promise<Uint8Array>;
}

/** Zeros at the end of an archive: two blocks (POSIX, pax interchange format). */
const END_BYTES = 1024;

/** What `readArchive` can be told. */
export interface ArchiveOptions {
  /** Gets a sentence where an archive that was read to its end has no mark there. */
  onWarning?(message: string): void;
}

/**
 * Files of a tar archive, compressed or not, and links to such, in their order; what is not read is passed over.
 *
 * @throws {UserError} where the archive is damaged or truncated
 */
export async function* readArchive(
  path: string,
  { onWarning }: ArchiveOptions = {},
): AsyncGenerator<ArchiveFile> {
  const extract = tar.extract();
  extract.on("error", () => {}); // it also ends the loop below
  let cause: unknown; // the first error; what follows from it says less
  const feeding = feed(await openStream(path), extract).catch((error) => {
    cause ??= error;
    extract.destroy(error);
    return 0;
  });
  const damaged = (error: unknown) => {
    cause ??= error;
    return new UserError(`${path}: the archive is damaged or truncated (${(cause as Error).message})`, {
      cause,
    });
  };
  try {
    for await (const entry of extract) {
      entry.on("error", () => {}); // as above
      const { name, type, size = 0, linkname } = entry.header;
      let wasRead = false;
      const read = async () => {
        wasRead = true;
        const content = new Uint8Array(size);
        let filled = 0;
        try {
          for await (const chunk of entry) {
            content.set(chunk as Uint8Array, filled);
            filled += (chunk as Uint8Array).length;
          }
        } catch (error) {
          throw damaged(error);
        }
        return content;
      };
      if (type === "file") yield { name, size, read };
      if (type === "link" || type === "symlink") {
        yield { name, size, read, link: `${type === "link" ? "hard" : "symbolic"} link to ${linkname}` };
      }
      if (!wasRead) entry.resume();
    }
    if (await feeding < END_BYTES) {
      onWarning?.(
        `${path}: the archive ends without the zeros that mark its end, so it may be truncated between two of its files. ` +
          "Compare its size with the original's",
      );
    }
  } catch (error) {
    throw error instanceof UserError ? error : damaged(error);
  } finally {
    extract.destroy();
    await feeding;
  }
}

async function openStream(path: string): Promise<AsyncIterable<Uint8Array>> {
  const start = new Uint8Array(2);
  {
    using file = await Deno.open(path);
    await file.read(start);
  }
  if (start[0] !== 0x1f || start[1] !== 0x8b) return (await Deno.open(path)).readable;
  // A DecompressionStream refuses what follows the first member: bgzip and `cat` write many, tapes add zeros.
  return pipeline(createReadStream(path), createGunzip(), () => {}); // whoever reads gets the error
}

/**
 * Writes a stream into another kind of stream, as long as that takes it.
 *
 * @returns how many zeros were last
 */
async function feed(from: AsyncIterable<Uint8Array>, into: tar.Extract): Promise<number> {
  let zeros = 0;
  for await (const chunk of from) {
    if (into.destroyed) return 0;
    const last = chunk.findLastIndex((byte) => byte !== 0);
    zeros = last < 0 ? zeros + chunk.length : chunk.length - last - 1;
    if (!into.write(chunk)) await drained(into);
  }
  into.end(undefined);
  return zeros;
}

/** Resolves when there is room for more, or nobody reads on. */
async function drained(into: tar.Extract): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  into.once("drain", resolve).once("close", resolve);
  await promise;
  into.off("drain", resolve).off("close", resolve);
}
