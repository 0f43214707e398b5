/** Options of every run that trains: images, epochs, views. */
import type { ActorModules } from "../actors/catalog.ts";
import type { EvaluationResizeChoice } from "../actors/evaluation_resize.ts";

/** Options of every run that trains, fully resolved. Paths are absolute. */
export interface TrainingOptions {
  /** Training images: a folder with `train.tsv`, or any path that `resolveDataset` accepts. */
  data: string;
  /** Folder that the run writes to. */
  output: string;
  /** Reader Workers. The same seed gives the same bits for any number. */
  workers: number;
  /**
   * Where decoded images are kept, so that epochs after the first do not decode. `auto`: in memory, if all of them take at
   * most a tenth of it. `memory`: as many as fit in half of the free memory. `off`: nowhere. Else the path of a file for
   * the training images.
   */
  cache: string;
  /** Number of epochs, counted from epoch 0. */
  epochs: number;
  /** First epoch; a resumed run takes it from the checkpoint. */
  startEpoch: number;
  /** Whether the learning rate is multiplied by the images of a step / 256 after the warm-up. */
  scaleLr: boolean;
  /** Epochs of warm-up. */
  warmupEpochs: number;
  /** Epochs at which the learning rate drops, where it does not follow a cosine. */
  schedule: number[];
  /** Momentum of SGD. */
  momentum: number;
  /** L2 penalty that SGD adds to every gradient. */
  weightDecay: number;
  /** Resume even if the checkpoint is from a run with other images, weights or settings. Default: false. */
  resumeAnyway?: boolean;
  /** Height and width of a view, in pixels. */
  imageSize: number;
  /** Maximum pixels of an image; a larger one counts as broken. */
  maxPixels: number;
  /**
   * Whether JPEGs are decoded to a half, a quarter or an eighth of their size, where their shorter side stays at least twice as long
   * as that of a view. That is faster, and gives slightly other pixels.
   */
  fastDecode: boolean;
  /** How images are resized where no random crop is taken; `auto` decides by the training images. */
  evalResize: EvaluationResizeChoice;
  /** Custom actors that replace built-in ones. */
  actors?: ActorModules;
  /** URLs of modules that register encoders, losses and augmentations; every Worker imports them. */
  plugins?: string[];
  /** Seed of fresh weights, the order of the images and their augmentation. */
  seed: number;
}
