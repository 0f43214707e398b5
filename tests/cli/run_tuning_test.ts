import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { findTuning } from "../../cli/run_tuning.ts";
import { UserError } from "../../errors.ts";
import { softwareTuning } from "../../kernels/tuning/tuning.ts";

const SOFTWARE_TUNING = softwareTuning(8);

Deno.test("findTuning() goes on with what a run began with, and keeps it in the new run's folder", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "seed_tuning_" });
  try {
    const shown = { say() {}, warn() {} };
    for (const name of ["first", "second"]) Deno.mkdirSync(join(folder, name));
    const options = { resume: join(folder, "first", "checkpoint.pth.tar"), output: join(folder, "second") };
    const earlier = { ...SOFTWARE_TUNING, textureFromLoads: 600 };
    Deno.writeTextFileSync(join(folder, "first", "tuning.json"), JSON.stringify(earlier));
    assertEquals(await findTuning(options, shown), earlier);
    assertEquals(JSON.parse(Deno.readTextFileSync(join(folder, "second", "tuning.json"))), earlier);

    Deno.writeTextFileSync(join(folder, "first", "tuning.json"), "{}");
    const { message } = await assertRejects(() => findTuning(options, shown), UserError);
    assertStringIncludes(message, join(folder, "first", "tuning.json"));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
