// A command that trains, up to where its run begins.
import { assertEquals, assertRejects } from "@std/assert";
import { basename, join } from "node:path";
import { train } from "../../../cli/commands/training.ts";
import { OutputFolder } from "../../../cli/output/output_folder.ts";
import { FolderLock } from "../../../data/folder_lock.ts";
import { UserError } from "../../../errors.ts";
import { TestFolder } from "../../data/folder.ts";

/** What a command line says of a run that shows and writes as little as it can. */
const COMMAND = {
  ...{ tensorboard: false, tune: false, quiet: true, printFreq: 1, json: false, page: undefined },
  warnings: [],
};

const neverRuns = () => {
  throw new TypeError("a run that should not have begun");
};

interface Options {
  output: string;
  resume: string | null;
  epochs: number;
  batchSize: number;
}

Deno.test("--resume auto looks for the newest checkpoint when the folder is locked, and reads its records then", async () => {
  using folder = new TestFolder();
  const output = join(folder.path, "out");
  Deno.mkdirSync(output);
  const newest = join(output, "checkpoint_0003.pth.tar");
  const options: Options = { output, resume: null, epochs: 1, batchSize: 1 };
  const held: boolean[] = [];
  const records: (string | null)[] = [];
  await assertRejects(
    () =>
      train({
        task: "distill",
        options,
        command: {
          ...{ ...COMMAND, resumesIfThere: true },
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

Deno.test("a run without --output takes a folder of its own where another one has the name", async () => {
  using folder = new TestFolder();
  const output = join(folder.path, "output", "distill-20251125-014512");
  using other = OutputFolder.openNew(output);
  other.begin({}, null);
  const begin = async (namesOutput: boolean) => {
    const options: Options = { output, resume: null, epochs: 1, batchSize: 1 };
    await train({
      task: "distill",
      options,
      command: { ...COMMAND, resumesIfThere: false, resumeFlags: { namesOutput, resume: undefined } },
      inputs: () => [],
      before: () => Promise.reject(new UserError(`in ${options.output}`)),
      run: neverRuns,
      show: neverRuns,
    });
  };
  await assertRejects(() => begin(false), UserError, `in ${output}-2`);
  await assertRejects(() => begin(true), UserError, `${output}: another run is writing to this folder`);
  // That of the run that never began is gone.
  assertEquals([...Deno.readDirSync(join(folder.path, "output"))].map(({ name }) => name), [
    basename(output),
  ]);
});
