/** Folders and small TSV files for the tests of `data/`. */
import { fileURLToPath } from "node:url";
import { referencePath } from "../reference.ts";

/** The project's `deno.json`, which a program of a test's own needs for what `data/` imports. */
export const CONFIG = fileURLToPath(new URL("../../deno.json", import.meta.url));

/** A folder that is there while a test runs. */
export class TestFolder implements Disposable {
  readonly path = Deno.makeTempDirSync({ prefix: "seed_data_" });

  /** Writes a file, and returns its path. */
  write(name: string, content: string | Uint8Array): string {
    const path = `${this.path}/${name}`;
    Deno.writeFileSync(path, typeof content === "string" ? new TextEncoder().encode(content) : content);
    return path;
  }

  /** Copies a reference file here under its own name, and returns its path. */
  copy(name: string): string {
    return this.write(name.split("/").at(-1)!, Deno.readFileSync(referencePath(name)));
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** Sets when a file was last changed, in seconds from now. */
export function touch(path: string, seconds: number): void {
  const time = Date.now() / 1000 + seconds;
  Deno.utimeSync(path, time, time);
}

/** A PNG of one colour, 1 x 1, in base64. */
export const ONE_PIXEL: string =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";

/** Rows `key<i> TAB i TAB ONE_PIXEL`. */
export function rowsOf(count: number, end = "\n"): string {
  return Array.from({ length: count }, (_, i) => `key${i}\t${i}\t${ONE_PIXEL}${end}`).join("");
}
