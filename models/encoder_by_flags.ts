/** What flags say of an encoder whose name says more than `--arch` does: the size that it is made for, and its feature. */
import type { Encoder, FeatureKind } from "./encoder.ts";
import { encoderNames, encodersNamed, findEncoder } from "./registry.ts";

/** An encoder as flags name it. */
export interface EncoderByFlags {
  /** For `--arch`; `undefined` where no name is listed for it, as of one that a checkpoint's shapes tell. */
  arch: string | undefined;
  /** For `--feature`; `undefined` where it has one feature. */
  feature: FeatureKind | undefined;
  /** For `--image-size`, of one that is made for a size, in pixels; `undefined` of others. */
  imageSize: number | undefined;
}

/**
 * Returns what flags say of an encoder: `vit_tiny_96_mean` is `vit_tiny` for images of 96 pixels, with `mean`.
 *
 * @param name of the registry, or one that is not registered any more
 */
export function encoderByFlags(name: string): EncoderByFlags {
  const [encoder] = encodersNamed(name).filter((one) => one.name === name);
  if (encoder === undefined) return { arch: undefined, feature: undefined, imageSize: undefined };
  const plain = encoder.withFeature?.("cls") ?? encoder;
  return {
    arch: listedNameOf(plain),
    feature: encoder.feature,
    imageSize: plain.sizedFor && plain.sizes?.usual,
  };
}

function listedNameOf({ name, sizes, sizedFor }: Encoder): string | undefined {
  const listed = encoderNames();
  if (listed.includes(name) || sizedFor === undefined) return listed.find((one) => one === name);
  const usual = name.replace(`_${sizes!.usual}`, "");
  return listed.find((one) => one === usual && findEncoder(one).sizedFor?.(sizes!.usual).name === name);
}
