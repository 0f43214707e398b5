/**
 * Distils from images that no file holds: camera_reader.ts stands in the place of the TSV reader.
 *
 *     deno run -A examples/camera.ts OUTPUT
 */
import { distill, sampleOptions } from "@seed/distillation";

const [output = "output/camera"] = Deno.args;

await using run = distill(sampleOptions({
  output,
  actors: { tsv_reader: new URL("./camera_reader.ts", import.meta.url).href },
  images: 160, // of an epoch; there is no file to tell
  testData: null, // images without classes
  insight: false, // nobody looks on
  studentArch: "mobilenetv3_small",
  epochs: 2,
}));
for await (const event of run) {
  if (event.type === "plan") console.log(`${event.totalSteps} steps on ${event.images} images an epoch`);
  if (event.type === "step" && event.step % 5 === 0) console.log(event.step, event.loss.toFixed(3));
}
const { steps, firstLoss, lastLoss, checkpoint } = await run.result;
console.log(
  `${steps} steps, mean loss ${firstLoss.toFixed(3)} in the first epoch, ${lastLoss.toFixed(3)} in the last`,
);
console.log(checkpoint);
