/** Programs in Python that a bench compares with, where the machine has what they import. */

/** The last line of a traceback where a module is not there, or is broken. */
const NO_MODULE = /^(ModuleNotFoundError|ImportError)\b/;

/** What a script prints, as JSON; `undefined`, and why, where no Python has the modules that it imports, or it fails. */
export async function runPython<Result = Record<string, number>>(
  script: string,
  ...args: string[]
): Promise<Result | undefined> {
  const text = new TextDecoder();
  // The first may be another Python than Debian's.
  for (const python of ["python3", "/usr/bin/python3"]) {
    let output: Deno.CommandOutput;
    try {
      output = await new Deno.Command(python, { args: ["-c", script, ...args] }).output();
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) continue;
      throw error;
    }
    if (output.success) return JSON.parse(text.decode(output.stdout));
    const problem = text.decode(output.stderr).trimEnd().split("\n").at(-1)!;
    if (NO_MODULE.test(problem)) continue;
    console.log(`left out: PyTorch (${python} ended with ${output.code}: ${problem})`);
    return undefined;
  }
  console.log("left out: PyTorch (there is no python3 with torch, torchvision and PIL)");
  return undefined;
}
