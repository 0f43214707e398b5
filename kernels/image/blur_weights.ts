/** The box that Pillow's `GaussianBlur` runs three times along each axis, in 24-bit fixed point. */
import { UserError } from "../../errors.ts";

/** Standard deviations must be below this, where the box reaches beyond two pixels: sqrt(6), rounded down. */
export const BLUR_SIGMA_LIMIT = 2.44;

/** A blur that blur.wgsl cannot do. */
export class BlurSigmaError extends UserError {
  /** For whoever prints it. */
  override name = "BlurSigmaError";
}

/** Box blurs per axis: Pillow's default. */
const PASSES = 3;

/**
 * Weights of a pixel, of each of its two neighbours and of each of theirs, as fractions of 2^24.
 *
 * Follows `_gaussian_blur_radius` and `ImagingHorizontalBoxBlur` of Pillow's BoxBlur.c, which round to float32 after
 * every operation but the square root.
 *
 * @param sigma standard deviation in pixels, in (0, {@linkcode BLUR_SIGMA_LIMIT})
 * @throws {BlurSigmaError} for any other
 */
export function blurWeights(sigma: number): [middle: number, near: number, far: number] {
  if (!(sigma > 0 && sigma < BLUR_SIGMA_LIMIT)) {
    throw new BlurSigmaError(
      `the standard deviation of a blur must be above 0 and below ${BLUR_SIGMA_LIMIT} pixels, but it is ${sigma}; ` +
        "SEED, MoCo v2, SimCLR and SWAV use 0.1 to 2.0",
    );
  }
  const float = Math.fround;
  const variance = float(float(float(sigma) * float(sigma)) / PASSES);
  const length = float(Math.sqrt(12 * variance + 1));
  const whole = float(Math.floor((length - 1) / 2));
  const next = whole + 1;
  const numerator = float((2 * whole + 1) * float(whole * next - float(3 * variance)));
  const fraction = float(numerator / float(6 * float(variance - next * next)));
  const radius = float(whole + fraction);

  const full = 1 << 24;
  const reach = Math.trunc(radius);
  const inside = Math.trunc(float(full / float(float(radius * 2) + 1)));
  const edge = Math.trunc((full - (reach * 2 + 1) * inside) / 2);
  return reach === 0 ? [inside, edge, 0] : [inside, inside, edge];
}
