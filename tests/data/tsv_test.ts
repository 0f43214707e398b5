import { assert, assertEquals, assertInstanceOf, assertLess, assertRejects, assertThrows } from "@std/assert";
import { setImmediate } from "node:timers";
import { ROWS_A_TURN } from "../../data/collect_labels.ts";
import { scanLineOffsets } from "../../data/line_index.ts";
import { BrokenRowError } from "../../data/dataset.ts";
import { TsvFile } from "../../data/tsv.ts";
import { UserError } from "../../errors.ts";
import { referenceJson, referencePath } from "../reference.ts";
import { CONFIG, ONE_PIXEL, rowsOf, TestFolder, touch } from "./folder.ts";

const PIXEL_BYTES = Uint8Array.fromBase64(ONE_PIXEL);

Deno.test("parity: TsvFile reads the labels, keys and images of the reference train.tsv", async () => {
  using tsv = await TsvFile.open(referencePath("tsv/train.tsv"));
  const expected = referenceJson("tsv/expected.json").train;
  assertEquals(tsv.rowCount, expected.rows);
  const lines = Deno.readTextFileSync(tsv.path).trimEnd().split("\n").map((line) => line.split("\t"));
  for (let i = 0; i < tsv.rowCount; i++) {
    const { row, key, label, image } = await tsv.readRow(i);
    assertEquals([row, key, label], [i, lines[i][0], expected.labels[i]]);
    assertEquals(image.toBase64(), lines[i].at(-1));
  }
});

Deno.test("parity: TsvFile takes the last of four columns as the image", async () => {
  using tsv = await TsvFile.open(referencePath("tsv/four_columns.tsv"));
  const lines = Deno.readTextFileSync(tsv.path).trimEnd().split("\n").map((line) => line.split("\t"));
  assertEquals(lines[0].length, 4);
  for (const [i, columns] of lines.entries()) {
    const { key, label, image } = tsv.readRowSync(i);
    assertEquals([key, `${label}`, image.toBase64()], [columns[0], columns[1], columns[3]]);
  }
});

Deno.test("TsvFile.readRows() gives rows in the order asked for, doubles included", async () => {
  using folder = new TestFolder();
  using tsv = await TsvFile.open(folder.write("a.tsv", rowsOf(50)));
  const wanted = [7, 8, 9, 49, 3, 0, 8, 25, 24];
  const rows = tsv.readRows(wanted);
  for (const [i, row] of rows.entries()) {
    assertEquals(row, { row: wanted[i], key: `key${wanted[i]}`, label: wanted[i], image: PIXEL_BYTES });
  }
  assertEquals(tsv.readRows([]), []);
  const images = rows.map((row) => (row as { image: Uint8Array }).image.buffer);
  assertEquals(new Set(images).size, images.length, "each image owns its bytes");
});

Deno.test("TsvFile.readRows() refuses rows that do not exist, as a bug of the caller", async () => {
  using folder = new TestFolder();
  using tsv = await TsvFile.open(folder.write("a.tsv", rowsOf(5)));
  for (const row of [-1, 5, 1.5, NaN]) {
    const error = assertThrows(() => tsv.readRows([0, row]), RangeError, "a row from 0 to 4");
    assert(!(error instanceof UserError));
  }
});

Deno.test("TsvFile reads CRLF, a byte order mark, blanks around labels and a last line without its end", async () => {
  using folder = new TestFolder();
  const text = `\uFEFFé\t 3 \t${ONE_PIXEL}\r\nb\t-2\t\t${ONE_PIXEL}\r\n\t+7\tx\ty\t${ONE_PIXEL}`;
  using tsv = await TsvFile.open(folder.write("a.tsv", text));
  const rows = tsv.readRows([0, 1, 2]).map((row) => {
    assert(!(row instanceof BrokenRowError), String(row));
    assertEquals(row.image, PIXEL_BYTES);
    return [row.key, row.label];
  });
  assertEquals(rows, [["é", 3], ["b", -2], ["", 7]]);
});

Deno.test("TsvFile says of each broken row which line it is and why", async () => {
  using folder = new TestFolder();
  const reasons: [string, string][] = [
    ["", "found an empty line"],
    ["only_key", "found 1 column"],
    ["key\t5", "found 2 columns"],
    [`key\tcat\t${ONE_PIXEL}`, 'expected an integer label in column 2, found "cat"'],
    [`key\t1.0\t${ONE_PIXEL}`, 'found "1.0"'],
    [`key\t\t${ONE_PIXEL}`, 'found ""'],
    [`key\t99999999999\t${ONE_PIXEL}`, 'found "99999999999"'],
    ["key\t1\t", "expected a base64 image in the last column, found nothing"],
    [
      "key\t1\t!!!",
      'expected a base64 image in the last column, found "!" at character 1 of 3 ("!!!")',
    ],
    [`key\t1\t${ONE_PIXEL}\t{"json":1}`, 'found "{" at character 1 of 10 ("{\\"json\\":1}")'],
    [
      "key\t1\tAAAA-_AA",
      'found "-" at character 5 of 8 (URL-safe base64): replace - with + and _ with /',
    ],
    ["key\t1\tAAAA\\nAAAA", 'found a backslash and "n" at character 5 of 10, an escaped line end'],
    ["key\t1\tAA==AAAA", 'found the padding "=" at character 4 of 8, before the end'],
    ["key\t1\tAAAAA", 'found 5 characters and 0 "=" after them, which is not a whole number of bytes'],
    [
      `key\t1099511627776\t${ONE_PIXEL}`,
      "expected an integer label from -2147483648 to 2147483647 (32 bits) in",
    ],
    [
      `key\t1\tAAAA\rAAAA`,
      "expected line ends only at the end of the row, found a carriage return at its byte 11",
    ],
  ];
  const path = folder.write("a.tsv", rowsOf(1) + reasons.map(([row]) => row + "\n").join("") + rowsOf(1));
  using tsv = await TsvFile.open(path);
  const rows = tsv.readRows(Array.from({ length: tsv.rowCount }, (_, i) => i));
  assertEquals(rows.length, reasons.length + 2);
  for (const [i, [, reason]] of reasons.entries()) {
    const error = rows[i + 1];
    assertInstanceOf(error, BrokenRowError);
    assertInstanceOf(error, UserError);
    assertEquals([error.file, error.row], [path, i + 1]);
    assert(error.message.startsWith(`${path} line ${i + 2}: `), error.message);
    assert(error.message.includes(reason), `${error.message} should have ${reason}`);
  }
  for (const good of [rows[0], rows.at(-1)!]) assert(!(good instanceof BrokenRowError));
  await assertRejects(() => tsv.readRow(2), BrokenRowError, "line 3");
});

Deno.test("TsvFile notices on reading that an index skips or splits a row", async () => {
  using folder = new TestFolder();
  const path = folder.write("a.tsv", rowsOf(400));
  const offsets = [...await scanLineOffsets(path)];
  // Row 101 is missing in one, and a false offset comes after row 301 in the other: between the samples on opening.
  for (
    const [wrong, row] of [
      [offsets.toSpliced(101, 1), 100],
      [offsets.toSpliced(302, 0, offsets[301] + 5), 301],
    ] as const
  ) {
    folder.write("a.lineidx", wrong.join("\n") + "\n");
    touch(path, -1000);
    using tsv = await TsvFile.open(path);
    const error = assertThrows(() => tsv.readRowSync(row), UserError, `Delete ${folder.path}/a.lineidx`);
    assert(!(error instanceof BrokenRowError), "the row is fine, the index is not");
    assertThrows(() => tsv.readRows([row - 1, row, row + 1]), UserError, "Delete");
    // A row that starts in the middle of a line would read well, with a shorter key.
    if (row === 301) assertThrows(() => tsv.readRowSync(302), UserError, "Delete");
  }
});

Deno.test("TsvFile notices that the TSV was shortened while open", async () => {
  using folder = new TestFolder();
  const path = folder.write("a.tsv", rowsOf(10));
  using tsv = await TsvFile.open(path);
  Deno.truncateSync(path, 200);
  assertThrows(() => tsv.readRowSync(9), UserError, "was truncated");
});

Deno.test("TsvFile reads rows of many megabytes", async () => {
  using folder = new TestFolder();
  const image = new Uint8Array(9_000_000).map((_, i) => i * 31);
  using tsv = await TsvFile.open(
    folder.write("a.tsv", `${rowsOf(1)}big\t1\t${image.toBase64()}\n${rowsOf(1)}`),
  );
  const rows = tsv.readRows([0, 1, 2]);
  const big = rows[1];
  assert(!(big instanceof BrokenRowError));
  assertEquals(big.image.length, image.length);
  assert(big.image.every((byte, i) => byte === image[i]));
  assertEquals((rows[2] as { key: string }).key, "key0");
});

Deno.test("TsvFile.open() makes a missing index", async () => {
  using folder = new TestFolder();
  const path = folder.write("a.tsv", rowsOf(3));
  using tsv = await TsvFile.open(path);
  assertEquals(tsv.rowCount, 3);
  assertEquals(Deno.readTextFileSync(`${folder.path}/a.lineidx`).split("\n").length, 4);
});

Deno.test("TsvFile.open() refuses missing, empty and wrong files", async () => {
  using folder = new TestFolder();
  folder.write("train.tsv", rowsOf(1));
  await assertRejects(() => TsvFile.open(`${folder.path}/trian.tsv`), UserError, "Did you mean train.tsv?");
  await assertRejects(() => TsvFile.open(folder.path), UserError, "expected a TSV file");
  await assertRejects(() => TsvFile.open(folder.write("empty.tsv", "")), UserError, "is empty");
});

Deno.test("TsvFile.open() says that lines end with carriage returns alone, with an index and without", async () => {
  using folder = new TestFolder();
  const path = folder.write("mac.tsv", rowsOf(6, "\r"));
  const found = `expected rows that end with a line feed, found a carriage return alone at byte ${
    rowsOf(1, "").length
  }`;
  await assertRejects(() => TsvFile.open(path), UserError, found);
  // As the original makes it: Python's text files take each of the three line ends.
  const length = rowsOf(1, "\r").length;
  folder.write("mac.lineidx", Array.from({ length: 6 }, (_, row) => `${row * length}\n`).join(""));
  await assertRejects(() => TsvFile.open(path), UserError, "after a carriage return alone");
  using good = await TsvFile.open(folder.write("dos.tsv", rowsOf(6, "\r\n")));
  assertEquals(good.readRows([0, 5]).map((row) => row instanceof BrokenRowError), [false, false]);
});

Deno.test("TsvFile finds keys and labels however long the key is", async () => {
  using folder = new TestFolder();
  const keys = [4090, 4095, 4096, 5000, 70_000].map((length) => "k".repeat(length));
  const text = keys.map((key, i) => `${key}\t${i + 10}\t${ONE_PIXEL}\n`).join("");
  using tsv = await TsvFile.open(folder.write("long.tsv", text));
  assertEquals(tsv.readKeys([...keys.keys()]), keys);
  assertEquals([...await tsv.readLabels()], [10, 11, 12, 13, 14]);
  for (const i of keys.keys()) {
    using one = await TsvFile.open(folder.write(`one${i}.tsv`, `${keys[i]}\t${i}\t${ONE_PIXEL}\n`));
    assertEquals([one.hasLabels, ...await one.readLabels()], [true, i]);
  }
});

Deno.test("TsvFile is closed at the end of `using`", async () => {
  using folder = new TestFolder();
  const path = folder.write("a.tsv", rowsOf(1));
  let escaped: TsvFile;
  {
    using tsv = await TsvFile.open(path);
    escaped = tsv;
  }
  assertThrows(() => escaped.readRowSync(0));
  escaped.close();
});

Deno.test("TsvFile does not hold the file in memory", async () => {
  using folder = new TestFolder();
  // 192 MiB in 3,072 rows of 64 KiB less a byte.
  const path = `${folder.path}/large.tsv`;
  const row = new TextEncoder().encode(`key\t1\t${"QUJD".repeat(16382)}\n`);
  const block = new Uint8Array(row.length * 64);
  for (let i = 0; i < 64; i++) block.set(row, i * row.length);
  {
    using file = Deno.openSync(path, { write: true, create: true });
    for (let i = 0; i < 48; i++) {
      for (let at = 0; at < block.length;) at += file.writeSync(block.subarray(at));
    }
  }
  // A process of its own, as other tests move this one's memory.
  const source = `
    import { TsvFile } from ${JSON.stringify(import.meta.resolve("../../data/tsv.ts"))};
    const before = Deno.memoryUsage().rss;
    let largest = before, bytes = 0;
    using tsv = await TsvFile.open(Deno.args[0]);
    for (let i = 0; i < tsv.rowCount; i++) {
      bytes += tsv.readRowSync((i * 1237) % tsv.rowCount).image.length;
      if (i % 64 === 0) largest = Math.max(largest, Deno.memoryUsage().rss);
    }
    console.log(JSON.stringify({ rows: tsv.rowCount, bytes, grown: largest - before }));
  `;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "-A",
      "--config",
      CONFIG,
      `data:text/typescript,${encodeURIComponent(source)}`,
      path,
    ],
  }).output();
  assertEquals(new TextDecoder().decode(stderr), "");
  const { rows, bytes, grown } = JSON.parse(new TextDecoder().decode(stdout));
  assertEquals(rows, 3072);
  assert(bytes > 140e6, `${bytes} bytes were decoded`);
  assertLess(grown, 96e6);
});

Deno.test("readLabels() reads the labels alone, and passes over rows without one", async () => {
  using folder = new TestFolder();
  const rows = ["a\t3\t", "b\tx\t", `${"long".repeat(20)}\t-7\t`, "c", "", "d\t12\tmeta\t", "e\t4\t"];
  const path = folder.write("labels.tsv", rows.map((row) => `${row}${"A".repeat(9000)}\n`).join(""));
  using tsv = await TsvFile.open(path);
  assertEquals([...await tsv.readLabels()], [3, -1, -7, -1, -1, 12, 4]);
  using none = await TsvFile.open(folder.write("none.tsv", "a\tb\tc\n\n"));
  assertEquals([...await none.readLabels()], [-1, -1]);
});

Deno.test("readLabels() tells how far it is, and ends at an abort by what else has its turn meanwhile", async () => {
  using folder = new TestFolder();
  const rows = Array.from({ length: 2 * ROWS_A_TURN + 7 }, (_, row) => `${row}\t${row % 10}\tAAAA\n`);
  const end = (count: number) => rows.slice(0, count).join("").length;
  const path = folder.write("many.tsv", rows.join(""));
  using tsv = await TsvFile.open(path);
  const passed: number[][] = [];
  const labels = await tsv.readLabels({ onProgress: (...bytes) => passed.push(bytes) });
  assertEquals([...labels], rows.map((_, row) => row % 10));
  const size = end(rows.length);
  assertEquals(passed, [[end(ROWS_A_TURN), size], [end(2 * ROWS_A_TURN), size], [size, size]]);

  passed.length = 0;
  const controller = new AbortController();
  const reason = new Error("enough");
  setImmediate(() => controller.abort(reason));
  const stopped = tsv.readLabels({
    signal: controller.signal,
    onProgress: (...bytes) => passed.push(bytes),
  });
  assertEquals(await assertRejects(() => stopped), reason);
  assertEquals(passed, [[end(ROWS_A_TURN), size]]);
});

Deno.test("TsvFile.hasLabels looks at some rows, and finds labels from 0 on", async () => {
  using folder = new TestFolder();
  using some = await TsvFile.open(folder.write("some.tsv", "x\t-1\tAAAA\ny\t0\tAAAA\n"));
  assertEquals(some.hasLabels, true);
  using none = await TsvFile.open(folder.write("none.tsv", "x\t-1\tAAAA\ny\tcat\tAAAA\nz\n"));
  assertEquals(none.hasLabels, false);
  // Whatever pattern they have, and however few they are.
  const patterns = [(row: number) => row % 2 === 1, (row: number) => row === 599];
  for (const [i, isLabelled] of patterns.entries()) {
    const rows = Array.from({ length: 600 }, (_, row) => `x\t${isLabelled(row) ? 3 : -1}\tAAAA\n`);
    using few = await TsvFile.open(folder.write(`few${i}.tsv`, rows.join("")));
    assertEquals(few.hasLabels, true);
  }
});

Deno.test("TsvFile takes its class names from the classes.txt beside it, if it fits the labels", async () => {
  const namesOf = async (rows: string, classes?: string) => {
    using folder = new TestFolder();
    if (classes !== undefined) folder.write("classes.txt", classes);
    using tsv = await TsvFile.open(folder.write("a.tsv", rows));
    return tsv.classNames;
  };
  assertEquals(await namesOf(rowsOf(3)), undefined);
  assertEquals(await namesOf(rowsOf(3), "ant\nbee\ncat\n"), ["ant", "bee", "cat"]);
  assertEquals(await namesOf(rowsOf(2), "\uFEFFant\r\na bee\r\ncat\r\n\r\n"), ["ant", "a bee", "cat"]);
  assertEquals(await namesOf(rowsOf(4), "ant\nbee\ncat\n"), undefined);
  assertEquals(await namesOf(rowsOf(3), ""), undefined);
  assertEquals(await namesOf(`a\t-1\t${ONE_PIXEL}\n`, "ant\n"), undefined);
});
