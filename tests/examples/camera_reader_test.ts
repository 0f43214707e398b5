import { assertEquals } from "@std/assert";
import { distill, type DistillOptions, pretrain } from "../../mod.ts";
import { RunFolder, TINY_ENCODER } from "../actors/small_run.ts";

const IMAGES = 16;
const MADE = {
  data: "camera://0",
  images: IMAGES,
  actors: { tsv_reader: new URL("../../examples/camera_reader.ts", import.meta.url).href },
};

/** The steps of a run. */
async function stepsOf(run: AsyncIterable<{ type: string }>): Promise<number> {
  let steps = 0;
  for await (const { type } of run) if (type === "step") steps++;
  return steps;
}

Deno.test("examples/camera_reader.ts gives images to a pretraining, which looks for no test set where no file is", async () => {
  using folder = new RunFolder(1);
  const run = pretrain({
    ...MADE,
    output: folder.makeOutput("output"),
    arch: "tiny_convnet",
    plugins: [TINY_ENCODER],
    ...{ imageSize: 32, batchSize: 8, mocoK: 16, workers: 2, epochs: 2, insight: false },
  });
  assertEquals(await stepsOf(run), 2 * IMAGES / 8);
  assertEquals((await run.result).knn, null);
});

Deno.test("examples/camera_reader.ts gives images to a distillation with small views and another size for the teacher", async () => {
  using folder = new RunFolder(1);
  const { testData: _, ...options }: DistillOptions = folder.options("output", {
    ...MADE,
    ...{ smallViews: 2, smallSize: 16, teacherSize: 48 },
  });
  assertEquals(await stepsOf(distill(options)), IMAGES / 4);
});
