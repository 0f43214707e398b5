import { assertEquals } from "@std/assert";
import { basename } from "node:path";
import { writeSnippets } from "../../docs/snippets.ts";

Deno.test("the example in the module comment works as it stands", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const paths = writeSnippets("actors/runtime/mod.ts", folder); // their types: snippets_test.ts
    assertEquals(paths.map((path) => basename(path)), ["counter.ts", "main.ts"]);
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "-A", "--no-check", paths[1]],
      env: { NO_COLOR: "1" },
    }).output();
    assertEquals(new TextDecoder().decode(stderr), "");
    const lines = new TextDecoder().decode(stdout).trimEnd().split("\n");
    assertEquals(lines.pop(), "sum: 22");
    // The printer is on another thread than the counter.
    assertEquals(lines.sort(), [
      "batch 1 brings the sum to 12",
      "batch 2 brings the sum to 16",
      "batch 3 brings the sum to 22",
      "the counter gives back what it has",
    ]);
    assertEquals(code, 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
