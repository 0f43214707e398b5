/** What a command needs on the disk, looked at before anything is started. */

import { chooseDistillViews } from "../../methods/seed/augmentation.ts";
import { type AskedViews, chooseViews, type ChosenViews } from "../../methods/encoder_views.ts";
import type { EmbeddingOptions } from "../../methods/embedding.ts";
import { chooseLabelledViews, type LabelledInput } from "../../methods/labelled_input.ts";
import { readArchOfRun } from "../../methods/encoder_training/initial_weights.ts";
import { withOptimizer } from "../../methods/encoder_training/step_options.ts";
import { testDataOf } from "../../methods/held_out.ts";
import type { FinetuneOptions } from "../../methods/finetune/options.ts";
import type { LinearOptions } from "../../methods/linear_probe/options.ts";
import type { PretrainOptions } from "../../methods/moco/options.ts";
import { METHODS } from "../../methods/registry.ts";
import type { KnnInput } from "../../methods/runs.ts";
import { PAPER_DEFAULTS } from "../../methods/seed/defaults.ts";
import { type DistillOptions, teacherPart } from "../../methods/seed/options.ts";
import { findDataset, resolveDataset, resolveSplit } from "../../data/open_dataset.ts";
import { requireFile } from "../../data/stat_or_explain.ts";
import { UserError } from "../../errors.ts";
import { readRates } from "../../methods/linear_probe/checkpoint.ts";
import { resolveEvaluationResize } from "../../actors/evaluation_resize.ts";
import { askedSize, chooseFresh, findEncoder, freshEncoder } from "../../models/registry.ts";
import { listCheckpoints } from "../../models/checkpoint/run_checkpoints.ts";
import { resolveTeacherOf } from "./recipe_teacher.ts";
import {
  describeOtherHeads,
  type EncoderSource,
  type EncoderSourceOptions,
  openEncoderSource,
} from "../../models/encoder_source.ts";
import type { DistillCommand, DistillRequest } from "./distill_flags.ts";
import type { EmbedRequest } from "./embed_flags.ts";
import type { FinetuneRequest, LinclsRequest } from "./lincls_flags.ts";
import {
  type CheckpointsOfArch,
  checkpointsOfArch,
  parsePretrainFlags,
  type PretrainCommand,
  type PretrainFlagsContext,
  type PretrainRequest,
} from "./pretrain_flags.ts";
import { NO_MOMENTUM, warningsOfWarmup } from "./run_flags.ts";

/** Says which heads are not used. */
function noteOtherHeads(path: string, source: EncoderSource): void {
  const text = describeOtherHeads(path, source);
  if (text !== undefined) console.error(`note: ${text}`);
}

async function resolveResize({ imageSize, evalResize }: ChosenViews, data: string) {
  return { imageSize, evalResize: await resolveEvaluationResize(evalResize, data, imageSize) };
}

/** Data to learn from, and an error that says which argument is wrong where there is none. */
function requireData(data: string, argument: string): Promise<string> {
  return naming(argument, () => resolveDataset(data, "train"));
}

async function naming<T>(argument: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(`${argument}: ${error.message}`, { cause: error });
  }
}

/** Whether a run has a checkpoint to go on from: then it does not need the one that its encoder began with. */
async function goesOn(
  { resume, output }: { resume: string | null; output: string },
  resumesIfThere = false,
): Promise<boolean> {
  return resume !== null || (resumesIfThere && (await listCheckpoints(output)).length > 0);
}

/** The images to be evaluated on: those that a flag names, or those that lie with the ones to learn from. */
async function requireTestData(data: string, testData: string | null): Promise<string> {
  if (testData !== null) {
    return await naming("--test-data", () => findDataset(testData, "test")) ?? testData;
  }
  const info = await Deno.stat(data);
  if (info.isFile) {
    throw new UserError(`${data} is a single file: give the test images with --test-data`);
  }
  return await naming("DATA", () => resolveDataset(data, "test"));
}

/**
 * Makes sure that the files of a distillation are there, finds out which encoder the teacher's checkpoint holds, and
 * finds images to be evaluated on where `--test-data` was not given.
 *
 * @returns the options with the teacher's encoder and `testData` resolved
 * @throws {UserError} that names the flag and the path
 */
export async function checkDistillInputs(
  { stem, heads, ...request }: DistillRequest,
  { recipe, warnings, resumesIfThere }: Partial<
    Pick<Extract<DistillCommand, { help: undefined }>, "recipe" | "warnings" | "resumesIfThere">
  > = {},
): Promise<DistillOptions> {
  const { data, distill, resume, studentInit, testData } = request;
  const images = await requireData(data, "--data");
  await naming("--distill", () => requireFile(distill, "a teacher checkpoint"));
  if (resume !== null) await naming("--resume", () => requireFile(resume, "a student checkpoint"));
  if (studentInit !== null && !await goesOn(request, resumesIfThere)) {
    await naming("--student-init", () => requireFile(studentInit, "an encoder checkpoint"));
  }
  const { teacherArch, teacherSsl, weights, feature } = request;
  const asked = { arch: teacherArch, ssl: teacherSsl, weights, heads, feature };
  const { arch, ssl } = await resolveTeacherOf(recipe, distill, asked, (text) => warnings?.push(text));
  using source = await openEncoderSource(distill, { arch, weights, part: teacherPart(request) });
  const imageSize = askedSize(request.studentArch, request.imageSize);
  const views = await resolveResize(chooseDistillViews(source, { ...request, imageSize }, images), images);
  return {
    ...request,
    ...views,
    dim: request.dim ??
      (feature || source.head.kind === "none" ? source.encoder.features : PAPER_DEFAULTS.dim),
    teacherArch: arch,
    teacherSsl: ssl,
    studentArch: freshEncoder(request.studentArch, stem, views.imageSize).name,
    testData: testData === null ? await testDataOf(data) : await requireTestData(data, testData),
  };
}

/**
 * Reads the command line of `deno task pretrain`, and looks into the checkpoint of `--pretrained` for the encoder where
 * `--arch` is not given.
 *
 * @throws {UserError} that names the flag and the path, and as {@linkcode parsePretrainFlags}
 */
export async function parsePretrainFlagsOf(
  args: readonly string[],
  context: PretrainFlagsContext,
): Promise<PretrainCommand> {
  const checkpoints = checkpointsOfArch(args, context);
  const saying = checkpoints === undefined ? [] : ["--arch", await findArch(checkpoints)];
  return parsePretrainFlags([...args, ...saying], context);
}

/** The encoder that a checkpoint says. A run that goes on does not need the one that it began with. */
async function findArch(checkpoints: CheckpointsOfArch): Promise<string> {
  const { pretrained, resume, output } = checkpoints;
  const isThere = resume === "auto"
    ? output !== undefined && await goesOn({ resume: null, output }, true)
    : resume !== undefined;
  if (!isThere) {
    await naming("--pretrained", () => requireFile(pretrained, "an encoder checkpoint"));
  }
  try {
    return await readArchOfRun(checkpoints, METHODS.moco);
  } catch (error) {
    const [flag] = error instanceof UserError ? /--(heads|weights)\b/.exec(error.message) ?? [] : [];
    if (flag === undefined) throw error;
    const { message } = error as UserError;
    throw new UserError(
      `--pretrained: ${message}. Here it is said by a copy that ./seed export ${flag} makes, or with --arch`,
      { cause: error },
    );
  }
}

/**
 * Makes sure that the files of a pretraining are there, and finds images to be evaluated on where `--test-data` was not given.
 *
 * @param command a run that may go on does not need the checkpoint that it began with
 * @returns the options with `testData` resolved
 * @throws {UserError} that names the flag and the path
 */
export async function checkPretrainInputs(
  { stem, ...request }: PretrainRequest,
  { resumesIfThere = false }: { resumesIfThere?: boolean } = {},
): Promise<PretrainOptions> {
  const { data, resume, pretrained, testData } = request;
  await requireData(data, "--data");
  if (resume !== null) await naming("--resume", () => requireFile(resume, "a checkpoint of a pretraining"));
  if (pretrained !== null && !await goesOn(request, resumesIfThere)) {
    await naming("--pretrained", () => requireFile(pretrained, "an encoder checkpoint"));
  }
  return {
    ...request,
    arch: freshEncoder(request.arch, stem, request.imageSize).name,
    testData: testData === null ? await testDataOf(data) : await requireTestData(data, testData),
  };
}

/**
 * Makes sure that the files of a kNN evaluation are there.
 *
 * @throws {UserError} that names the flag and the path
 */
export async function checkKnnInputs({ data, testData, pretrained }: KnnInput): Promise<void> {
  await requireData(data, "DATA");
  if (testData !== undefined) await requireTestData(data, testData);
  if (pretrained !== undefined && pretrained !== null) {
    await naming("--pretrained", () => requireFile(pretrained, "an encoder checkpoint"));
  }
}

/**
 * Makes sure that the files of an embedding are there, and finds out which encoder its checkpoint holds, and how long
 * what it gives is.
 *
 * @throws {UserError} that names the flag and the path
 */
export async function checkEmbedInputs(
  { pretrained, arch, stem, which, weights, heads, feature, data, split, ...rest }: EmbedRequest,
): Promise<Omit<EmbeddingOptions, keyof AskedViews> & AskedViews> {
  const path = await naming("DATA", () => resolveSplit(data, split));
  await naming("--pretrained", () => requireFile(pretrained, "an encoder checkpoint"));
  using source = await openEncoderSource(pretrained, {
    ...{ arch: arch ?? undefined, isAsked: true, stem, which, weights, heads, feature, part: rest.part },
  });
  noteOtherHeads(pretrained, source);
  const { encoder, head } = source;
  const dimension = rest.part === "backbone" ? encoder.features : head.dimension;
  return {
    ...rest,
    data: path,
    dimension,
    encoder: { path: pretrained, arch: encoder.name, which, weights },
  };
}

/**
 * Makes sure that the files of a linear evaluation are there, and finds out which encoder its checkpoint holds. Where
 * none is given, that of the checkpoint that is gone on from is taken.
 *
 * @throws {UserError} that names the flag and the path
 */
export async function checkLinclsInputs(request: LinclsRequest): Promise<LinearOptions> {
  const { data, resume, arch, stem, heads, feature, which, lr, ...rest } = request;
  const images = await requireData(data, "DATA");
  const testData = await requireTestData(data, request.testData);
  if (resume !== null) {
    await naming("--resume", () => requireFile(resume, "a linear evaluation checkpoint"));
  }
  const pretrained = request.pretrained ?? resume;
  // Checked by the flags: only what is evaluated has its learning rates from the checkpoint.
  const resolved = {
    ...rest,
    lr: lr ?? await readRates(resume!),
    resume,
    which,
    pretrained,
    data: images,
    testData,
  };
  if (pretrained !== null) {
    await naming("--pretrained", () => requireFile(pretrained, "an encoder checkpoint"));
  }
  const choice = { arch: arch ?? undefined, stem, heads, feature, which, weights: rest.weights };
  const asked = { ...rest, classifiers: rest.evaluate ? resume : null };
  return { ...resolved, ...await resolveEncoder(pretrained, choice, asked, images) };
}

/**
 * Finds out the encoder and the views that a run will choose, which says then where they are from.
 *
 * @param path its checkpoint; `null` where `choice` names it, as the flags check
 * @param says whether heads that are not used are named
 */
async function resolveEncoder(
  path: string | null,
  choice: Omit<EncoderSourceOptions, "part" | "isAsked">,
  { classifiers, ...asked }: Omit<LabelledInput, "data" | "testData">,
  images: string,
  says = true,
) {
  if (path === null) {
    const arch = choice.arch!;
    const imageSize = askedSize(arch, asked.imageSize);
    const views = await resolveResize(chooseViews(null, { ...asked, imageSize }, images), images);
    return { arch: chooseFresh({ ...choice, arch }, views.imageSize).name, ...views };
  }
  using source = await openEncoderSource(path, { ...choice, isAsked: true, part: "backbone" });
  if (says) noteOtherHeads(path, source);
  const views = await chooseLabelledViews(source, classifiers, asked, images);
  return { arch: source.encoder.name, ...await resolveResize(views, images) };
}

/**
 * Makes sure that the files of a fine-tuning are there, and finds out which encoder its checkpoint holds: the one that is
 * gone on from, where there is one.
 *
 * @param command its `warnings` get a sentence where the encoder's optimizer has no momentum, and one was given
 * @throws {UserError} that names the flag and the path
 */
export async function checkFinetuneInputs(
  request: FinetuneRequest,
  { warnings }: { warnings?: string[] } = {},
): Promise<FinetuneOptions> {
  const { stem, heads, feature, asked, ofAdamW, ...rest } = request;
  const { data, resume, pretrained, arch, which, weights } = rest;
  const images = await requireData(data, "DATA");
  const testData = await requireTestData(data, request.testData);
  if (resume !== null) await naming("--resume", () => requireFile(resume, "a fine-tuning checkpoint"));
  if (pretrained !== null) {
    await naming("--pretrained", () => requireFile(pretrained, "an encoder checkpoint"));
  }
  const resolved = { ...rest, data: images, testData };
  const path = resume ?? pretrained;
  const isFresh = resume === null;
  const chosen = isFresh ? { heads, feature, which, weights } : {};
  const choice = { arch: arch ?? undefined, stem, ...chosen };
  const found = await resolveEncoder(path, choice, rest, images, isFresh);
  const options = withOptimizer({ ...resolved, ...found }, findEncoder(found.arch), asked, ofAdamW);
  // Where --optimizer is given, this was said when the flags were read.
  if (asked.optimizer === undefined) {
    if (options.optimizer === "adamw" && asked.momentum !== undefined) warnings?.push(NO_MOMENTUM);
    warnings?.push(...warningsOfWarmup(asked.warmupEpochs, options));
  }
  return options;
}
