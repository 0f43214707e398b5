import { crc32 } from "node:zlib";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { FileSource, MemorySource } from "../../../models/checkpoint/byte_source.ts";
import { CheckpointError } from "../../../models/checkpoint/checkpoint_error.ts";
import {
  encodeCentralHeader,
  encodeEnd,
  encodeLocalHeader,
  MAX_UINT32,
} from "../../../models/checkpoint/zip_format.ts";
import { ZipReader } from "../../../models/checkpoint/zip_reader.ts";
import { buildZip, deflate, type FixtureEntry, pickleBytes, withFolder } from "./fixtures.ts";

const fail = (problem: string) => new CheckpointError("a.zip", problem);
const HELLO = pickleBytes("hello");

function open(entries: FixtureEntry[]): ZipReader {
  return new ZipReader(new MemorySource(buildZip(entries)), fail);
}

async function readEntry(zip: ZipReader, name: string): Promise<Uint8Array> {
  const source = await zip.open(zip.entries.get(name)!);
  const bytes = new Uint8Array(source.size);
  source.readAt(0, bytes);
  return bytes;
}

Deno.test("ZipReader reads stored and deflated entries, in the directory's order", async () => {
  const long = new Uint8Array(300_000).map((_, i) => i * i);
  const packed = { name: "b", data: await deflate(long), method: 8, size: long.length, crc32: 0 };
  const zip = open([{ name: "z", data: HELLO }, packed]);
  assertEquals([...zip.entries.keys()], ["z", "b"]);
  assertEquals(await readEntry(zip, "z"), HELLO);
  assertEquals(await readEntry(zip, "b"), long);
});

Deno.test("ZipReader finds the directory before a comment", async () => {
  const archive = buildZip([{ name: "a", data: HELLO }]);
  const comment = pickleBytes("PK\x05\x06 a comment");
  const whole = new Uint8Array(archive.length + comment.length);
  whole.set(archive);
  whole.set(comment, archive.length);
  whole[archive.length - 2] = comment.length;
  assertEquals(await readEntry(new ZipReader(new MemorySource(whole), fail), "a"), HELLO);
});

Deno.test("ZipReader finds the directory before other bytes, as far as a comment may reach", async () => {
  const archive = buildZip([{ name: "a", data: HELLO }]);
  const padded = (bytes: number) => {
    const whole = new Uint8Array(archive.length + bytes);
    whole.set(archive);
    return new ZipReader(new MemorySource(whole), fail);
  };
  for (const bytes of [1, 22, 5000, 65_535]) assertEquals(await readEntry(padded(bytes), "a"), HELLO);
  assertThrows(() => padded(65_536), CheckpointError, "more than 65535 extra bytes at its end");
});

Deno.test("ZipReader refuses a deflated entry that is larger or smaller than declared", async () => {
  const zeros = new Uint8Array(1 << 20);
  const data = await deflate(zeros);
  for (const size of [1000, zeros.length + 1]) {
    const zip = open([{ name: "bomb", data, method: 8, size }]);
    await assertRejects(() => readEntry(zip, "bomb"), CheckpointError, "declared");
  }
});

Deno.test("ZipReader refuses a size that deflate cannot reach, before anything is allocated", () => {
  const entry = { name: "bomb", data: HELLO, method: 8, size: 0xfffffff0 };
  assertThrows(() => open([entry]), CheckpointError, "bomb");
});

Deno.test("ZipReader refuses deflated data that is damaged", async () => {
  const data = await deflate(HELLO);
  await assertRejects(
    () => readEntry(open([{ name: "a", data, method: 8, size: 5, crc32: 1 }]), "a"),
    CheckpointError,
    "CRC-32",
  );
  data.fill(0xff);
  await assertRejects(
    () => readEntry(open([{ name: "a", data, method: 8, size: 5, crc32: 1 }]), "a"),
    CheckpointError,
    "does not inflate",
  );
});

for (
  const [what, entries, reason] of [
    ["an encrypted entry", [{ name: "a", data: HELLO, flags: 1 }], "encrypted"],
    ["an unknown method", [{ name: "a", data: HELLO, method: 14 }], "method 14"],
    ["a stored entry of two sizes", [{ name: "a", data: HELLO, size: 4 }], "damaged"],
    ["an entry beyond the end", [{ name: "a", data: HELLO, headerOffset: 5000 }], "beyond its end"],
    ["two entries of one name", [{ name: "a", data: HELLO }, { name: "a", data: HELLO }], "two zip entries"],
  ] as [string, FixtureEntry[], string][]
) {
  Deno.test(`ZipReader refuses ${what}`, () => {
    assertThrows(() => open(entries), CheckpointError, reason);
  });
}

Deno.test("ZipReader refuses an entry whose own header is elsewhere", async () => {
  const zip = open([{ name: "a", data: HELLO }, { name: "b", data: HELLO, headerOffset: 7 }]);
  await assertRejects(() => readEntry(zip, "b"), CheckpointError, "not where the directory says");
});

Deno.test("ZipReader reads a zip64 archive of more than 4 GiB, by seek", async () => {
  const size = 5 * 2 ** 30;
  const large = { name: "a/data/0", size, crc32: 0, offset: 0 };
  const localBytes = encodeLocalHeader(large);
  const far = { name: "a/data/1", size: 5, crc32: crc32(HELLO), offset: localBytes.length + size };
  const farBytes = encodeLocalHeader(far);
  const directory = [encodeCentralHeader(large), encodeCentralHeader(far)];
  const start = far.offset + farBytes.length + HELLO.length;
  const end = encodeEnd(2, start, directory[0].length + directory[1].length);
  await withFolder(async (folder) => {
    const path = `${folder}/large.zip`;
    using file = Deno.openSync(path, { read: true, write: true, create: true });
    file.writeSync(localBytes);
    const mark = pickleBytes("the end"); // the 5 GiB before it are a hole in the file
    file.seekSync(far.offset - mark.length, Deno.SeekMode.Start);
    for (const bytes of [mark, farBytes, HELLO, ...directory, end]) file.writeSync(bytes);

    const zip = new ZipReader(new FileSource(file, fail), fail);
    assertEquals(zip.entries.get("a/data/0")!.size, size);
    assertEquals(zip.entries.get("a/data/1")!.headerOffset > MAX_UINT32, true);
    const tail = new Uint8Array(mark.length);
    (await zip.open(zip.entries.get("a/data/0")!)).readAt(size - mark.length, tail);
    assertEquals(tail, mark);
    assertEquals(await readEntry(zip, "a/data/1"), HELLO);
    if (Deno.build.os !== "windows") {
      const unzip = new Deno.Command("python3", {
        args: ["-c", "import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).read('a/data/1'))", path],
      });
      const output = await unzip.output().catch(() => undefined);
      if (output === undefined) console.log("not compared with Python's zipfile: there is no python3");
      else assertEquals(new TextDecoder().decode(output.stdout).trim(), "b'hello'");
    }
  });
});
