import { assertEquals, assertRejects } from "@std/assert";
import { openDataset, resolveDataset } from "../../data/open_dataset.ts";
import { UserError } from "../../errors.ts";
import { rowsOf, TestFolder } from "./folder.ts";

Deno.test("resolveDataset() finds a split in a folder, or takes the file itself", async () => {
  using folder = new TestFolder();
  const train = folder.write("train.tsv", rowsOf(1));
  const test = folder.write("test.tsv", rowsOf(1));
  assertEquals(await resolveDataset(folder.path, "train"), train);
  assertEquals(await resolveDataset(`${folder.path}/`, "test"), test);
  assertEquals(await resolveDataset(train, "train"), train);
});

Deno.test("resolveDataset() finds every layout that people have", async () => {
  const record = new Uint8Array(3073);
  const layouts: [files: string[], train: string, test: string | undefined][] = [
    [["train/cat/1.jpg", "val/cat/2.jpg", "test/3.jpg"], "/train", "/val"],
    [["train/cat/1.jpg", "test/cat/3.jpg"], "/train", "/test"],
    [["train.tsv", "val.tsv", "train/cat/1.jpg"], "/train.tsv", "/val.tsv"],
    [["cat/1.jpg", "dog/2.jpg"], "", undefined],
    [["1.jpg", "2.jpg"], "", undefined],
    // Without classes; then a class of trains, which is no split.
    [["train/1.jpg", "val/2.jpg"], "/train", "/val"],
    [["car/1.jpg", "train/2.jpg"], "", undefined],
    // Beside the other split it is no class, whatever else lies there: STL-10, masks.
    [["train/1.jpg", "test/2.jpg", "unlabeled/3.jpg"], "/train", "/test"],
    [["Train/1.jpg", "validation/2.jpg", "masks/1.jpg"], "/Train", "/validation"],
    [["train/cat/1.jpg", "val/2.jpg", "extra/3.jpg"], "/train", "/val"],
    [["extra/a/1.jpg", "train/2.jpg"], "/train", undefined],
    // Other spellings, of which the usual one comes first; and what Kaggle's archives unpack to.
    [["Train/cat/1.jpg", "Test/cat/2.jpg"], "/Train", "/Test"],
    [["TRAIN.TSV", "Val.tsv", "training/cat/1.jpg"], "/TRAIN.TSV", "/Val.tsv"],
    [["TRAIN/cat/1.jpg", "train/cat/2.jpg", "Validation/cat/3.jpg"], "/train", "/Validation"],
    [["training/cat/1.jpg", "testing/cat/2.jpg"], "/training", "/testing"],
    [
      ["training_set/training_set/cat/1.jpg", "test_set/test_set/cat/2.jpg"],
      "/training_set/training_set",
      "/test_set/test_set",
    ],
    [["Car/1.jpg", "Train/2.jpg"], "", undefined],
    // Classes, though their names begin like splits.
    [["valley/1.jpg", "trains/2.jpg", "testudo/3.jpg"], "", undefined],
    [["train (steam)/1.jpg", "train (electric)/2.jpg"], "", undefined],
    [["test tube/1.jpg", "train station/2.jpg", "valley/3.jpg"], "", undefined],
    [["train2017/1.jpg", "trees/2.jpg"], "", undefined],
    [["animals/cat/1.jpg", "vehicles/car/2.jpg", "vehicles/train/3.jpg"], "", undefined],
    [["imagenet/cat/1.jpg"], "", undefined],
    [["data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"], "", "/test_batch.bin"],
    [
      ["cifar-10-batches-bin/data_batch_1.bin", "cifar-10-batches-bin/test_batch.bin"],
      "/cifar-10-batches-bin",
      "/cifar-10-batches-bin/test_batch.bin",
    ],
    [["train.bin", "test.bin"], "/train.bin", "/test.bin"],
    [["cifar-100-binary/train.bin", "notes/a.txt"], "/cifar-100-binary/train.bin", undefined],
  ];
  for (const [files, train, test] of layouts) {
    using folder = new TestFolder();
    for (const file of files) {
      Deno.mkdirSync(`${folder.path}/${file}`.replace(/\/[^/]*$/, ""), { recursive: true });
      folder.write(file, record);
    }
    assertEquals(await resolveDataset(folder.path, "train"), folder.path + train, files.join());
    const found = resolveDataset(folder.path, "test");
    if (test === undefined) await assertRejects(() => found, UserError, "expected one of test.tsv, val.tsv");
    else assertEquals(await found, folder.path + test, files.join());
  }
});

Deno.test("resolveDataset() refuses to take splits for classes", async () => {
  const refused: [files: string[], message: string][] = [
    [
      ["imagenet/train/cat/1.jpg", "imagenet/val/cat/2.jpg", "notes.txt"],
      "found only imagenet/, which has training images of its own. Did you mean FOLDER/imagenet?",
    ],
    [
      ["pets/train/cat/1.jpg", "__MACOSX/pets/train/cat/._1.jpg"],
      "found only pets/, which has training images of its own. Did you mean FOLDER/pets?",
    ],
    [["a/b/Train/1.jpg"], "found only b/, which has training images of its own. Did you mean FOLDER/a/b?"],
    [["a/train.tsv"], "found only a/, which has training images of its own. Did you mean FOLDER/a?"],
    [
      ["train_images/1.jpg", "Test-images/2.jpg"],
      "found only Test-images/, train_images/, which are named as splits.",
    ],
    [["train2017/a/1.jpg", "val2017/a/1.jpg"], "found only train2017/, val2017/, which are named as splits."],
    [["test/cat/1.jpg"], "found only test/, which are named as splits."],
    // Beside other folders, and within one of several: COCO's, and YOLO's.
    [
      ["train2017/1.jpg", "unlabeled2017/2.jpg", "val2017/3.jpg"],
      "found train2017/, val2017/, which are named as splits.",
    ],
    [["test/cat/1.jpg", "val/cat/2.jpg", "cats/3.jpg"], "found test/, val/, which are named as splits."],
    [
      ["images/train/1.jpg", "images/val/2.jpg", "labels/train/1.txt", "labels/val/2.txt"],
      "found images/ with train/, val/ in it, which are named as splits.",
    ],
    [
      ["annotations/a.json", "coco/train2017/1.jpg", "coco/val2017/2.jpg"],
      "found coco/ with train2017/, val2017/ in it, which are named as splits.",
    ],
    [
      ["coco/train2017/1.jpg", "coco/val2017/2.jpg"],
      "found coco/ with train2017/, val2017/ in it, which are named as splits.",
    ],
    [
      ["demo/1.jpg", "images/train/1.jpg", "images/val/2.jpg"],
      "found images/ with train/, val/ in it, which are named as splits.",
    ],
  ];
  for (const [files, message] of refused) {
    using folder = new TestFolder();
    for (const file of files) {
      Deno.mkdirSync(`${folder.path}/${file}`.replace(/\/[^/]*$/, ""), { recursive: true });
      folder.write(file, "");
    }
    const error = await assertRejects(
      () => resolveDataset(folder.path, "train"),
      UserError,
      undefined,
      files.join(),
    );
    const start = "FOLDER: expected training images, or a folder for each class, ";
    assertEquals(
      error.message.replaceAll(folder.path, "FOLDER").slice(0, start.length + message.length),
      start + message,
    );
  }
});

Deno.test("resolveDataset() says which folder is taken for a class though it is named as a split", async () => {
  const notesOf = async (...files: string[]) => {
    using folder = new TestFolder();
    for (const file of files) {
      Deno.mkdirSync(`${folder.path}/${file}`.replace(/\/[^/]*$/, ""), { recursive: true });
      folder.write(file, "");
    }
    const notes: string[] = [];
    await resolveDataset(folder.path, "train", { onNote: (text) => notes.push(text) });
    return notes.map((text) => text.replaceAll(folder.path, "FOLDER"));
  };
  const note = (names: string) =>
    `FOLDER: taken for classes like the folders beside them: ${names}. If these are splits, name the folder of the ` +
    "training images itself";
  assertEquals(await notesOf("car/1.jpg", "Train/2.jpg"), [note("Train/")]);
  assertEquals(await notesOf("car/a/1.jpg", "test/a/2.jpg"), [note("test/")]);
  assertEquals(await notesOf("train/1.jpg", "test/2.jpg", "unlabeled/3.jpg"), []);
  assertEquals(await notesOf("car/1.jpg", "bus/2.jpg"), []);
  assertEquals(await notesOf("car/1.jpg", "train/2.jpg", "3.jpg"), []); // without classes
});

Deno.test("resolveDataset() says what is there instead", async () => {
  using folder = new TestFolder();
  folder.write("tran.tsv", rowsOf(1));
  folder.write("notes.txt", "");
  Deno.mkdirSync(`${folder.path}/images`);
  const missing = await assertRejects(() => resolveDataset(folder.path, "train"), UserError);
  assertEquals(
    missing.message,
    `${folder.path}: expected one of train.tsv, train/, train.bin, data_batch_1.bin, images, found none. ` +
      `${folder.path} contains images/, notes.txt, tran.tsv. Did you mean tran.tsv?`,
  );
  const refuse = (path: string, message: string) =>
    assertRejects(() => resolveDataset(folder.path + path, "train"), UserError, message);
  await refuse("/image", "Did you mean images?");
  await refuse("/no/such/folder", `${folder.path} contains images/`);
  await refuse("/notes.txt/train.tsv", "does not exist");
  Deno.mkdirSync(`${folder.path}/cifar-10-batches-py`);
  folder.write("cifar-10-batches-py/data_batch_1", "");
  await refuse("/cifar-10-batches-py", "cifar-10-batches-py is another version of CIFAR");
});

Deno.test("openDataset() refuses other files before it looks for their lines", async () => {
  using folder = new TestFolder();
  const weights = folder.write("weights.pth", new Uint8Array(9));
  await assertRejects(() => openDataset(weights), UserError, "found another binary file");
  const shard = folder.write("shard-000.tar", new Uint8Array(1024));
  await assertRejects(() => openDataset(shard), UserError, "deno task tsv");
  assertEquals([...Deno.readDirSync(folder.path)].length, 2, "an index was written");
});
