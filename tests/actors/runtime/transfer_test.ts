import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { MAX_VALUES, pack, SHARE, unpack } from "../../../actors/runtime/transfer.ts";

Deno.test("pack() finds buffers under views, in objects and arrays, each once", () => {
  const a = new ArrayBuffer(8);
  const b = new ArrayBuffer(8);
  const c = new ArrayBuffer(8);
  const payload = {
    a,
    again: new Uint8Array(a, 2, 3),
    list: [new DataView(b), { deep: [new Float32Array(c)] }],
    text: "x",
    nothing: null,
  };
  const packed = pack("m", payload);
  assertEquals(packed.transfer, [a, b, c]);
  assertStrictEquals(packed.payload, payload);
});

Deno.test("pack() finds a port, and leaves shared memory and instances of classes alone", () => {
  const { port1, port2 } = new MessageChannel();
  class Box {
    inside = new ArrayBuffer(4);
  }
  const packed = pack("m", { port1, shared: new Uint8Array(new SharedArrayBuffer(4)), box: new Box() });
  assertEquals(packed.transfer, [port1]);
  port1.close();
  port2.close();
});

Deno.test("pack() ends on a payload that contains itself", () => {
  const payload: { self?: unknown; bytes: Uint8Array<ArrayBuffer> } = { bytes: new Uint8Array(4) };
  payload.self = payload;
  assertEquals(pack("m", payload).transfer, [payload.bytes.buffer]);
});

Deno.test("pack() takes the explicit list instead of what it finds", () => {
  const a = new ArrayBuffer(8);
  const b = new ArrayBuffer(8);
  assertEquals(pack("m", { a, b }, [b]).transfer, [b]);
  assertEquals(pack("m", { a, b }, []).transfer, []);
});

Deno.test("pack() says where a buffer is that was sent before", () => {
  const bytes = new Uint8Array(8);
  structuredClone(bytes, { transfer: [bytes.buffer] });
  assertThrows(
    () => pack('message "batch" to actor "teacher"', { views: [{ bytes }] }),
    TypeError,
    'message "batch" to actor "teacher": the buffer at "views.0.bytes" was already sent to another actor',
  );
});

Deno.test("pack() refuses a payload that is too large or too deep to be searched", () => {
  assertThrows(() => pack("m", new Array(MAX_VALUES).fill(0)), TypeError, "more than 100000 values");
  let deep: unknown = 0;
  for (let i = 0; i < 100; i++) deep = [deep];
  assertThrows(() => pack("m", deep), TypeError, "64 levels");
});

Deno.test("unpack() puts what was shared back where it was, and pack() leaves the original whole", () => {
  const { port1, port2 } = new MessageChannel();
  const reference = { [SHARE]: () => ({ actor: "teacher", incarnation: 1, port: port1 }) };
  const payload = { list: [1, { reference }], other: { kept: true } };
  const packed = pack("m", payload);
  assertEquals(packed.transfer, [port1]);
  assertEquals(packed.payload, { list: [1, { reference: null }], other: { kept: true } });
  assertStrictEquals((payload.list[1] as { reference: unknown }).reference, reference);
  assertEquals(unpack(packed, ({ actor }) => `<${actor}>`), {
    list: [1, { reference: "<teacher>" }],
    other: { kept: true },
  });
  assertEquals(unpack(pack("m", reference), ({ actor }) => `<${actor}>`), "<teacher>");
  port1.close();
  port2.close();
});
