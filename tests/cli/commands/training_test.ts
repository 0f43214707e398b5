// A command that trains, up to where its run begins.
import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { train } from "../../../cli/commands/training.ts";
import { FolderLock } from "../../../data/folder_lock.ts";
import { UserError } from "../../../errors.ts";
import { TestFolder } from "../../data/folder.ts";

Deno.test("--resume auto looks for the newest checkpoint when the folder is locked, and reads its records then", async () => {
  using folder = new TestFolder();
  const output = join(folder.path, "out");
  Deno.mkdirSync(output);
  const newest = join(output, "checkpoint_0003.pth.tar");
  const options: { output: string; resume: string | null; epochs: number; batchSize: number } = {
    ...{ output, resume: null, epochs: 1, batchSize: 1 },
  };
  const held: boolean[] = [];
  const records: (string | null)[] = [];
  const neverRuns = () => {
    throw new TypeError("a run that should not have begun");
  };
  const command = {
    tensorboard: false,
    tune: false,
    quiet: true,
    printFreq: 1,
    json: false,
    page: undefined,
  };
  await assertRejects(
    () =>
      train({
        task: "distill",
        options,
        command: {
          ...{ ...command, resumesIfThere: true, warnings: [] },
          resumeFlags: { namesOutput: true, resume: "auto" },
        },
        findStart() {
          held.push(FolderLock.isHeld(output));
          return Promise.resolve({ resume: newest });
        },
        inputs: () => [],
        before() {
          records.push(options.resume);
          return Promise.reject(new UserError("enough"));
        },
        run: neverRuns,
        show: neverRuns,
      }),
    UserError,
    "enough",
  );
  assertEquals([held, records], [[true], [newest]]);
  assertEquals(FolderLock.isHeld(output), false);
});
