/** The output folder goes away under a run. */
import { assertEquals, assertRejects } from "@std/assert";
import { distill } from "../../mod.ts";
import { RunFolder } from "./small_run.ts";

Deno.test("a run ends where its output folder is removed, or moved and replaced, and writes to no other", async () => {
  using folder = new RunFolder(24);
  for (const isReplaced of [false, true]) {
    const options = folder.options(isReplaced ? "replaced" : "removed", { epochs: 10_000 });
    const { output } = options;
    await using run = distill(options);
    await assertRejects(
      async () => {
        for await (const event of run) {
          if (event.type !== "step" || event.step !== 2) continue;
          if (isReplaced) Deno.renameSync(output, `${output} moved`);
          else Deno.removeSync(output, { recursive: true });
          if (isReplaced) Deno.mkdirSync(output);
        }
      },
      Error,
      "the output directory was removed or moved",
    );
    await assertRejects(() => run.result, Error, "the output directory was removed or moved");
    if (isReplaced) assertEquals([...Deno.readDirSync(output)], []);
    else await assertRejects(() => Deno.stat(output), Deno.errors.NotFound);
  }
});
