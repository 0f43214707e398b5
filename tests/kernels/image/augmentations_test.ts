import { assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../../errors.ts";
import {
  augmentationNames,
  findAugmentation,
  registerAugmentation,
} from "../../../kernels/image/augmentations.ts";
import { type Augmentation, mocoV2Augmentation } from "../../../kernels/image/view_parameters.ts";

Deno.test("findAugmentation() makes each of them for the size that is asked for", () => {
  for (const name of augmentationNames()) assertEquals(findAugmentation(name)(96).size, 96);
  assertThrows(() => findAugmentation("mine"), UserError, 'no augmentation "mine"; known are mocov1, ');
});

Deno.test("an augmentation of another size, or with numbers that no view is drawn by, is named", () => {
  const usual = mocoV2Augmentation(32);
  const { jitter, blur } = usual;
  let count = 0;
  const refuse = (changed: object, message: string) => {
    const name = `faulty ${count++}`;
    registerAugmentation(name, () => ({ ...usual, ...changed }) as Augmentation);
    const error = assertThrows(() => findAugmentation(name)(32), UserError);
    assertEquals(error.message, `augmentation "${name}": ${message}`);
  };
  refuse({ size: 224 }, "expected views of 32 pixels, which it is asked for, found size 224");
  refuse({ jitter: { ...jitter, hue: 0.6 } }, "jitter.hue: expected a number from 0 to 0.5, found 0.6");
  refuse({ jitter: undefined }, "jitter.probability: expected a number from 0 to 1, found undefined");
  refuse(
    { jitter: { ...jitter, contrast: Infinity } },
    "jitter.contrast: expected a number of at least 0, found Infinity",
  );
  refuse({ grayscaleProbability: NaN }, "grayscaleProbability: expected a number from 0 to 1, found NaN");
  refuse({ flipProbability: undefined }, "flipProbability: expected a number from 0 to 1, found undefined");
  refuse(
    { blur: { ...blur, sigma: [0.1, 3] } },
    "blur.sigma: expected two numbers from 0 to below 2.44, found 0.1,3",
  );
  refuse({ scale: [1, 0.2] }, "scale: expected two numbers above 0, the smaller one first, found 1,0.2");
  refuse({ ratio: [0, 1] }, "ratio: expected two numbers above 0, the smaller one first, found 0,1");
  refuse({ filter: "lanczos" }, 'filter: expected "bilinear" or "bicubic", found "lanczos"');
  refuse({ filter: undefined }, 'filter: expected "bilinear" or "bicubic", found undefined');
});
