/**
 * Checkpoints of a linear evaluation, as the original writes them (main_lincls.py): `epoch`, `arch`, `state_dict` with
 * `module.*` of the frozen backbone and `module.fc.*`, `best_acc1`, and the state of PyTorch's SGD over `fc` alone.
 */
import { CheckpointError, describe, quote } from "../../models/checkpoint/checkpoint_error.ts";
import { type CheckpointFile, openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { isFloatingPoint } from "../../models/checkpoint/dtype.ts";
import { NotFiniteError, readFinite } from "../../models/checkpoint/read_finite.ts";
import { readResumeState, stepCountEntries } from "../../models/checkpoint/resume_state.ts";
import { buildInput, INPUT_KEY, type SavedInput } from "../../models/checkpoint/saved_input.ts";
import { buildTerms, type Term } from "../../models/checkpoint/run_terms.ts";
import {
  buildSgdState,
  readSgdBuffers,
  readSgdSettings,
  type SgdSettings,
} from "../../models/checkpoint/sgd_state.ts";
import type { NamedTensor } from "../../models/checkpoint/named_tensor.ts";
import { TensorRef } from "../../models/checkpoint/tensor_ref.ts";
import {
  OrderedDict,
  PyFloat,
  TensorValue,
  type TorchDict,
  torchDict,
  type TorchValue,
} from "../../models/checkpoint/torch_value.ts";
import { LINEAR_DEFAULTS } from "./options.ts";

/** The trained keys, in the optimizer's order. */
const TRAINED = ["fc.weight", "fc.bias"] as const;
/** Key of what the original does not have: the other probes of a sweep. */
const SWEEP = "seed_sweep";

/** One linear classifier on its way. */
export interface SavedProbe {
  /** Initial learning rate, `--lr`: what tells it from the others. */
  readonly lr: number;
  /** Best top-1 so far, in percent. */
  readonly best: number;
  /** `fc.weight` [classes, features] and `fc.bias` [classes]; none where the probe has diverged. */
  readonly values: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
  /** The momentum of both; none before the first step. */
  readonly momentum: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
}

/** How its steps are counted, see `ResumeState`. */
interface SavedSteps<Count> {
  readonly batchesPerEpoch: Count;
  readonly extraSteps?: number;
}

/** What a linear evaluation saves. */
export interface LinearCheckpoint {
  /** Epochs done. */
  readonly epoch: number;
  /** Name of the encoder. */
  readonly arch: string;
  /** The frozen backbone, by plain keys. */
  readonly backbone: ReadonlyMap<string, TensorRef> | readonly NamedTensor[];
  readonly classes: number;
  readonly features: number;
  /** All of a sweep; the file's `state_dict`, `best_acc1` and `optimizer` are of number `chosen`, which has not diverged. */
  readonly probes: readonly SavedProbe[];
  readonly chosen: number;
  /** Of the chosen one. */
  readonly sgd: SgdSettings;
  /** What is to be known of the encoder's images. */
  readonly input?: SavedInput;
  /** Batches of an epoch, and what is to be known to count steps on. */
  readonly steps?: SavedSteps<number>;
  /** What the classifiers follow from, so that an evaluation that is gone on with is known to be the same. */
  readonly terms?: readonly Term[];
}

/** What {@linkcode readLinearCheckpoint} finds. */
export interface SavedLinear {
  readonly epoch: number;
  readonly arch: string;
  readonly classes: number;
  readonly features: number;
  readonly probes: readonly SavedProbe[];
  /** The learning rate of the one that `state_dict` is of; the original's, and those of before, do not say it. */
  readonly chosen: number | undefined;
  /** The original's, and those of before, do not say it. */
  readonly steps: SavedSteps<number | undefined>;
  /** To be compared by `compareTerms`; the original's, and those of before, have none. */
  readonly terms?: TorchDict;
}

/** The value to hand to `writeTorchFile`. */
export function buildLinearCheckpoint(checkpoint: LinearCheckpoint): TorchDict {
  const { epoch, arch, backbone, classes, features, probes, chosen, sgd, input, steps, terms } = checkpoint;
  const resume = [
    ...steps === undefined ? [] : stepCountEntries(steps),
    ...terms === undefined ? [] : [["terms", buildTerms(terms)] as const],
  ];
  const shapes = { "fc.weight": [classes, features], "fc.bias": [classes] };
  const tensors = new OrderedDict();
  if (Array.isArray(backbone)) {
    for (const { key, dtype = "float32", shape, data } of backbone as readonly NamedTensor[]) {
      tensors.set(`module.${key}`, new TensorValue(dtype, shape, data));
    }
  } else {
    for (const [key, tensor] of backbone as ReadonlyMap<string, TensorRef>) {
      tensors.set(`module.${key}`, tensor);
    }
  }
  const asTensor = (key: typeof TRAINED[number], data: Float32Array<ArrayBuffer>) =>
    new TensorValue("float32", shapes[key], data);
  const { values, momentum, best } = probes[chosen];
  for (const key of TRAINED) tensors.set(`module.${key}`, asTensor(key, values.get(key)!));
  const buffers = TRAINED.flatMap((key, index) => {
    const data = momentum.get(key);
    return data === undefined ? [] : [{ index, shape: shapes[key], data }];
  });
  const dictOf = (of: ReadonlyMap<string, Float32Array<ArrayBuffer>>) =>
    torchDict(TRAINED.flatMap((key) => of.has(key) ? [[key, asTensor(key, of.get(key)!)] as const] : []));
  return torchDict([
    ["epoch", epoch],
    ["arch", arch],
    ["state_dict", tensors],
    ["best_acc1", new PyFloat(best)],
    ["optimizer", buildSgdState(sgd, TRAINED.length, buffers)],
    [
      SWEEP,
      probes.map((probe, i) =>
        torchDict([
          ["lr", new PyFloat(probe.lr)],
          ["best_acc1", new PyFloat(probe.best)],
          ["values", dictOf(probe.values)],
          ["momentum", dictOf(probe.momentum)],
          ["is_chosen", i === chosen],
        ])
      ),
    ],
    ...input === undefined ? [] : [[INPUT_KEY, buildInput(input)] as const],
    ...resume.length === 0 ? [] : [["seed_resume", torchDict(resume)] as const],
  ]);
}

/**
 * Reads what {@linkcode buildLinearCheckpoint} or the original saved. Of a sweep a probe whose numbers are not finite counts as
 * diverged.
 *
 * @param lr initial learning rate of the original's, whose files do not say it
 * @throws CheckpointError where `file` is no checkpoint of a linear evaluation, or all of its probes have diverged
 */
export async function readLinearCheckpoint(file: CheckpointFile, lr: number): Promise<SavedLinear> {
  const wrong = (how: string) =>
    new CheckpointError(file.path, `is not a checkpoint of a linear evaluation: ${how}`);
  const root = file.value instanceof Map ? file.value : new Map<TorchValue, TorchValue>();
  if (root.has("seed_finetune")) throw wrong("it is of a fine-tuning; add --finetune");
  const epoch = root.get("epoch");
  const arch = root.get("arch");
  const weights = root.get("state_dict");
  if (!Number.isSafeInteger(epoch) || (epoch as number) < 0 || typeof arch !== "string") {
    throw wrong("it has no valid epoch and arch");
  }
  const entry = (key: string) =>
    weights instanceof Map ? weights.get(`module.${key}`) ?? weights.get(key) : undefined;
  const [weight, bias] = TRAINED.map(entry);
  const isWeights = (tensor: TorchValue | undefined) =>
    tensor instanceof TensorRef && isFloatingPoint(tensor.dtype) && tensor.size > 0;
  if (!(weight instanceof TensorRef) || weight.shape.length !== 2 || !isWeights(weight)) {
    throw wrong("its state_dict has no classifier fc.weight [classes, features]");
  }
  const [classes, features] = weight.shape;
  if (!(bias instanceof TensorRef) || bias.shape.join() !== String(classes) || !isWeights(bias)) {
    throw wrong(`its state_dict has no fc.bias [${classes}]`);
  }
  const shapes = [`${classes},${features}`, String(classes)];
  const read = async (
    what: string,
    found: (key: string, i: number) => TorchValue | undefined,
    needed: boolean,
  ) => {
    const values = new Map<string, Float32Array<ArrayBuffer>>();
    for (const [i, key] of TRAINED.entries()) {
      const tensor = found(key, i);
      if (
        tensor instanceof TensorRef && tensor.shape.join() === shapes[i] && isFloatingPoint(tensor.dtype)
      ) {
        values.set(key, await readFinite(file.path, `${what}${key}`, tensor));
      } else if (needed || tensor !== undefined) {
        throw wrong(`its ${quote(key)} is not a floating-point tensor of shape [${shapes[i]}]`);
      }
    }
    return values;
  };
  const readBest = (value: TorchValue | undefined) => {
    // In percent; below 0 before the first epoch.
    if (typeof value === "number" && value >= -1 && value <= 100) return value;
    throw wrong(`expected a top-1 accuracy in percent for best_acc1, found ${show(value)}`);
  };
  const sweep = root.get(SWEEP);
  const { batchesPerEpoch, extraSteps, terms } = readResumeState(root.get("seed_resume"), wrong);
  const steps = { batchesPerEpoch, extraSteps };
  const found = { epoch: epoch as number, arch, classes, features, steps, terms };
  readSgdSettings(root.get("optimizer"), wrong);
  const buffers = new Map(readSgdBuffers(root.get("optimizer"), wrong));
  if (sweep === undefined) {
    const best = root.get("best_acc1") ?? 0;
    const probe = {
      lr,
      best: readBest(best instanceof TensorRef && best.size === 1 ? (await best.read())[0] : best),
      values: await read("", entry, true),
      momentum: await read("the momentum of ", (_, i) => buffers.get(i), false),
    };
    return { ...found, probes: [probe], chosen: lr };
  }
  const notOurs = (how: string) => wrong(`its ${SWEEP} was not written by deno task lincls: ${how}`);
  if (!Array.isArray(sweep) || sweep.length === 0) {
    throw notOurs(`expected a list of classifiers, found ${show(sweep)}`);
  }
  const probes: SavedProbe[] = [];
  let diverged: NotFiniteError | undefined;
  let chosen: number | undefined;
  for (const probe of sweep) {
    const [rate, best, values, momentum, isChosen] = ["lr", "best_acc1", "values", "momentum", "is_chosen"]
      .map((key) => probe instanceof Map ? probe.get(key) : undefined);
    if (typeof rate !== "number" || !Number.isFinite(rate) || rate <= 0) {
      throw notOurs(`expected a learning rate above 0, found ${show(rate)}`);
    }
    if (probes.some((other) => other.lr === rate)) throw notOurs(`learning rate ${rate} occurs twice`);
    if (!(values instanceof Map) || !(momentum instanceof Map)) {
      throw notOurs(`the classifier for learning rate ${rate} has no values and momentum`);
    }
    const saved = { lr: rate, best: readBest(best) };
    if (isChosen === true) chosen = rate;
    try {
      probes.push({
        ...saved,
        values: await read("", (key) => values.get(key), values.size > 0),
        momentum: await read("the momentum of ", (key) => momentum.get(key), false),
      });
    } catch (error) {
      if (!(error instanceof NotFiniteError)) throw error;
      diverged = error;
      probes.push({ ...saved, values: new Map(), momentum: new Map() });
    }
  }
  if (probes.every(({ values }) => values.size === 0)) {
    throw diverged ?? wrong("all its classifiers have diverged; start again with a lower --lr");
  }
  return { ...found, probes, chosen };
}

/**
 * Returns the learning rates of a checkpoint's classifiers, before scaling. The original's files do not say theirs, which counts
 * as its default.
 *
 * @throws CheckpointError where the file is no checkpoint of a linear evaluation
 */
export async function readRates(path: string): Promise<number[]> {
  using file = await openCheckpointFile(path);
  const { probes } = await readLinearCheckpoint(file, LINEAR_DEFAULTS.lr[0]);
  return probes.map(({ lr }) => lr);
}

/**
 * Finds the classifier of each learning rate in a checkpoint.
 *
 * @param path of the checkpoint
 * @throws {CheckpointError} where a learning rate has none, or the classifiers are of other classes or features
 */
export function findProbes(
  path: string,
  saved: SavedLinear,
  { lr, classes, features }: { lr: readonly number[]; classes: number; features: number },
): SavedProbe[] {
  if (saved.classes !== classes || saved.features !== features) {
    throw new CheckpointError(
      path,
      `has a classifier of ${saved.classes} classes over ${saved.features} features, but the images have ${classes} ` +
        `classes and the encoder gives ${features} features; use that run's data and encoder, or set --classes`,
    );
  }
  return lr.map((rate) => {
    const probe = saved.probes.find((candidate) => candidate.lr === rate);
    if (probe !== undefined) return probe;
    const found = saved.probes.map((candidate) => candidate.lr).join(",");
    throw new CheckpointError(path, `has no classifier for learning rate ${rate}; use --lr ${found}`);
  });
}

function show(value: TorchValue | undefined): string {
  return value instanceof TensorRef ? `a tensor [${value.shape}]` : describe(value);
}
