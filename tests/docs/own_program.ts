/** A program in a folder of one's own, outside the checkout, set up as docs/library.md says, and its plugin. */
import { join, relative } from "node:path";
import { ROOT } from "./snippets.ts";

/** The deno.json that docs/library.md shows, for a checkout that is elsewhere. */
function documentedConfig(folder: string): string {
  const text = Deno.readTextFileSync(join(ROOT, "docs/library.md"));
  const [, json] = /^```json\n([^]*?)^```$/m.exec(text)!;
  return json.replaceAll("../seed/", `${relative(folder, ROOT)}/`);
}

const PROGRAM = `
import { distill, sampleOptions } from "@seed/distillation";

await using run = distill(sampleOptions({
  output: "run",
  plugins: [new URL("./mine.ts", import.meta.url).href],
  studentArch: "mine",
  batchSize: 8,
  queue: 16,
  limitSteps: 2,
  testData: null,
  insight: false,
}));
try {
  for await (const event of run) if (event.type === "step") console.log(event.step);
  console.log((await run.result).steps);
} catch (error) {
  console.log((error as Error).name, (error as Error).message);
}
`;

const PLUGIN = `
import { globalAveragePool, projectionHead, registerEncoder } from "@seed/distillation/parts";

registerEncoder({
  name: "mine",
  family: "mine",
  roles: ["student"],
  ssl: "moco",
  head: "linear",
  features: 8,
  trace(b, images, head) {
    const stem = b.convolution("stem", { inputs: 3, outputs: 8, kernel: 5, stride: 4, padding: 2 });
    const x = b.convolveAndNormalize(images, stem, b.batchNorm("norm", 8), { activation: "relu" });
    const feature = b.graph.apply(globalAveragePool, [x], {});
    return { feature, embedding: projectionHead(b, "fc", 8, head)(feature) };
  },
});
`;

/** Writes the configuration, `program.ts` and `mine.ts` into a folder. */
export function writeOwnProgram(folder: string): void {
  Deno.writeTextFileSync(join(folder, "deno.json"), documentedConfig(folder));
  Deno.writeTextFileSync(join(folder, "program.ts"), PROGRAM);
  Deno.writeTextFileSync(join(folder, "mine.ts"), PLUGIN);
}
