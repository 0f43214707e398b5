/** Exports an encoder from a checkpoint: to PyTorch, safetensors or ONNX. */
import { basename, dirname, join } from "node:path";
import { requireNew } from "../../data/require_new.ts";
import { UserError } from "../../errors.ts";
import { elementCount } from "../../kernels/graph.ts";
import type { ResizeFilter } from "../../kernels/image/resize_table.ts";
import {
  buildInput,
  type ByChannel,
  CROP_RATIOS,
  CROPPED_FROM,
  INPUT_KEY,
  inputJson,
  type SavedInput,
} from "../checkpoint/saved_input.ts";
import { type Framework, plainKey } from "../checkpoint/state_dict.ts";
import type { TensorRef } from "../checkpoint/tensor_ref.ts";
import { OrderedDict, TensorValue, torchDict, type TorchValue } from "../checkpoint/torch_value.ts";
import { writeSafetensors } from "../checkpoint/safetensors.ts";
import { withoutShard } from "../checkpoint/safetensors_shards.ts";
import { writeTorchFile } from "../checkpoint/torch_writer.ts";
import { chooseInput, inputOf } from "../encoder_input.ts";
import type { EncoderPart } from "../encoder_parts.ts";
import { type EncoderSource, openEncoderSource } from "../encoder_source.ts";
import type { HeadOptions } from "../heads.ts";
import type { EncoderRole, FeatureKind, Stem } from "../encoder.ts";
import { externalDataPath, writeOnnxFile } from "./onnx_file.ts";
import { traceOnnxModel } from "./onnx_model.ts";

/**
 * `pth`: what `torch.load` opens. `safetensors`: the same tensors in that container. `onnx`: for onnxruntime and
 * others, with batch norm folded.
 */
export const EXPORT_FORMATS = ["pth", "safetensors", "onnx"] as const;

/** One of {@linkcode EXPORT_FORMATS}. */
export type ExportFormat = typeof EXPORT_FORMATS[number];

/**
 * Names of the tensors in a PyTorch file.
 *
 * - `plain`: the encoder's own, `layer1.0.conv1.weight`: torchvision's for ResNets, the original's for the others; a
 *   `.pth` is the bare state_dict
 * - `moco`: `module.encoder_q.*`; a `.pth` is a dict of `epoch`, `arch` and `state_dict`, safetensors have the first
 *   two in their metadata
 * - `seed`: `module.student.*`, likewise
 */
export type ExportNames = "plain" | "moco" | "seed";

/** What each puts in front of the encoder's keys. */
export const PREFIXES: Readonly<Record<ExportNames, string>> = {
  plain: "",
  moco: "module.encoder_q.",
  seed: "module.student.",
};

/** What {@linkcode exportEncoder} needs. */
export interface ExportOptions {
  checkpoint: string;
  /** File to write; one beside the checkpoint by default, see {@linkcode defaultOutput}. */
  output?: string;
  format: ExportFormat;
  part: EncoderPart;
  /** The encoder's name; found out where it is left out. */
  arch?: string;
  /** First layers of the encoder; those that fit and that the file says where it is left out. */
  stem?: Stem;
  /** In a checkpoint of SEED that holds both. */
  which?: EncoderRole;
  /** What stands before its keys, where a checkpoint holds several; found out where it is left out. */
  weights?: string;
  /** Heads of a vision transformer; found out where its checkpoint has it. */
  heads?: number;
  /** Feature of the encoder, which the file says; that of the checkpoint where it is left out. */
  feature?: FeatureKind;
  /** {@linkcode defaultNames} where it is left out. ONNX has the encoder's own. */
  names?: ExportNames;
  /** Height and width of the images: an ONNX model takes no other, the other formats say it. By default as the checkpoint has it. */
  imageSize?: number;
  /**
   * Share of an image that is taken in an evaluation, likewise; one of `CROP_RATIOS`. Where neither says it, a file has
   * torchvision's, and for images below 64 pixels none: evaluations choose it by theirs.
   */
  cropRatio?: number;
  /** Filter by which an evaluation resizes images, likewise. */
  interpolation?: ResizeFilter;
  /** Subtracted from pixels, per channel in units of [0, 1]; by default as the checkpoint has it. */
  mean?: ByChannel;
  /** What they are divided by, likewise. */
  std?: ByChannel;
  /** ONNX: L2-normalise the embedding. */
  normalize: boolean;
  /** Replace files that are there. */
  force: boolean;
}

/** What was exported. */
export interface ExportResult {
  /** The first is the one to open; a large ONNX model has its weights in a second. */
  files: readonly string[];
  bytes: number;
  /** Name of the encoder. */
  encoder: string;
  framework: Framework;
  /** Length of the embedding, where the head is exported. */
  dimension: number | undefined;
  /** The head, where it is exported. */
  head: HeadOptions | undefined;
  /** What the file says of the encoder's images. */
  input: SavedInput;
  /** Where that is from, for a person. */
  inputNote: string | undefined;
  /** Tensors in the file. */
  tensors: number;
  /** Trained numbers of the part. */
  parameters: number;
  /** Where the file has names of its own. */
  names: ExportNames | undefined;
  /** First names of what else the checkpoint holds, e.g. another encoder, heads of other kinds, a queue. */
  leftOut: readonly string[];
}

/** What the names are where nothing is said: those that the programs know which the part is for. */
export function defaultNames(
  part: EncoderPart,
  { encoder: { ssl }, framework, head }: Pick<EncoderSource, "encoder" | "framework" | "head">,
): ExportNames {
  // SimCLR's and SWAV's encoders have no `encoder_q`, and are recognised by their own names; so are those without a head.
  // In a distillation's checkpoint they are SEED's, and no others know them.
  const isOwn = [ssl, framework].some((name) => name === "simclr" || name === "swav");
  return part === "backbone" || head.kind === "none" || isOwn ? "plain" : "moco";
}

/**
 * `checkpoint_0199.pth.tar` -> `checkpoint_0199_resnet18_backbone.onnx`, in the same folder; of a checkpoint of several files, by
 * what their names have in common.
 */
export function defaultOutput(
  { checkpoint, format, part }: Pick<ExportOptions, "checkpoint" | "format" | "part">,
  encoder: string,
): string {
  const stem = basename(withoutShard(checkpoint)).replace(/(\.(pth|tar|pt|ckpt|bin|safetensors))+$/, "");
  return join(dirname(checkpoint), `${stem}_${encoder}_${part}.${format}`);
}

/**
 * Exports. The file is written whole or not at all, one tensor in memory at a time.
 *
 * @param onTensor called with the number of tensors that are done, and of all; files are read and written without a pause, so
 * that whatever else is to happen meanwhile has to wait until it does
 * @throws {UserError} where the checkpoint cannot be used, or its weights are not finite; where the output is there already,
 * or cannot be written
 */
export async function exportEncoder(
  options: ExportOptions,
  onTensor: (done: number, total: number) => void | Promise<void> = () => {},
): Promise<ExportResult> {
  using source = await openEncoderSource(options.checkpoint, { ...options, isAsked: true });
  const { encoder, head, framework } = source;
  const output = options.output ?? defaultOutput(options, encoder.name);
  await checkOutput(output, source.files, options);
  await source.requireFinite();
  const { imageSize, interpolation, note, ...chosen } = chooseInput(source, options);
  const cropRatio = chosen.cropRatio ?? usualRatio(imageSize);
  const { mean = source.input?.mean, std = source.input?.std } = options;
  const input = {
    ...inputOf(encoder, { imageSize, cropRatio, interpolation }, { mean, std }),
    // No name tells it of one on SimCLR's encoder, whose own embedding is normalised.
    ...options.part === "encoder" && head.isClassifier && { isClassifier: true },
  };
  const described = {
    input,
    inputNote: note,
    encoder: encoder.name,
    framework,
    dimension: options.part === "encoder" ? head.dimension : undefined,
    head: options.part === "encoder" ? head : undefined,
    leftOut: source.beside,
    parameters: source.state.filter(({ kind }) => kind === "parameter")
      .reduce((sum, { shape }) => sum + elementCount(shape), 0),
  };

  if (options.format === "onnx") {
    const traced = traceOnnxModel({ ...options, encoder, head, input });
    const read = (key: string) => source.tensors.get(key)!.read();
    const written = await writeOnnxFile(output, traced, { read, onWeight: onTensor });
    return { ...described, ...written, tensors: traced.weights.length, names: undefined };
  }

  const names = options.names ?? defaultNames(options.part, source);
  const tensors = nameTensors(source, PREFIXES[names]);
  if (options.format === "safetensors") {
    const metadata = {
      format: "pt",
      ...(names === "plain" ? {} : describe(source)),
      [INPUT_KEY]: inputJson(input),
    };
    await writeSafetensors(output, tensors, metadata, onTensor);
  } else {
    const dict = new OrderedDict(tensors);
    // A bare state_dict has the encoder's keys and no others, so that it loads with strict=True.
    if (names === "plain") dict.input = buildInput(input);
    await writeTorchFile(output, names === "plain" ? dict : wrap(source, dict, input), onTensor);
  }
  const { size } = await Deno.stat(output);
  return { ...described, files: [output], bytes: size, tensors: tensors.size, names };
}

/** The ratio of a file where nobody says one: that of every evaluation by default. Of small views the images decide. */
function usualRatio(imageSize: number): number | undefined {
  return imageSize >= CROPPED_FROM ? CROP_RATIOS.torchvision : undefined;
}

async function checkOutput(
  path: string,
  files: readonly string[],
  { checkpoint, format, force }: ExportOptions,
): Promise<void> {
  const outputs = [path, ...format === "onnx" ? [externalDataPath(path)] : []];
  const [whole, ...parts] = await Promise.all([checkpoint, ...files].map((file) => Deno.realPath(file)));
  for (const output of outputs) {
    const found = await Deno.realPath(output).catch(() => undefined);
    if (found === undefined || ![whole, ...parts].includes(found)) continue;
    const what = found === whole ? "the checkpoint itself" : "a file of the checkpoint";
    throw new UserError(`${output} is ${what}; use another --output`);
  }
  await requireNew(outputs, force);
}

/** The part's tensors and those of its authors' model by their names in the file. Counters that the checkpoint lacks are 0. */
function nameTensors(
  { state, tensors, unused }: EncoderSource,
  prefix: string,
): Map<string, TensorRef | TensorValue> {
  const named = new Map<string, TensorRef | TensorValue>();
  for (const { key, kind } of state) {
    const tensor: TensorRef | TensorValue | undefined = tensors.get(key) ??
      (kind === "counter" ? new TensorValue("int64", [], BigInt64Array.of(0n)) : undefined);
    named.set(prefix + plainKey(key), tensor!);
  }
  for (const [key, tensor] of unused) named.set(prefix + key, tensor);
  return named;
}

/** What MoCo's and SEED's training programs save beside the tensors, as texts. */
function describe({ encoder, epoch }: EncoderSource): Record<string, string> {
  return { epoch: String(epoch ?? 0), arch: encoder.name };
}

/** As MoCo's and SEED's training programs save it, and what is known of the images. */
function wrap({ encoder, epoch }: EncoderSource, tensors: TorchValue, input: SavedInput): TorchValue {
  return torchDict([
    ["epoch", epoch ?? 0],
    ["arch", encoder.name],
    ["state_dict", tensors],
    [INPUT_KEY, buildInput(input)],
  ]);
}
