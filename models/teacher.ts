/** Which encoder a teacher's checkpoint holds: what the flags say of it, and what the file itself says. */
import { UserError } from "../errors.ts";
import { CheckpointError, quote } from "./checkpoint/checkpoint_error.ts";
import type { StateDict } from "./checkpoint/state_dict.ts";
import { findHead, type FoundHead } from "./heads.ts";
import { openEncoder } from "./locate_encoder.ts";
import { explainHead, explainUnknown } from "./near_miss.ts";
import { type EncoderClues, requireSameHeads, type Shapes } from "./encoder_family.ts";
import { cluesOf, fits, isHeadless, methodOf, recognizeEncoders } from "./recognize.ts";
import { type Encoder, type FeatureKind, FEATURES, SSL_TITLES, type TeacherSsl } from "./encoder.ts";
import { chooseFeature, featureLeftOpen, withSavedFeature } from "./features.ts";
import { encodersNamed, encodersOfAllStems, findEncoder, requireHeads } from "./registry.ts";

/** Features of a teacher, `--feature` of a distillation. `pooled`: the usual one of its encoder. */
export type TeacherFeature = "pooled" | FeatureKind;

/** Every {@linkcode TeacherFeature}. */
export const TEACHER_FEATURES: readonly TeacherFeature[] = ["pooled", ...FEATURES];

/** What is said of a teacher beside its file. */
export interface TeacherRequest {
  /** The encoder, `--teacher-arch`: a name of the registry, or the original's, e.g. `resnet50w2`; see `encodersNamed`. */
  arch?: string | null;
  /** How it was trained, `--teacher-ssl`. */
  ssl?: TeacherSsl | null;
  /** What stands before its keys, `--weights`. */
  weights?: string;
  /** Its feature is meant and not its embedding, `--feature`: it needs no head. */
  feature?: TeacherFeature;
  /** Heads of a vision transformer, `--heads`, where its tensors do not tell. */
  heads?: number;
}

/** A teacher that is known. */
export interface Teacher {
  /** Name of the encoder in the registry, which says its feature too. */
  arch: string;
  ssl: TeacherSsl;
}

/** How checkpoints of a method are told, in words. */
const MARKS: Readonly<Record<TeacherSsl, string>> = {
  moco: "a head `fc` without batch norm",
  simclr: "a head `fc` with a batch norm",
  swav: "a head `projection_head`",
  dino: "a vision transformer with a table of positions and without LayerScale",
  dinov2: "a vision transformer with a table of positions and LayerScale",
  dinov3: "a vision transformer with rotary positions, or a ConvNeXt",
  mocov3: "a vision transformer with its fixed positions",
};

/**
 * Finds out which encoder a checkpoint holds. What is not said is told from the file: the method by its head, the
 * encoder by the shapes of all its tensors.
 *
 * @throws {UserError} where what is said and the file contradict each other, the file has no head, or its encoder is
 * not known
 */
export async function resolveTeacher(path: string, request: TeacherRequest = {}): Promise<Teacher> {
  using state = await openEncoder(path, request.weights);
  const teacher = recognizeTeacher(path, state, request);
  const encoder = findEncoder(teacher.arch);
  if (request.heads !== undefined) requireHeads(encoder, request.heads);
  const saved = state.input?.feature;
  const said = request.arch ? featureLeftOpen(encoder, saved) : saved;
  const { feature = "pooled" } = request;
  const chosen: FeatureKind | undefined = feature === "pooled" ? said : feature;
  return { ...teacher, arch: chooseFeature(encoder, chosen).name };
}

function recognizeTeacher(
  path: string,
  state: StateDict,
  { arch, ssl, feature, heads }: TeacherRequest,
): Teacher {
  const clues = cluesOf(state, { heads });
  const named = arch ? encodersMeant(arch, clues) : [];
  if (named.length === 1) { // of several, one may have them
    requireSameHeads(path, named[0], { asked: heads, saved: state.input?.heads });
  }
  if (isHeadless(state.tensors, clues)) return resolveHeadless(path, state.tensors, { arch, ssl }, clues);
  if (feature && findHead(state.tensors) === undefined) return resolveBackbone(path, state, arch, ssl, clues);
  const head = requireHead(state, clues);
  const found = methodOf(head);
  const [title, mark] = [SSL_TITLES[found], MARKS[found]];
  if (ssl && ssl !== found) {
    throw new UserError(
      `${path}: has ${mark}, as ${title}'s checkpoints do, but --teacher-ssl is ${ssl}; use --teacher-ssl ${found}, or ` +
        "leave it out",
    );
  }
  const known = recognizeEncoders(state.tensors, "encoder", clues);
  const hasBackbone = known.length === 0 && recognizeEncoders(state.tensors, "backbone", clues).length > 0;
  if (feature && hasBackbone) return resolveBackbone(path, state, arch, found, clues);
  // SimCLR's own is ResNet-50 alone: others with its head are listed as MoCo's, but were trained as the head tells.
  const isOwn = known.some((encoder) => encoder.ssl === found);
  const sslOf = (encoder: Encoder) => encoder.ssl === "moco" && !isOwn ? found : encoder.ssl;
  const teacherOf = (encoder: Encoder) => ({ arch: encoder.name, ssl: sslOf(encoder) });
  const fitting = known.filter((encoder) => !ssl || sslOf(encoder) === ssl);
  if (!arch) {
    const [encoder] = fitting;
    if (encoder !== undefined) return teacherOf(encoder);
    const said = state.arch === undefined ? "" : ` (the file says ${quote(state.arch)})`;
    throw new UserError(
      `${path}: is a ${title} checkpoint, but not of a known encoder${said}; ` +
        explainUnknown(state.tensors, "encoder", { arch: state.arch }) +
        (hasBackbone ? ", or distil the pooled feature of its backbone with --feature" : ""),
    );
  }
  const encoder = named.find((candidate) => candidate.ssl === found && fitting.includes(candidate)) ??
    named.find((candidate) => candidate.ssl === found) ??
    named.find((candidate) => fitting.includes(candidate)) ??
    (isOwn ? undefined : named[0]);
  if (encoder === undefined) {
    const [other] = named.length > 0 ? named : [findEncoder(arch)];
    throw new UserError(
      `${path}: has ${mark}, as ${title}'s checkpoints do, but --teacher-arch ${arch} is an encoder of ` +
        `${SSL_TITLES[other.ssl]}'s; ${suggest(fitting)}`,
    );
  }
  if (fitting.length > 0 && !fitting.includes(encoder)) {
    throw new UserError(
      `${path}: holds a ${fitting[0].name}, but --teacher-arch is ${arch}; ${suggest(fitting)}`,
    );
  }
  return teacherOf(encoder);
}

/** Encoders that `--teacher-arch` may mean; those whose name leaves the feature to the file, with the one that it says. */
function encodersMeant(arch: string, { feature }: EncoderClues): Encoder[] {
  return encodersNamed(arch).map((encoder) => withSavedFeature(encoder, featureLeftOpen(encoder, feature)));
}

/** A teacher whose embedding is its feature, as of DINO's vision transformers. */
function resolveHeadless(
  path: string,
  tensors: Shapes,
  { arch, ssl }: Pick<TeacherRequest, "arch" | "ssl">,
  clues: EncoderClues,
): Teacher {
  const [read] = recognizeEncoders(tensors, "encoder", clues);
  const encoder = arch ? findEncoder(arch) : read;
  if (encoder !== read && !fits(encoder, tensors, "encoder")) {
    throw new UserError(`${path}: holds a ${read.name}, but --teacher-arch is ${arch}; ${suggest([read])}`);
  }
  if (ssl && ssl !== encoder.ssl) {
    throw new UserError(
      `${path}: holds ${
        describeHeadless(encoder)
      }, but --teacher-ssl is ${ssl}; use --teacher-ssl ${encoder.ssl}, or leave ` +
        "it out",
    );
  }
  return { arch: encoder.name, ssl: encoder.ssl };
}

/** Says what an encoder without a head is; the marks of some methods are heads, which an encoder of a plugin has none of. */
function describeHeadless({ name, ssl }: Encoder): string {
  return encodersOfAllStems().some((encoder) => encoder.name === name)
    ? `a ${name}, an encoder of ${SSL_TITLES[ssl]}'s`
    : `${MARKS[ssl]}, as ${SSL_TITLES[ssl]}'s are`;
}

/** A teacher without a head that its encoder can have: `ssl` is what is said of its training, or what that head tells. */
function resolveBackbone(
  path: string,
  state: StateDict,
  arch: TeacherRequest["arch"],
  ssl: TeacherRequest["ssl"],
  clues: EncoderClues,
): Teacher {
  const fitting = recognizeEncoders(state.tensors, "backbone", clues);
  const named = arch ? encodersMeant(arch, clues) : fitting;
  const encoder = fitting.find((candidate) => named.includes(candidate) && (!ssl || candidate.ssl === ssl)) ??
    fitting.find((candidate) => named.includes(candidate));
  if (encoder !== undefined) return { arch: encoder.name, ssl: ssl ?? encoder.ssl };
  throw new UserError(
    fitting.length === 0
      ? `${path}: holds no backbone of a known encoder; ${
        explainUnknown(state.tensors, "backbone", { arch: state.arch })
      }`
      : `${path}: holds a ${fitting[0].name}, but --teacher-arch is ${arch}; ${suggest(fitting)}`,
  );
}

function suggest([encoder]: readonly Encoder[]): string {
  return encoder === undefined
    ? "leave it out to detect the encoder"
    : `use --teacher-arch ${encoder.name}, or leave it out`;
}

/** The head of an encoder whose embeddings are wanted. Throws a {@linkcode CheckpointError} where there is none. */
export function requireHead({ file, framework, tensors }: StateDict, clues?: EncoderClues): FoundHead {
  const head = findHead(tensors);
  if (head !== undefined) return head;
  throw new CheckpointError(file.path, explainHead(tensors, framework, clues));
}
