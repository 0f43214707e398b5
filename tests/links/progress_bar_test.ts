import { assertEquals } from "@std/assert";
import { ProgressBar } from "@std/cli/unstable-progress-bar";

async function readAll(readable: ReadableStream<Uint8Array>): Promise<string> {
  return await new Response(readable).text();
}

Deno.test("ProgressBar() draws at once and at the end", async () => {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const text = readAll(readable);
  const bar = new ProgressBar({ writable, max: 2048, barLength: 4, keepOpen: false });
  bar.value = 1024;
  await bar.stop();
  assertEquals(
    await text,
    "\r\x1b[K[00:00] [----] [0.00/2.00 KiB]" + "\r\x1b[K[00:00] [##--] [1.00/2.00 KiB]" + "\n",
  );
});

Deno.test("ProgressBar() gives its formatter what was drawn before", async () => {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const text = readAll(readable);
  const bar = new ProgressBar({
    writable,
    max: 4,
    value: 1,
    barLength: 4,
    fillChar: "=",
    emptyChar: " ",
    keepOpen: false,
    formatter: (x) => `|${x.progressBar}| ${x.previousValue} -> ${x.value} of ${x.max}`,
  });
  await Promise.resolve();
  bar.value = 9;
  await bar.stop();
  assertEquals(await text, "\r\x1b[K|=   | 1 -> 1 of 4" + "\r\x1b[K|====| 1 -> 9 of 4" + "\n");
});

Deno.test("ProgressBar() can go away at the end and leave the stream open", async () => {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const text = readAll(readable);
  const bar = new ProgressBar({ writable, max: 1, clear: true, formatter: () => "bar" });
  await bar.stop();
  const writer = writable.getWriter();
  await writer.write(new TextEncoder().encode("after"));
  await writer.close();
  assertEquals(await text, "\r\x1b[Kbar\r\x1b[Kafter");
});

Deno.test("ProgressBar() stops when nobody reads any more", async () => {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  await readable.cancel();
  const bar = new ProgressBar({ writable, max: 1 });
  await bar.stop();
});
