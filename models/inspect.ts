/** What a checkpoint file holds: its container, its encoders, its tensors and what else was saved. */
import { type CheckpointFile, type Container, openCheckpointFile } from "./checkpoint/checkpoint_file.ts";
import { CheckpointError, quote } from "./checkpoint/checkpoint_error.ts";
import type { Dtype } from "./checkpoint/dtype.ts";
import {
  compareStateDict,
  encoderBeside,
  type Framework,
  namesBeside,
  type StateDict,
} from "./checkpoint/state_dict.ts";
import type { SavedInput } from "./checkpoint/saved_input.ts";
import { TensorRef } from "./checkpoint/tensor_ref.ts";
import type { TorchValue } from "./checkpoint/torch_value.ts";
import { describePlace } from "./encoder_input.ts";
import { configOf, hasFixedPositions, locateEncoder } from "./locate_encoder.ts";
import type { EncoderPart } from "./encoder_parts.ts";
import { SSL_TITLES } from "./encoder.ts";
import { findHead, type FoundHead } from "./heads.ts";
import { describeNearest, describeOtherModel, explainFamily } from "./near_miss.ts";
import type { EncoderClues } from "./encoder_family.ts";
import { cluesOf, expectPart, recognizeEncoders } from "./recognize.ts";
import type { StateEntry } from "./encoder_layers.ts";
import { findEncoder } from "./registry.ts";

/** A tensor of the file. */
export interface InspectedTensor {
  /** The keys that lead to it, with dots between; an index of a list is a key too. */
  name: string;
  dtype: Dtype;
  /** As PyTorch has it. */
  shape: readonly number[];
  /** Where they were asked for. */
  statistics?: TensorStatistics;
}

/** Over a tensor's finite elements; NaN where it has none. */
export interface TensorStatistics {
  mean: number;
  /** Of the population. */
  deviation: number;
  min: number;
  max: number;
  /** Elements that are NaN or infinite. */
  notFinite: number;
}

/** One encoder of the file. */
export interface InspectedEncoder {
  /** What the file calls it: `encoder_q`, `encoder_k`, `student`, `teacher`; empty where it has no name of its own. */
  name: string;
  /** Names in the registry of those that it may be, the likeliest first; empty where none fits. */
  recognized: readonly string[];
  /** Where none fits, the nearest one and how it differs, in words. */
  nearest?: { encoder: string; problems: string };
  /** `backbone` where there is no head that is known. */
  part: EncoderPart;
  /** What it is found to be. */
  head?: FoundHead;
  /** First names of heads of unknown kinds, e.g. SimSiam's `projector`, beside a backbone. */
  otherHeads: readonly string[];
  /**
   * What it is instead, where it is another program's model of the same family as one that is known, or its tensors do not
   * tell all of it.
   */
  otherModel?: string;
  /** Length of its feature, where that is its embedding: it needs no head. */
  embedding?: number;
  /** Trained numbers, where it is recognised. */
  parameters?: number;
  tensors: number;
}

/** What {@linkcode inspectCheckpoint} found. */
export interface Inspection {
  path: string;
  /** Size of the file, or of all that it is cut into. */
  bytes: number;
  container: Container;
  /** Who wrote it, where it holds an encoder. */
  framework?: Framework;
  /** Whose names its tensors have, where they are those of a vision transformer: formats of other programs, or the release. */
  names?: readonly string[];
  /** What stands in front of the encoder's keys, e.g. `encoder_q.`. */
  prefix?: string;
  /** Where the file says it. */
  arch?: string;
  /** Epochs done, where the file says so. */
  epoch?: number;
  /** What it says of its encoder's images, and of those of a distillation's teacher. */
  input?: SavedInput;
  teacherInput?: SavedInput;
  /** Whether both are what the run that wrote it took, in a file of before such a word. */
  inputIsOfRun?: boolean;
  encoders: readonly InspectedEncoder[];
  /** Which encoder is taken and which are left out, in a sentence; `undefined` where there is no choice. */
  note?: string;
  /** First names of other tensors beside the encoders, e.g. `queue`, or `total_ops`, which thop adds. */
  beside?: readonly string[];
  /** Why no encoder was found. */
  noEncoder?: string;
  tensors: readonly InspectedTensor[];
  /** What was saved beside tensors, as text. */
  values: readonly { name: string; text: string }[];
}

/** What {@linkcode inspectCheckpoint} does beside looking at the structure. */
export interface InspectOptions {
  /** Looks at the encoder under this prefix alone, see `locate_encoder.ts`. */
  weights?: string;
  /** Heads of a vision transformer, where its tensors do not tell. */
  heads?: number;
  /** Reads every tensor that `isWanted` for its statistics, which checks the sums of a zip container too. */
  statistics?: boolean;
  /** Which tensors and values are listed, by name; all by default. */
  isWanted?(name: string): boolean;
  /** Called before each tensor that is read, with how many are done and of how many. */
  onTensor?(done: number, total: number): void;
}

/** Longest text that is shown of a value, and of a name. */
const MAX_TEXT = 100;
const MAX_NAME = 200;
/** Integers beyond it are named by their size: to write one in decimals takes the square of its length. */
const LARGEST_SHOWN = 2n ** 128n;
/** Numbers that are measured at most: those of any honest file, whose tensors share few of them. */
const MEASURED = { least: 2 ** 28, perByte: 16 };
/** Far more than a model has; shared lists can stand for millions. */
const MAX_LISTED = 200_000;

/**
 * Opens a checkpoint of any container and says what is in it. Nothing in the file is executed, and without
 * `statistics` no weight is read.
 *
 * @throws CheckpointError for files that cannot be opened, and those without an encoder under `weights`; one without any
 * encoder is no error
 */
export async function inspectCheckpoint(path: string, options: InspectOptions = {}): Promise<Inspection> {
  const { isWanted = () => true, onTensor } = options;
  using file = await openCheckpointFile(path);
  const found: { name: string; tensor: TensorRef }[] = [];
  const values: { name: string; text: string }[] = [];
  walk(file.value, "", (name, value) => {
    if (!isWanted(name)) return;
    if (found.length + values.length >= MAX_LISTED) {
      throw new CheckpointError(
        path,
        `holds more than ${MAX_LISTED} tensors and values; select some of them with --filter`,
      );
    }
    if (value instanceof TensorRef) found.push({ name, tensor: value });
    else values.push({ name, text: describeValue(value) });
  });
  const { bytes } = file;
  const statistics = options.statistics
    ? await measureAll(path, bytes, found.map(({ tensor }) => tensor), onTensor)
    : undefined;
  const tensors = found.map(({ name, tensor }) => {
    const { dtype, shape } = tensor;
    return { name, dtype, shape, ...statistics && { statistics: statistics.get(tensor)! } };
  });
  return {
    path,
    bytes,
    container: file.container,
    ...await describeEncoders(file, options),
    tensors,
    values,
  };
}

async function describeEncoders(
  file: CheckpointFile,
  { weights, heads }: InspectOptions,
): Promise<Omit<Inspection, "path" | "bytes" | "container" | "tensors" | "values">> {
  let state: StateDict;
  try {
    state = locateEncoder(file, weights);
  } catch (error) {
    if (weights !== undefined || !(error instanceof CheckpointError)) throw error;
    return { encoders: [], noEncoder: error.message.slice(error.path.length + 2) };
  }
  const { framework, prefix, arch, epoch, input, inputIsOfRun, teacherInput, teacherArch, others } = state;
  const note = describePlace(state);
  const describeWith = async (
    name: string,
    tensors: ReadonlyMap<string, TensorRef>,
    said: Parameters<typeof cluesOf>[0],
  ) => {
    const fixedPositions = await hasFixedPositions(tensors);
    return describeEncoder(name.replace(/\.$/, ""), tensors, cluesOf({ ...said, fixedPositions }, { heads }));
  };
  const main = await describeWith(prefix, state.tensors, { ...state, config: await configOf(state) });
  // MoCo's momentum encoder is of the same kind.
  const named = ([
    ["encoder_k", { arch, input }],
    ["teacher", { arch: teacherArch, input: teacherInput }],
  ] as const).flatMap(([name, said]) => {
    const tensors = encoderBeside(state, name);
    return tensors.size === 0 || others !== undefined ? [] : [describeWith(name, tensors, said)];
  });
  const located = (others ?? []).map(async (other) => {
    const found = locateEncoder(file, other);
    return await describeWith(other, found.tensors, { ...found, config: await configOf(found) });
  });
  const encoders = [main, ...await Promise.all([...named, ...located])];
  const beside = namesBeside(state.beside.keys()).filter((name) =>
    encoders.every((one) => one.name !== name)
  );
  return {
    framework,
    names: namesOf(state, main),
    prefix,
    arch,
    epoch,
    input,
    teacherInput,
    inputIsOfRun,
    encoders,
    note,
    beside,
  };
}

/** Whose names the tensors of a vision transformer have; `undefined` for other encoders. */
function namesOf({ formats = [] }: StateDict, { recognized: [name], embedding }: InspectedEncoder) {
  if (formats.length > 0) return formats;
  return name === undefined || embedding === undefined
    ? undefined
    : [`${SSL_TITLES[findEncoder(name).ssl]}'s release`];
}

function describeEncoder(
  name: string,
  tensors: ReadonlyMap<string, TensorRef>,
  clues: EncoderClues,
): InspectedEncoder {
  const head = findHead(tensors);
  const part = head === undefined || isForeign(head, tensors, clues) ? "backbone" : "encoder";
  const recognized = recognizeEncoders(tensors, part, clues);
  const described = {
    name,
    recognized: recognized.map((encoder) => encoder.name),
    part,
    head,
    otherHeads: recognized.length > 0 ? expectPart(recognized[0], tensors, part, clues).otherHeads : [],
  } as const;
  const [encoder] = recognized;
  if (encoder !== undefined) {
    const { entries } = expectPart(encoder, tensors, part, clues);
    const embedding = encoder.head === "none" && head === undefined ? encoder.features : undefined;
    return { ...described, embedding, parameters: countParameters(entries, tensors), tensors: tensors.size };
  }
  const otherModel = describeOtherModel(tensors) ?? explainFamily(tensors, clues);
  if (otherModel !== undefined) return { ...described, otherModel, tensors: tensors.size };
  const nearest = describeNearest(tensors, part);
  return { ...described, ...nearest !== undefined && { nearest }, tensors: tensors.size };
}

/** Whether a head is one that no known encoder has, but whose backbone is known, as a ResNet-18 with SWAV's. */
function isForeign(
  { root }: FoundHead,
  tensors: ReadonlyMap<string, TensorRef>,
  clues: EncoderClues,
): boolean {
  if (recognizeEncoders(tensors, "encoder", clues).length > 0) return false;
  const [encoder] = recognizeEncoders(tensors, "backbone", clues);
  return encoder !== undefined && expectPart(encoder, tensors, "backbone", clues).otherHeads.includes(root);
}

function countParameters(
  entries: readonly StateEntry[],
  tensors: ReadonlyMap<string, TensorRef>,
): number {
  const { matched } = compareStateDict(tensors, entries);
  return entries.filter(({ kind }) => kind === "parameter")
    .reduce((sum, { key }) => sum + matched.get(key)!.size, 0);
}

/**
 * Visits the leaves of a checkpoint's value: tensors, and what holds none.
 *
 * @param name the keys that lead to `value`, cut where they are too long: each of them may be, and each level adds one
 */
function walk(value: TorchValue, name: string, visit: (name: string, value: TorchValue) => void): void {
  const enter = (key: string, child: TorchValue): void =>
    walk(child, name === "" ? key.slice(0, MAX_NAME) : `${name}.${key}`.slice(0, MAX_NAME), visit);
  if (value instanceof Map && value.size > 0) {
    for (const [key, child] of value) enter(typeof key === "string" ? key : describeValue(key), child);
  } else if (Array.isArray(value) && value.some(isComposite)) {
    value.forEach((child, i) => enter(String(i), child));
  } else visit(name, value);
}

function isComposite(value: TorchValue): boolean {
  return value instanceof TensorRef || value instanceof Map || Array.isArray(value);
}

/** A value without tensors in it as short text on one line. */
function describeValue(value: TorchValue): string {
  if (value === null) return "None";
  if (typeof value === "string") return quote(value, MAX_TEXT);
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (value instanceof Map) return value.size === 0 ? "{}" : `a dict of ${value.size}`;
  if (typeof value === "bigint" && (value > LARGEST_SHOWN || value < -LARGEST_SHOWN)) {
    return `an integer of ${value.toString(16).length * 4} bits`;
  }
  if (!Array.isArray(value)) return String(value);
  const shown: string[] = [];
  for (const item of value) {
    shown.push(describeValue(item));
    if (shown.join(", ").length > MAX_TEXT) {
      return `[${shown.slice(0, -1).join(", ")}, ... ${value.length} in all]`;
    }
  }
  return `[${shown.join(", ")}]`;
}

/** Measures tensors, those of one storage after each other: a compressed one is then inflated once. */
async function measureAll(
  path: string,
  bytes: number,
  listed: readonly TensorRef[],
  onTensor?: (done: number, total: number) => void,
): Promise<Map<TensorRef, TensorStatistics>> {
  const tensors = [...new Set(listed)].sort((a, b) => a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
  const numbers = tensors.reduce((sum, { size }) => sum + size, 0);
  const most = MEASURED.least + MEASURED.perByte * bytes;
  if (numbers > most) {
    throw new CheckpointError(
      path,
      `its tensors have ${numbers} values in only ${bytes} bytes, as they repeat or share them. At most ${most} are ` +
        "measured; select some of the tensors with --filter",
    );
  }
  const statistics = new Map<TensorRef, TensorStatistics>();
  for (const tensor of tensors) {
    onTensor?.(statistics.size, tensors.length);
    statistics.set(tensor, await measure(tensor));
  }
  return statistics;
}

/** Piece by piece; sums of squared deviations are joined as Chan, Golub and LeVeque do (1979). */
async function measure(tensor: TensorRef): Promise<TensorStatistics> {
  let [count, mean, squares, min, max] = [0, 0, 0, Infinity, -Infinity];
  for await (const values of tensor.pieces()) {
    let [finite, sum, around] = [0, 0, 0];
    for (const value of values) {
      if (!Number.isFinite(value)) continue;
      finite++;
      sum += value;
      if (value < min) min = value;
      if (value > max) max = value;
    }
    if (finite === 0) continue;
    const center = sum / finite;
    for (const value of values) if (Number.isFinite(value)) around += (value - center) ** 2;
    const total = count + finite;
    squares += around + (center - mean) ** 2 * count * finite / total;
    mean = count === 0 ? center : mean + (center - mean) * finite / total;
    count = total;
  }
  const notFinite = tensor.size - count;
  if (count === 0) return { mean: NaN, deviation: NaN, min: NaN, max: NaN, notFinite };
  return { mean, deviation: Math.sqrt(squares / count), min, max, notFinite };
}
