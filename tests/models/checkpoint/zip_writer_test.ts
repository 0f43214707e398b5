import { assertEquals } from "@std/assert";
import { FileSource } from "../../../models/checkpoint/byte_source.ts";
import { CheckpointError } from "../../../models/checkpoint/checkpoint_error.ts";
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
