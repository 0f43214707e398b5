import { assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../errors.ts";
import { describeBankMemory } from "../../methods/bank_memory.ts";

const GIB = 2 ** 30;
/** Of a ResNet-50, which take half a gigabyte. */
const HALF = { images: 65_536, features: 2048 };

Deno.test("describeBankMemory() says what the features take, where that is a gigabyte or more", () => {
  const memory = { total: 8 * GIB, available: 4 * GIB };
  assertEquals(describeBankMemory(HALF, memory), undefined);
  const whole = { ...HALF, images: 2 * HALF.images };
  const text =
    "2048 features of each of 131072 images that vote take 1.0 GiB of memory, and then as much of the device's";
  for (const known of [memory, undefined]) {
    assertEquals(describeBankMemory(whole, known), { type: "note", text });
  }
});

Deno.test("describeBankMemory() warns where they take more than is free, and refuses more than there is", () => {
  const advice = "Use data of fewer images, or evaluate with lincls, which does not keep them";
  const needed = "2048 features of each of 65536 images that vote take 0.5 GiB of memory";
  assertEquals(describeBankMemory(HALF, { total: 8 * GIB, available: GIB / 4 }), {
    type: "warning",
    text: `${needed}, of which 0.3 GiB are free. ${advice}`,
    isCommon: true,
  });
  assertThrows(
    () => describeBankMemory(HALF, { total: GIB / 4, available: GIB / 8 }),
    UserError,
    `${needed}, but there are only 0.3 GiB. ${advice}`,
  );
});
