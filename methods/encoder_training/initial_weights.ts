/** What an encoder starts from: fresh weights, or those of a checkpoint. */
import type { NamedValues } from "../../actors/messages.ts";
import type { StateEntry } from "../../models/encoder_layers.ts";
import { encoderByFlags } from "../../models/encoder_by_flags.ts";
import { type EncoderSource, openEncoderSource } from "../../models/encoder_source.ts";
import { chooseFeature, featureOf } from "../../models/features.ts";
import { initialize } from "../../models/initialize.ts";
import { DINO_RESIZING, gridOfTable, resizePositions } from "../../models/position_embedding.ts";
import { findEncoder } from "../../models/registry.ts";
import { findCheckpointToResume } from "../resume_auto.ts";
import type { TrainedEncoder } from "./trained_encoder.ts";

/** The checkpoint, open: whole where its head fits the encoder's, else its backbone alone. */
export interface InitialCheckpoint extends EncoderSource {
  /** Whether the head is taken too. */
  readonly takesHead: boolean;
}

/**
 * Opens the checkpoint that an encoder starts from, which may be of any program that the loader knows.
 *
 * @throws {UserError} where it has no backbone of that architecture
 */
export async function openInitialCheckpoint(
  { init, arch, head: wanted }: TrainedEncoder,
): Promise<InitialCheckpoint> {
  const path = init!;
  const { feature, features } = findEncoder(arch);
  // The file does not choose what is trained, but must not be of an encoder with other heads.
  const backbone = await openEncoderSource(path, {
    arch,
    isAsked: true,
    feature,
    part: "backbone",
    ofAnySize: true,
  });
  const { kind, dimension, hidden } = backbone.head;
  const takesHead = backbone.hasHead && kind === wanted.kind && dimension === wanted.dimension &&
    (hidden ?? features) === features && (feature === undefined || feature === featureOf(backbone.input));
  if (!takesHead) return { ...backbone, takesHead };
  backbone[Symbol.dispose]();
  return { ...await openEncoderSource(path, { arch, part: "encoder", ofAnySize: true }), takesHead };
}

/**
 * Returns the name by which the encoder of a checkpoint is asked for, of images of any size, with the feature that it gives.
 *
 * @throws {UserError} where there is none
 */
export async function readArch(path: string): Promise<string> {
  using source = await openEncoderSource(path, { part: "backbone" });
  const { name } = source.encoder;
  const { arch, feature } = encoderByFlags(name);
  return arch === undefined ? name : chooseFeature(findEncoder(arch), feature).name;
}

/**
 * Returns that name for a run: of the checkpoint that it goes on from, and then it does not need the one that it began with.
 *
 * @param run `output` is where `resume: "auto"` looks, nowhere where it is left out
 * @param method whose run it is
 * @throws {UserError} where none of the checkpoints that it needs can be read
 */
export async function readArchOfRun(
  { pretrained, resume, output }: { pretrained: string; resume?: string | null; output?: string },
  method: { checkResume(checkpoint: string): Promise<void> },
): Promise<string> {
  // What is passed over is told when the run looks through its folder.
  const findNewest = async () =>
    output === undefined ? null : await findCheckpointToResume(output, method, () => {});
  return await readArch((resume === "auto" ? await findNewest() : resume) ?? pretrained);
}

/**
 * The encoder before the first step: drawn from a seed, and where it starts from a checkpoint, as that has it.
 *
 * @param state what the encoder has
 */
export async function initialWeights(
  encoder: TrainedEncoder,
  seed: number,
  state: readonly StateEntry[],
): Promise<NamedValues> {
  const values = initialize(state, seed);
  if (encoder.init === null) return [...values];
  using init = await openInitialCheckpoint(encoder);
  for (const { key, shape } of state) {
    const tensor = init.tensors.get(key);
    if (tensor === undefined || !values.has(key)) continue;
    const read = await tensor.read();
    values.set(key, key === "pos_embed" ? resizedTo(read, shape) : read);
  }
  return [...values];
}

/** A table of positions [1, 1 + side * side, width] for another side. */
function resizedTo(
  table: Float32Array<ArrayBuffer>,
  [, rows, width]: readonly number[],
): Float32Array<ArrayBuffer> {
  const side = gridOfTable(rows)!;
  return Float32Array.from(resizePositions(table, width, [side, side], DINO_RESIZING));
}
