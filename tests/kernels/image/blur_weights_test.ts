import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { BLUR_SIGMA_LIMIT, BlurSigmaError, blurWeights } from "../../../kernels/image/blur_weights.ts";

const ONE = 1 << 24;

Deno.test("blurWeights() gives a box of weight one", () => {
  for (let sigma = 0.01; sigma < BLUR_SIGMA_LIMIT; sigma += 0.013) {
    const [middle, near, far] = blurWeights(sigma);
    const sum = middle + 2 * near + 2 * far;
    assert(sum === ONE || sum === ONE - 1, `${sigma}: ${sum}`);
    assert(middle >= near && near >= far && far >= 0);
  }
});

Deno.test("blurWeights() gives three boxes that have the variance asked for", () => {
  for (const sigma of [0.1, 0.5, 1, 1.4, 1.42, 2, 2.43]) {
    const [, near, far] = blurWeights(sigma);
    assertAlmostEquals(3 * (2 * near + 8 * far) / ONE, sigma ** 2, 1e-5);
  }
});

Deno.test("blurWeights() reaches two pixels from the variance on at which one is not enough", () => {
  assertEquals(blurWeights(1.41)[2], 0);
  assert(blurWeights(1.42)[2] > 0);
});

Deno.test("blurWeights() refuses a blur that is too wide or none", () => {
  for (const sigma of [0, -1, NaN, BLUR_SIGMA_LIMIT, 10]) {
    assertThrows(() => blurWeights(sigma), BlurSigmaError, `but it is ${sigma}`);
  }
});
