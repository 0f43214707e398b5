/** From JPEGs to views: this project's readers and augmenter against PyTorch's DataLoader. */
import { join } from "node:path";
import { withDecoding } from "../actors/data_facts.ts";
import { decodedSize } from "../data/decode.ts";
import { loadSharp } from "../data/sharp.ts";
import type augmenter from "../actors/augmenter.ts";
import type { Monitor } from "../actors/events.ts";
import { Origins } from "../actors/origins.ts";
import type { Augmenter, DecodedBatch, Encoder, ViewBatch } from "../actors/messages.ts";
import { actorUrl } from "../actors/catalog.ts";
import { ActorSystem } from "../actors/runtime/mod.ts";
import type tsvReader from "../actors/tsv_reader.ts";
import { TRAINING_ORDER } from "../actors/tsv_reader.ts";
import { BrokenRowError } from "../data/dataset.ts";
import type { ImageCacheHandle } from "../data/image_cache.ts";
import { openDataset } from "../data/open_dataset.ts";
import { SAMPLE_DATA } from "../data/sample.ts";
import type { Timing } from "./measure.ts";
import { runPython } from "./python.ts";
import type { Row } from "./section.ts";

const sharp = await loadSharp();

const SIZE = 224;
const WORKERS = 2;

/** JPEGs that are made: mosaics of the bundled images. */
interface MadeImages {
  width: number;
  height: number;
  /** Side of a tile, in pixels: a divisor of both. */
  tile: number;
  count: number;
  /** Images of a batch. */
  batch: number;
}

/** As ImageNet's, with much detail. */
export const USUAL_IMAGES: MadeImages = { width: 500, height: 375, tile: 25, count: 256, batch: 64 };

/** As a camera's of 12 megapixels, of 4.4 MB each. */
export const PHOTOS: MadeImages = { width: 4000, height: 3000, tile: 50, count: 32, batch: 8 };

/** Makes them. */
export async function makeImages(folder: string, { width, height, tile, count }: MadeImages): Promise<void> {
  using dataset = await openDataset(join(SAMPLE_DATA, "train.tsv"));
  await Deno.mkdir(folder, { recursive: true });
  const [across, down] = [width / tile, height / tile];
  const rows = await dataset.readRows(Array.from({ length: 1000 }, (_, i) => i));
  const images = rows.flatMap((row) => row instanceof BrokenRowError ? [] : [row.image as Uint8Array]);
  const tiles = await Promise.all(
    images.map((image) => sharp(image).resize(tile, tile).removeAlpha().raw().toBuffer()),
  );
  const pixels = new Uint8Array(width * height * 3);
  for (let i = 0; i < count; i++) {
    for (let t = 0; t < across * down; t++) {
      const chosen = tiles[(i * 37 + t * 101) % tiles.length];
      for (let y = 0; y < tile; y++) {
        const row = Math.floor(t / across) * tile + y;
        pixels.set(chosen.subarray(y * tile * 3, (y + 1) * tile * 3), (row * width + t % across * tile) * 3);
      }
    }
    await sharp(pixels, { raw: { width, height, channels: 3 } })
      .jpeg({ quality: 90 }).toFile(join(folder, `${i}.jpg`));
  }
}

const DATA_LOADER = `
import json, sys, time, random, torch
from PIL import ImageFilter
from torchvision import datasets, transforms
class Blur:
    def __call__(self, image): return image.filter(ImageFilter.GaussianBlur(random.uniform(.1, 2.)))
views = transforms.Compose([
    transforms.RandomResizedCrop(int(sys.argv[2]), scale=(.2, 1.)),
    transforms.RandomApply([transforms.ColorJitter(.4, .4, .4, .1)], p=.8),
    transforms.RandomGrayscale(p=.2),
    transforms.RandomApply([Blur()], p=.5),
    transforms.RandomHorizontalFlip(),
    transforms.ToTensor()])
torch.set_num_threads(1)
data = datasets.ImageFolder(sys.argv[1], views)
loader = torch.utils.data.DataLoader(data, batch_size=int(sys.argv[3]), num_workers=int(sys.argv[4]), shuffle=True,
    drop_last=True, persistent_workers=True)
def epoch():
    start = time.perf_counter()
    for _ in loader: pass
    return (time.perf_counter() - start) / len(data) * 1000
epoch()
times = sorted(epoch() for _ in range(int(sys.argv[5])))
print(json.dumps({"median": times[len(times) // 2], "min": times[0], "max": times[-1]}))
`;

/** What readers are timed by. */
interface ReadersWork {
  /** Of the data. */
  path: string;
  /** How many it has, and how many are a batch; what does not fill one is left out. */
  images: Pick<MadeImages, "count" | "batch">;
  rounds: number;
  /** Whether an augmenter is behind them. */
  makesViews: boolean;
  cache?: ImageCacheHandle;
  /** See `--fast-decode`. */
  leastSide?: number;
}

/** Milliseconds an image in epochs after the first: of readers with an augmenter behind them, or of these alone. */
export async function timeReaders(
  { path, images: { count, batch }, rounds, makesViews, cache, leastSide }: ReadersWork,
): Promise<Timing> {
  const batches = Math.floor(count / batch);
  const system = new ActorSystem();
  return await system.run(async () => {
    const monitor = system.listen<Monitor>("monitor", { event: ({ text }) => console.error(text) });
    let left = 0;
    let epochDone = Promise.withResolvers<void>();
    const readers = Array.from(
      { length: WORKERS },
      (_, worker) =>
        system.spawn<typeof tsvReader>(`reader ${worker}`, actorUrl("tsv_reader"), {
          path,
          purpose: "train",
          order: TRAINING_ORDER,
          worker,
          workers: WORKERS,
          seed: 0,
          batchSize: batch,
          viewBytes: batch * SIZE * SIZE * 4,
          embeddingBytes: 4,
          batchesUnderWay: 3,
          cache,
          leastSide,
          monitor,
        }).ref,
    );
    const origins = new Origins();
    origins.connect(readers);
    const sendHome = async (batch: DecodedBatch | ViewBatch) => {
      await origins.giveBack(batch);
      if (--left === 0) epochDone.resolve();
    };
    const last = system.listen<Pick<Augmenter, "augment"> & Encoder>("sink", {
      augment: sendHome,
      encode: sendHome,
    });
    const next = makesViews
      ? system.spawn<typeof augmenter>("augmenter", actorUrl("augmenter"), {
        batchSize: batch,
        imageSize: SIZE,
        views: { kind: "training", augmentation: "mocov2", seed: 0, first: { epoch: 0, batch: 0 } },
        next: last,
      }).ref
      : last;
    for (const reader of readers) await reader.tell("connect", { augmenter: next });
    const times: number[] = [];
    for (let epoch = 0; epoch <= rounds; epoch++) {
      epochDone = Promise.withResolvers<void>();
      left = batches;
      const start = performance.now();
      const reading = readers.map((reader) => reader.ask("read", { epoch }, { timeoutMs: Infinity }));
      await Promise.all([...reading, epochDone.promise]);
      times.push((performance.now() - start) / (batches * batch));
    }
    const sorted = times.slice(1).sort((a, b) => a - b);
    return { median: sorted[sorted.length >> 1], min: sorted[0], max: sorted.at(-1)! };
  });
}

/** Rows of the section: with `--fast-decode` too where that makes the images smaller. */
export async function compareAugmentation(images: MadeImages, rounds: number): Promise<Row[]> {
  const { width, height, batch, count } = images;
  const folder = await Deno.makeTempDir({ prefix: "seed_bench_" });
  try {
    await makeImages(join(folder, "images"), images);
    console.log(`made ${count} images of ${width} x ${height}`);
    const work = { path: folder, images, rounds };
    const args = [folder, SIZE, batch, WORKERS, rounds].map(String);
    const torch = await runPython(DATA_LOADER, ...args) as unknown as Timing | undefined;
    const row = async (name: string, decoding: Pick<ReadersWork, "leastSide">): Promise<Row> => ({
      name,
      timings: {
        ours: await timeReaders({ ...work, ...decoding, makesViews: true }),
        "our readers alone": await timeReaders({ ...work, ...decoding, makesViews: false }),
        ...torch && { DataLoader: torch },
      },
    });
    const { leastSide } = await withDecoding({ imageSize: SIZE, fastDecode: true });
    const isSmaller = decodedSize({ format: "JPEG", width, height }, { leastSide }).width < width;
    const name = `${width} x ${height}`;
    const whole = await row(name, {});
    if (!isSmaller) return [whole];
    // The DataLoader decodes all pixels there too.
    return [whole, { ...await row(`${name}, --fast-decode`, { leastSide }), differs: true }];
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
