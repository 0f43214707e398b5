/**
 * Finds an encoder's weights in a checkpoint of MoCo, SimCLR, SWAV, SEED or torchvision, and gives them the names that
 * the encoders here have: PyTorch's own, e.g. `layer1.0.conv1.weight`, without a framework's wrapping.
 */
import { CheckpointError, describe, quote } from "./checkpoint_error.ts";
import { TensorRef } from "./tensor_ref.ts";
import { type CheckpointFile, openCheckpointFile } from "./checkpoint_file.ts";
import type { TorchDict, TorchValue } from "./torch_value.ts";

/** Who wrote a checkpoint, by its key names. `torchvision` stands for all that write bare names. */
export type Framework = "moco" | "simclr" | "swav" | "seed" | "torchvision";

/** An encoder's weights in an open checkpoint file. */
export interface StateDict extends Disposable {
  /** Who wrote the file. */
  readonly framework: Framework;
  /** The encoder's tensors by plain key, in the file's order. */
  readonly tensors: ReadonlyMap<string, TensorRef>;
  /** What the framework puts in front of them, e.g. `encoder_q.`; a `module.` before that is not counted. */
  readonly prefix: string;
  /** Tensors beside them that are left aside, e.g. SWAV's prototypes, MoCo's momentum encoder and queue. */
  readonly beside: ReadonlyMap<string, TensorRef>;
  /** Epochs done, where the file says so. */
  readonly epoch?: number;
  /** Name of the encoder, where the file says so, e.g. `resnet50`. */
  readonly arch?: string;
  /** The whole file. */
  readonly file: CheckpointFile;
  /** Closes the file; tensors cannot be read any more. */
  close(): void;
}

/** What an encoder expects under one key. */
export interface ExpectedTensor {
  /** The encoder's own key. */
  readonly key: string;
  /** In PyTorch's layout. */
  readonly shape: readonly number[];
}

/** What a framework's keys look like, once `module.` is off them. The first that fits is taken. */
const NAMINGS: readonly { framework: Framework; prefix: string; mark: RegExp; drop?: RegExp }[] = [
  // The momentum encoder `encoder_k` and the queue stay behind, as in the original's load_moco_teacher_encoder.
  { framework: "moco", prefix: "encoder_q.", mark: /^encoder_q\./ },
  { framework: "seed", prefix: "student.", mark: /^student\./ },
  { framework: "swav", prefix: "", mark: /^(projection_head|prototypes)\./, drop: /^prototypes/ },
  // SimCLR's head has a batch norm: Linear, BatchNorm, ReLU, Linear.
  { framework: "simclr", prefix: "", mark: /^fc\.1\.running_mean$/ },
  { framework: "torchvision", prefix: "", mark: /./ },
];

/** An encoder's own key without the `module.` that SimCLR's, which is wrapped once more, has in front. */
export function plainKey(key: string): string {
  return key.replace(/^module\./, "");
}

/** Where frameworks put the weights, in the order of search; after them any other dict, the optimizer's apart. */
const USUAL_PLACES = ["state_dict", "model"];
const NOT_WEIGHTS = new Set<TorchValue>(["optimizer", "scaler", "amp", "scheduler", "seed_resume"]);
const SEARCH_DEPTH = 3;
const SHOWN_KEYS = 4;

/**
 * Opens a checkpoint and finds its encoder. Nothing but the structure is read yet.
 *
 * @example
 * ```ts
 * import { loadStateDict, matchStateDict } from "./state_dict.ts";
 * using weights = await loadStateDict("moco_v2_800ep_pretrain.pth.tar");
 * const tensors = matchStateDict(weights, [{ key: "conv1.weight", shape: [64, 3, 7, 7] }], () => true);
 * console.log(weights.framework, await tensors.get("conv1.weight")!.read());
 * ```
 *
 * @throws CheckpointError for files that cannot be read, or that hold no encoder
 */
export async function loadStateDict(path: string): Promise<StateDict> {
  const file = await openCheckpointFile(path);
  try {
    return findStateDict(file);
  } catch (error) {
    file.close();
    throw error;
  }
}

/**
 * Finds the encoder in an open checkpoint. To close either closes the file.
 *
 * @throws CheckpointError where it holds no encoder
 */
export function findStateDict(file: CheckpointFile): StateDict {
  const root = file.value instanceof Map ? file.value : new Map<TorchValue, TorchValue>();
  const epoch = root.get("epoch");
  const arch = root.get("arch");
  return {
    ...nameTensors(findWeights(file), file.path),
    ...(typeof epoch === "number" && { epoch }),
    ...(typeof arch === "string" && { arch }),
    file,
    close: () => file.close(),
    [Symbol.dispose]: () => file.close(),
  };
}

/** Another encoder of the file by plain key, e.g. `teacher` beside SEED's student; empty where there is none. */
export function encoderBeside({ beside }: StateDict, name: string): Map<string, TensorRef> {
  const prefix = `${name}.`;
  return new Map(
    [...beside].flatMap(([key, tensor]) =>
      key.startsWith(prefix) ? [[unwrap(key.slice(prefix.length)), tensor] as const] : []
    ),
  );
}

/** How a checkpoint's tensors and what an encoder expects go together. */
interface Comparison {
  /** Tensors that fit, by the expected keys, in their order. */
  matched: Map<string, TensorRef>;
  /** What does not, in words; empty where all does. */
  problems: string;
}

/**
 * Compares tensors by plain key with what an encoder expects. `num_batches_tracked` may be missing on either side. An
 * encoder that is wrapped once more, as SimCLR's is in the original, may expect its keys with `module.` in front.
 *
 * @param isOptional unexpected keys that are no error, e.g. the head when only the features are wanted
 */
export function compareStateDict(
  tensors: ReadonlyMap<string, TensorRef>,
  expected: Iterable<ExpectedTensor>,
  isOptional: (key: string) => boolean = () => false,
): Comparison {
  const matched = new Map<string, TensorRef>();
  const unexpected = new Set([...tensors.keys()].filter((key) => !isCounter(key) && !isOptional(key)));
  const missing: string[] = [];
  const misshapen: string[] = [];
  for (const { key, shape } of expected) {
    const plain = plainKey(key);
    const tensor = tensors.get(plain);
    unexpected.delete(plain);
    if (tensor === undefined) {
      if (!isCounter(key)) missing.push(plain);
    } else if (!isSameShape(tensor.shape, shape)) {
      misshapen.push(`${plain} is [${tensor.shape}], not [${shape}]`);
    } else {
      matched.set(key, tensor);
    }
  }
  const problems = [
    describeKeys(missing, "missing"),
    describeKeys([...unexpected].map((key) => quote(key).slice(1, -1)), "unexpected"),
    describeKeys(misshapen, "of another shape"),
  ];
  return { matched, problems: problems.filter((problem) => problem !== "").join("; ") };
}

/**
 * Matches a checkpoint's tensors with what an encoder expects, see {@linkcode compareStateDict}.
 *
 * @returns the tensors by the expected keys, in their order
 * @throws CheckpointError which lists the keys that are missing, unexpected, or of another shape
 */
export function matchStateDict(
  stateDict: Pick<StateDict, "framework" | "tensors" | "arch" | "file">,
  expected: Iterable<ExpectedTensor>,
  isOptional?: (key: string) => boolean,
): Map<string, TensorRef> {
  const { matched, problems } = compareStateDict(stateDict.tensors, expected, isOptional);
  if (problems === "") return matched;
  const arch = stateDict.arch === undefined ? "" : ` of arch ${quote(stateDict.arch)}`;
  throw new CheckpointError(
    stateDict.file.path,
    `is a ${stateDict.framework} checkpoint${arch} that does not fit the encoder chosen: ${problems}. ` +
      "Choose the architecture and head that it was trained with",
  );
}

function isCounter(key: string): boolean {
  return /(^|\.)num_batches_tracked$/.test(key);
}

function isSameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dim, d) => dim === b[d]);
}

function describeKeys(keys: string[], what: string): string {
  if (keys.length === 0) return "";
  const rest = keys.length > SHOWN_KEYS ? `, and ${keys.length - SHOWN_KEYS} more` : "";
  return `${keys.length} ${keys.length === 1 ? "key is" : "keys are"} ${what} (${
    keys.slice(0, SHOWN_KEYS).join(", ")
  }${rest})`;
}

function findWeights(file: CheckpointFile): TorchDict {
  const found = search(file.value, SEARCH_DEPTH);
  if (found.length === 1) return found[0];
  const keys = file.value instanceof Map ? [...file.value.keys()] : [];
  const shown = keys.slice(0, 8).map((key) => describe(key)).join(", ") || "nothing";
  throw new CheckpointError(
    file.path,
    found.length === 0
      ? `holds no encoder: no dict of named weights was found in it (it has ${shown})`
      : `holds ${found.length} dicts of weights (among ${shown}), none of them called state_dict or model; save the ` +
        "one that is meant alone",
  );
}

function search(value: TorchValue | undefined, depth: number): TorchDict[] {
  if (!(value instanceof Map) || depth === 0) return [];
  for (const place of USUAL_PLACES) {
    const found = search(value.get(place), depth - 1);
    if (found.length > 0) return found;
  }
  if (holdsWeights(value)) return [value];
  return [...value].flatMap(([key, child]) => NOT_WEIGHTS.has(key) ? [] : search(child, depth - 1));
}

function holdsWeights(dict: TorchDict): boolean {
  for (const [key, value] of dict) {
    if (typeof key === "string" && value instanceof TensorRef && value.shape.length >= 2) return true;
  }
  return false;
}

function nameTensors(
  dict: TorchDict,
  path: string,
): Pick<StateDict, "framework" | "prefix" | "tensors" | "beside"> {
  const named: [string, TensorRef][] = [];
  for (const [key, value] of dict) {
    if (typeof key === "string" && value instanceof TensorRef) named.push([unwrap(key), value]);
  }
  const { framework, prefix, drop } = NAMINGS.find(({ mark }) => named.some(([key]) => mark.test(key)))!;
  const tensors = new Map<string, TensorRef>();
  const beside = new Map<string, TensorRef>();
  for (const [key, tensor] of named) {
    if (!key.startsWith(prefix) || drop?.test(key)) {
      beside.set(key, tensor);
      continue;
    }
    const plain = unwrap(key.slice(prefix.length));
    if (tensors.has(plain)) throw new CheckpointError(path, `has two tensors named ${quote(plain)}`);
    tensors.set(plain, tensor);
  }
  return { framework, prefix, tensors, beside };
}

/** Takes off what DataParallel, DistributedDataParallel (any number of times) and torch.compile put in front. */
function unwrap(key: string): string {
  return key.replace(/^((module|_orig_mod)\.)+/, "");
}
