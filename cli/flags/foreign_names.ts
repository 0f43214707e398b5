/** Names that flags have in other programs: DINO, MoCo-v3, SimSiam, SwAV, timm, LightlyTrain, PyTorch Lightning and the like. */

/** Flags for these names, with a value where one is meant: the first one that a task has. */
export const COUNTERPARTS: Readonly<Record<string, readonly string[]>> = {
  "accum-iter": ["accumulate"],
  "avgpool-patchtokens": ["feature cls+mean"],
  "base-lr": ["lr"],
  "checkpoint-freq": ["save-every"],
  "checkpoint-key": ["which"],
  "data-dir": ["data"],
  "data-path": ["data"],
  "dump-path": ["output"],
  "feat-dim": ["dim", "moco-dim"],
  "fp16": ["amp"],
  "grad-accum-steps": ["accumulate"],
  "grad-checkpointing": ["checkpoint-activations"],
  "gradient-accumulation-steps": ["accumulate"],
  "gradient-clip-val": ["clip-grad"],
  "img-size": ["image-size"],
  "initial-checkpoint": ["student-init", "pretrained"],
  "input-size": ["image-size"],
  "labels-perc": ["label-fraction"],
  "local-crops-number": ["small-views"],
  "local-crops-size": ["small-size"],
  "log-freq": ["print-freq"],
  "log-interval": ["print-freq"],
  "lr-warmup-epochs": ["warmup-epochs"],
  "max-epochs": ["epochs"],
  "mixed-precision": ["amp"],
  "model": ["student-arch", "arch"],
  "momentum-teacher": ["moco-m"],
  "nb-knn": ["knn-k"],
  "nmb-crops": ["small-views"],
  "no-cache": ["cache off"],
  "num-classes": ["classes"],
  "num-labels": ["classes"],
  "num-workers": ["workers"],
  "out-dim": ["dim", "moco-dim"],
  "precision": ["amp"],
  "queue-length": ["queue", "moco-k"],
  "save-freq": ["save-every"],
  "saveckp-freq": ["save-every"],
  "size-crops": ["image-size"],
  "student-temp": ["temp"],
  "teacher-temp": ["distill-t"],
  "teacher-weights": ["distill"],
  "temperature": ["temp", "moco-t", "knn-t"],
  "use-fp16": ["amp"],
};

const BY_LAUNCHER = "a process uses one device; mpirun or srun starts several (docs/scaling.md)";
const AS_DATA = "images are given without a flag, where --help says DATA";
const BY_EMBED = "deno task embed writes features";
const ALL_TRAINED = "no layer of an encoder in training is frozen";
const OF_AUGMENTATION = "the augmentation decides it, which has no flags of its own";
const HEADS = "heads are MoCo's: one linear layer, or two with a hidden one as wide as the feature";
const NO_PROTOTYPES = "there are no prototypes";
const NO_PREDICTOR = "there is no predictor";
const NO_AVERAGE = "the only average of weights is MoCo's key encoder";
const OF_OPTIMIZERS = "the optimizers are SGD with momentum, and AdamW with betas of 0.9 and 0.999";
const SAME_DECAY = "the weight decay is the same in all epochs";
const NO_SMOOTHING = "labels are not smoothed";
const START_OF_WARMUP = "the warm-up starts at --lr, or at 0 with --lr-per-step";
const SAME_TEMPERATURE = "a temperature is the same in all epochs";
const SCHEDULES = "the learning rate follows half a cosine with --cos, or falls at the epochs of --schedule";
const DOWN_TO_ZERO = "the cosine schedule ends at 0";

/** What is the case here, for names without a counterpart. */
export const REASONS: Readonly<Record<string, string>> = {
  "aa": OF_AUGMENTATION,
  "accelerator": "the default WebGPU adapter is used",
  "color-jitter": OF_AUGMENTATION,
  "crop-min": OF_AUGMENTATION,
  "crops-for-assign": NO_PROTOTYPES,
  "cutmix": OF_AUGMENTATION,
  "data": AS_DATA,
  "data-dir": AS_DATA,
  "data-path": AS_DATA,
  "device": "the default WebGPU adapter is used",
  "devices": BY_LAUNCHER,
  "dump-features": BY_EMBED,
  "ema": NO_AVERAGE,
  "epoch-queue-starts": "the queue is used from the first step on",
  "final-lr": DOWN_TO_ZERO,
  "final-wd": SAME_DECAY,
  "fix-pred-lr": NO_PREDICTOR,
  "freeze-last-layer": ALL_TRAINED,
  "freeze-prototypes-niters": NO_PROTOTYPES,
  "global-crops-scale": OF_AUGMENTATION,
  "gpus": BY_LAUNCHER,
  "hidden-mlp": HEADS,
  "label-smoothing": NO_SMOOTHING,
  "lars": OF_OPTIMIZERS,
  "layer-decay": "all layers of an encoder have one learning rate",
  "load-features": "features are computed by each run",
  "local-crops-scale": OF_AUGMENTATION,
  "local-rank": BY_LAUNCHER,
  "max-scale-crops": OF_AUGMENTATION,
  "min-lr": DOWN_TO_ZERO,
  "min-scale-crops": OF_AUGMENTATION,
  "moco-m-cos": "--moco-m is the same in all epochs",
  "moco-mlp-dim": HEADS,
  "model-ema": NO_AVERAGE,
  "momentum-teacher": "no teacher is an average of weights",
  "n-last-blocks": "the features are those of the last block",
  "nmb-prototypes": NO_PROTOTYPES,
  "norm-last-layer": HEADS,
  "num-nodes": BY_LAUNCHER,
  "opt-betas": OF_OPTIMIZERS,
  "patch-size": "it follows from the encoder (deno task models lists them)",
  "pred-dim": NO_PREDICTOR,
  "reprob": OF_AUGMENTATION,
  "sched": SCHEDULES,
  "sinkhorn-iterations": NO_PROTOTYPES,
  "smoothing": NO_SMOOTHING,
  "start-warmup": START_OF_WARMUP,
  "stop-grad-conv1": ALL_TRAINED,
  "use-bn-in-head": HEADS,
  "use-cuda": "the default WebGPU adapter is used",
  "warmup-lr": START_OF_WARMUP,
  "warmup-teacher-temp": SAME_TEMPERATURE,
  "warmup-teacher-temp-epochs": SAME_TEMPERATURE,
  "weight-decay-end": SAME_DECAY,
};

/**
 * Says what a name of another program is here.
 *
 * @param name long name with hyphens, without the leading ones
 * @param has whether the task has a flag of a name
 * @returns what follows "unknown flag --name"; `undefined` for a name that is not known here either
 */
export function explainForeignName(name: string, has: (flag: string) => boolean): string | undefined {
  const word = name.toLowerCase();
  const counterparts = Object.hasOwn(COUNTERPARTS, word) ? COUNTERPARTS[word] : [];
  const meant = counterparts.find((flag) => has(flag.split(" ")[0]));
  if (meant !== undefined) return `; did you mean --${meant}?`;
  return Object.hasOwn(REASONS, word) ? `: ${REASONS[word]}` : undefined;
}
