import { assertEquals } from "@std/assert";
import { TextLineStream, type TextLineStreamOptions } from "@std/streams/text-line-stream";

// The lines are those of @std/streams 1.1.2, one by one: of a text as it is, and where `\r` ends a line too.
const CASES: readonly [text: string, lines: string[], withCR: string[]][] = [
  ["", [], []],
  ["\n", [""], [""]],
  ["\r", ["\r"], [""]],
  ["\r\n", [""], [""]],
  ["\n\n", ["", ""], ["", ""]],
  ["\n\r", ["", "\r"], ["", ""]],
  ["\r\r\n", ["\r"], ["", ""]],
  ["a", ["a"], ["a"]],
  ["a\n", ["a"], ["a"]],
  ["a\r", ["a\r"], ["a"]],
  ["a\r\n", ["a"], ["a"]],
  ["a\nb", ["a", "b"], ["a", "b"]],
  ["a\rb", ["a\rb"], ["a", "b"]],
  ["a\r\nb", ["a", "b"], ["a", "b"]],
  ["a\n\nb", ["a", "", "b"], ["a", "", "b"]],
  ["a\r\rb\r", ["a\r\rb\r"], ["a", "", "b"]],
  ["a\n\r\nb\r\r", ["a", "", "b\r\r"], ["a", "", "b", ""]],
  ["ä😀\nö", ["ä😀", "ö"], ["ä😀", "ö"]],
];

/** Every way to cut a text into chunks. */
function* cuts(text: string): Generator<string[]> {
  yield [text];
  for (let end = 1; end < text.length; end++) {
    for (const rest of cuts(text.slice(end))) yield [text.slice(0, end), ...rest];
  }
}

async function lines(chunks: string[], options?: TextLineStreamOptions): Promise<string[]> {
  return await Array.fromAsync(ReadableStream.from(chunks).pipeThrough(new TextLineStream(options)));
}

for (const [text, expected, withCR] of CASES) {
  Deno.test(`TextLineStream() splits ${JSON.stringify(text)} wherever the chunks end`, async () => {
    for (const chunks of cuts(text)) {
      assertEquals(await lines(chunks), expected, JSON.stringify(chunks));
      assertEquals(await lines(chunks, {}), expected, JSON.stringify(chunks));
      assertEquals(await lines(chunks, { allowCR: false }), expected, JSON.stringify(chunks));
      assertEquals(await lines(chunks, { allowCR: true }), withCR, JSON.stringify(chunks));
    }
  });
}

Deno.test("TextLineStream() gives nothing of chunks without text, and no error of their own", async () => {
  assertEquals(await lines([]), []);
  assertEquals(await lines(["", "a", "", "\n", ""]), ["a"]);
});
