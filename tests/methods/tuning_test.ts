import { assertRejects } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Tuning } from "../../kernels/tuning/tuning.ts";
import { embed, knn } from "../../mod.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";

/** An actor that ends its run, and names the adapter that it was tuned for. */
const TELLTALE = `
import { defineActor } from ${JSON.stringify(new URL("../../mod.ts", import.meta.url).href)};
export default defineActor(({ tuning }) => {
  throw new Error("tuned for " + tuning?.adapter);
});
`;

Deno.test("knn() and embed() compute with the kernels that they are told", async () => {
  using folder = new RunFolder(8, 8);
  const path = join(folder.path, "telltale.ts");
  Deno.writeTextFileSync(path, TELLTALE);
  const telltale = pathToFileURL(path).href;
  const tuning: Tuning = {
    adapter: "adapter of this test",
    family: "direct",
    tiles: { forward: [], inputGradient: [], weightGradient: [] },
    productTextures: false,
    textureFromLoads: null,
  };
  const files = {
    pretrained: TINY_TEACHER,
    data: folder.data,
    plugins: [TINY_ENCODER],
    imageSize: 32,
    tuning,
  };
  await assertRejects(
    () => knn({ ...files, actors: { evaluator: telltale } }).result,
    Error,
    "tuned for adapter of this test",
  );
  await assertRejects(
    () => embed({ ...files, actors: { encoder: telltale } }).result,
    Error,
    "tuned for adapter of this test",
  );
});
