/** MoCo: momentum contrast (He et al., CVPR 2020; MoCo-v2: Chen et al., arXiv 2003.04297). */
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import type { Stem } from "../../models/encoder.ts";
import { askedSize, encoderNames, freshEncoder } from "../../models/registry.ts";
import { readTrainingCheckpoint, requireFiniteTraining } from "../encoder_training/checkpoint.ts";
import { NOT_ASKED_FOR, NULLABLE } from "../encoder_training/defaults.ts";
import type { EncoderTrainingEvent } from "../encoder_training/events.ts";
import { requireImagesReader, requireSaveInterval } from "../encoder_training/options.ts";
import { type DefaultsInput, takesSampleDefaults } from "../encoder_training/sample.ts";
import { readArchOfRun } from "../encoder_training/initial_weights.ts";
import type { RunSoFar } from "../encoder_training/prepare.ts";
import { type EncoderTrainingResult, trainEncoder } from "../encoder_training/run.ts";
import { testDataOfTraining } from "../held_out.ts";
import type { Method, OutputSettings } from "../method.ts";
import { trainingNeeds } from "../permissions.ts";
import type { Wanted } from "../watched_actors.ts";
import { withOptimizer } from "../encoder_training/step_options.ts";
import { requireEqualShares } from "../rank_shares.ts";
import {
  PRETRAIN_ADAMW,
  PRETRAIN_DEFAULTS,
  PRETRAIN_SAMPLE_ADAMW,
  PRETRAIN_SAMPLE_DEFAULTS,
  withoutDropPath,
} from "./defaults.ts";
import { PRETRAINING } from "./encoder_method.ts";
import { MOCO_CHECKPOINT } from "./encoders.ts";
import { pretrainFlags } from "./flags.ts";
import type { PretrainOptions } from "./options.ts";
import { checkSplits, describeUnshuffled } from "./splits.ts";

/**
 * Options for `pretrain`. All but the images and the output folder have defaults; that of `arch` is the encoder of `pretrained`,
 * where there is one.
 */
export type PretrainInput =
  & Pick<PretrainOptions, "data" | "output">
  & Partial<PretrainOptions>
  & DefaultsInput
  & {
    /** First layers of the encoder, `imagenet`, `cifar` or `cifar_pad2`; those that `arch` has where it is left out. */
    stem?: Stem;
  };

/** Events of a pretraining. */
export type PretrainEvent = EncoderTrainingEvent;

/** Result of a pretraining. */
export type PretrainResult = EncoderTrainingResult;

/** {@linkcode OutputSettings} of a pretraining. */
export interface PretrainSettings extends OutputSettings, Wanted {
  /** Records of the run to resume; what they lack is computed again. */
  soFar?: RunSoFar;
}

/** The options with everything that was left out. */
async function resolvePretrainInput(
  { stem, defaults: whose, ...input }: PretrainInput,
): Promise<PretrainOptions> {
  const isSample = takesSampleDefaults({ defaults: whose });
  const defaults = isSample ? PRETRAIN_SAMPLE_DEFAULTS : PRETRAIN_DEFAULTS;
  requireImagesReader(input);
  requireSaveInterval(input.saveEvery);
  const { pretrained } = input;
  const { arch = pretrained ? await readArchOfRun({ ...input, pretrained }, moco) : defaults.arch } = input;
  const imageSize = askedSize(arch, input.imageSize) ?? defaults.imageSize;
  const encoder = freshEncoder(arch, stem, imageSize);
  const resolved = {
    ...defaults,
    ...NOT_ASKED_FOR,
    pretrained: null,
    ...input,
    arch: encoder.name,
    imageSize,
    testData: await testDataOfTraining(input),
  };
  const options = withOptimizer(
    resolved,
    withoutDropPath(encoder),
    input,
    isSample ? PRETRAIN_SAMPLE_ADAMW : PRETRAIN_ADAMW,
  );
  checkSplits(options);
  return options;
}

/** The pretraining of an encoder by MoCo. */
export const moco: Method<PretrainInput, PretrainOptions, PretrainEvent, PretrainResult, PretrainSettings> = {
  description: "pretrains an encoder on images without labels by momentum contrast (MoCo-v2)",
  folder: import.meta.url,
  actors: ["moco_trainer"],
  required: ["data", "output"],
  nullable: NULLABLE,
  unflagged: ["actors", "defaults", "images", "plugins", "tuning"],
  flags() {
    const { plugin: _, ...flags } = pretrainFlags({ encoders: encoderNames() });
    return flags;
  },
  resolve: resolvePretrainInput,
  needs: (input) => trainingNeeds(input, input.pretrained),
  endsTogether: () => true,
  async checkResume(checkpoint) {
    using file = await openCheckpointFile(checkpoint);
    await requireFiniteTraining(checkpoint, readTrainingCheckpoint(MOCO_CHECKPOINT, file));
  },
  async run(options, emit, signal, { soFar, ...wanted }) {
    const { ranks } = wanted;
    if (ranks !== undefined) {
      requireEqualShares(options.batchSize, ranks);
      checkSplits(options, ranks);
      const text = describeUnshuffled(options, ranks);
      if (text !== undefined) emit({ type: "warning", text, isCommon: true });
    }
    return await trainEncoder(PRETRAINING, options, emit, signal, soFar, wanted);
  },
};
