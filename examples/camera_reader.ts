/**
 * A reader of one's own: images that are made as they are asked for, as a camera would give them. It stands in the place of
 * the TSV reader; see camera.ts.
 */
import {
  type ActorRef,
  type Augmenter,
  defineActor,
  makeBuffers,
  packImages,
  type TsvReader,
  type TsvReaderConfig,
  urgent,
} from "@seed/distillation";

const SIZE = 32;

/** A disc of some colour somewhere on a gradient: frame `row` of the camera. */
function takeImage(row: number) {
  const pixels = new Uint8Array(SIZE * SIZE * 4);
  const [x0, y0, colour] = [row * 7 % SIZE, row * 13 % SIZE, row * 53 % 256];
  for (let i = 0; i < SIZE * SIZE; i++) {
    const [x, y] = [i % SIZE, Math.floor(i / SIZE)];
    const isDisc = Math.hypot(x - x0, y - y0) < 8;
    pixels.set(isDisc ? [colour, 255 - colour, 128, 255] : [4 * x, 4 * y, row % 256, 255], 4 * i);
  }
  return { width: SIZE, height: SIZE, pixels, row, label: -1 };
}

export default defineActor<TsvReader, TsvReaderConfig>((config, context) => {
  const { worker, workers, batchSize, batchesUnderWay } = config;
  let augmenter: ActorRef<Augmenter>;
  const free = Array.from({ length: batchesUnderWay }, () => makeBuffers(config));
  let giveBack = () => {};

  return {
    handlers: {
      connect: (next) => void (augmenter = next.augmenter),
      async read({ epoch, firstBatch = 0, endBatch = Infinity }) {
        let images = 0;
        const first = firstBatch + (worker - firstBatch % workers + workers) % workers;
        for (let batch = first; batch < endBatch; batch += workers) {
          // Buffers come home when a batch has been trained on: so the camera is never far ahead.
          while (free.length === 0) await context.wait(new Promise<void>((resolve) => giveBack = resolve));
          const buffers = free.pop()!;
          const frames = Array.from({ length: batchSize }, (_, i) => takeImage(batch * batchSize + i));
          images += frames.length;
          await augmenter.tell("augment", {
            position: { epoch, batch, endsEpoch: batch === endBatch - 1 },
            origin: context.name,
            purpose: config.purpose,
            ...buffers,
            images: packImages(frames, buffers.images),
          });
        }
        return { images };
      },
      recycle: urgent((buffers) => {
        free.push(buffers);
        giveBack();
      }),
    },
  };
});
