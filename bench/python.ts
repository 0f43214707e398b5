/** Programs in Python that a bench compares with, where the machine has what they import. */

/** What a script prints, as JSON; `undefined` where no Python has the modules that it imports. */
export async function runPython<Result = Record<string, number>>(
  script: string,
  ...args: string[]
): Promise<Result | undefined> {
  // The first may be another Python than Debian's.
  for (const python of ["python3", "/usr/bin/python3"]) {
    try {
      const { success, stdout } = await new Deno.Command(python, {
        args: ["-c", script, ...args],
        stderr: "null",
      })
        .output();
      if (success) return JSON.parse(new TextDecoder().decode(stdout));
    } catch {
      // There is no such program.
    }
  }
  console.log("left out: PyTorch (there is no python3 with torch, torchvision and PIL)");
  return undefined;
}
