/** Stand-in for `@std/streams/text-line-stream`, with the real package's types and behaviour. */

/** Options of a {@linkcode TextLineStream}. */
export interface TextLineStreamOptions {
  /** Whether a lone `\r` ends a line too; `false` by default. */
  allowCR?: boolean;
}

/** Cuts text into lines at `\n` and `\r\n`; a last line without an end counts, an empty one does not. */
export class TextLineStream extends TransformStream<string, string> {
  /** Makes the stream. */
  constructor(options: TextLineStreamOptions = { allowCR: false }) {
    // A `\r` at the end of a chunk may be half of `\r\n`: it waits for the next chunk.
    const lineEnd = options.allowCR ? /\r\n|\n|\r(?!$)/g : /\r?\n/g;
    let held = "";
    super({
      transform(chunk, controller) {
        const text = held + chunk;
        let start = 0;
        for (const match of text.matchAll(lineEnd)) {
          controller.enqueue(text.slice(start, match.index));
          start = match.index + match[0].length;
        }
        held = text.slice(start);
      },
      flush(controller) {
        if (held !== "") controller.enqueue(options.allowCR ? held.replace(/\r$/, "") : held);
      },
    });
  }
}
