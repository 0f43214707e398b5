// A plugin's file is part of the program: a run that goes on says where it is another one.
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { FINETUNE_SAMPLE_DEFAULTS } from "../../methods/finetune/options.ts";
import { runFinetune } from "../../methods/finetune/run.ts";
import { LINEAR_SAMPLE_DEFAULTS } from "../../methods/linear_probe/options.ts";
import { runLinearEvaluation } from "../../methods/linear_probe/run.ts";
import { runDistillation } from "../../methods/seed/run.ts";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import { buildInput } from "../../models/checkpoint/saved_input.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import type { TorchDict } from "../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../models/checkpoint/torch_writer.ts";
import { RunFolder, TINY_ENCODER } from "../actors/small_run.ts";

/** Runs, and returns the changes that are told of. */
async function changesOf(
  run: (emit: (event: { type: string; text?: string }) => void) => Promise<{ checkpoint: string | null }>,
): Promise<{ checkpoint: string; changes: string[] }> {
  const changes: string[] = [];
  const { checkpoint } = await run(({ type, text = "" }) => {
    if (type === "note" && text.startsWith("resumed with a change: ")) changes.push(text);
  });
  return { checkpoint: checkpoint!, changes };
}

Deno.test("a run that goes on with an edited plugin says so, and one with the same code elsewhere does not", async () => {
  using folder = new RunFolder(24, 10);
  const fileOf = (name: string, text: string) => {
    const path = join(folder.path, name);
    Deno.writeTextFileSync(path, text);
    return [TINY_ENCODER, pathToFileURL(path).href];
  };
  const [plugins, moved, edited] = [
    fileOf("own.js", "export {};"),
    fileOf("moved.js", "export {};"),
    fileOf("edited.js", "export { };"),
  ];
  const others = { epochs: 1, batchSize: 4, evaluate: false, classes: null };
  const distillation = folder.options("distillation", { limitSteps: 1 });
  const probe = { ...LINEAR_SAMPLE_DEFAULTS, ...folder.labelledOptions("probe"), ...others, lr: [0.1] };
  const finetune = { ...FINETUNE_SAMPLE_DEFAULTS, ...folder.labelledOptions("finetune"), ...others };
  for (
    const run of [
      (resume: string | null, plugins: string[]) =>
        changesOf((emit) => runDistillation({ ...distillation, plugins, resume }, emit)),
      (resume: string | null, plugins: string[]) =>
        changesOf((emit) => runLinearEvaluation({ ...probe, plugins, resume }, emit, undefined, true)),
      (resume: string | null, plugins: string[]) =>
        changesOf((emit) => runFinetune({ ...finetune, plugins, resume }, emit, undefined, true)),
    ]
  ) {
    const { checkpoint } = await run(null, plugins);
    const before = join(folder.path, "before.pth.tar"); // what goes on may write to the same name
    Deno.copyFileSync(checkpoint, before);
    assertEquals((await run(before, moved)).changes, []);
    const { changes: [change, ...more] } = await run(before, edited);
    assertMatch(
      change,
      /^resumed with a change: --plugin has different code \(fingerprint [0-9a-f]{12}, was [0-9a-f]{12}\)$/,
    );
    assertEquals(more, []);
    assertEquals((await run(before, [])).changes, []);
  }
});

Deno.test("a run does not go on with other first layers under the same name, as an edited plugin may have them", async () => {
  using folder = new RunFolder(16);
  const options = folder.options("run", { limitSteps: 1 });
  const { checkpoint } = await runDistillation(options);
  const other = join(folder.path, "other.pth.tar");
  {
    using file = await openCheckpointFile(checkpoint);
    const root = file.value as TorchDict;
    root.set("seed_input", buildInput({ imageSize: 32, stem: "conv 3x3/1" }));
    await writeTorchFile(other, root);
  }
  await assertRejects(
    () => runDistillation({ ...options, resume: other }),
    CheckpointError,
    'was saved from an encoder that begins with "conv 3x3/1", but tiny_convnet begins with conv 3x3/2',
  );
});
