/** Rows of flag tables that more than one task has. */
import { GRADIENT_COMPRESSIONS } from "../actors/ranks/ranks.ts";
import { MAX_VIEW_SIDE } from "../kernels/image/view_plan.ts";
import { type EncoderRole, FEATURES, STEMS } from "../models/encoder.ts";
import { isFamilyEncoder } from "../models/registry.ts";
import { OPTIMIZERS } from "./encoder_training/step_options.ts";
import { EVALUATION_RESIZES } from "../actors/evaluation_resize.ts";
import type { ChoiceFlag, FlagTable, RetiredFlag } from "./flag_table.ts";

/** Headings of `--help` that both methods have. */
export const DATA = "Images and files";
export const TRAINING = "Training";
export const GENERAL = "Other";

/** The encoders that a command line may name. */
export interface EncoderNames {
  /** Names of the encoders that exist. */
  encoders: readonly string[];
}

/** The flag that names an encoder: one of `names`, or one of a family that no list is long enough for. */
export function encoderFlag(
  { encoders }: EncoderNames,
  row: Omit<ChoiceFlag, "kind" | "values" | "valuesShown" | "isOther">,
  role?: EncoderRole,
) {
  return {
    kind: "choice",
    values: encoders,
    isOther: (text: string) => isFamilyEncoder(text, role),
    valuesShown: "deno task models lists them",
    ...row,
  } as const;
}

/** What {@linkcode encoderFlags} says of `arch` where an encoder without a checkpoint is of use. */
export const FRESH_ENCODER = "encoder; without --pretrained it has random weights, as a baseline";

/** Which checkpoint, and which encoder in it; `arch` says what that flag is for. */
export function encoderFlags(names: EncoderNames, group: string, arch: string) {
  return {
    pretrained: {
      kind: "text",
      metavar: "FILE",
      group,
      help:
        "encoder checkpoint: from deno task distill or export, the original SEED, MoCo, SimCLR, SWAV, DINO, DINOv2, DINOv3 " +
        "or torchvision (ResNets)",
      brief: "encoder checkpoint",
    },
    arch: encoderFlag(names, { short: "a", group, brief: "name of the encoder", help: arch }),
    stem: stemFlag(group, "the encoder's first layers"),
    which: {
      kind: "choice",
      values: ["student", "teacher"],
      group,
      help: "which encoder of a distillation checkpoint to use",
      brief: "which encoder of a distillation checkpoint: student or teacher",
    },
    weights: weightsFlag(group),
    heads: headsFlag(group),
    feature: featureFlag(group),
    plugin: pluginFlag(group),
  } as const satisfies FlagTable;
}

/** What of an encoder is embedded. */
export function partFlag(group: string) {
  return {
    kind: "choice",
    values: ["backbone", "encoder"],
    group,
    help:
      "the backbone's pooled features, as used by linear evaluation and kNN; or the encoder's embeddings, after its " +
      "head and L2-normalised",
    brief: "backbone: pooled features; encoder: normalised embeddings",
  } as const;
}

/** Which images of a folder are embedded. */
export function splitFlag(group: string) {
  return {
    kind: "choice",
    values: ["train", "test"],
    group,
    help: "which split to use if a DATA folder has both",
    brief: "train or test, if a DATA folder has both",
  } as const;
}

/** How the neighbours of an image vote for its class. */
export function voteFlags(group: string) {
  return {
    knnK: {
      kind: "integers",
      min: 1,
      short: "k",
      group,
      help: "number of neighbours (k); given several, each is evaluated",
      brief: "number of neighbours (k), one or several",
    },
    knnT: { kind: "number", above: 0, short: "t", group, help: "temperature of the votes" },
  } as const satisfies FlagTable;
}

/** The first layers of an encoder; `what` says of which. */
export function stemFlag(group: string, what: string) {
  return {
    kind: "choice",
    values: STEMS,
    group,
    help:
      `${what}: cifar is for images of about 32 pixels, a first convolution of 3x3 with stride 1, and in ResNets no max ` +
      "pooling; in vision transformers patches of 4 pixels; cifar_pad2 is solo-learn's, a ResNet with padding 2 there; " +
      "the checkpoint remembers it",
  } as const;
}

/** What `--help` says where {@linkcode stemFlag} is not given for an encoder that may be in a checkpoint. */
export const STEM_DEFAULT_NOTE = "default: what fits the checkpoint, and what it says; else imagenet";

/** Which of several encoders. */
export function weightsFlag(group: string) {
  return {
    kind: "text",
    metavar: "PREFIX",
    group,
    help:
      "prefix of the encoder's keys, such as momentum_backbone, if a checkpoint has several encoders or an unknown prefix",
  } as const;
}

/** Attention heads, which no shape of a vision transformer's weights tells. */
export function headsFlag(group: string) {
  return {
    kind: "integer",
    min: 1,
    group,
    help: "attention heads of a vision transformer, if they are not as its authors have them",
  } as const;
}

/** What `--help` says where {@linkcode headsFlag} is not given. */
export const HEADS_DEFAULT_NOTE =
  "default: by the checkpoint, else a head for 64 numbers; 12 of MoCo-v3's, 16 of ViT-H's, 32 of DINOv3's 7B";

/** Which tokens a feature is made of. */
export function featureFlag(group: string) {
  return {
    kind: "choice",
    values: FEATURES,
    group,
    help:
      "feature of a vision transformer or of DINOv3's ConvNeXt: class token, mean of the patch tokens, or both side by side",
  } as const;
}

/** What `--help` says where {@linkcode featureFlag} is not given. */
export const FEATURE_DEFAULT_NOTE = "default: what the checkpoint says, else cls";

/** What `--help` says where {@linkcode weightsFlag} is not given. */
export const WEIGHTS_DEFAULT_NOTE =
  "default: detected; of a pair, the teacher or momentum encoder, but encoder_q of MoCo's own";

/**
 * A module of one's own.
 *
 * @param registers what of a plugin the command can use
 */
export function pluginFlag(group: string, registers = "further encoders") {
  return {
    kind: "text",
    metavar: "FILE",
    group,
    help: `module that registers ${registers}`,
  } as const;
}

/** The images of an evaluation. */
export function testDataFlag(group: string) {
  const help = "test images";
  return { kind: "text", metavar: "DATA", group, help, brief: help } as const;
}

/** The size of views. */
export function imageSizeFlag(group: string, max = MAX_VIEW_SIDE) {
  const help = "height and width of a view, in pixels";
  return { kind: "integer", min: 8, max, group, help, brief: help } as const;
}

/** The flag of every task that decodes images. */
export function maxPixelsFlag(group: string) {
  return {
    kind: "integer",
    min: 1,
    group,
    help: "maximum pixels per image; a larger image counts as broken (guards against decompression bombs)",
  } as const;
}

/** The other flag of every task that decodes images. */
export function fastDecodeFlag(group: string) {
  return {
    kind: "boolean",
    group,
    help:
      "decode JPEGs to a half, a quarter or an eighth of their size, where their shorter side stays at least twice as " +
      "long as a view's: less memory, and faster from a quarter on, with slightly other pixels",
  } as const;
}

/** The flag of every task that makes views without augmentation. */
export function evalResizeFlag(group: string) {
  return {
    kind: "choice",
    values: EVALUATION_RESIZES,
    group,
    help:
      "how an evaluation resizes images (torchvision: Resize(size * 256/224), CenterCrop(size); none: Resize(size), " +
      "CenterCrop(size); auto: none if the images have the size of the views, below 64 pixels, else torchvision; the " +
      "filter is bilinear, or bicubic with -bicubic)",
  } as const;
}

/** The reader Workers. */
export function workersFlag(
  group: string,
  max: number,
  help = "Workers that read and decode images",
) {
  return { kind: "integer", min: 1, max, short: "j", group, help, brief: help } as const;
}

/** Where decoded images are kept. */
export function cacheFlag(group: string) {
  return {
    kind: "text",
    metavar: "auto|memory|off|FILE",
    group,
    help:
      "keep decoded images, so that epochs after the first do not decode: auto, in memory where all of them take a tenth " +
      "of it at most; memory, as many as half of the free memory takes; FILE, those to learn from on a disk, for the next " +
      "runs too",
    brief: "keep decoded images in memory, or in a file",
  } as const;
}

/** What `--help` says where {@linkcode cacheFlag} is not given. */
export const CACHE_DEFAULT_NOTE = "default: auto";

/** The files of methods that train. */
export const FILE_FLAGS = {
  output: {
    kind: "text",
    metavar: "FOLDER",
    group: DATA,
    help:
      "output directory for config.json, log.txt, metrics.jsonl and the checkpoints; must not contain another run " +
      "unless --resume continues it",
    brief: "output directory; must be empty unless --resume",
  },
  resumeAnyway: {
    kind: "boolean",
    group: DATA,
    help: "resume even if the checkpoint was made with other data, weights or settings",
  },
} as const satisfies FlagTable;

/** Epochs, batches and SGD. */
export const SGD_FLAGS = {
  epochs: {
    kind: "integer",
    min: 1,
    group: TRAINING,
    help: "total number of epochs",
    brief: "total number of epochs",
  },
  startEpoch: { kind: "integer", min: 0, group: TRAINING, help: "epoch to start from, counted from 0" },
  batchSize: {
    kind: "integer",
    min: 1,
    short: "b",
    group: TRAINING,
    help: "images per batch",
    brief: "images per batch",
  },
  scaleLr: {
    kind: "boolean",
    group: TRAINING,
    help: "multiply the learning rate by batch-size / 256 after the warm-up",
  },
  warmupEpochs: {
    kind: "integer",
    min: 0,
    group: TRAINING,
    help: "epochs of linear warm-up from --lr to the scaled rate",
  },
  momentum: { kind: "number", min: 0, max: 1, group: TRAINING, help: "momentum of SGD" },
  weightDecay: { kind: "number", min: 0, aliases: ["wd"], group: TRAINING, help: "weight decay of SGD" },
} as const satisfies FlagTable;

/** The weight decay of either optimizer. */
export const WEIGHT_DECAY_FLAG = {
  ...SGD_FLAGS.weightDecay,
  help: "weight decay; with AdamW, of weights of convolutions and linear layers alone",
} as const;

/** Steps that train a whole encoder. */
export const STEP_FLAGS = {
  optimizer: {
    kind: "choice",
    values: OPTIMIZERS,
    group: TRAINING,
    help: "SGD with momentum, or AdamW with betas of 0.9 and 0.999",
  },
  dropPath: {
    kind: "number",
    min: 0,
    max: 0.9,
    group: TRAINING,
    help:
      "stochastic depth of a vision transformer: share of the images whose branches the last block drops, linearly fewer before",
  },
  accumulate: {
    kind: "integer",
    min: 1,
    group: TRAINING,
    help:
      "number of batches to accumulate gradients over per step, for batches that do not fit in memory. Batch norm uses " +
      "each batch on its own; --scale-lr counts the images of all of them",
  },
  clipGrad: {
    kind: "number",
    above: 0,
    group: TRAINING,
    help: "maximum L2 norm of the gradient; a larger gradient is scaled down to it",
  },
  statsEvery: {
    kind: "integer",
    min: 0,
    group: TRAINING,
    help:
      "batches between records in stats.jsonl (gradient and weight norms per layer group, device time, memory); 0 for none",
  },
  amp: {
    kind: "boolean",
    group: TRAINING,
    help:
      "mixed precision: activations and a teacher's weights in float16; accumulation, trained weights and loss in " +
      "float32; loss scaling as in torch.amp.GradScaler. Halves the memory for both; needs an adapter with shader-f16",
    brief: "mixed precision: activations in float16",
  },
  syncBn: {
    kind: "boolean",
    group: TRAINING,
    help:
      "take batch norm's statistics over all ranks, as torch.nn.SyncBatchNorm does, for few images a rank; over each rank's " +
      "own images otherwise",
  },
  compress: {
    kind: "choice",
    values: GRADIENT_COMPRESSIONS,
    group: TRAINING,
    help:
      "what gradients become on their way between ranks: f16 sends half of the bytes, as fp16_compress_hook of PyTorch's DDP",
  },
  onNan: {
    kind: "choice",
    values: ["stop", "skip"],
    group: TRAINING,
    help: "action on NaN or Inf in the loss or the gradient",
  },
} as const satisfies FlagTable;

/** `--amp` of a command whose encoder stays as it is. */
export function frozenAmpFlag(group: string) {
  return {
    kind: "boolean",
    group,
    help:
      "keep the encoder's activations and weights in float16, and add up in float32. Halves the memory for both; needs an " +
      "adapter with shader-f16",
    brief: "keep the encoder in float16",
  } as const;
}

/** What `--help` says of optimizer and stochastic depth where they are not given. */
export const STEP_DEFAULT_NOTES = {
  optimizer: "default: adamw for vision transformers and ConvNeXts, else sgd",
  dropPath: "default: 0.1 for a vision transformer",
};

/** When the learning rate changes, where nobody says it. */
export const LR_PER_STEP_NOTE = "default: off; with AdamW: on, off for the bundled sample";

/** Adds to a note of `--help` what the default is with AdamW, and for the bundled images where that is another one. */
export function withAdamW(note: string, value: number, bundled = value): string {
  return `${note}; with AdamW: ${value}${bundled === value ? "" : `, bundled ${bundled}`}`;
}

const BY_LAUNCHER = "mpirun or srun starts the ranks (docs/scaling.md)";

/** Flags of the originals about processes and devices that have no place here. */
export const PROCESS_FLAGS: Readonly<Record<string, RetiredFlag>> = {
  ...Object.fromEntries(
    ["local-rank", "world-size", "rank", "dist-url", "dist-backend"]
      .map((name) => [name, { takesValue: true, reason: BY_LAUNCHER }]),
  ),
  "multiprocessing-distributed": { takesValue: false, reason: BY_LAUNCHER },
  "gpu": { takesValue: true, reason: "the default WebGPU adapter is used" },
};
