/** The reference's files of vision transformers: too large to be copied to `tests/golden`. */
import { referencePath } from "./reference.ts";
import { skip } from "./skip.ts";

function exists(name: string): boolean {
  try {
    Deno.statSync(referencePath(name));
    return true;
  } catch {
    return false;
  }
}

/** Whether they are there. */
export const HAS_VIT_FILES: boolean = exists("vit/vit.json") && exists("vit/checkpoints");

/** Registers a test that needs them; it says that it looks at nothing where they are missing. */
export function vitTest(name: string, test: () => void | Promise<void>): void {
  Deno.test(
    name,
    () =>
      HAS_VIT_FILES
        ? test()
        : skip(name, "the reference has no vit/: set SEED_REFERENCE to the folder that has"),
  );
}
