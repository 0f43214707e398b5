/** Python in the benches: what is said where it fails. */
import { assertEquals } from "@std/assert";
import { runPython } from "../../bench/python.ts";
import { testWithPython } from "../python.ts";

testWithPython("runPython() tells a module that is missing from a script that fails", {
  json: "python3",
}, async () => {
  const lines: string[] = [];
  const { log } = console;
  console.log = (line: string) => lines.push(line);
  try {
    assertEquals(await runPython("import sys; print(sys.argv[1])", "[1]") as unknown, [1]);
    assertEquals(await runPython("import no_such_module"), undefined);
    assertEquals(await runPython("raise MemoryError('out of memory')"), undefined);
  } finally {
    console.log = log;
  }
  assertEquals(lines, [
    "left out: PyTorch (there is no python3 with torch, torchvision and PIL)",
    "left out: PyTorch (python3 ended with 1: MemoryError: out of memory)",
  ]);
});
