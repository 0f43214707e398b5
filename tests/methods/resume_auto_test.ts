// `resume: "auto"` where the checkpoints of a folder cannot be gone on from.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { METHODS } from "../../methods/registry.ts";
import { findCheckpointToResume } from "../../methods/resume_auto.ts";
import { finetune } from "../../mod.ts";
import { UserError } from "../../errors.ts";
import { BEST_CHECKPOINT } from "../../models/checkpoint/run_checkpoints.ts";
import { RunFolder } from "../actors/small_run.ts";

Deno.test("findCheckpointToResume() names the best checkpoint where the newest one is damaged, and no other is there", async () => {
  using folder = new RunFolder(8, 8);
  const options = { ...folder.labelledOptions("out"), epochs: 1, batchSize: 8, imageSize: 32 };
  const { checkpoint } = await finetune(options).result;
  const find = () => findCheckpointToResume(options.output, METHODS.finetune, () => {});
  assertEquals(await find(), checkpoint);
  Deno.truncateSync(checkpoint!, 1000);
  const best = join(options.output, BEST_CHECKPOINT);
  const { message } = await assertRejects(find, UserError);
  assertStringIncludes(
    message,
    `. Go on from the best epoch with --resume ${best}, remove them to start a new run, or`,
  );
  Deno.truncateSync(best, 1000);
  assertStringIncludes(
    (await assertRejects(find, UserError)).message,
    ". Remove them to start a new run, or choose",
  );
});
