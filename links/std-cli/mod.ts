/** Stand-in for `@std/cli`: the names used here, with the real package's types and behaviour. */
export * from "./parse_args.ts";
