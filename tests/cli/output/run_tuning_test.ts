import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { findTuning } from "../../../cli/output/run_tuning.ts";
import { UserError } from "../../../errors.ts";
import { describeAdapter } from "../../../kernels/gpu.ts";
import { softwareTuning } from "../../../kernels/tuning/tuning.ts";

const SOFTWARE_TUNING = softwareTuning(8, true);

Deno.test("findTuning() goes on with what a run began with", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "seed_tuning_" });
  try {
    const shown = { say() {}, warn() {} };
    Deno.mkdirSync(join(folder, "first"));
    const options = { resume: join(folder, "first", "checkpoint.pth.tar") };
    const { name: adapter } = await describeAdapter();
    const earlier = { ...SOFTWARE_TUNING, adapter, textureFromLoads: 600 };
    Deno.writeTextFileSync(join(folder, "first", "tuning.json"), JSON.stringify(earlier));
    assertEquals(await findTuning(options, shown), earlier);

    Deno.writeTextFileSync(join(folder, "first", "tuning.json"), "{}");
    const { message } = await assertRejects(() => findTuning(options, shown), UserError);
    assertStringIncludes(message, join(folder, "first", "tuning.json"));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("findTuning() chooses kernels anew where the run began on another adapter, and says so", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "seed_tuning_" });
  const home = Deno.env.get("XDG_CACHE_HOME");
  try {
    const warnings: string[] = [];
    const path = join(folder, "tuning.json");
    Deno.writeTextFileSync(path, JSON.stringify({ ...SOFTWARE_TUNING, adapter: "Some GPU" }));
    // What this adapter's table is, without measuring it.
    const { name: adapter } = await describeAdapter();
    Deno.env.set("XDG_CACHE_HOME", folder);
    const cached = { ...SOFTWARE_TUNING, adapter, textureFromLoads: 700 };
    Deno.mkdirSync(join(folder, "seed"));
    const name = adapter.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-").replaceAll(/^-|-$/g, "");
    Deno.writeTextFileSync(
      join(folder, "seed", `tuning-5-${name}-deno-${Deno.version.deno}.json`),
      JSON.stringify(cached),
    );
    const options = { resume: join(folder, "checkpoint.pth.tar") };
    const found = await findTuning(options, { say() {}, warn: (text) => warnings.push(text) });
    assertEquals(found, cached);
    assertEquals(warnings.length, 1);
    assertStringIncludes(warnings[0], `${path} was measured on Some GPU, but this adapter is ${adapter}`);
  } finally {
    if (home === undefined) Deno.env.delete("XDG_CACHE_HOME");
    else Deno.env.set("XDG_CACHE_HOME", home);
    Deno.removeSync(folder, { recursive: true });
  }
});
