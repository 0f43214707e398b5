// `deno task images`, started as people start it.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { ONE_THREAD } from "../one_thread.ts";

const PROGRAM = fileURLToPath(new URL("../../bench/images.ts", import.meta.url));

Deno.test("images looks for the report from the caller's folder, and says where there is none", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "seed_images_" });
  try {
    const run = async (output: string) => {
      const { code, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "--quiet", "-A", PROGRAM, output],
        stdin: "null",
        stdout: "null",
        stderr: "piped",
        env: { NO_COLOR: "1", ...ONE_THREAD, INIT_CWD: folder },
      }).output();
      return { code, stderr: new TextDecoder().decode(stderr) };
    };
    const missing = await run("run");
    assertEquals(missing.code, 1);
    assertStringIncludes(missing.stderr, `error: ${folder}/run/report.html does not exist. `);
    Deno.mkdirSync(`${folder}/run/report.html`, { recursive: true });
    const wrong = await run("run");
    assertEquals([wrong.code, wrong.stderr.trimEnd()], [
      1,
      `error: ${folder}/run/report.html: expected the report of a run, found a folder.`,
    ]);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
