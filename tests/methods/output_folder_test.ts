// The library refuses a folder that holds another run, as the command line does.
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { basename, dirname, join } from "node:path";
import { takeOutputFolder } from "../../methods/output_folder.ts";
import { distill, linearProbe, UserError } from "../../mod.ts";
import { digestFile, RunFolder, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";

Deno.test("distill() refuses a folder that holds a run, keeps its checkpoint, and resumes it", async () => {
  using folder = new RunFolder(8);
  const options = folder.options("out", { epochs: 1 });
  const { checkpoint } = await distill(options).result;
  const before = await digestFile(checkpoint);
  const { message } = await assertRejects(() => distill({ ...options, seed: 1 }).result, UserError);
  assertEquals(
    message,
    `--output ${options.output} already holds a run (1 checkpoint): choose another folder, or resume ` +
      `that run with --resume ${checkpoint}`,
  );
  assertEquals(await digestFile(checkpoint), before);

  const longer = { ...options, epochs: 2, resume: checkpoint };
  const resumed = await distill(longer).result;
  assertEquals([dirname(resumed.checkpoint), resumed.steps], [options.output, 2]);
  // A checkpoint of elsewhere is no reason to replace the ones that are here.
  const elsewhere = join(folder.makeOutput("elsewhere"), basename(checkpoint));
  Deno.copyFileSync(checkpoint, elsewhere);
  await assertRejects(
    () => distill({ ...longer, resume: elsewhere }).result,
    UserError,
    "already holds a run (2 checkpoints)",
  );
});

Deno.test("linearProbe() refuses a folder that holds a run", async () => {
  using folder = new RunFolder(8, 8);
  const [trainData, testData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const files = { data: trainData, testData, output: folder.makeOutput("lincls"), pretrained: TINY_TEACHER };
  const options = { ...files, plugins: [TINY_ENCODER], imageSize: 32, batchSize: 4, epochs: 1, workers: 1 };
  await linearProbe(options).result;
  await assertRejects(
    () => linearProbe(options).result,
    UserError,
    "already holds a run (2 checkpoints): choose another folder",
  );
});

Deno.test("takeOutputFolder() refuses rows of metrics too, unless the newest checkpoint is asked for", () => {
  using folder = new RunFolder(1);
  const output = folder.makeOutput("out");
  Deno.writeTextFileSync(join(output, "metrics.jsonl"), "{}\nhalf");
  const { message } = assertThrows(() => takeOutputFolder(output, null), UserError);
  assertEquals(
    message,
    `--output ${output} already holds a run (1 row in metrics.jsonl): choose another folder`,
  );
  takeOutputFolder(output, "auto")[Symbol.dispose]();
});
