import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { MAX_VALUES, pack, postPacked, SHARE, unpack } from "../../../actors/runtime/transfer.ts";
import { until } from "./helpers.ts";

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

Deno.test("pack() takes ports beside the explicit list, since they cannot be copied, and each once", () => {
  const { port1, port2 } = new MessageChannel();
  const payload = { bytes: new ArrayBuffer(8), port1, port2 };
  assertEquals(pack("m", payload, []).transfer, [port1, port2]);
  assertEquals(pack("m", payload, [port2]).transfer, [port2, port1]);
  for (const port of [port1, port2]) port.close();
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

Deno.test("a reference in an object that a payload has twice, or that contains itself, comes back in both places", () => {
  const { port1, port2 } = new MessageChannel();
  const reference = { [SHARE]: () => ({ actor: "monitor", incarnation: 1, port: port1 }) };
  const common: Record<string, unknown> = { reference, bytes: new Uint8Array(4) };
  common.self = common;
  const payload = { train: common, test: [{ common }] };
  const { transfer, ...packed } = pack("m", payload);
  assertEquals(packed.shared.map(({ path }) => path), [["train", "reference"]]);
  const received = unpack(
    structuredClone(packed, { transfer }),
    ({ actor }) => `<${actor}>`,
  ) as typeof payload;
  assertEquals(received.train.reference, "<monitor>");
  assertStrictEquals(received.test[0].common, received.train);
  assertStrictEquals(received.train.self, received.train);
  assertStrictEquals(common.reference, reference);
  port2.close();
});

Deno.test("references that were packed are let go of where another one's actor has ended, or nothing can be sent", async () => {
  const closed: unknown[] = [];
  const share = () => {
    const { port1, port2 } = new MessageChannel();
    port2.onmessage = ({ data }) => {
      closed.push(data);
      port2.close();
    };
    return { actor: "monitor", incarnation: 1, port: port1 };
  };
  const ended = () => {
    throw new TypeError("it has ended");
  };
  assertThrows(() => pack("m", [{ [SHARE]: share }, { [SHARE]: ended }]), TypeError, "it has ended");
  const packed = pack("m", [{ [SHARE]: share }]);
  assertThrows(() => postPacked("m", packed, ended), TypeError, "it has ended");
  await until(() => closed.length === 2, 5000);
  assertEquals(closed, [{ kind: "close" }, { kind: "close" }]);
});
