/**
 * Makes one view of every image on the GPU.
 *
 * In training it puts the batches of several readers into the order of the epoch. A view's random numbers depend on the
 * seed, the epoch and the image's row alone.
 */
import { TABLE_STRIDE } from "../data/pack.ts";
import { Random } from "../data/random.ts";
import { openGpu } from "../kernels/gpu.ts";
import { drawMixture, type Mixture, repeatMixture } from "../kernels/image/mixup.ts";
import { ViewMaker } from "../kernels/image/view_maker.ts";
import {
  evaluationView,
  sampleView,
  swavLocalAugmentation,
  type ViewParameters,
} from "../kernels/image/view_parameters.ts";
import { findAugmentation } from "../kernels/image/augmentations.ts";
import type { BatchNumber } from "./batch_number.ts";
import { BestEffort } from "./best_effort.ts";
import { type EvaluationResize, filterOf, shorterSide } from "./evaluation_resize.ts";
import type { Monitor, ViewsEvent, WarningEvent } from "./events.ts";
import type { Augmenter, DecodedBatch, Encoder, LocalViewOptions } from "./messages.ts";
import { DoubleBuffer } from "./double_buffer.ts";
import { requireBuffers, requireFull } from "./require_batch.ts";
import { profileAll } from "./run_profile.ts";
import { type ActorRef, defineActor } from "./runtime/mod.ts";

/** Views that a viewer is shown. */
const SHOWN_VIEWS = 32;

/** Kind of views to make. */
export type Views =
  /**
   * Training views by the name of an augmentation, and the first batch to expect. With `mixup` those of a batch are mixed with
   * each other, by a weight from Beta(mixup, mixup); each `rank`, of several that share a batch, mixes its own.
   */
  | {
    kind: "training";
    augmentation: string;
    mixup?: number;
    rank?: number;
    seed: number;
    first: BatchNumber;
  }
  /** Resized and cut from the middle, by torchvision's rule unless said; in order of arrival where no first batch is. */
  | { kind: "evaluation"; resize?: EvaluationResize; first?: BatchNumber };

/** Configuration of an `augmenter` actor. */
export interface AugmenterConfig {
  /** Images per batch. */
  batchSize: number;
  /** Whether each batch must have as many; a `UserError` names the reader of another one. Default: it may have fewer. */
  isFull?: boolean;
  /** Side of a view, in pixels. */
  imageSize: number;
  /**
   * Side of the same views for a teacher, in pixels, if that is another one. Views are made at the larger size, and shrunk to
   * the smaller.
   */
  teacherSize?: number;
  /** Views to make. */
  views: Views;
  /** Small views of the same images, if any. */
  local?: LocalViewOptions;
  /** Receives some views of the first batch. */
  viewer?: ActorRef<Monitor<ViewsEvent | WarningEvent>>;
  /** Receives the views. */
  next: ActorRef<Encoder>;
}

/** The small views of a batch, those of an image one after the other. */
function sampleLocalViews(
  { images: { table, count }, position }: DecodedBatch,
  { views, imageSize, augmentation }: LocalViewOptions,
  seed: number,
): ViewParameters[] {
  const draw = augmentation === undefined ? swavLocalAugmentation : findAugmentation(augmentation);
  return Array.from({ length: count * views }, (_, i) => {
    const image = Math.floor(i / views);
    const [, width, height, row] = table.subarray(image * TABLE_STRIDE);
    const random = new Random(seed, "small", position.epoch, row, i % views);
    return sampleView(random, draw(imageSize), width, height, image);
  });
}

function sampleViews(
  batch: DecodedBatch,
  { views }: AugmenterConfig,
  imageSize: number,
): ViewParameters[] {
  const { table, count } = batch.images;
  return Array.from({ length: count }, (_, image) => {
    const [, width, height, row] = table.subarray(image * TABLE_STRIDE);
    if (views.kind === "evaluation") {
      const { resize = "torchvision" } = views;
      const shorter = shorterSide(imageSize, resize);
      return evaluationView(width, height, shorter, imageSize, image, filterOf(resize));
    }
    const augmentation = findAugmentation(views.augmentation)(imageSize);
    const random = new Random(views.seed, "augment", batch.position.epoch, row);
    return sampleView(random, augmentation, width, height, image);
  });
}

/** How the views of a batch are mixed, if they are: by the seed, the epoch, the batch's number and the rank. */
export function mixtureOf(
  { position, images }: Pick<DecodedBatch, "position"> & { images: { count: number } },
  views: Views,
): Mixture | undefined {
  if (views.kind === "evaluation" || !views.mixup) return undefined;
  const { seed, rank = 0 } = views;
  const random = new Random(seed, "mixup", position.epoch, position.batch, ...rank === 0 ? [] : [rank]);
  return drawMixture(random, views.mixup, images.count);
}

export default defineActor<Augmenter, AugmenterConfig>(async (config, context) => {
  const { batchSize, isFull = false, imageSize, teacherSize = imageSize, views, local, viewer, next } =
    config;
  const gpu = await openGpu(context.name);
  const makerOf = (size: number, views = batchSize) =>
    new ViewMaker(gpu, { views, width: size, height: size });
  const [small, large] = [Math.min(imageSize, teacherSize), Math.max(imageSize, teacherSize)];
  const maker = makerOf(large);
  const shrinker = small === large ? undefined : makerOf(small);
  const localMaker = local && makerOf(local.imageSize, batchSize * local.views);
  context.onStop(() => {
    maker.destroy();
    shrinker?.destroy();
    localMaker?.destroy();
    gpu.destroy();
  });

  const early = new Map<string, { batch: DecodedBatch; giveCredit: () => void }>();
  const nameOf = ({ epoch, batch }: BatchNumber) => `${epoch}/${batch}`;
  let expected = views.first;

  let isFirst = true;
  const effort = new BestEffort((text) =>
    void viewer?.tell("event", { type: "warning", text }).catch(() => {})
  );

  async function showViews(
    pixels: ArrayBuffer,
    count: number,
    size: number,
    isLocal: boolean,
  ): Promise<void> {
    const shown = Math.min(count, SHOWN_VIEWS);
    const bytes = shown * size * size * 4;
    await viewer!.tell("event", {
      type: "views",
      pixels: new Uint8Array(pixels.slice(0, bytes)),
      count: shown,
      size,
      isLocal,
    });
  }

  async function fillViews(batch: DecodedBatch, isShown: boolean): Promise<void> {
    const parameters = sampleViews(batch, config, large);
    const mixture = mixtureOf(batch, views);
    // A smaller last batch fills the beginning of a buffer; what follows is whatever was there.
    const bufferFor = (filled: ArrayBuffer, size: number) => {
      const bytes = parameters.length * size * size * 4;
      const whole = filled.byteLength === bytes;
      const into = whole ? filled : new ArrayBuffer(bytes);
      return { into, finish: () => whole || new Uint8Array(filled).set(new Uint8Array(into)) };
    };
    const own = bufferFor(batch.views, imageSize);
    const teachers = batch.teacherViews && bufferFor(batch.teacherViews, teacherSize);
    const [made, shrunk] = imageSize === large ? [own, teachers] : [teachers!, own];
    await Promise.all([
      maker.augment(batch.images, parameters, made.into, {
        mixture,
        ...shrinker && { resized: { by: shrinker, into: shrunk!.into } },
      }),
      local !== undefined && views.kind !== "evaluation"
        ? localMaker!.augment(batch.images, sampleLocalViews(batch, local, views.seed), batch.local!.views, {
          mixture: mixture && repeatMixture(mixture, local.views),
        })
        : undefined,
    ]);
    own.finish();
    teachers?.finish();
    if (!isShown) return;
    await effort.attempt("the views of the first batch", async () => {
      await showViews(batch.views, parameters.length, imageSize, false);
      if (local === undefined) return;
      await showViews(batch.local!.views, parameters.length * local.views, local.imageSize, true);
    });
  }

  const buffered = new DoubleBuffer(context);

  /** Begins a batch's views, and waits for those of the batch before. */
  function makeViews(batch: DecodedBatch): Promise<void> {
    // Where every row of a batch was broken, there is nothing to see.
    const isEmpty = batch.images.count === 0;
    const isShown = viewer !== undefined && isFirst;
    isFirst &&= isEmpty;
    const fill = async () => isEmpty ? undefined : await fillViews(batch, isShown);
    return buffered.add("views", fill, () => next.tell("encode", batch));
  }

  return {
    handlers: {
      profile: () =>
        profileAll({
          [`views of ${large} px`]: maker,
          [`the same views at ${small} px`]: shrinker,
          [`small views of ${local?.imageSize} px`]: localMaker,
        }),
      async augment(batch, { defer }) {
        requireBuffers(batch, { teacherViews: shrinker !== undefined, local: localMaker !== undefined });
        if (isFull) requireFull(batch, batchSize);
        if (expected === undefined) return await makeViews(batch);
        // The credit comes back when the batch has had its turn, so that no reader runs ahead of the others.
        early.set(nameOf(batch.position), { batch, giveCredit: defer() });
        for (;;) {
          const ready = early.get(nameOf(expected));
          if (ready === undefined) return;
          early.delete(nameOf(expected));
          const { epoch, batch: number, endsEpoch } = ready.batch.position;
          await makeViews(ready.batch);
          ready.giveCredit();
          expected = endsEpoch ? { epoch: epoch + 1, batch: 0 } : { epoch, batch: number + 1 };
        }
      },
    },
    drain: () => buffered.settled(),
  };
});
