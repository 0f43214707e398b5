import { crc32 } from "node:zlib";
import { assertEquals, assertLess } from "@std/assert";
import { FileSource } from "../../../models/checkpoint/byte_source.ts";
import { CheckpointError } from "../../../models/checkpoint/checkpoint_error.ts";
import {
  encodeCentralHeader,
  encodeEnd,
  encodeLocalHeader,
  type StoredEntry,
} from "../../../models/checkpoint/zip_format.ts";
import { ZipReader } from "../../../models/checkpoint/zip_reader.ts";
import { ZipWriter } from "../../../models/checkpoint/zip_writer.ts";
import { withFolder } from "./fixtures.ts";
import { skip } from "../../skip.ts";

const fail = (problem: string) => new CheckpointError("a.zip", problem);

async function writeZip(path: string, entries: [string, Uint8Array][]): Promise<void> {
  using file = await Deno.open(path, { write: true, create: true, truncate: true });
  const zip = new ZipWriter(file);
  for (const [name, data] of entries) zip.add(name, data);
  zip.finish();
}

Deno.test("ZipWriter aligns the data of every entry to 64 bytes", async () => {
  await withFolder(async (folder) => {
    const entries = Array.from(
      { length: 100 },
      (_, i): [string, Uint8Array] => [`n${"x".repeat(i)}`, new Uint8Array(i * 997).fill(i + 1)],
    );
    await writeZip(`${folder}/a.zip`, entries);
    using file = Deno.openSync(`${folder}/a.zip`);
    const zip = new ZipReader(new FileSource(file, fail), fail);
    assertEquals([...zip.entries.keys()], entries.map(([name]) => name));
    const bytes = Deno.readFileSync(`${folder}/a.zip`);
    for (const [name, data] of entries) {
      const entry = zip.entries.get(name)!;
      const header = new DataView(bytes.buffer, entry.headerOffset);
      const start = entry.headerOffset + 30 + header.getUint16(26, true) + header.getUint16(28, true);
      assertEquals(start % 64, 0, name);
      assertEquals(bytes.slice(start, start + data.length), data);
    }
  });
});

Deno.test("ZipWriter goes to zip64 where there are more than 65,534 entries", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/many.zip`;
    await writeZip(path, Array.from({ length: 66_000 }, (_, i) => [`${i}`, Uint8Array.of(i)]));
    using file = Deno.openSync(path);
    const zip = new ZipReader(new FileSource(file, fail), fail);
    assertEquals(zip.entries.size, 66_000);
    const byte = new Uint8Array(1);
    (await zip.open(zip.entries.get("65999")!)).readAt(0, byte);
    assertEquals(byte[0], 65999 & 255);
  });
});

/** Writes an archive of the headers that {@linkcode ZipWriter} writes, with a hole of the file in the place of data that are `null`. */
function writeSparseZip(
  path: string,
  contents: [name: string, size: number, data: Uint8Array | null][],
): void {
  using file = Deno.openSync(path, { write: true, create: true, truncate: true });
  let position = 0;
  const write = (bytes: Uint8Array) => {
    file.seekSync(position, Deno.SeekMode.Start);
    position += file.writeSync(bytes);
  };
  const entries = contents.map(([name, size, data]): StoredEntry => {
    const entry = { name, size, crc32: data === null ? 0 : crc32(data), offset: position };
    write(encodeLocalHeader(entry));
    if (data === null) position += size;
    else write(data);
    return entry;
  });
  const start = position;
  for (const entry of entries) write(encodeCentralHeader(entry));
  write(encodeEnd(entries.length, start, position - start));
}

Deno.test("zip64 headers say sizes and places above 4 GiB, to ZipReader and to Python", {
  ignore: Deno.build.os === "windows", // which writes the zeros of a hole
}, async ({ name }) => {
  await withFolder(async (folder) => {
    const path = `${folder}/large.zip`;
    const text = (text: string): [number, Uint8Array] => [text.length, new TextEncoder().encode(text)];
    writeSparseZip(path, [
      ["a/data.pkl", ...text("xx")],
      ["a/data/0", 4_500_000_000, null], // large
      ["a/data/1", ...text("hello")], // far
      ["a/data/2", 4_400_000_000, null], // both
      ["a/version", ...text("3\n")],
    ]);
    assertLess(Deno.statSync(path).blocks! * 512, 2 ** 20);
    using file = Deno.openSync(path);
    const zip = new ZipReader(new FileSource(file, fail), fail);
    const places: number[] = [];
    for (
      const [wanted, size, end] of [["a/data/0", 4.5e9, 0], ["a/data/1", 5, 0x6f], [
        "a/data/2",
        4.4e9,
        0,
      ]] as const
    ) {
      const entry = zip.entries.get(wanted)!;
      places.push(entry.headerOffset);
      const source = await zip.open(entry);
      const last = new Uint8Array(1);
      source.readAt(source.size - 1, last);
      assertEquals([entry.size, source.size, last[0]], [size, size, end]);
    }
    assertEquals(places.map((place) => place > 2 ** 32), [false, true, true]);
    const script = "import sys, json, zipfile; z = zipfile.ZipFile(sys.argv[1]); " +
      "print(json.dumps([[i.file_size, i.header_offset] for i in z.infolist()[1:4]] + [z.read('a/data/1').decode()]))";
    const command = new Deno.Command("python3", { args: ["-c", script, path] });
    const output = await command.output().catch(() => undefined);
    if (output === undefined) return skip(name, "there is no python3");
    assertEquals(JSON.parse(new TextDecoder().decode(output.stdout)), [
      ...[4.5e9, 5, 4.4e9].map((size, i) => [size, places[i]]),
      "hello",
    ]);
  });
});

Deno.test("ZipWriter writes archives that Python's zipfile finds sound", async ({ name }) => {
  await withFolder(async (folder) => {
    const path = `${folder}/a.zip`;
    await writeZip(path, [["a/ü.bin", new Uint8Array(200_000).fill(7)], ["a/empty", new Uint8Array()]]);
    const script =
      "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); print(z.testzip(), ascii(z.namelist()))";
    const command = new Deno.Command("python3", { args: ["-c", script, path] });
    const output = await command.output().catch(() => undefined);
    if (output === undefined) return skip(name, "there is no python3");
    assertEquals(new TextDecoder().decode(output.stdout).trim(), String.raw`None ['a/\xfc.bin', 'a/empty']`);
  });
});
