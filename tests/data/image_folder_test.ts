import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { fileURLToPath } from "node:url";
import { BrokenRowError } from "../../data/dataset.ts";
import { ImageFolder } from "../../data/image_folder.ts";
import { resolveDataset } from "../../data/open_dataset.ts";
import { UserError } from "../../errors.ts";
import { testWithPython } from "../python.ts";
import { CONFIG, ONE_PIXEL, TestFolder } from "./folder.ts";

const PNG = Uint8Array.fromBase64(ONE_PIXEL);

class Tree extends TestFolder {
  constructor(files: readonly string[]) {
    super();
    for (const file of files) {
      Deno.mkdirSync(`${this.path}/${file}`.replace(/\/[^/]*$/, ""), { recursive: true });
      if (!file.endsWith("/")) this.write(file, PNG);
    }
  }

  async open(): Promise<{ folder: ImageFolder; rows: [string, number][]; warnings: string[] }> {
    const warnings: string[] = [];
    const folder = await ImageFolder.open(this.path, { onWarning: (text) => warnings.push(text) });
    const rows = await folder.readRows([...Array(folder.rowCount).keys()]);
    return {
      folder,
      warnings: warnings.map((text) => text.replaceAll(this.path, "FOLDER")),
      rows: rows.map((row) => {
        assert(!(row instanceof BrokenRowError));
        assertEquals(row.image, PNG);
        return [row.key, row.label];
      }),
    };
  }
}

const CLASSES = [
  "dog/b.JPG",
  "dog/a.jpeg",
  "cat/x/2.png",
  "cat/x y/1.webp",
  "cat/x/deep/9.png",
  "cat/z.png",
  "Zebra/10.png",
  "Zebra/9.png",
];

Deno.test("an image folder has torchvision's classes, labels and order", async () => {
  using tree = new Tree(CLASSES);
  const { folder, rows, warnings } = await tree.open();
  assertEquals(folder.classNames, ["Zebra", "cat", "dog"]);
  assertEquals([folder.hasLabels, folder.classCount], [true, 3]);
  assertEquals([...await folder.readLabels()], rows.map(([, label]) => label));
  assertEquals(rows, [
    ["Zebra/10.png", 0],
    ["Zebra/9.png", 0],
    ["cat/z.png", 1],
    ["cat/x/2.png", 1],
    ["cat/x y/1.webp", 1],
    ["cat/x/deep/9.png", 1],
    ["dog/a.jpeg", 2],
    ["dog/b.JPG", 2],
  ]);
  assertEquals(warnings, []);
  const backwards = await folder.readRows([7, 0]);
  assertEquals(backwards.map((row) => row.row), [7, 0]);
  await assertRejects(() => folder.readRows([8]), RangeError, "a row from 0 to 7, found 8");
});

Deno.test("an image folder orders names by code points, as Python does", async () => {
  using tree = new Tree([
    "\u{1F600}/a.png",
    "\uFF21/a.png",
    "x/\u{1F600}b/1.png",
    "x/\uFF21/2.png",
    "x/\u{1F600}/3.png",
  ]);
  const { folder, rows } = await tree.open();
  assertEquals(folder.classNames, ["x", "\uFF21", "\u{1F600}"]);
  assertEquals(rows.map(([key]) => key), [
    "x/\uFF21/2.png",
    "x/\u{1F600}/3.png",
    "x/\u{1F600}b/1.png",
    "\uFF21/a.png",
    "\u{1F600}/a.png",
  ]);
});

testWithPython(
  "an image folder lists what torchvision lists",
  { torchvision: "python3-torchvision" },
  async (run) => {
    using tree = new Tree([
      ...CLASSES,
      "\u{1F600}/a.png",
      "\uFF21/a.png",
      "\uFF21/\u{1F600}/b.png",
      "\uFF21/\uFF22/b.png",
    ]);
    const { rows } = await tree.open();
    const { samples } = await run(
      `
import json, os, sys, torchvision
root = sys.argv[1]
samples = torchvision.datasets.ImageFolder(root).samples
print(json.dumps({"samples": [[os.path.relpath(path, root), label] for path, label in samples]}))
`,
      tree.path,
    );
    assertEquals(samples, rows);
  },
);

Deno.test("images without classes have the label -1, at any depth", async () => {
  for (const files of [["b.png", "a.png"], ["a.png", "2024/b.png"]]) {
    using tree = new Tree(files);
    const { folder, rows, warnings } = await tree.open();
    assertEquals(
      rows,
      files.toSorted().reverse().map((file) => [file, -1] as [string, number]).sort((a, b) =>
        Number(a[0].includes("/")) - Number(b[0].includes("/")) || (a[0] < b[0] ? -1 : 1)
      ),
    );
    assertEquals([folder.hasLabels, folder.classCount], [false, undefined]);
    assertEquals([...await folder.readLabels()], files.map(() => -1));
    assertEquals(
      warnings,
      files[1].includes("/")
        ? [
          "FOLDER: found images next to the folders 2024, so these are not used as classes; all images are used, without labels",
        ]
        : [],
    );
  }
});

Deno.test("an image folder says what it leaves out", async () => {
  using tree = new Tree([
    "cat/1.png",
    "cat/readme.txt",
    "cat/old.heic",
    "cat/.hidden.png",
    ".ipynb_checkpoints/1.png",
    "__MACOSX/cat/._1.png",
    "dog/",
    "notes.csv",
  ]);
  const { folder, rows, warnings } = await tree.open();
  assertEquals(rows, [["cat/1.png", 0]]);
  assertEquals(folder.classCount, 2, "an empty class keeps its label");
  assertEquals(
    warnings,
    [
      "FOLDER: left out 1 image of an unsupported format (1 .heic); convert them to PNG, for example with ImageMagick's `mogrify -format png`, and 2 files that are not images (1 .csv, 1 .txt)",
      "FOLDER: found no images of the class dog",
    ],
  );
});

Deno.test("an image folder takes what torchvision's ImageFolder takes, GIF too, in any case", async () => {
  const ends = ["BMP", "JPG", "gif", "jpeg", "pgm", "png", "ppm", "tif", "tiff", "webp"];
  using tree = new Tree(ends.map((end) => `cat/1.${end}`));
  const { rows, warnings } = await tree.open();
  assertEquals([rows, warnings], [ends.map((end) => [`cat/1.${end}`, 0]), []]);
});

Deno.test("an image folder follows links, and ends where they lead back up", async () => {
  using elsewhere = new Tree(["1.png"]);
  using tree = new Tree(["cat/0.png"]);
  Deno.symlinkSync(elsewhere.path, `${tree.path}/cat/linked`);
  Deno.symlinkSync(tree.path, `${tree.path}/cat/up`);
  Deno.symlinkSync("/nowhere.png", `${tree.path}/cat/gone.png`);
  const { rows } = await tree.open();
  assertEquals(rows, [["cat/0.png", 0], ["cat/linked/1.png", 0]]);
});

Deno.test("an image folder of links alone is one, and folders that link each other are looked into once", async () => {
  using elsewhere = new Tree(["1.png"]);
  using links = new Tree([]);
  Deno.symlinkSync(`${elsewhere.path}/1.png`, `${links.path}/a.png`);
  assertEquals(await resolveDataset(links.path, "train"), links.path);
  assertEquals((await links.open()).rows, [["a.png", -1]]);

  // 9 folders with a link to each of the others have 9 + 9 * 8 + 9 * 8 * 7 ... = 986,409 paths.
  const names = [..."abcdefghi"];
  using knot = new Tree(names.map((name) => `${name}/${name}.png`));
  for (const from of names) {
    for (const to of names) {
      if (from !== to) Deno.symlinkSync(`${knot.path}/${to}`, `${knot.path}/${from}/to_${to}`);
    }
  }
  const { rows, warnings } = await knot.open();
  assertEquals(rows.length, 81, "each of 9 classes has each of 9 folders once");
  assertMatch(warnings[0], /left out 576 links to folders that are already in the class/);
});

Deno.test("an image folder names what has no name in UTF-8, and goes on", async () => {
  using tree = new Tree(["bee/1.png", "dog/1.png"]);
  // "caf\xe9" as Latin-1 has it: a class, and a file.
  const make = `mkdir "$(printf 'caf\\351')" && cp bee/1.png "$(printf 'caf\\351')/1.png" && ` +
    `cp bee/1.png "$(printf 'bee/caf\\351.png')"`;
  const { success } = await new Deno.Command("sh", { args: ["-c", make], cwd: tree.path }).output();
  // Some file systems have UTF-8 alone.
  if (!success) return console.log("skipped: the file system refuses names that are not UTF-8");
  const warnings: string[] = [];
  using folder = await ImageFolder.open(tree.path, { onWarning: (text) => warnings.push(text) });
  assertEquals(folder.classNames, ["bee", "caf\uFFFD", "dog"]);
  assertStringIncludes(warnings[0], "left out the images of caf\uFFFD: the name is not UTF-8");
  const rows = await folder.readRows([0, 1, 2]);
  assertEquals(rows.map((row) => row instanceof BrokenRowError ? row.message : row.label), [
    0,
    `${tree.path}/bee/caf\uFFFD.png: it cannot be read: the name is not UTF-8 (\uFFFD marks invalid bytes); ` +
    "rename it, for example with `convmv -f latin1 -t utf8 -r --notest`",
    2,
  ]);
});

Deno.test("an image folder refuses what has no images, and names an image that is gone", async () => {
  using empty = new Tree(["cat/readme.txt"]);
  await assertRejects(
    () => ImageFolder.open(empty.path),
    UserError,
    "expected images (.jpg, .jpeg, .png, .webp, .gif, .bmp, .tif, .tiff, .pbm, .pgm, .ppm, .pnm) in it or in the folders of its classes, found none. Left out: 1 file that",
  );
  using tree = new Tree(["cat/1.png", "cat/2.png"]);
  const folder = await ImageFolder.open(tree.path);
  Deno.removeSync(`${tree.path}/cat/1.png`);
  const [gone, there] = await folder.readRows([0, 1]);
  assertInstanceOf(gone, BrokenRowError);
  assertEquals(
    gone.message,
    `${tree.path}/cat/1.png: it can no longer be read (No such file or directory (os error 2))`,
  );
  assert(!(there instanceof BrokenRowError));
  assertThrows(
    () => {
      throw folder.brokenRow(1, "why");
    },
    BrokenRowError,
    "cat/2.png: why",
  );
});

Deno.test("an image folder calls no image broken where the system has no more open files", async () => {
  using tree = new Tree(["cat/1.png"]);
  const { stdout, stderr } = await new Deno.Command("sh", {
    args: [
      "-c",
      'ulimit -n 100 && exec "$0" run --quiet --config "$1" --allow-read "$2" "$3"',
      Deno.execPath(),
      CONFIG,
      fileURLToPath(new URL("./full_reader.ts", import.meta.url)),
      tree.path,
    ],
  }).output();
  const text = new TextDecoder();
  assertEquals(text.decode(stderr), "");
  const keys = ["cat/1.png"];
  assertEquals(JSON.parse(text.decode(stdout)), [
    keys,
    `${tree.path}/cat/1.png could not be read: Too many open files (os error 24); raise the limit of open files, ` +
    "for example with `ulimit -n 65536`, and start the command again.",
    keys,
  ]);
});
