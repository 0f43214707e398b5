import { assertEquals } from "@std/assert";

Deno.test("the example in the module comment works as it stands", async () => {
  const module = new URL("../../../actors/runtime/mod.ts", import.meta.url);
  const blocks = [
    ...(await Deno.readTextFile(module)).matchAll(/ \* ```ts\n \* \/\/ (\S+)\n([^]*?) \* ```/g),
  ];
  assertEquals(blocks.map(([, name]) => name), ["counter.ts", "main.ts"]);
  const folder = await Deno.makeTempDir();
  try {
    for (const [, name, text] of blocks) {
      const code = text.replace(/^ \* ?/gm, "").replaceAll("@actors/runtime", module.href);
      await Deno.writeTextFile(`${folder}/${name}`, code);
    }
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--check", "-A", `${folder}/main.ts`],
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
