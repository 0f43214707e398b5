/** Distillations that take seconds: a few rows of the bundled images, small batches, encoders that compile in a moment. */
import "../one_thread.ts";
import { join } from "node:path";
import { sampleOptions } from "../../methods/seed/defaults.ts";
import type { DistillOptions } from "../../methods/seed/options.ts";
import { SAMPLE_DATA } from "../../data/sample.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { buildInput, INPUT_KEY, type SavedInput } from "../../models/checkpoint/saved_input.ts";
import type { TorchDict } from "../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../models/checkpoint/torch_writer.ts";
import { drawTeacher } from "./drawn_teacher.ts";

/** The plugin of `tiny_convnet`, student and teacher, here and in every Worker. */
export const TINY_ENCODER: string = new URL("./fixtures/tiny_encoder.ts", import.meta.url).href;
await import(TINY_ENCODER);

const teacherFile = Deno.makeTempFileSync({ prefix: "seed_teacher_", suffix: ".pth.tar" });
addEventListener("unload", () => Deno.removeSync(teacherFile));
await drawTeacher(teacherFile, "tiny_convnet", { kind: "mlp", dimension: 128 }, 1);

/** Checkpoint of a `tiny_convnet`, whose weights are drawn: a teacher for runs that are about anything but what it teaches. */
export const TINY_TEACHER: string = teacherFile;

/** The first rows of a file of the bundled sample. */
export function sampleRows(file: "train.tsv" | "test.tsv", count: number): string {
  const text = Deno.readTextFileSync(join(SAMPLE_DATA, file));
  let end = 0;
  for (let row = 0; row < count; row++) end = text.indexOf("\n", end) + 1;
  return text.slice(0, end);
}

/** Folders of a run that are there while a test runs: `data/train.tsv`, maybe `data/test.tsv`, and room for outputs. */
export class RunFolder implements Disposable {
  readonly path: string = Deno.makeTempDirSync({ prefix: "seed_run_" });
  readonly data: string = join(this.path, "data");

  /** @param rows images to learn from; @param testRows images to classify, 0 for no evaluation */
  constructor(rows: number, testRows = 0) {
    Deno.mkdirSync(this.data);
    Deno.writeTextFileSync(join(this.data, "train.tsv"), sampleRows("train.tsv", rows));
    if (testRows > 0) Deno.writeTextFileSync(join(this.data, "test.tsv"), sampleRows("test.tsv", testRows));
  }

  /** Gives the images to learn from the labels 0 and 1 in turn, so that there are enough of each. */
  relabel(): void {
    const train = join(this.data, "train.tsv");
    let row = 0;
    Deno.writeTextFileSync(train, Deno.readTextFileSync(train).replace(/\t\d+\t/g, () => `\t${row++ % 2}\t`));
  }

  /** Writes the images to classify once more, each with the label of another class, and returns the path. */
  mislabelTest(): string {
    const [test, path] = ["test.tsv", "mislabelled.tsv"].map((name) => join(this.data, name));
    const other = (label: string) => `\t${(Number(label) + 5) % 10}\t`;
    const text = Deno.readTextFileSync(test).replace(/\t(\d+)\t/g, (_, label: string) => other(label));
    Deno.writeTextFileSync(path, text);
    return path;
  }

  /** A new folder for what a run writes. */
  makeOutput(name: string): string {
    const path = join(this.path, name);
    Deno.mkdirSync(path);
    return path;
  }

  /** Options that evaluations of the tiny teacher share, by labels, on the images of the folder and into a new one. */
  labelledOptions(name: string) {
    return {
      pretrained: TINY_TEACHER,
      arch: "tiny_convnet",
      plugins: [TINY_ENCODER],
      which: "student" as const,
      data: join(this.data, "train.tsv"),
      testData: join(this.data, "test.tsv"),
      output: this.makeOutput(name),
      workers: 1,
    };
  }

  /** Options of a small run without an evaluation that writes to a new folder. */
  options(name: string, changes: Partial<DistillOptions> = {}): DistillOptions {
    return sampleOptions({
      data: this.data,
      testData: null,
      output: this.makeOutput(name),
      distill: TINY_TEACHER,
      teacherArch: "tiny_convnet",
      studentArch: "tiny_convnet",
      plugins: [TINY_ENCODER],
      lr: 0.03,
      workers: 1,
      epochs: 1,
      batchSize: 4,
      queue: 16,
      knnK: 5,
      insight: false,
      ...changes,
    }) as DistillOptions; // complete: with testData, and of an encoder that is imported
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** Of an encoder that takes pixels as they are. */
export const PLAIN_PIXELS: SavedInput = { mean: [0, 0, 0], std: [1, 1, 1] };

/** Writes a checkpoint once more that says so of its images, and returns its path. */
export async function withInput(checkpoint: string, path: string, input: SavedInput): Promise<string> {
  using file = await openCheckpointFile(checkpoint);
  const root = file.value as TorchDict;
  root.set(INPUT_KEY, buildInput(input));
  await writeTorchFile(path, root);
  return path;
}

/** Writes a TSV file once more beside itself, with label 1 in every row, and returns its path. */
export function withOneClass(path: string): string {
  const one = path.replace(/\.tsv$/, "_of_one_class.tsv");
  Deno.writeTextFileSync(one, Deno.readTextFileSync(path).replace(/\t\d+\t/g, "\t1\t"));
  return one;
}

/** SHA-256 of a file: runs that do the same write the same bytes. */
export async function digestFile(path: string): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", await Deno.readFile(path))).toHex();
}
