/** kNN without a test set: a share of the labels of the training images is held out of the vote. */
import type { KnnSettings } from "../actors/evaluation.ts";
import type { Emit, NoticeEvent, ProgressEvent } from "../actors/events.ts";
import { dataListener, findingListener } from "../actors/notices.ts";
import { chooseLabelFraction } from "../data/label_fraction.ts";
import { findDataset, openDataset, resolveDataset } from "../data/open_dataset.ts";
import { UserError } from "../errors.ts";

/** Value of `testData` that asks for it. Paths are absolute, so no file has this name. */
export const HELD_OUT = "held-out";

/** Share of the images of each class that is classified. */
const FRACTION = 0.1;

/** Images below which a class has none to spare. */
const LEAST_OF_CLASS = 5;

/** Why nothing can be held out of images without classes. */
const NO_LABELS = "no class labels";

/** Rows of the training images that vote, and rows that are classified. */
export type HeldOutRows = Required<Pick<KnnSettings, "bankRows" | "queryRows">>;

/**
 * Returns what to evaluate on where nobody named anything: the test set in the folder of the training images, or
 * {@linkcode HELD_OUT}.
 */
export async function testDataOf(data: string): Promise<string> {
  return await findDataset(data, "test") ?? HELD_OUT;
}

/**
 * Returns what a training evaluates on: the test set of what was named, else what {@linkcode testDataOf} finds; nothing
 * where no file has the images to learn from.
 */
export async function testDataOfTraining(
  { data, images, testData }: { data: string; images?: number; testData?: string | null },
): Promise<string | null> {
  if (testData === null || testData === HELD_OUT) return testData;
  if (testData !== undefined) return await findDataset(testData, "test") ?? testData;
  return images === undefined ? await testDataOf(data) : null;
}

/**
 * Chooses the rows by labels and seed, as {@linkcode chooseLabelFraction} does. Classes of fewer than five images vote, and are
 * not classified. Rows without a label do neither.
 *
 * @param labels of every row, [n]; negative where there is none
 * @returns a sentence that says why, where labels do not suffice
 */
export function chooseHeldOut(labels: Int32Array, seed: number): HeldOutRows | string {
  const counts = new Map<number, number>();
  for (const label of labels) if (label >= 0) counts.set(label, (counts.get(label) ?? 0) + 1);
  if (counts.size === 0) return NO_LABELS;
  if (counts.size === 1) return "labels of one class only";
  const isLarge = (label: number) => counts.get(label)! >= LEAST_OF_CLASS;
  const queryRows = chooseLabelFraction(
    labels.map((label) => label >= 0 && isLarge(label) ? label : -1),
    FRACTION,
    seed,
  );
  if (queryRows.length === 0) return `fewer than ${LEAST_OF_CLASS} images of each class`;
  const queries = new Set(queryRows);
  const bankRows = Uint32Array.from(labels.keys().filter((row) => labels[row] >= 0 && !queries.has(row)));
  return { bankRows, queryRows };
}

/**
 * Reads the labels of training images, and chooses rows by them; a note says what is chosen.
 *
 * @param signal ends it with its reason
 * @returns a sentence that says why, where labels do not suffice
 * @throws {UserError} where there is no readable data
 */
export async function holdOut(
  path: string,
  seed: number,
  emit: Emit<NoticeEvent | ProgressEvent>,
  signal?: AbortSignal,
): Promise<HeldOutRows | string> {
  const listener = dataListener(emit, signal);
  using dataset = await openDataset(path, listener);
  // A sample says that there are none; to read the labels of all rows takes minutes over a network.
  const rows = dataset.hasLabels ? chooseHeldOut(await dataset.readLabels(listener), seed) : NO_LABELS;
  if (typeof rows === "string") return `${path} has ${rows}`;
  const { queryRows, bankRows } = rows;
  emit({
    type: "note",
    text:
      `no test images, so kNN uses held-out labels of ${path}: ${queryRows.length} images, ${
        100 * FRACTION
      } % of ` +
      `each class, chosen by --seed ${seed}, are classified by the other ${bankRows.length}`,
  });
  return rows;
}

/** What tells images apart, see `fingerprintDataset`. */
interface IdentifiedImages {
  path: string;
  fingerprint: string | null;
}

/** Warns where the images that vote are those that are classified, or copies: each is its own nearest neighbour. */
export function warnOfSameImages(
  bank: IdentifiedImages,
  queries: IdentifiedImages,
  emit: Emit<NoticeEvent>,
): void {
  if (bank.fingerprint !== queries.fingerprint) return;
  const text =
    `${queries.path}: kNN classifies the images that vote, and each is its own nearest neighbour, so the accuracy says ` +
    "nothing. Use other test images, or leave --test-data out: without a test set held-out labels are used";
  emit({ type: "warning", text, isCommon: true });
}

/**
 * Finds the images of a kNN evaluation: those that vote in `data`; those to classify in `testData`, or where {@linkcode testDataOf}
 * finds them if that is left out.
 *
 * @throws {UserError} where there are none, or no labels to hold out
 */
export async function findVote(
  { data, testData, seed }: { data: string; testData?: string; seed: number },
  emit: Emit<NoticeEvent | ProgressEvent>,
  signal?: AbortSignal,
): Promise<Pick<KnnSettings, "bankData" | "queryData" | "bankRows" | "queryRows">> {
  const bankData = await resolveDataset(data, "train", findingListener(emit));
  const found = testData === HELD_OUT ? HELD_OUT : await findDataset(testData ?? data, "test") ?? testData;
  if (found !== undefined && found !== HELD_OUT) return { bankData, queryData: found };
  const rows = await holdOut(bankData, seed, emit, signal);
  if (typeof rows === "string") {
    throw new UserError(
      `there are no test images, and ${rows}: expected some images of two classes or more to classify`,
    );
  }
  return { bankData, queryData: bankData, ...rows };
}
