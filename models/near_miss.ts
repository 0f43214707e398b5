/** Says of weights that are of no encoder here what they are near to, what differs, and what to do. */
import { quote } from "./checkpoint/checkpoint_error.ts";
import { nearestFormat } from "./checkpoint/release_names.ts";
import { compareStateDict, plainKey } from "./checkpoint/state_dict.ts";
import type { TensorRef } from "./checkpoint/tensor_ref.ts";
import type { EncoderPart } from "./encoder_parts.ts";
import type { EncoderClues, Shapes } from "./encoder_family.ts";
import { expectPart, nearestEncoder, otherHeads, recognizeEncoders } from "./recognize.ts";
import type { Encoder } from "./encoder.ts";
import { encodersNamed, FAMILIES, listedEncoders } from "./registry.ts";

const OWN = "load your own with --plugin";

/** Other programs' models of families that are known here by the original's files, each told by names that it has. */
const OTHER_MODELS: readonly {
  program: string;
  family: string;
  file: string;
  differs: string;
  marks: readonly RegExp[];
}[] = [
  {
    program: "torchvision",
    family: "MobileNetV3",
    file: "mobilenetv3.py",
    differs: "other keys and another epsilon",
    marks: [/^features\.\d+\.block\.0\.0\.weight$/],
  },
  {
    program: "torchvision",
    family: "EfficientNet",
    file: "efficientnet.py",
    differs: "other keys and padding",
    marks: [/^features(\.\d+){2}\.block\.0\.0\.weight$/],
  },
  {
    program: "timm",
    family: "MobileNetV3",
    file: "mobilenetv3.py",
    differs: "other keys and shapes",
    marks: [/^conv_stem\.weight$/, /^blocks(\.\d+){2}\.conv_pw\.weight$/, /^conv_head\.bias$/],
  },
  {
    program: "timm",
    family: "EfficientNet",
    file: "efficientnet.py",
    differs: "other keys, and mostly other padding",
    marks: [/^conv_stem\.weight$/, /^blocks(\.\d+){2}\.conv_pw\.weight$/, /^bn2\.weight$/],
  },
];

/**
 * What weights are, where they are another program's of a family whose encoders here are the original's: a sentence without its
 * subject, which says what to do.
 *
 * @param chosen the encoder that they are said to be, if any
 * @returns `undefined` of others, and where a plugin's encoder has such names: the one that is chosen, or one that fits
 */
export function describeOtherModel(
  tensors: ReadonlyMap<string, TensorRef>,
  chosen?: Encoder,
): string | undefined {
  const isOf = (marks: readonly RegExp[], keys: readonly string[]) =>
    marks.every((mark) => keys.some((key) => mark.test(key)));
  const names = [...tensors.keys()];
  const model = OTHER_MODELS.find(({ marks }) => isOf(marks, names));
  if (model === undefined) return undefined;
  const isExpected = chosen === undefined
    ? recognizeEncoders(tensors, "backbone").length > 0
    : isOf(model.marks, expectPart(chosen, tensors, "backbone").entries.map(({ key }) => plainKey(key)));
  if (isExpected) return undefined;
  return `is ${model.program}'s ${model.family}, which differs from the original SEED's ${model.file} (${model.differs}): ` +
    `use a checkpoint of the latter, or ${OWN}`;
}

/** Whether anything can be said of weights that no encoder here fits, but that their names are like those of a format. */
export function isNear(tensors: ReadonlyMap<string, TensorRef>): boolean {
  return describeOtherModel(tensors) !== undefined || explainFamily(tensors, {}) !== undefined ||
    nearestEncoder(tensors, "backbone") !== undefined;
}

/** The nearest encoder and how weights differ from it; `undefined` where none is near. */
export function describeNearest(
  tensors: ReadonlyMap<string, TensorRef>,
  part: EncoderPart,
): { encoder: string; problems: string } | undefined {
  const nearest = nearestEncoder(tensors, part);
  if (nearest === undefined) return undefined;
  const { entries, isOptional } = expectPart(nearest, tensors, part);
  const { problems } = compareStateDict(tensors, entries, isOptional);
  return { encoder: nearest.name, problems };
}

/** What weights of a family do not tell: a sentence without its subject. */
export function explainFamily(tensors: Shapes, clues: EncoderClues): string | undefined {
  return FAMILIES.map((family) => family.explain?.(tensors, clues)).find((text) => text !== undefined);
}

/** What to do about an encoder that is not known: a name that the file says is one that a plugin may register. */
function adviseOwn({ arch }: EncoderClues): string {
  if (arch === undefined || encodersNamed(arch).length > 0) return OWN;
  return `load the plugin that registers ${quote(arch)} (--plugin; in a program, plugins)`;
}

/** What to do about weights that no encoder here fits: follows what was looked for, and a semicolon. */
export function explainUnknown(
  tensors: ReadonlyMap<string, TensorRef>,
  part: EncoderPart,
  clues: EncoderClues = {},
): string {
  const explained = explainFamily(tensors, clues);
  if (explained !== undefined) return `it ${explained}`;
  const nearest = describeNearest(tensors, part);
  const own = adviseOwn(clues);
  return nearest === undefined
    ? `${describeNames(tensors)}none of these is similar: ${
      listedEncoders().map(({ name }) => name).join(", ")
    }; ${own}`
    : `the most similar is ${nearest.encoder}: ${nearest.problems}. Use a checkpoint of that encoder, or ${own}`;
}

/** What some names are nearest to that no table knows well enough; ends with a semicolon, and is empty where none is. */
function describeNames(tensors: Shapes): string {
  const names = [...tensors.keys()];
  const format = nearestFormat(names);
  if (format === undefined || names.length === 0) return "";
  return `its ${names.length} names, such as ${
    quote(names[0])
  }, are most like those of ${format.title}, which has ` +
    `${format.known} of them; `;
}

/** What to do about weights that do not fit the encoder that was chosen. */
export function adviseChoice(
  tensors: ReadonlyMap<string, TensorRef>,
  part: EncoderPart,
  chosen: Encoder,
): string {
  const nearest = nearestEncoder(tensors, part);
  if (nearest === undefined) {
    const text = `${describeNames(tensors)}no known encoder is similar: ${OWN}`;
    return text[0].toUpperCase() + text.slice(1);
  }
  return nearest === chosen
    ? `No other encoder is more similar: use a checkpoint of ${chosen.name}, or ${OWN}`
    : `The most similar is ${nearest.name}: choose the architecture and head that it was trained with`;
}

/** Why weights give no embeddings that have no head of a known kind: a sentence without its subject. */
export function explainHead(
  tensors: ReadonlyMap<string, TensorRef>,
  framework: string,
  clues: EncoderClues = {},
): string {
  const other = describeOtherModel(tensors);
  if (other !== undefined) return other;
  const family = explainFamily(tensors, clues);
  if (family !== undefined) return family;
  const nearest = nearestEncoder(tensors, "encoder");
  if (nearest === undefined ? describeNames(tensors) !== "" : nearest.head === "none") {
    return `holds no encoder that is known; ${explainUnknown(tensors, "encoder", clues)}`;
  }
  const [encoder] = recognizeEncoders(tensors, "backbone");
  const heads = encoder === undefined
    ? otherHeads(tensors)
    : expectPart(encoder, tensors, "backbone").otherHeads;
  const known = "(fc, or projection_head as SWAV has it)";
  const explainBackbone = () => `nor is its backbone known; ${explainUnknown(tensors, "backbone", clues)}`;
  if (heads.length === 0) {
    const rest = encoder === undefined
      ? `, ${explainBackbone()}`
      : "; an encoder gives no embeddings without one; as a teacher, use it with --feature, which distils its pooled feature";
    return `is a ${framework} checkpoint without a known projection head ${known}${rest}`;
  }
  const what = heads.length === 1 ? `head ${heads[0]} is` : `heads ${heads.join(", ")} are`;
  const rest = encoder === undefined
    ? explainBackbone()
    : `as a teacher it can give its pooled feature (--feature), and its backbone, a ${encoder.name}, can be evaluated and ` +
      "exported (--part backbone)";
  return `is a ${framework} checkpoint whose ${what} of unknown kinds ${known}; ${rest}`;
}
