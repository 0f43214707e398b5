/**
 * Checkpoints of a fine-tuning, as SwAV's `eval_semisup.py` and `lincls` write them: `epoch`, `arch`, `state_dict` with
 * `module.*` of the encoder and `module.fc.*`, `best_acc1`, and the state of PyTorch's SGD with a group of parameters for
 * the encoder and one for the classifier; of its AdamW, which has two for each: what decays, and what does not.
 */
import { CheckpointError, describe, quote } from "../../models/checkpoint/checkpoint_error.ts";
import type { CheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { isFloatingPoint } from "../../models/checkpoint/dtype.ts";
import { requireFinite } from "../../models/checkpoint/read_finite.ts";
import {
  buildResumeState,
  readResumeState,
  type ResumeState,
  type SavedResumeState,
} from "../../models/checkpoint/resume_state.ts";
import {
  buildAdamWState,
  isAdamWState,
  readAdamWState,
  type SavedAdamW,
} from "../../models/checkpoint/adamw_state.ts";
import { buildInput, INPUT_KEY, type SavedInput } from "../../models/checkpoint/saved_input.ts";
import {
  buildSgdGroups,
  readSgdBuffers,
  readSgdSettings,
  type SgdSettings,
} from "../../models/checkpoint/sgd_state.ts";
import { TensorRef } from "../../models/checkpoint/tensor_ref.ts";
import {
  OrderedDict,
  PyFloat,
  TensorValue,
  type TorchDict,
  torchDict,
  type TorchValue,
} from "../../models/checkpoint/torch_value.ts";
import type { StateEntry } from "../../models/encoder_layers.ts";
import type { StateValues } from "../../models/initialize.ts";
import { parameterRule } from "../../models/parameter_rule.ts";
import type { BatchResult } from "../classification.ts";
import {
  adamwOf,
  type KeptByOptimizer,
  requireFiniteOptimizer,
} from "../encoder_training/optimizer_state.ts";
import type { LearningRates } from "./options.ts";

/** Key of what other programs do not have. */
export const FINETUNE_KEY = "seed_finetune";

/** Where a fine-tuning is within its epochs. */
export interface FinetuneProgress {
  /** Whether the epoch that was trained last has been tested; so it is before the first one. */
  readonly isTested: boolean;
  /** Images of the epoch under way, or of the last one where it is not tested, and the sums of how they were classified. */
  readonly trained: BatchResult & { readonly images: number };
}

/** What a fine-tuning saves. */
export interface FinetuneCheckpoint {
  /** Epochs done. */
  readonly epoch: number;
  readonly arch: string;
  /** The state_dict: of the encoder, then of the classifier. */
  readonly encoder: readonly StateEntry[];
  readonly classifier: readonly StateEntry[];
  readonly values: StateValues;
  /** Batch norm's counters by key. */
  readonly counters: ReadonlyMap<string, number>;
  /** What the optimizer keeps: SGD, or AdamW. */
  readonly optimizer: KeptByOptimizer;
  /** Of the encoder's parameters, and of the classifier's; momentum is SGD's. */
  readonly sgd: readonly [SgdSettings, SgdSettings];
  /** Steps that changed the weights. */
  readonly steps: number;
  /** Best top-1 so far, in percent; below 0 before the first test. */
  readonly best: number;
  readonly progress: FinetuneProgress;
  readonly input?: SavedInput;
  readonly resume: ResumeState;
}

/** What {@linkcode readFinetuneCheckpoint} finds. Tensors are read when asked for. */
export interface SavedFinetune {
  readonly epoch: number;
  readonly arch: string;
  readonly classes: number;
  readonly best: number;
  /** By plain keys, in the file's order. */
  readonly tensors: ReadonlyMap<string, TensorRef>;
  /** By the parameters' plain keys. */
  readonly momentum: ReadonlyMap<string, TensorRef>;
  /** Where the optimizer is AdamW. */
  readonly adamw?: SavedAdamW;
  /** Of its last step; `undefined` where another program wrote other groups of parameters. */
  readonly rates?: LearningRates;
  readonly progress: FinetuneProgress;
  readonly resume: SavedResumeState;
}

const PREFIX = "module.";

/** The value to hand to `writeTorchFile`. */
export function buildFinetuneCheckpoint(checkpoint: FinetuneCheckpoint): TorchDict {
  const { epoch, arch, encoder, classifier, values, counters, best, progress } = checkpoint;
  const tensors = new OrderedDict();
  for (const { key, shape } of [...encoder, ...classifier]) {
    const data = values.get(key);
    tensors.set(
      PREFIX + key,
      data === undefined
        ? new TensorValue("int64", shape, BigInt64Array.of(BigInt(counters.get(key)!)))
        : new TensorValue("float32", shape, data),
    );
  }
  const { isTested, trained: { images, loss, top1, top5 } } = progress;
  return torchDict([
    ["epoch", epoch],
    ["arch", arch],
    ["state_dict", tensors],
    ["best_acc1", new PyFloat(best)],
    ["optimizer", buildOptimizer(checkpoint)],
    [
      FINETUNE_KEY,
      torchDict([
        ["is_tested", isTested],
        ["images", images],
        ["loss", new PyFloat(loss)],
        ["top1", top1],
        ["top5", top5],
      ]),
    ],
    ...checkpoint.input === undefined ? [] : [[INPUT_KEY, buildInput(checkpoint.input)] as const],
    ["seed_resume", buildResumeState(checkpoint.resume)],
  ]);
}

/** The optimizer's state: parameters of the encoder, then of the classifier, which have learning rates of their own. */
function buildOptimizer({ encoder, classifier, optimizer, sgd, steps }: FinetuneCheckpoint): TorchDict {
  const trained = [encoder, classifier].map((state) => state.filter(({ kind }) => kind === "parameter"));
  const { momentum, moments } = optimizer;
  if (momentum === undefined) {
    const groups = trained.map((entries, i) => ({ lr: sgd[i].lr, entries }));
    return buildAdamWState(adamwOf(sgd[0]), groups, moments, steps);
  }
  const buffers = trained.flat().flatMap(({ key, shape }, index) => {
    const data = momentum.get(key);
    return data === undefined ? [] : [{ index, shape, data }];
  });
  return buildSgdGroups(trained.map(({ length }, i) => ({ settings: sgd[i], parameters: length })), buffers);
}

/**
 * Reads what {@linkcode buildFinetuneCheckpoint} saved.
 *
 * @throws {CheckpointError} where `file` is no checkpoint of a fine-tuning
 */
export function readFinetuneCheckpoint(file: CheckpointFile): SavedFinetune {
  const wrong = (how: string) =>
    new CheckpointError(file.path, `is not a checkpoint of lincls --finetune: ${how}`);
  const root = file.value instanceof Map ? file.value : new Map<TorchValue, TorchValue>();
  const [epoch, arch, weights, best] = ["epoch", "arch", "state_dict", "best_acc1"].map((key) =>
    root.get(key)
  );
  if (!isCount(epoch) || typeof arch !== "string") throw wrong("it has no valid epoch and arch");
  if (!(weights instanceof Map)) throw wrong("it has no state_dict");
  if (!root.has(FINETUNE_KEY)) {
    throw wrong(
      root.has("seed_sweep")
        ? "it is of a linear evaluation; resume it without --finetune, or fine-tune from it with --pretrained"
        : `it has no ${FINETUNE_KEY}; to fine-tune from it, name it with --pretrained`,
    );
  }
  if (typeof best !== "number" || !(best >= -1 && best <= 100)) {
    throw wrong(`expected a top-1 accuracy in percent for best_acc1, found ${show(best)}`);
  }
  const tensors = new Map<string, TensorRef>();
  for (const [key, tensor] of weights) {
    if (typeof key !== "string" || !key.startsWith(PREFIX) || !(tensor instanceof TensorRef)) {
      throw wrong(`expected tensors under ${PREFIX}*, found ${describe(key)}`);
    }
    tensors.set(key.slice(PREFIX.length), tensor);
  }
  const classifier = tensors.get("fc.weight");
  if (classifier?.shape.length !== 2 || classifier.size === 0) {
    throw wrong("its state_dict has no classifier fc.weight [classes, features]");
  }
  const optimizer = root.get("optimizer");
  const keys = parameterKeys(arch, [...tensors.keys()]);
  const found = {
    epoch,
    arch,
    classes: classifier.shape[0],
    best,
    tensors,
    rates: readRates(optimizer),
    progress: readProgress(root.get(FINETUNE_KEY), wrong),
    resume: readResumeState(root.get("seed_resume"), wrong),
  };
  const momentum = new Map<string, TensorRef>();
  if (isAdamWState(optimizer)) {
    const entries = keys.map((key) => ({ key, shape: tensors.get(key)!.shape }));
    const groups = [
      entries.filter(({ key }) => !isClassifier(key)),
      entries.filter(({ key }) => isClassifier(key)),
    ];
    return { ...found, momentum, adamw: readAdamWState(optimizer, groups, wrong) };
  }
  readSgdSettings(optimizer, wrong);
  for (const [index, buffer] of readSgdBuffers(optimizer, wrong)) {
    const key = typeof index === "number" ? keys[index] : undefined;
    const tensor = key === undefined ? undefined : tensors.get(key)!;
    if (
      !(buffer instanceof TensorRef) || tensor === undefined || !isFloatingPoint(buffer.dtype) ||
      buffer.shape.join() !== tensor.shape.join()
    ) {
      throw wrong(
        `the momentum of parameter ${describe(index)}${
          key === undefined ? "" : `, ${quote(key)},`
        } does not fit it`,
      );
    }
    momentum.set(key!, buffer);
  }
  return { ...found, momentum };
}

/** {@linkcode readFinetuneCheckpoint} of a file whose numbers must be finite. */
export async function requireFiniteFinetune(file: CheckpointFile): Promise<void> {
  const saved = readFinetuneCheckpoint(file);
  await requireFinite(file.path, saved.tensors);
  await requireFiniteOptimizer(file.path, saved);
}

function isClassifier(key: string): boolean {
  return key.startsWith("fc.");
}

/** The keys of what is trained, in the optimizer's order: the classifier is its last group. */
function parameterKeys(arch: string, keys: readonly string[]): string[] {
  const trained = keys.filter(parameterRule(arch));
  return [...trained.filter((key) => !isClassifier(key)), ...trained.filter(isClassifier)];
}

/** The encoder's parameters are the optimizer's first, and the classifier's the last. */
function readRates(optimizer: TorchValue | undefined): LearningRates | undefined {
  const groups = optimizer instanceof Map ? optimizer.get("param_groups") : undefined;
  if (!Array.isArray(groups)) return undefined;
  const [lr, lrLastLayer] = [groups.at(0), groups.at(-1)].map((group) =>
    group instanceof Map ? group.get("lr") : undefined
  );
  return typeof lr === "number" && typeof lrLastLayer === "number" ? { lr, lrLastLayer } : undefined;
}

function readProgress(value: TorchValue | undefined, wrong: (how: string) => Error): FinetuneProgress {
  const entry = (key: string) => value instanceof Map ? value.get(key) : undefined;
  const [isTested, images, loss, top1, top5] = ["is_tested", "images", "loss", "top1", "top5"].map(entry);
  if (
    typeof isTested !== "boolean" || !isCount(images) || typeof loss !== "number" || !isCount(top1) ||
    !isCount(top5)
  ) throw wrong(`its ${FINETUNE_KEY} is damaged: expected is_tested, images, loss, top1 and top5`);
  return { isTested, trained: { images, loss, top1, top5 } };
}

function isCount(value: TorchValue | undefined): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function show(value: TorchValue | undefined): string {
  return value instanceof TensorRef ? `a tensor [${value.shape}]` : describe(value);
}
