// `deno task embed`, started as people start it.
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type EmbeddedRows, runEmbedding } from "../../../methods/embedding.ts";
import { type EmbeddingFormat, openEmbeddingWriter } from "../../../cli/output/embedding_writer.ts";
import { parseEmbedFlags } from "../../../cli/flags/embed_flags.ts";
import { UsageError } from "../../../cli/flags/flags.ts";
import { decodeImage } from "../../../data/decode.ts";
import { SAMPLE_TEACHER } from "../../../data/sample.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../../actors/small_run.ts";
import { testWithPython } from "../../python.ts";
import { hostPrograms } from "../run_program.ts";

const runProgram = hostPrograms();
const PROGRAM = fileURLToPath(new URL("../../../cli/commands/embed.ts", import.meta.url));
const run = (...args: string[]) => runProgram(PROGRAM, ...args);
const TINY = ["--pretrained", TINY_TEACHER, "--image-size", "32", "--plugin", TINY_ENCODER];

/** Reads a version 1.0 file of float32, row by row. */
function readNpy(path: string): { shape: number[]; values: Float32Array } {
  const bytes = Deno.readFileSync(path);
  assertEquals(
    [...bytes.subarray(0, 8)],
    [0x93, ..."NUMPY"].map((c) => typeof c === "number" ? c : c.charCodeAt(0)).concat([1, 0]),
  );
  const start = 10 + new DataView(bytes.buffer).getUint16(8, true);
  assertEquals(start % 64, 0);
  const header = new TextDecoder().decode(bytes.subarray(10, start));
  const [, rows, columns] = /^\{'descr': '<f4', 'fortran_order': False, 'shape': \((\d+), (\d+)\), \} *\n$/
    .exec(header)!;
  return { shape: [Number(rows), Number(columns)], values: new Float32Array(bytes.slice(start).buffer) };
}

/** Data whose row 5 is broken. */
function spoil(folder: RunFolder): string {
  const path = join(folder.data, "train.tsv");
  const lines = Deno.readTextFileSync(path).split("\n");
  lines[5] = `"broken, name"\t3\tAAAA`;
  lines[6] = lines[6].replace(/^[^\t]*/, `a "quoted", name`);
  Deno.writeTextFileSync(path, lines.join("\n"));
  return path;
}

Deno.test("embed writes a row for each image that can be used, in order, in three formats that agree", async () => {
  using folder = new RunFolder(30);
  const data = spoil(folder);
  const npy = join(folder.path, "e.npy");
  const ended = await run(...TINY, "-b", "8", "-j", "2", "-o", npy, data);
  assertEquals(ended.code, 0, ended.stderr);
  assertMatch(
    ended.stderr,
    /^warning: .*train\.tsv line 6: expected a JPEG, PNG, WebP, GIF, BMP, TIFF or PPM image.*\n$/,
  );
  assertMatch(ended.stdout, /images {5}29 from .*train\.tsv, in \d/);
  const { shape, values } = readNpy(npy);
  assertEquals([shape, values.length], [[29, 8], 29 * 8]);
  const names = Deno.readTextFileSync(join(folder.path, "e.names.csv")).trim().split("\n");
  assertEquals(names.length, 30);
  assertEquals(names[0], "row,name,label");
  assertEquals(
    names.slice(1).map((line) => Number(line.split(",")[0])),
    [...Array(30).keys()].filter((row) => row !== 5),
  );
  assertMatch(names[6], /^6,"a ""quoted"", name",\d$/);

  const csv = join(folder.path, "e.csv");
  const jsonl = join(folder.path, "e.jsonl");
  for (const path of [csv, jsonl]) {
    assertEquals((await run(...TINY, "-q", "-o", path, folder.data)).code, 0);
  }
  const lines = Deno.readTextFileSync(csv).trim().split("\n");
  assertEquals([lines.length, lines[0].split(",").length], [30, 3 + 8]);
  const objects = Deno.readTextFileSync(jsonl).trim().split("\n").map((line) => JSON.parse(line));
  assertEquals(objects.length, 29);
  assertEquals([objects[5].row, objects[5].name], [6, 'a "quoted", name']);
  for (const [i, { label, embedding }] of objects.entries()) {
    assertEquals(String(label), names[i + 1].split(",").at(-1));
    // Another batch size may round otherwise.
    for (let c = 0; c < 8; c++) assertAlmostEquals(embedding[c], values[i * 8 + c], 1e-4);
    assertEquals(lines[i + 1].split(",").slice(-8).map(Number), embedding);
  }

  const again = await run(...TINY, "-o", npy, data);
  assertEquals(again.code, 1);
  assertMatch(again.stderr, /^error: .*e\.npy already exists: use --force/);
});

Deno.test("embed finds the nearest images, and puts them on a sheet", async () => {
  using folder = new RunFolder(30);
  spoil(folder);
  const sheet = join(folder.path, "near.png");
  const ended = await run(...TINY, "--neighbours", sheet, "--queries", "4", "-k", "5", folder.data);
  assertEquals(ended.code, 0, ended.stderr);
  assertEquals(ended.stdout.split("\n").filter((line) => line.startsWith("  ")).length, 4);
  const { width, height } = await decodeImage(Deno.readFileSync(sheet));
  assertEquals([width, height], [6 * 102 + 12, 4 * 102]);
});

Deno.test("embed finds out before it embeds that it cannot write one of its files", async () => {
  using folder = new RunFolder(4);
  const features = join(folder.path, "e.npy");
  const sheet = join(folder.path, "no", "near.png");
  const ended = await run(...TINY, "-o", features, "--neighbours", sheet, "-k", "2", folder.data);
  assertEquals([ended.code, ended.stdout], [1, ""]);
  assertMatch(ended.stderr, /^error: .*near\.png: could not be written: the folder .*no does not exist/);
  const left = [...Deno.readDirSync(folder.path)].filter(({ isFile }) => isFile).map(({ name }) => name);
  assertEquals(left, []);
});

Deno.test("runEmbedding()'s neighbours are those of the cosines, without the query itself", async () => {
  using folder = new RunFolder(40);
  const embedded: EmbeddedRows[] = [];
  const options = {
    encoder: { path: TINY_TEACHER },
    part: "encoder",
    dimension: 128,
    data: spoil(folder),
    batchSize: 16,
    imageSize: 32,
    workers: 3,
    neighbours: { queries: 6, k: 7, seed: 3 },
  } as const;
  const plugins = [TINY_ENCODER];
  const { images, neighbours } = await runEmbedding({ ...options, plugins }, (event) => {
    if (event.type === "rows") embedded.push(event);
  });
  assertEquals([images, neighbours.length], [39, 6]);
  const rows = embedded.flatMap(({ rows }) => rows);
  assertEquals(rows, rows.toSorted((a, b) => a - b));
  const vectors = new Map(
    embedded.flatMap(({ rows, embeddings }) =>
      rows.map((row, i) => [row, embeddings.subarray(i * 128, (i + 1) * 128)])
    ),
  );
  for (const { query, rows: found, similarities } of neighbours) {
    const own = vectors.get(query)!;
    const cosine = (row: number) => vectors.get(row)!.reduce((sum, value, i) => sum + value * own[i], 0);
    const nearest = rows.filter((row) => row !== query).sort((a, b) => cosine(b) - cosine(a)).slice(0, 7);
    assertEquals(found, nearest);
    for (const [i, row] of found.entries()) assertAlmostEquals(similarities[i], cosine(row), 1e-5);
  }
  const { neighbours: others } = await runEmbedding({
    ...options,
    plugins,
    neighbours: { ...options.neighbours, seed: 4 },
  });
  assert(others.some(({ query }, i) => query !== neighbours[i].query), "the seed chooses the queries");
});

testWithPython("embed's .npy opens in NumPy", { numpy: "python3-numpy" }, async (python) => {
  using folder = new RunFolder(1);
  const path = join(folder.path, "e.npy");
  {
    using file = Deno.openSync(path, { write: true, create: true });
    const writer = openEmbeddingWriter(file, ".npy", 3);
    const add = (...values: number[]) =>
      writer.add({ rows: [0, 1], names: ["a", "b"], labels: [0, 1], embeddings: Float32Array.from(values) });
    add(1, 2, 3, 4, 5, 6.5);
    add(-1, 0.1, 1e30, 0, 7, 8);
    writer.finish();
  }
  const found = await python(
    "import json, numpy, sys\na = numpy.load(sys.argv[1])\nprint(json.dumps([a.tolist(), str(a.dtype), a.shape]))",
    path,
  );
  const rows = [[1, 2, 3], [4, 5, 6.5], [-1, Math.fround(0.1), Math.fround(1e30)], [0, 7, 8]];
  assertEquals(found as unknown, [rows, "float32", [4, 3]]);
});

Deno.test("a number of a text file is the float32 again", () => {
  using folder = new RunFolder(1);
  const values = Float32Array.of(0.1, 1 / 3, 16777217, 1.1754944e-38, 3.4028235e38, -0, 123456.79);
  for (const format of [".csv", ".jsonl"] as EmbeddingFormat[]) {
    const path = join(folder.path, `x${format}`);
    {
      using file = Deno.openSync(path, { write: true, create: true });
      openEmbeddingWriter(file, format, 7).add({ rows: [0], names: ["n"], labels: [-1], embeddings: values });
    }
    const line = Deno.readTextFileSync(path).trim().split("\n").at(-1)!;
    const read = format === ".csv" ? line.split(",").slice(3).map(Number) : JSON.parse(line).embedding;
    assertEquals(Float32Array.from(read).map((value) => value + 0), values.map((value) => value + 0));
  }
});

Deno.test("embed flags: what goes together and what does not", async () => {
  const context = { encoders: ["resnet18"], folder: "/here" };
  const refuse = (args: string[], message: string) =>
    assertThrows(() => parseEmbedFlags(["--pretrained", "a.pth", ...args], context), UsageError, message);
  refuse([], "nothing to write");
  refuse(["-o", "e.txt"], "ends in .npy, .csv, .jsonl");
  refuse(["--neighbours", "e.jpg"], "ends in .png");
  refuse(["-o", "e.npy", "-k", "3"], "--knn-k has no effect without --neighbours");
  assertThrows(() => parseEmbedFlags(["-o", "e.npy"], context), UsageError, "missing --pretrained FILE");
  const command = parseEmbedFlags(["--pretrained", "a.pth", "--neighbors", "n.png", "data"], context);
  assert(command.help === undefined);
  assertEquals([command.file, command.sheet, command.request.data], [null, "/here/n.png", "/here/data"]);
  assertEquals(command.request.neighbours, { queries: 10, k: 10, seed: 0 });
  assertStringIncludes((await run("--help")).stdout, "--neighbours, --neighbors FILE.png");
  const nowhere = await run(
    "--pretrained",
    SAMPLE_TEACHER,
    "-o",
    "/tmp/never.npy",
    "--split",
    "test",
    "/nowhere",
  );
  assertEquals(nowhere.code, 1);
  assertMatch(nowhere.stderr, /^error: DATA: \/nowhere does not exist/);
  const missing = await run("--pretrained", "/no.pth", "-o", "/tmp/never.npy");
  assertEquals(missing.code, 1);
  assertMatch(missing.stderr, /^error: --pretrained: \/no\.pth does not exist/);
});
