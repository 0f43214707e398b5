/** Programs in Python that tests compare with, where the machine has what they import. */
import { assert } from "@std/assert";
import { skip } from "./skip.ts";

async function run(
  python: string,
  script: string,
  ...args: string[]
): Promise<Deno.CommandOutput | undefined> {
  try {
    return await new Deno.Command(python, { args: ["-c", script, ...args] }).output();
  } catch {
    return undefined;
  }
}

/** Runs a script with arguments and parses the JSON that it prints. */
export type RunPython = (script: string, ...args: string[]) => Promise<Record<string, unknown>>;

/**
 * A test that needs Python with some modules; where no Python has them it says so and passes.
 *
 * @param modules what must be importable, and the Debian package that has it
 */
export function testWithPython(
  name: string,
  modules: Readonly<Record<string, string>>,
  body: (run: RunPython) => Promise<void>,
): void {
  Deno.test(name, async () => {
    // The first may be another Python than Debian's.
    for (const python of ["python3", "/usr/bin/python3"]) {
      if (!(await run(python, `import ${Object.keys(modules).join(", ")}`))?.success) continue;
      return await body(async (script, ...args) => {
        const output = await run(python, script, ...args);
        assert(output?.success, new TextDecoder().decode(output?.stderr));
        return JSON.parse(new TextDecoder().decode(output.stdout));
      });
    }
    const packages = Object.values(modules).join(", ");
    skip(
      name,
      `there is no python3 with ${Object.keys(modules).join(", ")}; Debian: apt-get install ${packages}`,
    );
  });
}
