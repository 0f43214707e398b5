/** What a command needs on the disk, looked at before anything is started. */

import { join } from "node:path";
import type { KnnOptions } from "../actors/knn_evaluation.ts";
import type { LinearOptions } from "../actors/linear_options.ts";
import type { EvaluatedEncoder } from "../actors/messages.ts";
import type { DistillOptions } from "../actors/options.ts";
import { UserError } from "../errors.ts";
import { resolveTeacher } from "../models/teacher.ts";
import { openEncoderSource } from "../models/encoder_source.ts";
import type { DistillRequest } from "./distill_flags.ts";
import type { KnnRequest } from "./knn_flags.ts";
import type { LinclsRequest } from "./lincls_flags.ts";

async function stat(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.stat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
    throw new UserError(`${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

async function requireFile(path: string, flag: string, what: string): Promise<void> {
  const info = await stat(path);
  if (info === undefined) throw new UserError(`${flag}: there is no file ${path}; expected ${what}`);
  if (info.isDirectory) throw new UserError(`${flag}: ${path} is a folder; expected ${what}`);
}

async function requireDataFolder(data: string): Promise<void> {
  const folder = await stat(data);
  if (folder === undefined) {
    throw new UserError(`--data: there is no folder ${data}; expected one with a train.tsv`);
  }
  if (!folder.isDirectory) {
    throw new UserError(`--data: ${data} is a file; expected the folder that holds train.tsv`);
  }
  await requireFile(join(data, "train.tsv"), "--data", "the pictures to learn from");
}

/**
 * Makes sure that the files of a distillation are there, finds out which encoder the teacher's checkpoint holds, and
 * finds `test.tsv` where `--test-data` was not given.
 *
 * @returns the options with the teacher's encoder and `testData` resolved: the latter is `null` only where there is
 * nothing to evaluate on
 * @throws {UserError} that names the flag and the path
 */
export async function checkDistillInputs(request: DistillRequest): Promise<DistillOptions> {
  const { data, distill, resume, studentInit, testData } = request;
  await requireDataFolder(data);
  await requireFile(distill, "--distill", "the teacher's checkpoint");
  if (resume !== null) await requireFile(resume, "--resume", "the checkpoint of a student");
  if (studentInit !== null) await requireFile(studentInit, "--student-init", "the checkpoint of an encoder");
  if (testData !== null) {
    await requireFile(testData, "--test-data", "a TSV file of pictures with labels");
  }
  const beside = join(data, "test.tsv");
  const { arch, ssl } = await resolveTeacher(distill, { arch: request.teacherArch, ssl: request.teacherSsl });
  return {
    ...request,
    teacherArch: arch,
    teacherSsl: ssl,
    testData: testData ?? (await stat(beside) === undefined ? null : beside),
  };
}

/**
 * Makes sure that the files of a kNN evaluation are there, and finds out which encoder its checkpoint holds.
 *
 * @throws {UserError} that names the flag and the path
 */
export async function checkKnnInputs(
  { data, testData, pretrained, arch, which, seed, ...rest }: KnnRequest,
): Promise<{ encoder: EvaluatedEncoder; options: KnnOptions }> {
  await requireDataFolder(data);
  const queryData = testData ?? join(data, "test.tsv");
  await requireFile(queryData, "--test-data", "a TSV file of pictures with labels");
  const options = { ...rest, bankData: join(data, "train.tsv"), queryData };
  // Checked by the flags: there is a name where there is no checkpoint.
  if (pretrained === null) return { options, encoder: { arch: arch!, seed } };
  await requireFile(pretrained, "--pretrained", "the checkpoint of an encoder");
  using source = await openEncoderSource(pretrained, { arch: arch ?? undefined, which, part: "backbone" });
  return { options, encoder: { path: pretrained, arch: source.encoder.name, which } };
}

/**
 * Makes sure that the files of a linear evaluation are there, and finds out which encoder its checkpoint holds. Where
 * none is given, that of the checkpoint that is gone on from is taken.
 *
 * @throws {UserError} that names the flag and the path
 */
export async function checkLinclsInputs(request: LinclsRequest): Promise<LinearOptions> {
  const { data, resume, arch, which, ...rest } = request;
  await requireDataFolder(data);
  const testData = request.testData ?? join(data, "test.tsv");
  await requireFile(testData, "--test-data", "a TSV file of pictures with labels");
  if (resume !== null) await requireFile(resume, "--resume", "the checkpoint of a linear evaluation");
  const pretrained = request.pretrained ?? resume;
  const resolved = { ...rest, resume, which, pretrained, trainData: join(data, "train.tsv"), testData };
  // Checked by the flags: there is a name where there is no checkpoint.
  if (pretrained === null) return { ...resolved, arch: arch! };
  await requireFile(pretrained, "--pretrained", "the checkpoint of an encoder");
  using source = await openEncoderSource(pretrained, { arch: arch ?? undefined, which, part: "backbone" });
  return { ...resolved, arch: source.encoder.name };
}
