/** What the images that vote in a kNN evaluation take, known before the first of them is embedded. */
import type { NoteEvent, WarningEvent } from "../actors/events.ts";
import { describeGib } from "../data/describe_bytes.ts";
import { counted } from "../data/printable.ts";
import { type SystemMemory, systemMemory } from "../data/system_memory.ts";
import { UserError } from "../errors.ts";

/** Bytes of a float32. */
const FLOAT_BYTES = 4;
const GIB = 2 ** 30;

/** What is in the bank. */
interface Bank {
  /** Images that vote. */
  images: number;
  /** Length of a feature. */
  features: number;
}

/**
 * Says what the features take, where that is a gigabyte or more: they are collected in the machine's memory, and then moved to
 * the device's. The device itself is asked for the room before an image is embedded.
 *
 * @param memory the machine's; `undefined` where it is not known
 * @returns `undefined` for less
 * @throws {UserError} where the machine does not have so much
 */
export function describeBankMemory(
  { images, features }: Bank,
  memory: SystemMemory | undefined = systemMemory(),
): NoteEvent | WarningEvent | undefined {
  const bytes = images * features * FLOAT_BYTES;
  const needed = `${features} features of each of ${counted(images, "image")} that vote take ${
    describeGib(bytes)
  }`;
  const advice = "Use data of fewer images, or evaluate with lincls, which does not keep them";
  if (memory !== undefined && bytes > memory.total) {
    throw new UserError(`${needed} of memory, but there are only ${describeGib(memory.total)}. ${advice}`);
  }
  if (memory !== undefined && bytes > memory.available) {
    const text = `${needed} of memory, of which ${describeGib(memory.available)} are free. ${advice}`;
    return { type: "warning", text, isCommon: true };
  }
  if (bytes < GIB) return undefined;
  return { type: "note", text: `${needed} of memory, and then as much of the device's` };
}
