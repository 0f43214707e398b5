/** Reads event files by the specification alone: record framing, sums and protobuf fields are taken apart by hand. */
import { assertEquals } from "@std/assert";

/** What an event says. */
export interface ReadEvent {
  wallTime: number;
  step: number;
  fileVersion?: string;
  tag?: string;
  scalar?: number;
  image?: { height: number; width: number; colorspace: number; png: Uint8Array };
}

/** CRC-32C a bit at a time, and TensorFlow's mask. */
function maskedSum(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    for (let bit = 0; bit < 8; bit++) {
      const odd = (crc ^ (byte >> bit)) & 1;
      crc = (crc >>> 1) ^ (odd === 1 ? 0x82f63b78 : 0);
    }
  }
  crc = ~crc >>> 0;
  return Number((BigInt((crc >>> 15) | (crc << 17)) + 0xa282ead8n) & 0xffffffffn);
}

type Field = { number: number; value: bigint | Uint8Array };

function* fields(bytes: Uint8Array): Generator<Field> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n;; shift += 7n) {
      const byte = bytes[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = Number(varint());
    const number = key >> 3;
    switch (key & 7) {
      case 0:
        yield { number, value: varint() };
        break;
      case 1:
        yield { number, value: bytes.subarray(at, at += 8) };
        break;
      case 2: {
        const length = Number(varint());
        yield { number, value: bytes.subarray(at, at += length) };
        break;
      }
      case 5:
        yield { number, value: bytes.subarray(at, at += 4) };
        break;
      default:
        throw new Error(`wire type ${key & 7} at ${at} of ${view.byteLength}`);
    }
  }
}

const doubleOf = (value: Uint8Array) => new DataView(value.slice().buffer).getFloat64(0, true);
const floatOf = (value: Uint8Array) => new DataView(value.slice().buffer).getFloat32(0, true);

function readEvent(data: Uint8Array): ReadEvent {
  const event: ReadEvent = { wallTime: 0, step: 0 };
  for (const { number, value } of fields(data)) {
    if (number === 1) event.wallTime = doubleOf(value as Uint8Array);
    else if (number === 2) event.step = Number(value);
    else if (number === 3) event.fileVersion = new TextDecoder().decode(value as Uint8Array);
    else if (number === 5) {
      for (const summary of fields(value as Uint8Array)) {
        assertEquals(summary.number, 1);
        for (const { number, value } of fields(summary.value as Uint8Array)) {
          if (number === 1) event.tag = new TextDecoder().decode(value as Uint8Array);
          else if (number === 2) event.scalar = floatOf(value as Uint8Array);
          else if (number === 4) {
            const image = new Map(
              [...fields(value as Uint8Array)].map((field) => [field.number, field.value]),
            );
            const [height, width, colorspace] = [1, 2, 3].map((n) => Number(image.get(n)));
            event.image = { height, width, colorspace, png: image.get(4) as Uint8Array };
          } else throw new Error(`a summary's value has field ${number}`);
        }
      }
    } else throw new Error(`an event has field ${number}`);
  }
  return event;
}

/** Every event of a file; the framing and both sums of each record are checked. */
export function readEvents(path: string): ReadEvent[] {
  const bytes = Deno.readFileSync(path);
  const view = new DataView(bytes.buffer);
  const events: ReadEvent[] = [];
  let at = 0;
  while (at < bytes.length) {
    const length = Number(view.getBigUint64(at, true));
    assertEquals(view.getUint32(at + 8, true), maskedSum(bytes.subarray(at, at + 8)), "the length's sum");
    const data = bytes.subarray(at + 12, at + 12 + length);
    assertEquals(view.getUint32(at + 12 + length, true), maskedSum(data), "the data's sum");
    events.push(readEvent(data));
    at += 12 + length + 4;
  }
  assertEquals(at, bytes.length);
  return events;
}

/** The event files of a folder, the oldest first. */
export function eventFiles(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).filter((name) =>
    name.startsWith("events.out.tfevents.")
  )
    .sort().map((name) => `${folder}/${name}`);
}
