/**
 * sharp (libvips), which decodes and encodes images. Everything that uses it gets it here, so that its version is named
 * once: a program that imports this library by path has an import map of its own, in which no short names of ours are.
 */
// deno-lint-ignore no-import-prefix -- importers of this library have import maps of their own
import type sharp from "npm:sharp@0.34.5";

/** The module. */
export type Sharp = typeof sharp;

let loading: Promise<Sharp> | undefined;

/**
 * Returns sharp, set to one thread an image and no cache: reader Workers are what runs in parallel, and memory stays flat.
 * Its native code is loaded by the first call, so that a program may import this library before it is known to have the
 * permissions for it.
 */
export function loadSharp(): Promise<Sharp> {
  // deno-lint-ignore no-import-prefix -- as above
  return loading ??= import("npm:sharp@0.34.5").then(({ default: sharp }) => {
    sharp.concurrency(1);
    sharp.cache(false);
    return sharp;
  });
}

/** Returns the URL of sharp's module, in the folder of the machine's npm packages. */
export function sharpModule(): string {
  return import.meta.resolve("npm:sharp@0.34.5");
}
