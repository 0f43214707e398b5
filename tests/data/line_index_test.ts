import { assertEquals, assertInstanceOf, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import {
  LineIndexError,
  lineIndexPath,
  openLineIndex,
  readLineIndex,
  scanLineOffsets,
  writeLineIndex,
} from "../../data/line_index.ts";
import { UserError } from "../../errors.ts";
import { referenceJson, referencePath } from "../reference.ts";
import { CONFIG, rowsOf, TestFolder, touch } from "./folder.ts";

Deno.test("lineIndexPath() replaces the last extension", () => {
  assertEquals(lineIndexPath("data/train.tsv"), "data/train.lineidx");
  assertEquals(lineIndexPath("data.v2/train"), "data.v2/train.lineidx");
  assertEquals(lineIndexPath("a.b.tsv"), "a.b.lineidx");
  assertEquals(lineIndexPath("data/.tsv"), "data/.tsv.lineidx");
});

Deno.test("parity: scanLineOffsets() finds the offsets of the original's .lineidx", async () => {
  for (const name of ["train", "four_columns", "bad_rows"]) {
    const text = Deno.readTextFileSync(referencePath(`tsv/${name}.lineidx`));
    const offsets = await scanLineOffsets(referencePath(`tsv/${name}.tsv`));
    assertEquals([...offsets], text.trim().split("\n").map(Number));
  }
});

Deno.test("parity: openLineIndex() writes the original's .lineidx byte for byte", async () => {
  using folder = new TestFolder();
  const tsv = folder.copy("tsv/train.tsv");
  const warnings: string[] = [];
  const { offsets } = await openLineIndex(tsv, { onWarning: (text) => warnings.push(text) });
  assertEquals(offsets.length, referenceJson("tsv/expected.json").train.rows);
  assertEquals(
    Deno.readFileSync(`${folder.path}/train.lineidx`),
    Deno.readFileSync(referencePath("tsv/train.lineidx")),
  );
  assertEquals(warnings, []);
  assertEquals([...Deno.readDirSync(folder.path)].map((e) => e.name).sort(), ["train.lineidx", "train.tsv"]);
});

Deno.test("scanLineOffsets() counts lines across its buffer's border and without a last line end", async () => {
  using folder = new TestFolder();
  // Lines of 1 to 300 bytes, 12 MB: three buffers.
  const lines: string[] = [];
  for (let i = 0; i < 80_000; i++) lines.push("x".repeat((i * 7919) % 300));
  const text = lines.join("\n") + "\nlast";
  const progress: [number, number][] = [];
  const offsets = await scanLineOffsets(folder.write("a.tsv", text), {
    onProgress: (...sizes) => progress.push(sizes),
  });
  assertEquals(progress, [4 << 20, 8 << 20, text.length].map((done) => [done, text.length]));
  const expected = [0];
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) expected.push(at + 1);
  assertEquals(offsets.length, 80_001);
  assertEquals([...offsets], expected);
  assertEquals((await scanLineOffsets(folder.write("b.tsv", ""))).length, 0);
});

Deno.test("writeLineIndex() and readLineIndex() keep offsets, CRLF and a missing last line end included", async () => {
  using folder = new TestFolder();
  const tsv = folder.write("a.tsv", rowsOf(300));
  const offsets = await scanLineOffsets(tsv);
  const path = `${folder.path}/a.lineidx`;
  await writeLineIndex(path, offsets);
  assertEquals(await readLineIndex(path, tsv), offsets);
  const text = Deno.readTextFileSync(path);
  assertEquals(await readLineIndex(folder.write("b.lineidx", text.replaceAll("\n", "\r\n")), tsv), offsets);
  assertEquals(await readLineIndex(folder.write("c.lineidx", text.trimEnd()), tsv), offsets);
});

Deno.test("openLineIndex() uses an index that fits without reading the TSV's rows again", async () => {
  using folder = new TestFolder();
  const tsv = folder.write("a.tsv", rowsOf(20));
  await openLineIndex(tsv);
  const path = lineIndexPath(tsv);
  touch(path, -1000);
  const before = Deno.statSync(path).mtime!.getTime();
  const warnings: string[] = [];
  const { offsets } = await openLineIndex(tsv, { onWarning: (text) => warnings.push(text) });
  assertEquals(offsets.length, 20);
  assertEquals(Deno.statSync(path).mtime!.getTime(), before, "older than the TSV, but it fits: not remade");
  assertEquals(warnings, []);
});

Deno.test("openLineIndex() makes a stale index again, with a warning", async () => {
  for (const [what, text] of [["more", rowsOf(25)], ["fewer", rowsOf(7)], ["other", "x" + rowsOf(20)]]) {
    using folder = new TestFolder();
    const tsv = folder.write("a.tsv", rowsOf(20));
    await openLineIndex(tsv);
    touch(lineIndexPath(tsv), -1000);
    folder.write("a.tsv", text);
    const warnings: string[] = [];
    const { offsets } = await openLineIndex(tsv, { onWarning: (warning) => warnings.push(warning) });
    assertEquals(offsets, await scanLineOffsets(tsv), what);
    assertEquals(warnings.length, 1, what);
    assertStringIncludes(warnings[0], "no longer matches");
    assertEquals(await readLineIndex(lineIndexPath(tsv), tsv), offsets, what);
  }
});

Deno.test("openLineIndex() refuses an index that contradicts a TSV which is not newer", async () => {
  const good = [...await scanLineOffsetsOf(rowsOf(12))];
  const text = (offsets: number[]) => offsets.map((offset) => `${offset}\n`).join("");
  const cases: [string, string, string][] = [
    ["cut at a line's end", text(good.slice(0, 9)), "ends after line 9"],
    ["cut in a number", text(good).slice(0, -3), "line 12: "],
    ["cut to nothing", "", "is empty"],
    ["no numbers", "0\nabc\n", 'line 2: expected a byte offset in decimal, found "abc"'],
    ["binary", "\0\x01\x02\n", "line 1: expected a byte offset in decimal"],
    ["negative", "0\n-5\n", 'found "-5"'],
    ["fractions", "0\n97.5\n", 'found "97.5"'],
    ["blank line", "0\n\n", 'line 2: expected a byte offset in decimal, found ""'],
    ["endless line", "1".repeat(5000), "line 1: expected a byte offset in decimal"],
    ["not from 0", text(good.slice(1)), "line 1: expected 0"],
    ["not ascending", text([0, good[2], good[1]]), "line 3: expected an offset above the one before it"],
    ["outside", text([...good, 99_999]), "line 13: expected an offset inside"],
    ["inside a row", text(good.with(5, good[5] + 1)), "line 6: expected the byte offset where row 6"],
  ];
  for (const [what, index, message] of cases) {
    using folder = new TestFolder();
    const tsv = folder.write("a.tsv", rowsOf(12));
    const path = folder.write("a.lineidx", index);
    touch(tsv, -1000);
    const error = await assertRejects(() => openLineIndex(tsv), LineIndexError, message, what);
    assertInstanceOf(error, UserError);
    assertStringIncludes(error.message, path);
    assertStringIncludes(error.message, `Delete ${path} to rebuild it.`, what);
    assertEquals(Deno.readTextFileSync(path), index, "a person's file is left as it is");
  }
});

Deno.test("openLineIndex() refuses a damaged index even where the TSV is newer", async () => {
  using folder = new TestFolder();
  const tsv = folder.write("a.tsv", rowsOf(2));
  await openLineIndex(tsv);
  const path = lineIndexPath(tsv);
  const whole = Deno.readTextFileSync(path);
  for (const damaged of [whole.slice(0, -2), "0\n99999", "0\nx\n", ""]) {
    Deno.writeTextFileSync(path, damaged);
    touch(path, -1000);
    await assertRejects(() => openLineIndex(tsv), LineIndexError, "Delete");
  }
});

Deno.test("openLineIndex() refuses an empty TSV and a folder in the index's place", async () => {
  using folder = new TestFolder();
  await assertRejects(
    () => openLineIndex(folder.write("a.tsv", "")),
    UserError,
    "is empty: expected one row per line",
  );
  const tsv = folder.write("b.tsv", rowsOf(2));
  Deno.mkdirSync(lineIndexPath(tsv));
  await assertRejects(() => openLineIndex(tsv), UserError, "found a folder");
});

/** Opens a TSV and reads its rows in a process with `permissions` beside that to read, as root may write to any folder; `cache` for the user's. */
async function openRestricted(
  tsv: string,
  permissions: string[],
  cache?: string,
): Promise<{ rows: number; warnings: string[]; errors: string[] }> {
  const source = `
    import { TsvFile } from ${JSON.stringify(import.meta.resolve("../../data/tsv.ts"))};
    const [tsv, cache] = Deno.args;
    if (cache !== undefined) Deno.env.set("XDG_CACHE_HOME", cache); // here, since Deno has its own cache there too
    const [warnings, errors] = [[], []];
    using file = await TsvFile.open(tsv, { onWarning: (text) => warnings.push(text) });
    for (let row = 0; row < file.rowCount; row++) await file.readRow(row).catch(({ message }) => errors.push(message));
    console.log(JSON.stringify({ rows: file.rowCount, warnings, errors }));
  `;
  const process = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      "--allow-read",
      ...permissions,
      "--config",
      CONFIG,
      `data:text/typescript,${encodeURIComponent(source)}`,
      tsv,
      ...cache === undefined ? [] : [cache],
    ],
  });
  const { stdout, stderr } = await process.output();
  assertEquals(new TextDecoder().decode(stderr), "");
  return JSON.parse(new TextDecoder().decode(stdout));
}

Deno.test("openLineIndex() keeps the offsets in memory where it may not write, and says so", async () => {
  using folder = new TestFolder();
  const tsv = folder.write("a.tsv", rowsOf(9));
  const { rows, warnings } = await openRestricted(tsv, []);
  assertEquals(rows, 9);
  assertEquals(warnings.length, 1);
  assertStringIncludes(warnings[0], `${lineIndexPath(tsv)} could not be saved`);
  assertStringIncludes(warnings[0], "in memory");
  // Where several readers find the same, it is told of once by its text.
  assertEquals((await openRestricted(tsv, [])).warnings, warnings);
  assertEquals([...Deno.readDirSync(folder.path)].map((entry) => entry.name), ["a.tsv"]);
});

Deno.test("openLineIndex() keeps the index of a folder it may not write to in the user's cache folder", async () => {
  using folder = new TestFolder();
  using cache = new TestFolder();
  const tsv = folder.write("a.tsv", rowsOf(9));
  const open = () => openRestricted(tsv, [`--allow-write=${cache.path}`, "--allow-env"], cache.path);
  const kept = () => [...Deno.readDirSync(join(cache.path, "seed", "lineidx"))].map(({ name }) => name);

  const first = await open();
  assertEquals(first.rows, 9);
  assertEquals(first.warnings.length, 1);
  assertStringIncludes(first.warnings[0], `are kept in ${join(cache.path, "seed", "lineidx")}`);
  assertEquals(kept().length, 1);
  assertEquals(await open(), { rows: 9, warnings: [], errors: [] });
  assertEquals([...Deno.readDirSync(folder.path)].map((entry) => entry.name), ["a.tsv"]);

  // Another file takes its place, as old as the first was.
  const { mtime } = Deno.statSync(tsv);
  folder.write("a.tsv", rowsOf(5));
  Deno.utimeSync(tsv, mtime!, mtime!);
  const other = await open();
  assertEquals(other.rows, 5);
  assertStringIncludes(other.warnings[0], `does not match ${tsv}; it is being rebuilt`);
  assertEquals(await open(), { rows: 5, warnings: [], errors: [] });
  assertEquals(kept().length, 1);
});

Deno.test("a row that the kept index skips is told of by the path of that index", async () => {
  using folder = new TestFolder();
  using cache = new TestFolder();
  const tsv = folder.write("a.tsv", rowsOf(400));
  const open = () => openRestricted(tsv, [`--allow-write=${cache.path}`, "--allow-env"], cache.path);
  assertEquals((await open()).errors, []);
  const kept = join(cache.path, "seed", "lineidx");
  const [{ name }] = Deno.readDirSync(kept);
  const index = join(kept, name);
  // Between the samples that are compared on opening.
  Deno.writeTextFileSync(index, [...await scanLineOffsets(tsv)].toSpliced(101, 1).join("\n") + "\n");
  const { warnings, errors } = await open();
  assertEquals([warnings, errors.length], [[], 1]);
  assertStringIncludes(
    errors[0],
    `${index} line 101: expected the offset where line 101 of ${tsv} starts, found `,
  );
  assertStringIncludes(errors[0], `Delete ${index} to rebuild it.`);
});

async function scanLineOffsetsOf(text: string): Promise<Float64Array> {
  using folder = new TestFolder();
  return await scanLineOffsets(folder.write("a.tsv", text));
}

Deno.test("readLineIndex() refuses the same offset twice", async () => {
  using folder = new TestFolder();
  const tsv = folder.write("a.tsv", "a\nb\nc\n");
  const index = folder.write("a.lineidx", "0\n2\n2\n4\n");
  await assertRejects(
    () => readLineIndex(index, tsv),
    LineIndexError,
    "an offset above the one before it, 2",
  );
});
