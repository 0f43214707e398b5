/**
 * Finds an encoder under prefixes that no table lists, by its names and shapes: `backbone.*` of solo-learn and lightly,
 * `model.*` of Lightning, `online_backbone.*` of BYOL, `teacher.backbone.*` of DINO. Of several that fit, the teacher or
 * the momentum side is taken; but of MoCo's own checkpoints `encoder_q`, as `main_lincls.py`, its notebook for CIFAR-10 and
 * the original SEED take it, and `base_encoder` of MoCo-v3's.
 */
import { CheckpointError, quote } from "./checkpoint/checkpoint_error.ts";
import { type CheckpointFile, openCheckpointFile } from "./checkpoint/checkpoint_file.ts";
import {
  describeFile,
  DuplicateTensorError,
  encoderBeside,
  findStateDict,
  type Framework,
  listTensors,
  SeveralDictsError,
  type StateDict,
  unwrap,
} from "./checkpoint/state_dict.ts";
import type { Stem } from "./encoder.ts";
import type { SavedInput } from "./checkpoint/saved_input.ts";
import type { TensorRef } from "./checkpoint/tensor_ref.ts";
import { readTransformersConfig, type TransformersConfig } from "./checkpoint/transformers_config.ts";
import { toReleaseNames } from "./checkpoint/release_names.ts";
import { gridOfTable, sineCosinePositions } from "./position_embedding.ts";
import type { EncoderClues } from "./encoder_family.ts";
import { explainFamily, explainUnknown, isNear } from "./near_miss.ts";
import { recognizeEncoders } from "./recognize.ts";

/** An encoder among a file's tensors. */
interface Located {
  /** What stands in front of its keys, with a dot at its end; empty where nothing does. */
  prefix: string;
  /** By plain key. */
  tensors: ReadonlyMap<string, TensorRef>;
  /** What the formats are called that their names were of. */
  formats: readonly string[];
}

/** What programs call the slow one of two encoders: the teacher of DINO, the target of BYOL, the momentum encoder of MoCo. */
const SLOW = /(^|[._])(teacher|target|momentum|ema|encoder_k|key)([._]|$)/;

/** Children of torchvision's ResNet by their places, as `nn.Sequential(*resnet.children())` numbers them. */
const CHILDREN: Readonly<Record<string, string>> = {
  0: "conv1",
  1: "bn1",
  4: "layer1",
  5: "layer2",
  6: "layer3",
  7: "layer4",
  9: "fc",
};

/** Likewise without the max pooling, and with an `nn.Flatten` before `fc`: MoCo's demo on CIFAR-10, and SimCLRs for it. */
const CHILDREN_OF_CIFAR: Readonly<Record<string, string>> = {
  0: "conv1",
  1: "bn1",
  3: "layer1",
  4: "layer2",
  5: "layer3",
  6: "layer4",
  9: "fc",
};

/** What MoCo's notebook for CIFAR-10 normalises images by (`moco_cifar10_demo.ipynb`). */
const NOTEBOOK_INPUT: SavedInput = { mean: [0.4914, 0.4822, 0.4465], std: [0.2023, 0.1994, 0.201] };

/**
 * Opens a checkpoint and finds its encoder: by the names that frameworks give it, and else under whatever prefix there is.
 *
 * @param weights prefix to look under; without it, where several fit, the slow one of a pair is taken
 * @throws CheckpointError for files that cannot be read, or that hold no encoder there
 */
export async function openEncoder(path: string, weights?: string): Promise<StateDict> {
  const file = await openCheckpointFile(path);
  try {
    const state = locateEncoder(file, weights);
    const config = await configOf(state);
    return {
      ...state,
      fixedPositions: await hasFixedPositions(state.tensors),
      config,
      ...(config?.mean ?? config?.interpolation) && { input: withImages(state.input, config!) },
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

/** What is said of an encoder's images, with what another file says of them where it says nothing. */
function withImages(
  input: SavedInput | undefined,
  { mean, std, interpolation: filter }: TransformersConfig,
): SavedInput {
  const interpolation = input?.interpolation ?? filter;
  return {
    ...input,
    mean: input?.mean ?? mean,
    std: input?.std ?? std,
    ...interpolation && { interpolation },
  };
}

/** What transformers or timm says beside a file, where the width is that of its weights. */
export async function configOf(
  { file, tensors }: Pick<StateDict, "file" | "tensors">,
): Promise<TransformersConfig | undefined> {
  const config = await readTransformersConfig(file.path);
  return config !== undefined && config.width === widthOf(tensors) ? config : undefined;
}

/** Length of the feature. A vision transformer's is read off its last norm: it may not be known before its heads are. */
function widthOf(tensors: ReadonlyMap<string, TensorRef>): number | undefined {
  return tensors.get("norm.weight")?.shape[0] ?? recognizeEncoders(tensors, "backbone")[0]?.features;
}

/** Numbers of a table of positions that is looked at; those of learned ones that are longer have other marks. */
const LARGEST_TABLE = 2 ** 22;

/** How far a number of a table may be from the formula, from -1 to 1: files may have it in bfloat16. */
const TABLE_TOLERANCE = 0.01;

/**
 * Whether a vision transformer's positions are not learned but MoCo-v3's fixed ones. Nothing else tells its released weights,
 * which have 12 heads at any width, from DINO's. MAE's fixed ones begin with zeros too, but have the columns first.
 */
export async function hasFixedPositions(tensors: ReadonlyMap<string, TensorRef>): Promise<boolean> {
  const table = tensors.get("pos_embed");
  const [, tokens = 0, width = 0] = table?.shape ?? [];
  const grid = gridOfTable(tokens);
  if (table === undefined || grid === undefined || width % 4 !== 0) return false;
  if (tensors.has("blocks.0.ls1.gamma") || table.size > LARGEST_TABLE) return false;
  const found = await table.read();
  if (found.subarray(0, width).some((value) => value !== 0)) return false;
  return sineCosinePositions(width, [grid, grid]).every((value, i) =>
    Math.abs(found[i] - value) <= TABLE_TOLERANCE
  );
}

/** Finds the encoder in an open checkpoint, likewise. To close either closes the file. */
export function locateEncoder(file: CheckpointFile, weights?: string): StateDict {
  let named: StateDict | undefined;
  let problem: unknown;
  if (weights === undefined) {
    try {
      named = withReleaseNames(findStateDict(file));
      if (isKnown(named.tensors)) return withOthers(named);
      if (named.isOurs) return named; // what a run of this project trained is there, though it may be a plugin's
    } catch (error) {
      if (!(error instanceof CheckpointError) || error instanceof DuplicateTensorError) throw error;
      problem = error;
    }
  }
  const doubled = new Set<string>();
  const listed = listTensors(file, weights !== undefined, doubled);
  const found = locateAll(listed);
  // A teacher is not taken for the student beside it that is not known.
  if (named?.framework === "seed" && !found.some(({ prefix }) => isUnder(prefix, "student"))) return named;
  const wanted = weights === undefined ? found : found.filter(({ prefix }) => isUnder(prefix, weights));
  const isTaken = (one: Located) => isOfNotebook(one, listed) ? one.prefix === "encoder_q.net." : isSlow(one);
  const [taken, ...rest] = wanted.toSorted((a, b) => Number(isTaken(b)) - Number(isTaken(a)));
  if (taken === undefined) {
    if (named !== undefined) return nearestPart(named);
    if (weights === undefined) {
      throw problem instanceof SeveralDictsError ? explainDicts(problem, file) : problem;
    }
    const known = found.map(({ prefix }) => prefix === "" ? "none (leave --weights out)" : quote(prefix));
    throw new CheckpointError(
      file.path,
      `has no known encoder under ${quote(weights)}${
        known.length === 0 ? ", nor under another prefix" : `; expected --weights ${known.join(" or ")}`
      }`,
    );
  }
  const { prefix, tensors, formats } = taken;
  const twice = [...doubled].find((name) =>
    name.startsWith(prefix) && tensors.has(name.slice(prefix.length))
  );
  if (twice !== undefined) throw new DuplicateTensorError(file.path, twice);
  const said = describeFile(file);
  // What a run's file says is about its student, and has words of their own about the teacher beside it.
  const ofTeacher = isUnder(prefix, "teacher") && said.teacherInput !== undefined
    ? { arch: said.teacherArch, epoch: undefined, input: said.teacherInput }
    : {};
  return {
    ...said,
    ...ofTeacher,
    framework: "torchvision",
    prefix,
    tensors,
    formats,
    likelyStem: likelyStemOf(taken, listed),
    likelyInput: said.input === undefined && isOfNotebook(taken, listed) ? NOTEBOOK_INPUT : undefined,
    others: weights === undefined ? [...rest.map((other) => other.prefix), ...prefixesLeftOut(file)] : [],
    beside: new Map([...listed].filter(([key]) => !key.startsWith(prefix))),
  };
}

/**
 * `cifar_pad2` where an encoder is a ResNet for CIFAR in solo-learn's names: it has a first convolution of padding 2
 * (`solo/methods/base.py`), and otherwise the shapes of everybody's.
 */
function likelyStemOf(
  { prefix, tensors }: Located,
  listed: ReadonlyMap<string, TensorRef>,
): Stem | undefined {
  const [, name] = /^(?:momentum_)?(backbone|encoder)\.$/.exec(prefix) ?? [];
  if (name === undefined || tensors.get("conv1.weight")?.shape[2] !== 3) return undefined;
  const roots = new Set([...listed.keys()].map((key) => key.split(".")[0]));
  // Its methods train a classifier beside their projector; `backbone` alone is many programs' name, and so is `encoder` with
  // `momentum_encoder`, its names of before June 2022.
  const hasMomentum = roots.has(`momentum_${name}`);
  const isSoloLearn = roots.has("classifier")
    ? hasMomentum || roots.has("projector")
    : hasMomentum && name === "backbone";
  return isSoloLearn ? "cifar_pad2" : undefined;
}

/** Whether an encoder is one of the two of MoCo's notebook for CIFAR-10, which evaluates `encoder_q`. */
function isOfNotebook({ prefix }: Located, listed: ReadonlyMap<string, TensorRef>): boolean {
  return /^encoder_[qk]\.net\.$/.test(prefix) && listed.has(`${prefix}3.0.conv1.weight`);
}

/** A dict of several, none of which holds a known encoder, is compared with the nearest one: of a pair the slow one. */
function explainDicts({ path, what, dicts }: SeveralDictsError, file: CheckpointFile): CheckpointError {
  const sorted = dicts.toSorted((a, b) => b.tensors.size - a.tensors.size);
  const { name, tensors } = sorted.find(({ name }) => SLOW.test(name)) ?? sorted[0];
  const { arch } = describeFile(file);
  const explained = explainUnknown(withoutPrefix(tensors).tensors, "backbone", { arch });
  return new CheckpointError(
    path,
    `${what}, nor is an encoder in them known. Of ${quote(name)}: ${explained}`,
  );
}

/** Weights that are of no known encoder, without what stands before those that are like one. */
function nearestPart(state: StateDict): StateDict {
  const { prefix, tensors, formats } = withoutPrefix(state.tensors);
  if (prefix === "") return state;
  const rest = [...state.tensors].filter(([key]) => !key.startsWith(prefix));
  return {
    ...state,
    prefix: state.prefix + prefix,
    tensors,
    formats,
    beside: new Map([...state.beside, ...rest.map(([key, tensor]) => [state.prefix + key, tensor] as const)]),
  };
}

/** Tensors under the longest prefix of the first convolution of RGB under which they are like an encoder; all where they are not. */
function withoutPrefix(tensors: ReadonlyMap<string, TensorRef>): Located {
  const [first] = [...tensors].find(([, tensor]) => isOfImages(tensor)) ?? [];
  for (const prefix of first === undefined ? [] : prefixesOf(first)) {
    const named = toReleaseNames(tensorsUnder(tensors, prefix));
    if (isNear(named.tensors)) return { prefix, ...named };
  }
  return { prefix: "", tensors, formats: [] };
}

function withReleaseNames(state: StateDict): StateDict {
  return { ...state, ...toReleaseNames(state.tensors) };
}

/** Encoders that lie beside the one that is loaded: MoCo's momentum encoders, and a teacher beside a student. */
const OTHER_SIDES: Readonly<Partial<Record<Framework, string>>> = {
  moco: "encoder_k",
  mocov3: "momentum_encoder",
  seed: "teacher",
};

/** A checkpoint that says which encoders of its file were left out: the other one of a pair, or averaged weights beside. */
function withOthers(state: StateDict): StateDict {
  const { framework, file } = state;
  // Of a distillation by SEED it is known that the student is meant; other programs have students and teachers too.
  const isSeed = state.isOurs || state.teacherInput !== undefined || state.beside.has("queue");
  if (framework === "seed" && isSeed) return state;
  const side = OTHER_SIDES[framework];
  if (side !== undefined) {
    return isKnown(encoderBeside(state, side)) ? { ...state, others: [`${side}.`] } : state;
  }
  const others = framework === "torchvision" ? prefixesLeftOut(file) : [];
  return others.length === 0 ? state : { ...state, others };
}

/** Prefixes of encoders in dicts beside the one that weights usually are in, such as `state_dict_ema` beside `state_dict`. */
function prefixesLeftOut(file: CheckpointFile): string[] {
  const usual = listTensors(file);
  return locateAll(new Map([...listTensors(file, true)].filter(([name]) => !usual.has(name)))).map((
    { prefix },
  ) => prefix);
}

function isSlow({ prefix }: Located): boolean {
  return SLOW.test(prefix);
}

/** Whether a prefix is the one that a person means: with or without the dot, and what stands before or behind it. */
function isUnder(prefix: string, weights: string): boolean {
  const parts = (text: string) => unwrap(text).split(".").filter((part) => part !== "");
  const [have, want] = [parts(prefix), parts(weights)];
  return want.length === 0 ? have.length === 0 : want.every((part, i) => have[i] === part);
}

/** Whether tensors are of an encoder here; of a vision transformer, however many heads it has, which no shape tells. */
function isKnown(tensors: ReadonlyMap<string, TensorRef>): boolean {
  const isOfOne = (clues?: EncoderClues) => recognizeEncoders(tensors, "backbone", clues).length > 0;
  return isOfOne() || (explainFamily(tensors, {}) !== undefined && isOfOne({ heads: 1 }));
}

/** Prefixes that are tried: far more than a file has encoders, and few enough that none takes long. */
const MOST_TRIED = 64;

/** Every encoder of the file under its longest prefix, in the file's order. */
function locateAll(listed: ReadonlyMap<string, TensorRef>): Located[] {
  const found = new Map<string, Located>();
  const tried = new Set<string>();
  for (const [key, tensor] of listed) {
    if (!isOfImages(tensor)) continue;
    for (const prefix of prefixesOf(key)) {
      if (found.has(prefix)) break;
      if (tried.has(prefix) || tried.size >= MOST_TRIED) continue;
      tried.add(prefix);
      const { tensors, formats } = toReleaseNames(tensorsUnder(listed, prefix));
      if (!isKnown(tensors)) continue;
      found.set(prefix, { prefix, tensors, formats });
      break;
    }
  }
  return [...found.values()];
}

/** Whether a tensor is a convolution of RGB, as encoders begin with. */
function isOfImages({ shape }: TensorRef): boolean {
  return shape.length === 4 && shape[1] === 3;
}

/** `a.b.conv1.weight` -> `a.b.conv1.`, `a.b.`, `a.`, and nothing. */
function prefixesOf(key: string): string[] {
  const parts = key.split(".").slice(0, -1);
  return parts.map((_, i) => `${parts.slice(0, parts.length - i).join(".")}.`).concat("");
}

/** Tensors by what follows a prefix; a ResNet whose children are numbered gets their names. */
function tensorsUnder(listed: ReadonlyMap<string, TensorRef>, prefix: string): Map<string, TensorRef> {
  const under = [...listed].filter(([key]) => key.startsWith(prefix))
    .map(([key, tensor]) => [key.slice(prefix.length), tensor] as const);
  // Elsewhere the third is the max pooling, which has no blocks.
  const children = listed.has(`${prefix}3.0.conv1.weight`) ? CHILDREN_OF_CIFAR : CHILDREN;
  const isNumbered = under.every(([key]) => key.split(".")[0] in children);
  return new Map(isNumbered ? under.map(([key, tensor]) => [nameChild(key, children), tensor]) : under);
}

function nameChild(key: string, children: Readonly<Record<string, string>>): string {
  const [child, ...rest] = key.split(".");
  return [children[child], ...rest].join(".");
}
