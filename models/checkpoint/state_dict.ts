/**
 * Finds an encoder's weights in a checkpoint of MoCo, SimCLR, SWAV, SEED or torchvision, and gives them the names that
 * the encoders here have: PyTorch's own, e.g. `layer1.0.conv1.weight`, without a framework's wrapping.
 */
import { CheckpointError, describe, quote } from "./checkpoint_error.ts";
import { isFloatingPoint } from "./dtype.ts";
import { TensorRef } from "./tensor_ref.ts";
import type { TransformersConfig } from "./transformers_config.ts";
import { type CheckpointFile, openCheckpointFile } from "./checkpoint_file.ts";
import type { Stem } from "../encoder.ts";
import { INPUT_KEY, readInput, readInputOfRun, type SavedInput, TEACHER_INPUT_KEY } from "./saved_input.ts";
import { OrderedDict, type TorchDict, type TorchValue } from "./torch_value.ts";

/** Who wrote a checkpoint, by its key names. `torchvision` stands for all that write bare names. */
export type Framework = "moco" | "mocov3" | "simclr" | "swav" | "seed" | "torchvision";

/** An encoder's weights in an open checkpoint file. */
export interface StateDict extends Disposable {
  /** Who wrote the file. */
  readonly framework: Framework;
  /** The encoder's tensors by plain key, in the file's order. */
  readonly tensors: ReadonlyMap<string, TensorRef>;
  /** What the framework puts in front of them, e.g. `encoder_q.`; a `module.` before that is not counted. */
  readonly prefix: string;
  /**
   * Tensors beside them that are left aside, e.g. SWAV's prototypes, MoCo's momentum encoder and queue, and what tools
   * count in a model, see {@linkcode isTally}.
   */
  readonly beside: ReadonlyMap<string, TensorRef>;
  /** Epochs done, where the file says so. */
  readonly epoch?: number;
  /** Name of the encoder, where the file says so, e.g. `resnet50`. */
  readonly arch?: string;
  /** What the file says of the encoder's images. */
  readonly input?: SavedInput;
  /** Likewise of those of a `teacher` beside it. */
  readonly teacherInput?: SavedInput;
  /** Name of the encoder of a `teacher` beside it, where the file says so. */
  readonly teacherArch?: string;
  /** Whether that is what the run that wrote it took, in a file of before such a word. */
  readonly inputIsOfRun: boolean;
  /**
   * Prefixes of other encoders that `--weights` chooses, see `locate_encoder.ts`; `undefined` where the names of a framework
   * leave no choice.
   */
  readonly others?: readonly string[];
  /** The stem of its program's encoders, where shapes do not tell it: solo-learn's for CIFAR, see `locate_encoder.ts`. */
  readonly likelyStem?: Stem;
  /** Mean and std of its program, where its names tell that this is MoCo's notebook for CIFAR-10, see `locate_encoder.ts`. */
  readonly likelyInput?: SavedInput;
  /** Whether a max pooling follows a ResNet's first convolution, where Lightning Bolts' `maxpool1` says. */
  readonly maxPool?: boolean;
  /** Whether the positions of a vision transformer are MoCo-v3's, where that was looked at. */
  readonly fixedPositions?: boolean;
  /** What transformers says beside the file. */
  readonly config?: TransformersConfig;
  /** Formats of other programs whose names its tensors had, see `name_formats.ts`; those of the release are not said. */
  readonly formats?: readonly string[];
  /** Whether this project wrote it, and not to export it. */
  readonly isOurs: boolean;
  /**
   * Whether its head is a classifier: of a linear evaluation or a fine-tuning, which save its best accuracy, or of an export, which
   * says so.
   */
  readonly isClassifier: boolean;
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
  /** Whether the file may lack it. */
  readonly optional?: boolean;
}

/** What a framework's keys look like, once `module.` is off them. The first that fits is taken. */
const NAMINGS: readonly { framework: Framework; prefix: string; mark: RegExp; drop?: RegExp }[] = [
  // The momentum encoder `encoder_k` and the queue stay behind, as in the original's load_moco_teacher_encoder.
  { framework: "moco", prefix: "encoder_q.", mark: /^encoder_q\./ },
  // Of MoCo-v3 its main_lincls.py loads this one and not the momentum encoder.
  { framework: "mocov3", prefix: "base_encoder.", mark: /^base_encoder\./ },
  { framework: "seed", prefix: "student.", mark: /^student\./ },
  { framework: "swav", prefix: "", mark: /^(projection_head|prototypes)\./, drop: /^prototypes/ },
  // SimCLR's head has a batch norm: Linear, BatchNorm, ReLU, Linear.
  { framework: "simclr", prefix: "", mark: /^fc\.1\.running_mean$/ },
  // VISSL's trunks are ResNets of torchvision's names behind this one.
  { framework: "torchvision", prefix: "_feature_blocks.", mark: /^_feature_blocks\./ },
  { framework: "torchvision", prefix: "", mark: /^/ },
];

/** Whether a key is of a tensor that tools add to a model: thop counts operations, averaged models their updates. */
export function isTally(key: string): boolean {
  return /(^|\.)total_(ops|params)$|^n_averaged$/.test(key);
}

/**
 * First names of what is beside an encoder, each once; of what tools add anywhere, the last: `queue`, `total_ops`. What the
 * encoder itself lies under is no name of something else: beside `teacher.backbone.` is `teacher.dino_head`.
 *
 * @param prefix the encoder's
 */
export function namesBeside(keys: Iterable<string>, prefix = ""): string[] {
  const own = prefix.split(".").slice(0, -1);
  const nameOf = (key: string) => {
    const parts = key.split(".");
    if (isTally(key)) return parts.at(-1)!;
    const shared = own.findIndex((part, i) => part !== parts[i]);
    return parts.slice(0, 1 + (shared === -1 ? own.length : shared)).join(".");
  };
  return [...new Set([...keys].map(nameOf))];
}

/** An encoder's own key without the `module.` that SimCLR's, which is wrapped once more, has in front. */
export function plainKey(key: string): string {
  return key.replace(/^module\./, "");
}

/** Where frameworks put the weights, in the order of search; after them any other dict, the optimizer's apart. */
const USUAL_PLACES = ["state_dict", "model"];
const NOT_WEIGHTS = new Set<TorchValue>(["optimizer", "scaler", "amp", "scheduler", "seed_resume"]);
/** What training programs of others do not write. */
const OURS = ["seed_resume", "seed_sweep"];
/** What MoCo's `main_lincls.py` and PyTorch's example of ImageNet save beside a classifier. */
const BEST_ACCURACY = "best_acc1";
/** Weights that an encoder has at least; fewer are statistics, such as a mean image, where dicts of weights lie beside them. */
const LEAST_WEIGHTS = 3;
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
  const weights = findWeights(file);
  return { ...nameTensors(weights, file.path), ...describeFile(file, weights) };
}

/** What a file says beside its tensors. */
export function describeFile(
  file: CheckpointFile,
  weights?: TorchDict,
): Omit<StateDict, "framework" | "tensors" | "prefix" | "beside"> {
  const root = file.value instanceof Map ? file.value : new Map<TorchValue, TorchValue>();
  const epoch = root.get("epoch");
  const settings = root.get("hyper_parameters");
  const maxPool = settings instanceof Map ? settings.get("maxpool1") : undefined;
  const attribute = weights instanceof OrderedDict ? weights.input : undefined;
  const fail = (problem: string) => new CheckpointError(file.path, problem);
  const own = readInput(INPUT_KEY, root.get(INPUT_KEY) ?? attribute, fail);
  const arch = root.get("arch") ?? own?.arch;
  const ofRun = own === undefined ? readInputOfRun(root.get("seed_resume"), fail) : undefined;
  const teacherInput = readInput(TEACHER_INPUT_KEY, root.get(TEACHER_INPUT_KEY), fail) ?? ofRun;
  const teacherArch = teacherInput?.arch ?? teacherArchOfRun(root.get("seed_resume"));
  return {
    ...(typeof epoch === "number" && { epoch }),
    ...(typeof arch === "string" && { arch }),
    ...(typeof maxPool === "boolean" && { maxPool }),
    input: own ?? ofRun,
    inputIsOfRun: ofRun !== undefined,
    teacherInput,
    ...teacherArch !== undefined && { teacherArch },
    isOurs: OURS.some((key) => root.has(key)),
    isClassifier: own?.isClassifier ?? root.has(BEST_ACCURACY),
    file,
    close: () => file.close(),
    [Symbol.dispose]: () => file.close(),
  };
}

/** Name of the teacher's encoder, which files of before it was beside the teacher's input say among their terms. */
function teacherArchOfRun(state: TorchValue | undefined): string | undefined {
  const terms = state instanceof Map ? state.get("terms") : undefined;
  const arch = terms instanceof Map ? terms.get("teacher_arch") : undefined;
  return typeof arch === "string" ? arch : undefined;
}

/**
 * Every named tensor of a file's dicts of weights, by the keys that lead to it: without those that frameworks put everything
 * under (`state_dict`, `model`), and without wrapping at any depth.
 *
 * @param everywhere also of dicts beside the usual one, such as `state_dict_ema`
 * @param doubled is given the names that two tensors of one dict have, of which the first is listed
 */
export function listTensors(
  file: CheckpointFile,
  everywhere = false,
  doubled: Set<string> = new Set(),
): Map<string, TensorRef> {
  const listed = new Map<string, TensorRef>();
  for (const { path, dict } of search(file.value, 4, everywhere)) {
    const places = USUAL_PLACES.includes(path.at(-1)!) ? path.slice(0, -1) : path;
    const ofDict = new Set<string>();
    for (const [key, tensor] of dict) {
      if (typeof key !== "string" || !(tensor instanceof TensorRef) || isTally(key)) continue;
      const name = unwrap([...places, key].join("."));
      if (ofDict.has(name)) doubled.add(name);
      ofDict.add(name);
      if (!listed.has(name)) listed.set(name, tensor);
    }
  }
  return listed;
}

/** Another encoder of the file by plain key, e.g. `teacher` beside SEED's student; empty where there is none. */
export function encoderBeside({ beside }: StateDict, name: string): Map<string, TensorRef> {
  const prefix = `${name}.`;
  return new Map(
    [...beside].flatMap(([key, tensor]) =>
      key.startsWith(prefix) && !isTally(key) ? [[key.slice(prefix.length), tensor] as const] : []
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
  for (const { key, shape, optional = false } of expected) {
    const plain = plainKey(key);
    const tensor = tensors.get(plain);
    unexpected.delete(plain);
    if (tensor === undefined) {
      if (!isCounter(key) && !optional) missing.push(plain);
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
 * @param advice what to do where they do not match
 * @returns the tensors by the expected keys, in their order
 * @throws CheckpointError which lists the keys that are missing, unexpected, of another shape, or not of floating-point numbers
 */
export function matchStateDict(
  stateDict: Pick<StateDict, "framework" | "tensors" | "arch" | "file">,
  expected: Iterable<ExpectedTensor>,
  isOptional?: (key: string) => boolean,
  advice: () => string = () => "Choose the architecture and head that it was trained with",
): Map<string, TensorRef> {
  const list = [...expected];
  const { matched, problems } = compareStateDict(stateDict.tensors, list, isOptional);
  const arch = stateDict.arch === undefined ? "" : ` of arch ${quote(stateDict.arch)}`;
  const refuse = (how: string) =>
    new CheckpointError(stateDict.file.path, `is a ${stateDict.framework} checkpoint${arch} ${how}`);
  if (problems !== "") throw refuse(`that does not fit the encoder chosen: ${problems}. ${advice()}`);
  const integers = describeIntegers(list, matched);
  if (integers !== "") {
    throw refuse(
      `whose weights are quantised or no weights: ${integers}. Save the model's weights as float32`,
    );
  }
  return matched;
}

/** Required tensors of integers or bools, which mean nothing without the scale that they were quantised with. */
function describeIntegers(
  expected: readonly ExpectedTensor[],
  matched: ReadonlyMap<string, TensorRef>,
): string {
  const integers = expected.flatMap(({ key, optional = false }) => {
    const dtype = matched.get(key)?.dtype;
    if (dtype === undefined || isFloatingPoint(dtype) || isCounter(key) || optional) return [];
    return [`${plainKey(key)} is ${dtype}`];
  });
  return describeKeys(integers, "not of floating-point numbers");
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
  // An encoder has convolutions; a dict of matrices alone is a head, a queue or statistics where there is another.
  const found = [4, 2].map((rank) => search(file.value, rank)).find((dicts) => dicts.length > 0) ?? [];
  if (found.length === 1) return found[0].dict;
  if (found.length > 1) throw new SeveralDictsError(file.path, found);
  throw new CheckpointError(
    file.path,
    `holds no encoder: it has no dict of named weights (${describeContent(file.value)})`,
  );
}

/** A dict, and the keys that lead to it. */
interface FoundDict {
  path: readonly string[];
  dict: TorchDict;
}

/** Several dicts hold weights, and none is in the usual place. */
export class SeveralDictsError extends CheckpointError {
  /** Which they are, in words. */
  readonly what: string;
  /** The dicts by the keys that lead to them, with dots between; their tensors without wrapping. */
  readonly dicts: readonly { readonly name: string; readonly tensors: ReadonlyMap<string, TensorRef> }[];

  constructor(path: string, found: readonly FoundDict[]) {
    const sizes = found.map(({ path, dict }) =>
      `${dict.size} ${dict.size === 1 ? "entry" : "entries"} in ${describePath(path)}`
    );
    const what = `holds ${found.length} dicts of weights (${
      describeSome(sizes)
    }), none of them called state_dict or model`;
    super(path, `${what}; save only the one to use`);
    this.what = what;
    this.dicts = found.map(({ path, dict }) => ({ name: path.join("."), tensors: new Map(tensorsOf(dict)) }));
  }
}

/**
 * The dicts that hold named tensors of a rank, however deep they lie: those of the usual places, else all; first those of
 * the usual places and then all others with `everywhere`. What is shared is visited once, so that the work is bounded by the
 * size of the file; `checkTree` has bounded the depth.
 */
function search(root: TorchValue, rank: number, everywhere = false): FoundDict[] {
  const visited = new Set<TorchValue>();
  const visit = (value: TorchValue | undefined, path: readonly string[]): FoundDict[] => {
    if (!isContainer(value) || visited.has(value)) return [];
    visited.add(value);
    if (Array.isArray(value)) {
      return value.flatMap((child, i) => isContainer(child) ? visit(child, [...path, String(i)]) : []);
    }
    const usual: FoundDict[] = [];
    for (const place of USUAL_PLACES) {
      usual.push(...visit(value.get(place), [...path, place]));
      if (usual.length > 0 && !everywhere) return usual;
    }
    const own = usual.length === 0 && holdsWeights(value, rank) ? [{ path, dict: value }] : [];
    if (own.length > 0 && countWeights(value) >= LEAST_WEIGHTS) return own;
    if (isOptimizerState(value)) return [...usual, ...own];
    const others = [...value].flatMap(([key, child]) =>
      NOT_WEIGHTS.has(key) || !isContainer(child) ? [] : visit(child, [...path, shownKey(key)])
    );
    return others.length === 0 ? [...usual, ...own] : [...usual, ...others];
  };
  return visit(root, []);
}

function isContainer(value: TorchValue | undefined): value is TorchDict | TorchValue[] {
  return value instanceof Map || Array.isArray(value);
}

function holdsWeights(dict: TorchDict, rank: number): boolean {
  for (const [key, value] of dict) {
    if (typeof key === "string" && value instanceof TensorRef && value.shape.length >= rank) return true;
  }
  return false;
}

/** Tensors of a dict that are named and no vectors. */
function countWeights(dict: TorchDict): number {
  return [...dict].filter(([key, value]) =>
    typeof key === "string" && value instanceof TensorRef && value.shape.length >= 2
  ).length;
}

/** Whether a dict is what an optimizer of PyTorch saves, under whatever name: its momenta have the weights' shapes. */
function isOptimizerState(dict: TorchDict): boolean {
  return dict.has("state") && dict.has("param_groups");
}

function shownKey(key: TorchValue): string {
  return typeof key === "string" ? key : String(describe(key));
}

function describePath(path: readonly string[]): string {
  return path.length === 0 ? "the file itself" : quote(path.join("."));
}

/** What a file without a dict of weights holds instead. */
function describeContent(root: TorchValue): string {
  const top = describeValue(root);
  if (!isContainer(root)) return `it is ${top}`;
  const [keys, children] = Array.isArray(root)
    ? [[], root]
    : [[...root.keys()].map((key) => describe(key)), [...root.values()]];
  const shown = Array.isArray(root) ? children.slice(0, SHOWN_KEYS + 1).map(describeValue) : keys;
  const has = shown.length === 0 ? "nothing" : describeSome(shown, Array.isArray(root) ? SHOWN_KEYS : 8);
  const tensors = countTensors(root);
  const where = tensors === 0
    ? "there is no tensor in it"
    : `of the ${tensors} tensors in it none is a named weight of two or more dimensions outside of an optimizer's state`;
  return Array.isArray(root) ? `it is ${top}: ${has}; ${where}` : `it has ${has}; ${where}`;
}

function describeValue(value: TorchValue): string {
  return value instanceof TensorRef ? `a tensor of shape [${value.shape.slice(0, 8)}]` : describe(value);
}

function describeSome(texts: readonly string[], shown = SHOWN_KEYS): string {
  return texts.slice(0, shown).join(", ") + (texts.length > shown ? ", ..." : "");
}

function countTensors(root: TorchValue): number {
  const visited = new Set<TorchValue>();
  const count = (value: TorchValue): number => {
    if (value instanceof TensorRef) return 1;
    if (!isContainer(value) || visited.has(value)) return 0;
    visited.add(value);
    return [...value.values()].reduce((sum: number, child) => sum + count(child), 0);
  };
  return count(root);
}

/** Two tensors have one name, once what frameworks put in front is taken off: which is meant, nobody knows. */
export class DuplicateTensorError extends CheckpointError {
  constructor(path: string, name: string) {
    super(path, `has two tensors named ${quote(name)}; save only the one to use`);
  }
}

function nameTensors(
  dict: TorchDict,
  path: string,
): Pick<StateDict, "framework" | "prefix" | "tensors" | "beside"> {
  const named = tensorsOf(dict);
  const { framework, prefix, drop } = NAMINGS.find(({ mark }) => named.some(([key]) => mark.test(key)))!;
  const tensors = new Map<string, TensorRef>();
  const beside = new Map<string, TensorRef>();
  for (const [key, tensor] of named) {
    if (!key.startsWith(prefix) || drop?.test(key) || isTally(key)) {
      beside.set(key, tensor);
      continue;
    }
    const plain = key.slice(prefix.length);
    if (tensors.has(plain)) throw new DuplicateTensorError(path, plain);
    tensors.set(plain, tensor);
  }
  return { framework, prefix, tensors, beside };
}

/** The named tensors of a dict, without wrapping; of some a name may come twice. */
function tensorsOf(dict: TorchDict): [string, TensorRef][] {
  const named: [string, TensorRef][] = [];
  for (const [key, value] of dict) {
    if (typeof key === "string" && value instanceof TensorRef) named.push([unwrap(key), value]);
  }
  return named;
}

/** What (Distributed)DataParallel, torch.compile, FSDP and activation checkpointing put around a model or any layer of it. */
const WRAPPERS = new Set(["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"]);

/** Takes wrapping out of a name. */
export function unwrap(key: string): string {
  return key.split(".").filter((part) => !WRAPPERS.has(part)).join(".");
}
