/** What a run on labelled images leaves to its files: the encoder and its views, and where the images are. */
import type { Emit, NoticeEvent } from "../actors/events.ts";
import { findingListener } from "../actors/notices.ts";
import { findDataset, resolveDataset } from "../data/open_dataset.ts";
import { UserError } from "../errors.ts";
import { type EncoderSourceOptions, openEncoderSource } from "../models/encoder_source.ts";
import { askedSize, chooseFresh } from "../models/registry.ts";
import { type AskedViews, chooseViews, type ChosenViews } from "./encoder_views.ts";

/** Images and views, as far as they are said. */
export interface LabelledInput extends AskedViews {
  /** Images to learn from. */
  data: string;
  /** Images to classify; looked for beside the former where it is left out. */
  testData?: string;
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
  { data, testData, ...views }: LabelledInput,
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
  const { note, ...chosen } = chooseViews(source, { ...views, imageSize }, images.data);
  if (note !== undefined) emit({ type: "note", text: note });
  const arch = source?.encoder.name ??
    chooseFresh({ ...choice, arch: named! }, chosen.imageSize).name;
  return { arch, ...images, ...chosen };
}
