/**
 * Checkpoints of a run that trains an encoder, as the original SEED (main.py) and MoCo (main_moco.py) write them: `epoch`,
 * `arch`, `state_dict` with the encoder, the one beside it (`module.teacher.*`, `module.encoder_k.*`), `module.queue` and
 * `module.queue_ptr`, and the state of PyTorch's SGD, or of its AdamW. So they open in the originals' own `--resume` and
 * `main_lincls.py --pretrained`.
 */
import { CheckpointError, describe, type Fail, quote } from "../../models/checkpoint/checkpoint_error.ts";
import { isFloatingPoint } from "../../models/checkpoint/dtype.ts";
import { isCounter, type NamedTensor } from "../../models/checkpoint/named_tensor.ts";
import { TensorRef } from "../../models/checkpoint/tensor_ref.ts";
import type { CheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import {
  buildInput,
  INPUT_KEY,
  readInput,
  type SavedInput,
  TEACHER_INPUT_KEY,
} from "../../models/checkpoint/saved_input.ts";
import { requireFinite } from "../../models/checkpoint/read_finite.ts";
import {
  buildSgdState,
  readSgdBuffers,
  readSgdSettings,
  type SgdSettings,
} from "../../models/checkpoint/sgd_state.ts";
import {
  type AdamWMoments,
  type AdamWSettings,
  buildAdamWState,
  isAdamWState,
  readAdamWState,
  type SavedAdamW,
} from "../../models/checkpoint/adamw_state.ts";
import { BY_BATCH_NORM, parameterRule } from "../../models/parameter_rule.ts";
import { requireFiniteOptimizer } from "./optimizer_state.ts";
import {
  OrderedDict,
  TensorValue,
  type TorchDict,
  torchDict,
  type TorchValue,
} from "../../models/checkpoint/torch_value.ts";

/** Key of what the originals do not have: whatever this project needs to go on exactly where it stopped. */
const RESUME = "seed_resume";

/** How a method's checkpoints name what is in them. */
export interface CheckpointLayout {
  /** What stands before the keys of the encoder that is trained. */
  readonly trained: `module.${string}.`;
  /** What stands before those of the one beside it, which is frozen or follows it. */
  readonly beside: `module.${string}.`;
  /** What errors call a run: `distillation run`. */
  readonly run: string;
}

/** What a checkpoint has of the optimizer: SGD, or AdamW. */
export type OptimizerCheckpoint =
  | {
    /** Settings of SGD. */
    readonly sgd: SgdSettings;
    /** Its momentum buffers by the encoder's plain keys; none before the first step. */
    readonly momentum: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
    readonly adamw?: undefined;
  }
  | {
    /** Settings of AdamW, and the learning rate of the last step. */
    readonly adamw: AdamWSettings & { readonly lr: number };
    /** Its moments. */
    readonly moments: AdamWMoments<Float32Array<ArrayBuffer>>;
    /** Steps that changed the weights. */
    readonly steps: number;
  };

/** What a run saves. */
export type TrainingCheckpoint = EncoderCheckpoint & OptimizerCheckpoint;

interface EncoderCheckpoint {
  /** Epochs done, i.e. the epoch that a resumed run starts with. */
  readonly epoch: number;
  /** Name of the encoder that is trained. */
  readonly arch: string;
  /** Parameters and running statistics, in the order of the encoder's state_dict. */
  readonly encoder: readonly NamedTensor[];
  /** The one beside it likewise: a frozen teacher, or a momentum encoder. The originals' `--resume` needs it. */
  readonly beside?: readonly NamedTensor[] | ReadonlyMap<string, TensorRef>;
  /** The queue's keys, [dim, K] as in the original. */
  readonly queue?: Omit<NamedTensor, "key">;
  /** The queue of small views in the multi-view variant, [dim, K]. */
  readonly smallQueue?: Omit<NamedTensor, "key">;
  /** Where the next keys go in the queue. */
  readonly queuePointer?: number;
  /** What is to be known of the encoder's images, and of those of the one beside it. */
  readonly input?: SavedInput;
  readonly besideInput?: SavedInput;
  /** Plain data and tensors that `torch.load` opens too and the original ignores. */
  readonly resume?: TorchValue;
}

/** A saved run, as found in a file. Tensors are read when asked for. */
export interface SavedTraining {
  /** Epochs done. */
  readonly epoch: number;
  /** Name of the encoder that is trained. */
  readonly arch: string;
  /** By plain keys, in the file's order. */
  readonly encoder: ReadonlyMap<string, TensorRef>;
  /** Empty where the file has none. */
  readonly beside: ReadonlyMap<string, TensorRef>;
  /** [dim, K] */
  readonly queue?: TensorRef;
  /** [dim, K] */
  readonly smallQueue?: TensorRef;
  /** int64 [1] */
  readonly queuePointer?: TensorRef;
  /** Absent where the run had not made its optimizer yet, and where it is AdamW. */
  readonly sgd?: SgdSettings;
  /** By the encoder's plain keys. */
  readonly momentum: ReadonlyMap<string, TensorRef>;
  /** Where the optimizer is AdamW. */
  readonly adamw?: SavedAdamW;
  /** What it says of the encoder's images. */
  readonly input?: SavedInput;
  /** What was saved beside the original's content. */
  readonly resume?: TorchValue;
}

/** Name of the checkpoint after an epoch, counted from 0: `checkpoint_0007.pth.tar`. */
export function numberedCheckpoint(epoch: number): string {
  return `checkpoint_${String(epoch).padStart(4, "0")}.pth.tar`;
}

/** The value to hand to `writeTorchFile`. */
export function buildTrainingCheckpoint(
  layout: CheckpointLayout,
  checkpoint: TrainingCheckpoint,
): TorchDict {
  const tensors = new OrderedDict();
  const add = (key: string, { dtype = "float32", shape, data }: Omit<NamedTensor, "key">) =>
    tensors.set(key, new TensorValue(dtype, shape, data));
  for (const tensor of checkpoint.encoder) add(layout.trained + tensor.key, tensor);
  const { beside = [] } = checkpoint;
  if (Array.isArray(beside)) {
    for (const tensor of beside as readonly NamedTensor[]) add(layout.beside + tensor.key, tensor);
  } else {
    for (const [key, tensor] of beside as ReadonlyMap<string, TensorRef>) {
      tensors.set(layout.beside + key, tensor);
    }
  }
  if (checkpoint.queue !== undefined) add("module.queue", checkpoint.queue);
  if (checkpoint.smallQueue !== undefined) add("module.small_queue", checkpoint.smallQueue);
  if (checkpoint.queuePointer !== undefined) {
    const data = BigInt64Array.of(BigInt(checkpoint.queuePointer));
    add("module.queue_ptr", { dtype: "int64", shape: [1], data });
  }

  const value = torchDict([
    ["epoch", checkpoint.epoch],
    ["arch", checkpoint.arch],
    ["state_dict", tensors],
    ["optimizer", buildOptimizer(layout, checkpoint, tensors)],
  ]);
  const { input, besideInput, resume } = checkpoint;
  if (input !== undefined) value.set(INPUT_KEY, buildInput(input));
  if (besideInput !== undefined) value.set(TEACHER_INPUT_KEY, buildInput(besideInput));
  if (resume !== undefined) value.set(RESUME, resume);
  return value;
}

/**
 * AdamW's parameters are those of the trained encoder. SGD's are numbered over both encoders, as the originals hand the whole model to their optimizer; those of the one that
 * is not trained never have a momentum.
 */
function buildOptimizer(
  layout: CheckpointLayout,
  checkpoint: TrainingCheckpoint,
  tensors: TorchDict,
): TorchDict {
  const { arch, encoder } = checkpoint;
  const isParameter = parameterRule(arch);
  if (checkpoint.adamw !== undefined) {
    const { adamw: { lr, ...settings }, moments, steps } = checkpoint;
    const entries = encoder.filter(({ key }) => isParameter(key));
    return buildAdamWState(settings, [{ lr, entries }], moments, steps);
  }
  const { sgd, momentum } = checkpoint;
  const parameters = ([...tensors.keys()] as string[]).filter((key) => {
    const prefix = [layout.trained, layout.beside].find((prefix) => key.startsWith(prefix));
    return prefix !== undefined && isParameter(key.slice(prefix.length));
  });
  const shapes = new Map(encoder.map(({ key, shape }) => [key, shape]));
  const buffers = [...momentum].map(([key, data]) => {
    const index = parameters.indexOf(layout.trained + key);
    const shape = shapes.get(key);
    if (index < 0 || shape === undefined) {
      throw new Error(`expected momentum for the trained parameters only, found ${key}`);
    }
    return { index, shape, data };
  });
  return buildSgdState(sgd, parameters.length, buffers);
}

/**
 * Reads what {@linkcode buildTrainingCheckpoint} or an original saved, for `--resume`.
 *
 * @throws CheckpointError where `file` is no checkpoint of such a run
 */
export function readTrainingCheckpoint(layout: CheckpointLayout, file: CheckpointFile): SavedTraining {
  const wrong = (how: string) =>
    new CheckpointError(file.path, `is not a checkpoint of a ${layout.run}: ${how}`);
  const root = file.value instanceof Map ? file.value : undefined;
  const epoch = root?.get("epoch");
  const arch = root?.get("arch");
  const weights = root?.get("state_dict");
  if (
    root === undefined || !Number.isSafeInteger(epoch) || (epoch as number) < 0 || typeof arch !== "string"
  ) {
    throw wrong("it has no valid epoch and arch");
  }
  if (!(weights instanceof Map)) throw wrong("it has no state_dict");

  const encoder = new Map<string, TensorRef>();
  const beside = new Map<string, TensorRef>();
  const rest = new Map<string, TensorRef>();
  /** Of both encoders, in the file's order, by plain keys. */
  const ofBoth: { key: string; shape: readonly number[]; isTrained: boolean }[] = [];
  const [trained, other] = [layout.trained, layout.beside].map((prefix) => prefix.replace(/^module\./, ""));
  for (const [key, tensor] of weights) {
    if (typeof key !== "string" || !(tensor instanceof TensorRef)) continue;
    // On a single GPU the originals have no `module.` in front.
    const name = key.replace(/^module\./, "");
    const prefix = [trained, other].find((prefix) => name.startsWith(prefix));
    const plain = name.slice(prefix?.length ?? 0);
    (prefix === undefined ? rest : prefix === trained ? encoder : beside).set(plain, tensor);
    if (prefix !== undefined) ofBoth.push({ key: plain, shape: tensor.shape, isTrained: prefix === trained });
  }
  if (encoder.size === 0) throw wrong(`its state_dict has no keys ${layout.trained}*`);

  const optimizer = root.get("optimizer");
  const optional = {
    queue: rest.get("queue"),
    smallQueue: rest.get("small_queue"),
    queuePointer: rest.get("queue_ptr"),
    input: readInput(INPUT_KEY, root.get(INPUT_KEY), (problem) => new CheckpointError(file.path, problem)),
    resume: root.get(RESUME),
  };
  const found = { epoch: epoch as number, arch, encoder, beside, ...optional };
  const momentum = new Map<string, TensorRef>();
  if (isAdamWState(optimizer)) {
    const entries = numbered(arch, ofBoth.filter(({ isTrained }) => isTrained), optimizer);
    return { ...found, momentum, adamw: readAdamWState(optimizer, [entries], wrong) };
  }
  const parameters = numbered(arch, ofBoth, optimizer);
  for (const [index, buffer] of readSgdBuffers(optimizer, wrong)) {
    const parameter = parameters[index as number];
    if (
      !parameter?.isTrained || !(buffer instanceof TensorRef) ||
      String(buffer.shape) !== String(parameter.shape) || !isFloatingPoint(buffer.dtype)
    ) {
      throw wrong(
        `its optimizer state ${describe(index)} is not the momentum of a parameter of ${layout.trained}*`,
      );
    }
    momentum.set(parameter.key, buffer);
  }
  return { ...found, sgd: readSgdSettings(optimizer, wrong), momentum };
}

/** The parameters in an optimizer's order. Checkpoints were once numbered with such buffers as an encoder declares itself. */
function numbered<Entry extends { key: string }>(
  arch: string,
  entries: readonly Entry[],
  optimizer: TorchValue | undefined,
): Entry[] {
  const [before, now] = [BY_BATCH_NORM, parameterRule(arch)].map((isParameter) =>
    entries.filter(({ key }) => isParameter(key))
  );
  return countParameters(optimizer) === before.length ? before : now;
}

/** How many parameters the groups of an optimizer have. */
function countParameters(optimizer: TorchValue | undefined): number {
  const groups = optimizer instanceof Map ? optimizer.get("param_groups") : undefined;
  if (!Array.isArray(groups)) return 0;
  const counts = groups.map((group) => {
    const parameters = group instanceof Map ? group.get("params") : undefined;
    return Array.isArray(parameters) ? parameters.length : 0;
  });
  return counts.reduce((sum, count) => sum + count, 0);
}

/**
 * Reads all that a run goes on with: the encoder, its momentum and the queue.
 *
 * @throws {CheckpointError} where a number is not finite
 */
export async function requireFiniteTraining(path: string, saved: SavedTraining): Promise<void> {
  const { encoder, queue, smallQueue } = saved;
  await requireFinite(path, encoder);
  await requireFiniteOptimizer(path, saved);
  if (queue !== undefined) await requireFinite(path, [["queue", queue]]);
  if (smallQueue !== undefined) await requireFinite(path, [["small_queue", smallQueue]]);
}

/**
 * Makes sure that tensors which a run goes on with have the types and values that they can have.
 *
 * @throws CheckpointError that names the tensor
 */
export async function checkSavedTensors(
  { encoder, queue, smallQueue, queuePointer }: SavedTraining,
  fail: Fail,
): Promise<void> {
  const others = { queue, small_queue: smallQueue };
  for (const [key, tensor] of [...encoder, ...Object.entries(others)]) {
    if (tensor === undefined) continue;
    if (isCounter(key)) await readCount(key, tensor, fail);
    else if (!isFloatingPoint(tensor.dtype)) {
      throw fail(`is damaged: expected floating-point numbers for ${quote(key)}, found ${tensor.dtype}`);
    }
  }
  if (queuePointer !== undefined) await readCount("queue_ptr", queuePointer, fail);
}

/** Reads an integer tensor of one number from 0 on. */
async function readCount(key: string, tensor: TensorRef, fail: Fail): Promise<number> {
  const { dtype, size } = tensor;
  const value = isFloatingPoint(dtype) || size !== 1 ? NaN : Number((await tensor.readRaw())[0]);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  const found = Number.isNaN(value) ? `${dtype} [${tensor.shape}]` : String(value);
  throw fail(`is damaged: expected a non-negative integer for ${quote(key)}, found ${found}`);
}

/** [rows, columns] to [columns, rows]: the original keeps its queue as [dim, K]. */
export function transpose(values: Float32Array, rows: number, columns: number): Float32Array<ArrayBuffer> {
  const turned = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      turned[column * rows + row] = values[row * columns + column];
    }
  }
  return turned;
}
