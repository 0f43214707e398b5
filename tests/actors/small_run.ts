/** Distillations that take seconds: a few rows of the bundled pictures, small batches, the bundled teacher. */
import { join } from "node:path";
import { sampleOptions } from "../../methods/seed/defaults.ts";
import type { DistillOptions } from "../../methods/seed/options.ts";
import { SAMPLE_DATA } from "../../data/sample.ts";

// Here and in every Worker: a student whose kernels compile in a moment.
export const TINY_ENCODER: string = new URL("../../examples/custom_encoder.ts", import.meta.url).href;
await import(TINY_ENCODER);

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

  /** @param rows pictures to learn from; @param testRows pictures to classify, 0 for no evaluation */
  constructor(rows: number, testRows = 0) {
    Deno.mkdirSync(this.data);
    Deno.writeTextFileSync(join(this.data, "train.tsv"), sampleRows("train.tsv", rows));
    if (testRows > 0) Deno.writeTextFileSync(join(this.data, "test.tsv"), sampleRows("test.tsv", testRows));
  }

  /** A new folder for what a run writes. */
  makeOutput(name: string): string {
    const path = join(this.path, name);
    Deno.mkdirSync(path);
    return path;
  }

  /** Options of a small run without an evaluation that writes to a new folder. */
  options(name: string, changes: Partial<DistillOptions> = {}): DistillOptions {
    return sampleOptions({
      data: this.data,
      testData: null,
      output: this.makeOutput(name),
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
    });
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** SHA-256 of a file: runs that do the same write the same bytes. */
export async function digestFile(path: string): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", await Deno.readFile(path))).toHex();
}
