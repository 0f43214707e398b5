/** Names that flags have in other programs: those of DINO, SwAV, LightlyTrain, PyTorch Lightning and the like. */

/** Flags for these names, with a value where one is meant: the first one that a task has. */
export const COUNTERPARTS: Readonly<Record<string, readonly string[]>> = {
  "accum-iter": ["accumulate"],
  "base-lr": ["lr"],
  "checkpoint-freq": ["save-every"],
  "checkpoint-key": ["which"],
  "dump-path": ["output"],
  "feat-dim": ["dim", "moco-dim"],
  "fp16": ["amp"],
  "gradient-accumulation-steps": ["accumulate"],
  "gradient-clip-val": ["clip-grad"],
  "img-size": ["image-size"],
  "input-size": ["image-size"],
  "labels-perc": ["label-fraction"],
  "local-crops-number": ["small-views"],
  "max-epochs": ["epochs"],
  "mixed-precision": ["amp"],
  "momentum-teacher": ["moco-m"],
  "nb-knn": ["knn-k"],
  "nmb-crops": ["small-views"],
  "no-cache": ["cache off"],
  "num-workers": ["workers"],
  "out-dim": ["dim", "moco-dim"],
  "precision": ["amp"],
  "queue-length": ["queue", "moco-k"],
  "save-freq": ["save-every"],
  "saveckp-freq": ["save-every"],
  "student-temp": ["temp"],
  "teacher-temp": ["distill-t"],
  "teacher-weights": ["distill"],
  "temperature": ["temp", "moco-t", "knn-t"],
  "use-fp16": ["amp"],
};

const BY_LAUNCHER = "a process uses one device; mpirun or srun starts several (docs/scaling.md)";
const SAME_TEMPERATURE = "a temperature is the same in all epochs";
const DOWN_TO_ZERO = "the cosine schedule ends at 0";

/** What is the case here, for names without a counterpart. */
const REASONS: Readonly<Record<string, string>> = {
  "accelerator": "the default WebGPU adapter is used",
  "device": "the default WebGPU adapter is used",
  "devices": BY_LAUNCHER,
  "final-lr": DOWN_TO_ZERO,
  "gpus": BY_LAUNCHER,
  "min-lr": DOWN_TO_ZERO,
  "momentum-teacher": "no teacher is an average of weights",
  "num-nodes": BY_LAUNCHER,
  "patch-size": "it follows from the encoder (deno task models lists them)",
  "warmup-teacher-temp": SAME_TEMPERATURE,
  "warmup-teacher-temp-epochs": SAME_TEMPERATURE,
  "weight-decay-end": "the weight decay is the same in all epochs",
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
