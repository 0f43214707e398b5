import { assertEquals } from "@std/assert";
import { TextLineStream } from "@std/streams/text-line-stream";

async function lines(chunks: string[], allowCR?: boolean): Promise<string[]> {
  const stream = new TextLineStream(allowCR === undefined ? undefined : { allowCR });
  return await Array.fromAsync(ReadableStream.from(chunks).pipeThrough(stream));
}

Deno.test("TextLineStream() splits at newlines wherever the chunks end", async () => {
  const text = "one\ntwo\r\n\nfour";
  const expected = ["one", "two", "", "four"];
  assertEquals(await lines([text]), expected);
  assertEquals(await lines([...text]), expected);
});

Deno.test("TextLineStream() makes no line of the end after the last newline", async () => {
  assertEquals(await lines(["one\n"]), ["one"]);
  assertEquals(await lines([]), []);
});

Deno.test("TextLineStream() splits at \\r only when told to", async () => {
  assertEquals(await lines(["a\rb\r\nc\r"]), ["a\rb", "c\r"]);
  assertEquals(await lines(["a\rb\r\nc\r"], true), ["a", "b", "c"]);
  assertEquals(await lines([..."a\rb\r\nc\r"], true), ["a", "b", "c"]);
});
