/** Memory that a process holds, in all its Workers, without what lies free beside it. */
import { join } from "node:path";

/** Name of the channel on which each Worker tells of its heap, as `collect_garbage.ts` has it. */
export const HEAPS = "seed_heaps";

/** A Worker's heap when its garbage has been collected. */
export interface HeapMessage {
  /** The Worker's name; the main thread has none. */
  name: string;
  /** Bytes that could not be collected. */
  used: number;
  /** Bytes that the engine keeps for it. */
  kept: number;
}

/** Totals at the end of what `malloc_info()` writes: of all arenas, and of what has pages of its own. */
const TOTALS =
  /<\/heap>\s*<total type="fast"[^>]* size="(\d+)"\/>\s*<total type="rest"[^>]* size="(\d+)"\/>\s*<total type="mmap"[^>]* size="(\d+)"\/>\s*<system type="current" size="(\d+)"\/>[^]*<\/malloc>/;

/** What the C library has given out and not got back, by its own account: glibc's, on Linux. */
export class AllocatedMemory implements Disposable {
  readonly #folder = Deno.makeTempDirSync({ prefix: "seed_malloc_" });
  readonly #libc = Deno.dlopen("libc.so.6", {
    malloc_info: { parameters: ["i32", "pointer"], result: "i32" },
    fopen: { parameters: ["buffer", "buffer"], result: "pointer" },
    fclose: { parameters: ["pointer"], result: "i32" },
  });

  /**
   * Bytes that are in use, and those that the library keeps for smaller pieces, whether in use or not. V8's heaps are not of them;
   * contents of buffers are.
   */
  read(): { used: number; kept: number } {
    const { fopen, fclose, malloc_info } = this.#libc.symbols;
    const path = join(this.#folder, "info.xml");
    const text = (value: string) => new TextEncoder().encode(`${value}\0`);
    const file = fopen(text(path), text("w"));
    malloc_info(0, file);
    fclose(file);
    const [, ...totals] = TOTALS.exec(Deno.readTextFileSync(path))!;
    const [fast, rest, mapped, kept] = totals.map(Number);
    return { used: kept - fast - rest + mapped, kept };
  }

  [Symbol.dispose](): void {
    this.#libc.close();
    Deno.removeSync(this.#folder, { recursive: true });
  }
}
