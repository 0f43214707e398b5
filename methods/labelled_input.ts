/** What a run on labelled images leaves to its files: the encoder and its views, and where the images are. */
import type { Emit, NoticeEvent } from "../actors/events.ts";
import { findingListener } from "../actors/notices.ts";
import { findDataset, resolveDataset } from "../data/open_dataset.ts";
import { UserError } from "../errors.ts";
import {
  type EncoderSource,
  type EncoderSourceOptions,
  openEncoderSource,
} from "../models/encoder_source.ts";
import { askedSize, chooseFresh } from "../models/registry.ts";
import { type AskedViews, chooseViews, type ChosenViews } from "./encoder_views.ts";

/** Images and views, as far as they are said. */
export interface LabelledInput extends AskedViews {
  /** Images to learn from. */
  data: string;
  /** Images to classify; looked for beside the former where it is left out. */
  testData?: string;
  /** Checkpoint of classifiers that are only evaluated: the views are those that they were trained on, where it says them. */
  classifiers?: string | null;
}

/**
 * Chooses the views of an encoder by {@linkcode chooseViews}. Classifiers that are only evaluated keep those that they were
 * trained on, whatever the encoder's own checkpoint says.
 *
 * @param source the encoder's checkpoint; `null` for fresh weights
 * @param classifiers their checkpoint; `null` or nothing where they are yet to be trained
 * @param data path of the images
 * @throws {UserError} where the classifiers' checkpoint is of another encoder
 */
export async function chooseLabelledViews(
  source: EncoderSource | null,
  classifiers: string | null | undefined,
  asked: AskedViews,
  data: string,
): Promise<ChosenViews> {
  if (source === null || classifiers === null || classifiers === undefined) {
    return chooseViews(source, asked, data);
  }
  using trained = await openEncoderSource(classifiers, { arch: source.encoder.name, part: "backbone" });
  return chooseViews(trained.input?.imageSize === undefined ? source : trained, asked, data);
}

/**
 * Finds that out. A note says where the views are from.
 *
 * @param path checkpoint of the encoder; `null` or nothing for fresh weights
 * @param choice which encoder
 * @throws {UserError} where there are no images, the checkpoint does not fit, or neither it nor a name is given
 */
export async function resolveLabelledInput(
  path: string | null | undefined,
  choice: Omit<EncoderSourceOptions, "part" | "isAsked">,
  { data, testData, classifiers, ...views }: LabelledInput,
  emit: Emit<NoticeEvent>,
): Promise<{ arch: string; data: string; testData: string } & Omit<ChosenViews, "note">> {
  const { arch: named } = choice;
  using source = path === null || path === undefined
    ? null
    : await openEncoderSource(path, { ...choice, isAsked: true, part: "backbone" });
  if (source === null && named === undefined) {
    throw new UserError("expected a checkpoint (pretrained) or the name of an encoder (arch), found neither");
  }
  const found = await findDataset(testData ?? data, "test") ?? testData;
  if (found === undefined) {
    throw new UserError(`${data} has no test images: expected them there or at testData`);
  }
  const images = { data: await resolveDataset(data, "train", findingListener(emit)), testData: found };
  const imageSize = source === null ? askedSize(named!, views.imageSize) : views.imageSize;
  const { note, ...chosen } = await chooseLabelledViews(
    source,
    classifiers,
    { ...views, imageSize },
    images.data,
  );
  if (note !== undefined) emit({ type: "note", text: note });
  const arch = source?.encoder.name ??
    chooseFresh({ ...choice, arch: named! }, chosen.imageSize).name;
  return { arch, ...images, ...chosen };
}
