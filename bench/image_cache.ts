/** What keeping decoded images saves: readers alone, and a run on the bundled images, with and without. */
import { join } from "node:path";
import { ImageCaches } from "../actors/image_caches.ts";
import { SAMPLE_DATA } from "../data/sample.ts";
import { makeImages, timeReaders, USUAL_IMAGES } from "./augmentation.ts";
import type { Timing, Timings } from "./measure.ts";
import { measurePipeline, type PipelineFacts } from "./pipeline.ts";

/** Of the run: batches of 32 in an epoch. */
const STEPS_PER_EPOCH = 32;
const EPOCHS = 3;

/** The ways to keep images, by what a table calls them. */
const WAYS = { ours: "memory", "a file": "FILE", decoding: "off" } as const;

/** Milliseconds an image of two readers, which nothing holds back, in epochs after the first. */
export async function compareCaches(rounds: number): Promise<{ name: string; timings: Timings }[]> {
  const folder = await Deno.makeTempDir({ prefix: "seed_bench_" });
  try {
    await makeImages(join(folder, "images"), USUAL_IMAGES);
    const rows: { name: string; timings: Timings }[] = [];
    for (
      const [name, path, images] of [
        ["PNGs of 32 x 32, base64 in a TSV", join(SAMPLE_DATA, "train.tsv"), { count: 4000, batch: 64 }],
        ["JPEGs of 500 x 375, in a folder", join(folder, "images"), USUAL_IMAGES],
      ] as const
    ) {
      const timings: Record<string, Timing> = {};
      for (const [way, choice] of Object.entries(WAYS)) {
        const cache = choice === "FILE" ? join(folder, `${images.count}.cache`) : choice;
        using caches = await ImageCaches.open({ cache, data: [path] });
        const work = { path, images, rounds, makesViews: false };
        timings[way] = await timeReaders({ ...work, cache: caches.of(path) });
        console.log(`${name}, ${way}: ${timings[way].median.toFixed(4)} ms an image`);
      }
      rows.push({ name, timings });
    }
    return rows;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Epochs after the first of a run on two readers, with images that are kept and without. */
export async function compareRuns(): Promise<{ kept: PipelineFacts; decoding: PipelineFacts }> {
  const folder = await Deno.makeTempDir({ prefix: "seed_bench_" });
  try {
    const text = await Deno.readTextFile(join(SAMPLE_DATA, "train.tsv"));
    const rows = text.split("\n").slice(0, 32 * STEPS_PER_EPOCH);
    await Deno.writeTextFile(join(folder, "train.tsv"), rows.join("\n") + "\n");
    const measure = (cache: string) =>
      measurePipeline("mobilenetv3_small", 32, {
        data: folder,
        cache,
        stepsPerEpoch: STEPS_PER_EPOCH,
        epochs: EPOCHS,
      });
    return { kept: await measure("memory"), decoding: await measure("off") };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
