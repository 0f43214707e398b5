/** Stand-in for `@std/streams`: the names used here, with the real package's types and behaviour. */
export * from "./text_line_stream.ts";
