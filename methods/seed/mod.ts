/** SEED: self-supervised distillation (Fang et al., ICLR 2021). */
import { rowsOf } from "../../actors/ranks/ranks.ts";
import { UserError } from "../../errors.ts";
import type { Emit, NoticeEvent } from "../../actors/events.ts";
import { askedSize, freshEncoder, studentNames, teacherNames } from "../../models/registry.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import type { Stem } from "../../models/encoder.ts";
import { resolveTeacher } from "../../models/teacher.ts";
import { testDataOfTraining } from "../held_out.ts";
import type { Method, OutputSettings } from "../method.ts";
import { trainingNeeds } from "../permissions.ts";
import type { Wanted } from "../watched_actors.ts";
import { readTrainingCheckpoint, requireFiniteTraining } from "../encoder_training/checkpoint.ts";
import { chooseDistillViews } from "./augmentation.ts";
import { DISTILL_CHECKPOINT } from "./checkpoint.ts";
import { withOptimizer } from "../encoder_training/step_options.ts";
import { PAPER_ADAMW, PAPER_DEFAULTS, SAMPLE_ADAMW, SAMPLE_DEFAULTS } from "./defaults.ts";
import { DISTILLATION } from "./encoder_method.ts";
import type { DistillEvent } from "./events.ts";
import { distillFlags } from "./flags.ts";
import { type DistillOptions, teacherPart } from "./options.ts";
import { NOT_ASKED_FOR, NULLABLE } from "../encoder_training/defaults.ts";
import { requireImagesReader, requireSaveInterval } from "../encoder_training/options.ts";
import { type DefaultsInput, takesSampleDefaults } from "../encoder_training/sample.ts";
import type { RunSoFar } from "../encoder_training/prepare.ts";
import { recipeSettings } from "./recipes.ts";
import { type DistillResult, runDistillation } from "./run.ts";

/** Options for `distill`. All but the images, the teacher and the output folder have defaults. */
export type DistillInput =
  & Pick<DistillOptions, "data" | "distill" | "output">
  & Partial<DistillOptions>
  & DefaultsInput
  & {
    /** Name of the {@linkcode RECIPES} whose settings stand for those that are left out, as `--recipe` has it. */
    recipe?: string;
    /** First layers of the student, `imagenet`, `cifar` or `cifar_pad2`; those that `studentArch` has where it is left out. */
    stem?: Stem;
    /** Heads of a teacher that is a vision transformer; found out where its checkpoint has it. */
    heads?: number;
  };

/** {@linkcode OutputSettings} of a distillation. */
export interface DistillSettings extends OutputSettings, Wanted {
  /** Records of the run to resume; what they lack is computed again. */
  soFar?: RunSoFar;
}

/**
 * The options with everything that was left out: by the recipe, by the files, and else by {@linkcode PAPER_DEFAULTS}. An encoder that
 * trains with AdamW has settings of its own, which a recipe for SGD does not change. With `defaults` they are the sample's.
 */
async function resolveDistillInput(
  { recipe, stem, heads, defaults: whose, ...asked }: DistillInput,
  emit: Emit<NoticeEvent>,
): Promise<DistillOptions> {
  const input = { ...recipe !== undefined && recipeSettings(recipe, asked), ...asked };
  const isSample = takesSampleDefaults({ defaults: whose });
  const defaults = isSample ? SAMPLE_DEFAULTS : PAPER_DEFAULTS;
  requireImagesReader(input);
  requireSaveInterval(input.saveEvery);
  const teacher = await resolveTeacher(input.distill, {
    arch: input.teacherArch ?? null,
    ssl: input.teacherSsl ?? null,
    weights: input.weights,
    heads,
    feature: input.feature,
  });
  using source = await openEncoderSource(input.distill, {
    arch: teacher.arch,
    weights: input.weights,
    part: teacherPart(input),
  });
  const { studentArch = defaults.studentArch } = input;
  const imageSize = askedSize(studentArch, input.imageSize);
  const { note, ...views } = chooseDistillViews(source, { ...input, imageSize }, input.data);
  if (note !== undefined) emit({ type: "note", text: note });
  const encoder = freshEncoder(studentArch, stem, views.imageSize);
  const options = {
    ...defaults,
    ...NOT_ASKED_FOR,
    studentInit: null,
    ...(input.feature !== undefined || source.head.kind === "none") && { dim: source.encoder.features },
    ...input,
    ...views,
    studentArch: encoder.name,
    testData: await testDataOfTraining(input),
    teacherArch: teacher.arch,
    teacherSsl: teacher.ssl,
  };
  return withOptimizer(options, encoder, asked, isSample ? SAMPLE_ADAMW : PAPER_ADAMW);
}

export const seed: Method<DistillInput, DistillOptions, DistillEvent, DistillResult, DistillSettings> = {
  description: "distils a self-supervised teacher into a student without labels (SEED, ICLR 2021)",
  folder: import.meta.url,
  actors: ["queue_keeper", "student_trainer"],
  required: ["data", "distill", "output"],
  nullable: NULLABLE,
  unflagged: ["actors", "defaults", "images", "plugins", "tuning"],
  flags() {
    const { plugin: _, ...flags } = distillFlags({
      encoders: studentNames(),
      teachers: teacherNames(),
    });
    return flags;
  },
  resolve: resolveDistillInput,
  needs: (input) => ({
    ...trainingNeeds(input, input.distill, input.studentInit),
    devices: DISTILLATION.devices,
  }),
  endsTogether: () => true,
  async checkResume(checkpoint) {
    using file = await openCheckpointFile(checkpoint);
    await requireFiniteTraining(checkpoint, readTrainingCheckpoint(DISTILL_CHECKPOINT, file));
  },
  async run(options, emit, signal, { soFar, ...wanted }) {
    if (options.mixup > 0 && rowsOf(options.batchSize, wanted.ranks) < 2) {
      const whose = wanted.ranks === undefined ? "a batch" : "a batch for each rank";
      throw new UserError(
        `--mixup mixes the images of a batch with each other: use at least two in ${whose}`,
      );
    }
    return await runDistillation(options, emit, signal, soFar, wanted);
  },
};
