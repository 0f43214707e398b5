/** The terms of the runs that are here, and how a run that is gone on with is compared with the one before. */
import { CheckpointError } from "../models/checkpoint/checkpoint_error.ts";
import type { RunOrigin } from "../models/checkpoint/resume_state.ts";
import { compareTerms, describeDifference, giveBack, type Term } from "../models/checkpoint/run_terms.ts";
import type { TorchDict } from "../models/checkpoint/torch_value.ts";
import { DEFAULT_LOSS } from "../models/loss/losses.ts";
import type { EvaluationResize } from "./evaluation_resize.ts";
import type { LinearOptions } from "./linear_options.ts";
import { augmentationOf, type DistillOptions } from "./options.ts";
import type { WarningEvents } from "./recipe.ts";

/** What a checkpoint says of its run, beside where it was. */
export interface RunIdentity {
  /** What its weights follow from. */
  terms: readonly Term[];
  /** What its student was before the first step; `undefined` where that is not known any more. */
  origin: RunOrigin | undefined;
}

/** What a comparison tells. */
export interface TermEvents extends WarningEvents {
  /** Something a person should know. */
  onNote?(text: string): void;
}

/** A property of options as a term: its name in a checkpoint, and its flag. */
function termOf<Name extends string, Value extends Term["value"]>(
  property: Name,
  value: Value,
  isEssential: boolean,
): Term {
  const words = property.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).split(" ");
  return { name: words.join("_"), flag: `--${words.join("-")}`, value, isEssential };
}

/** The terms of a distillation: all that its weights follow from, but for what they start with. */
export function distillTerms(
  options: DistillOptions,
  /** Of the pictures to learn from, `null` where no file holds them; and of the teacher's weights. */
  fingerprints: { data: string | null; teacher: string },
): Term[] {
  const { dim, queue, temp, distillT, studentMlp, imageSize, smallViews, smallSize } = options;
  const { batchSize, seed, amp, momentum, weightDecay, lr, scaleLr, warmupEpochs, cos, schedule } = options;
  const essential = {
    studentArch: options.studentArch,
    studentMlp,
    teacherArch: options.teacherArch,
    dim,
    queue,
    temp,
    distillT,
    loss: options.loss ?? DEFAULT_LOSS,
    imageSize,
    augmentation: augmentationOf(options),
    smallViews,
    ...smallViews > 0 && { smallSize },
  };
  const others = { batchSize, seed, amp, momentum, weightDecay, lr, scaleLr, warmupEpochs, cos };
  return [
    { name: "data", flag: "--data", value: fingerprints.data, isEssential: true, content: "pictures" },
    {
      name: "teacher",
      flag: "--distill",
      value: fingerprints.teacher,
      isEssential: true,
      content: "teacher's weights",
    },
    ...Object.entries(essential).map(([property, value]) => termOf(property, value, true)),
    ...Object.entries(others).map(([property, value]) => termOf(property, value, false)),
    ...cos ? [] : [termOf("schedule", schedule, false)],
    termOf("epochs", options.epochs, false),
  ];
}

/** The terms of a linear evaluation. */
export function linearTerms(
  options: LinearOptions & { evalResize: EvaluationResize },
  /** Of the pictures to learn from and those to classify, and of the encoder's weights. */
  fingerprints: { data: string; testData: string; encoder: string },
): Term[] {
  const { arch, imageSize, evalResize, cacheFeatures, batchSize, seed, momentum, weightDecay, lr } = options;
  const { scaleLr, warmupEpochs, schedule, epochs } = options;
  const content = (name: string, flag: string, value: string, of: string): Term => ({
    name,
    flag,
    value,
    isEssential: true,
    content: of,
  });
  const others = {
    batchSize,
    seed,
    momentum,
    weightDecay,
    lr,
    scaleLr,
    warmupEpochs,
    schedule,
    epochs,
  };
  return [
    content("data", "DATA", fingerprints.data, "pictures"),
    content("test_data", "--test-data", fingerprints.testData, "pictures"),
    content("encoder", "--pretrained", fingerprints.encoder, "encoder's weights"),
    ...Object.entries({ arch, imageSize, evalResize, cacheFeatures }).map(([property, value]) =>
      termOf(property, value, true)
    ),
    ...Object.entries(others).map(([property, value]) => termOf(property, value, false)),
  ];
}

/**
 * Compares a run with the one that wrote a checkpoint, and says every difference.
 *
 * @param saved the checkpoint's terms; `undefined` where it has none
 * @param insists goes on whatever differs
 * @throws CheckpointError where it is another run, and nobody insists
 */
export function checkTerms(
  path: string,
  saved: TorchDict | undefined,
  terms: readonly Term[],
  insists: boolean,
  { onNote, onWarning }: TermEvents,
): void {
  if (saved === undefined) {
    onNote?.(
      `${path} does not say of which data and settings it is: whether they are the same is not looked at`,
    );
    return;
  }
  const fail = (problem: string) => new CheckpointError(path, problem);
  const differences = compareTerms(saved, terms, fail);
  const essential = differences.filter(({ isEssential }) => isEssential);
  for (const difference of differences) {
    const text = `resumed with a change: ${describeDifference(difference)}`;
    if (!difference.isEssential) onNote?.(text);
    else if (insists) onWarning?.(text);
  }
  if (essential.length === 0 || insists) return;
  throw fail(
    `is of another run: ${essential.map(describeDifference).join("; ")}. Resume with ${
      essential.map(giveBack).join(" ")
    }, or go on all the same with --resume-anyway`,
  );
}
