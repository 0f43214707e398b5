/** From JPEGs to views: this project's readers and augmenter against PyTorch's DataLoader. */
import { join } from "node:path";
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
import type { Timing, Timings } from "./measure.ts";
import { runPython } from "./python.ts";

const sharp = await loadSharp();

const IMAGES = 256;
const BATCH = 64;
const SIZE = 224;
const WORKERS = 2;
const [WIDTH, HEIGHT, TILE] = [500, 375, 25];

/** Makes images with much detail: mosaics of the bundled ones, 256 JPEGs of 500 x 375. */
export async function makeImages(folder: string): Promise<void> {
  using dataset = await openDataset(join(SAMPLE_DATA, "train.tsv"));
  await Deno.mkdir(folder, { recursive: true });
  const [across, down] = [WIDTH / TILE, HEIGHT / TILE];
  const rows = await dataset.readRows(Array.from({ length: 1000 }, (_, i) => i));
  const images = rows.flatMap((row) => row instanceof BrokenRowError ? [] : [row.image as Uint8Array]);
  const tiles = await Promise.all(
    images.map((image) => sharp(image).resize(TILE, TILE).removeAlpha().raw().toBuffer()),
  );
  const pixels = new Uint8Array(WIDTH * HEIGHT * 3);
  for (let i = 0; i < IMAGES; i++) {
    for (let t = 0; t < across * down; t++) {
      const tile = tiles[(i * 37 + t * 101) % tiles.length];
      for (let y = 0; y < TILE; y++) {
        const row = Math.floor(t / across) * TILE + y;
        pixels.set(tile.subarray(y * TILE * 3, (y + 1) * TILE * 3), (row * WIDTH + t % across * TILE) * 3);
      }
    }
    await sharp(pixels, { raw: { width: WIDTH, height: HEIGHT, channels: 3 } })
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
  /** How many it has; what does not fill a batch of 64 is left out. */
  images: number;
  rounds: number;
  /** Whether an augmenter is behind them. */
  makesViews: boolean;
  cache?: ImageCacheHandle;
}

/** Milliseconds an image in epochs after the first: of readers with an augmenter behind them, or of these alone. */
export async function timeReaders(
  { path, images, rounds, makesViews, cache }: ReadersWork,
): Promise<Timing> {
  const batches = Math.floor(images / BATCH);
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
          batchSize: BATCH,
          viewBytes: BATCH * SIZE * SIZE * 4,
          embeddingBytes: 4,
          batchesUnderWay: 3,
          cache,
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
        batchSize: BATCH,
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
      times.push((performance.now() - start) / (batches * BATCH));
    }
    const sorted = times.slice(1).sort((a, b) => a - b);
    return { median: sorted[sorted.length >> 1], min: sorted[0], max: sorted.at(-1)! };
  });
}

/** Milliseconds an image, by who did it. */
export async function compareAugmentation(rounds: number): Promise<Timings> {
  const folder = await Deno.makeTempDir({ prefix: "seed_bench_" });
  try {
    await makeImages(join(folder, "images"));
    console.log(`made ${IMAGES} images`);
    const work = { path: folder, images: IMAGES, rounds };
    const own = await timeReaders({ ...work, makesViews: true });
    console.log(`ours: ${own.median.toFixed(2)} ms an image`);
    const readers = await timeReaders({ ...work, makesViews: false });
    console.log(`our readers alone: ${readers.median.toFixed(2)} ms an image`);
    const args = [folder, SIZE, BATCH, WORKERS, rounds].map(String);
    const torch = await runPython(DATA_LOADER, ...args) as unknown as Timing | undefined;
    return { ours: own, "our readers alone": readers, ...torch && { DataLoader: torch } };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
