// `deno task pretrain`, started as people start it.
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { moco } from "../../../methods/moco/mod.ts";
import { MOCO_CHECKPOINT } from "../../../methods/moco/encoders.ts";
import { readTrainingCheckpoint } from "../../../methods/encoder_training/checkpoint.ts";
import { parsePretrainFlagsOf } from "../../../cli/flags/inputs.ts";
import { readArch } from "../../../methods/encoder_training/initial_weights.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { encoderNames } from "../../../models/registry.ts";
import { drawTeacher } from "../../actors/drawn_teacher.ts";
import { RunFolder, TINY_ENCODER, withInput } from "../../actors/small_run.ts";
import { hostPrograms } from "../run_program.ts";

const runProgram = hostPrograms();
const PROGRAM = fileURLToPath(new URL("../../../cli/commands/pretrain.ts", import.meta.url));

/** Flags of a run of seconds. */
function smallFlags(folder: RunFolder, output: string): string[] {
  return [
    ...["--data", folder.data, "-a", "tiny_convnet", "--plugin", TINY_ENCODER, "--output", output],
    ...["-b", "8", "--moco-k", "16", "--image-size", "32", "--knn-every", "1"],
    ...["--knn-k", "5", "--stats-every", "2", "-p", "1", "-j", "1", "--no-tune"],
  ];
}

Deno.test("pretrain writes its files, evaluates by kNN, and says where everything is", async () => {
  using folder = new RunFolder(24); // without a test set
  folder.relabel();
  const output = join(folder.path, "out");
  const flags = [...smallFlags(folder, output), "--epochs", "2"];
  const { code, stdout, stderr } = await runProgram(PROGRAM, ...flags, "--profile");
  assertEquals([code, stderr], [0, ""]);
  assertStringIncludes(stdout, "encoder   tiny_convnet\n");
  assertStringIncludes(stdout, "two views of 32 x 32");
  assertMatch(stdout, /epoch 1 of 2 {2}step 3\/3 {2}loss \d/);
  assertMatch(stdout, /weighted kNN after epoch 0: top-1 \d/);
  assertStringIncludes(
    stdout,
    "2 images, 10 % of each class, chosen by --seed 0, are classified by the other 22\n",
  );
  assertMatch(
    stdout,
    /\nweighted kNN, k = 5, held-out labels +top-1\n-+\nencoder before +\d+\.\d %\nencoder after +\d+\.\d %/,
  );
  assert(!/student|teacher/.test(stdout), stdout);
  assertMatch(stdout, /moco_trainer/, "the profile names the trainer");
  const names = [...Deno.readDirSync(output)].map(({ name }) => name);
  for (
    const name of [
      ...["actors.json", "checkpoint_0000.pth.tar", "checkpoint_0001.pth.tar", "config.json", "insight"],
      ...[
        "log.txt",
        "metrics.jsonl",
        "profile.json",
        "report.html",
        "run.json",
        "scores.jsonl",
        "stats.jsonl",
      ],
    ]
  ) assert(names.includes(name), `${name} is missing among ${names}`);
  assert(names.some((name) => name.startsWith("events.out.tfevents.")));
  const rows = (name: string) =>
    Deno.readTextFileSync(join(output, name)).trim().split("\n").map((line) => JSON.parse(line));
  assertEquals(rows("metrics.jsonl").map(({ step }) => step), [1, 2, 3, 4, 5, 6]);
  assertEquals(rows("scores.jsonl").map(({ step, held_out }) => [step, held_out]), [[0, true], [3, true], [
    6,
    true,
  ]]);
  assertEquals(rows("stats.jsonl").map(({ step }) => step), [2, 4, 6]);
  const { inputs, results } = JSON.parse(Deno.readTextFileSync(join(output, "run.json")));
  assertEquals(inputs.map(({ role }: { role: string }) => role), ["images"]);
  assertStringIncludes(JSON.stringify(results), "encoder after, weighted kNN (k = 5, held-out labels) top-1");
  const config = JSON.parse(Deno.readTextFileSync(join(output, "config.json")));
  assertEquals([config.arch, config.moco_k, config.augmentation], ["tiny_convnet", 16, "mocov2"]);
  using file = await openCheckpointFile(join(output, "checkpoint_0001.pth.tar"));
  assertEquals(readTrainingCheckpoint(MOCO_CHECKPOINT, file).epoch, 2);

  // Nothing is left to do, and nothing is overwritten.
  const again = await runProgram(PROGRAM, ...flags);
  assertEquals(again.code, 1);
  assertMatch(again.stderr, /^error: .*out.* --resume/);
  const resumed = await runProgram(
    PROGRAM,
    ...smallFlags(folder, output),
    ...["--resume", "auto", "--epochs", "3", "--json"],
  );
  assertEquals([resumed.code, resumed.stderr], [0, ""]);
  const events = resumed.stdout.trim().split("\n").map((line) => JSON.parse(line));
  assertEquals(events[0].task, "pretrain");
  assertEquals(events.filter(({ type }) => type === "step").map(({ step }) => step), [7, 8, 9]);
  assertEquals(events.at(-1).type, "result");
});

Deno.test("pretrain --pretrained goes on with a checkpoint's encoder, which says its architecture", async () => {
  using folder = new RunFolder(24);
  const checkpoint = join(folder.path, "drawn.pth.tar");
  await drawTeacher(checkpoint, "tiny_convnet", { kind: "mlp", dimension: 24 }, 3);
  const output = join(folder.path, "out");
  const flags = smallFlags(folder, output).filter((flag) => flag !== "-a" && flag !== "tiny_convnet");
  const { code, stdout, stderr } = await runProgram(
    PROGRAM,
    ...flags,
    ...["--pretrained", checkpoint, "--limit-steps", "1"],
  );
  assertEquals([code, stderr], [0, ""]);
  assertStringIncludes(stdout, "encoder   tiny_convnet\n");
  assertStringIncludes(
    stdout,
    `the query encoder starts from ${checkpoint} (a moco checkpoint), with a new head, as the checkpoint's differs\n`,
  );
  const { inputs } = JSON.parse(Deno.readTextFileSync(join(output, "run.json")));
  assertEquals(inputs.map(({ role, path }: { role: string; path: string }) => [role, path]).at(-1), [
    "encoder",
    checkpoint,
  ]);
});

Deno.test("pretrain --pretrained takes the feature that the checkpoint says, and is not needed to go on", async () => {
  using folder = new RunFolder(24);
  const flags = [
    "--data",
    folder.data,
    "-b",
    "8",
    "--moco-k",
    "16",
    "--image-size",
    "32",
    "-j",
    "1",
    "--no-tune",
  ];
  const first = join(folder.path, "first.pth.tar");
  await drawTeacher(first, "vit_tiny_cifar_cls_mean", { kind: "mlp", dimension: 128 }, 3);
  const checkpoint = await withInput(first, join(folder.path, "start.pth.tar"), { feature: "cls+mean" });
  const command = await parsePretrainFlagsOf(
    // Flags of what the checkpoint holds, and not of the default encoder.
    [...flags, "--pretrained", checkpoint, "--drop-path", "0.1"],
    { encoders: encoderNames() },
  );
  assertEquals(command.help === undefined && command.options.arch, "vit_tiny_cifar_cls_mean");
  assertEquals(await readArch(checkpoint), "vit_tiny_cifar_cls_mean");

  const drawn = join(folder.path, "drawn.pth.tar");
  await drawTeacher(drawn, "tiny_convnet", { kind: "mlp", dimension: 128 }, 3);
  const run = (name: string, ...more: string[]) => {
    const flags = smallFlags(folder, join(folder.path, name));
    const own = flags.filter((flag) => flag !== "-a" && flag !== "tiny_convnet");
    return runProgram(PROGRAM, ...own, "--pretrained", drawn, ...more);
  };
  assertEquals((await run("out", "--limit-steps", "1")).code, 0);
  Deno.removeSync(drawn);
  const resumed = await run("out", "--resume", "auto", "--limit-steps", "1");
  assertEquals([resumed.code, resumed.stderr], [0, ""]);
  assertStringIncludes(resumed.stdout, "encoder   tiny_convnet, resumed from ");
  const resume = join(folder.path, "out", "checkpoint_0000.pth.tar");
  const input = {
    data: folder.data,
    output: folder.path,
    pretrained: drawn,
    resume,
    batchSize: 8,
    mocoK: 16,
  };
  assertEquals((await moco.resolve(input, () => {})).arch, "tiny_convnet"); // as of a program
  const auto = { ...input, output: dirname(resume), resume: "auto" };
  assertEquals((await moco.resolve(auto, () => {})).arch, "tiny_convnet");
  // A newer one that is damaged is passed over.
  const cut = join(folder.path, "out", "checkpoint_0001.pth.tar");
  Deno.writeFileSync(cut, Deno.readFileSync(resume).subarray(0, 1000));
  assertEquals((await moco.resolve(auto, () => {})).arch, "tiny_convnet");
  const passing = await run("out", "--resume", "auto", "--epochs", "2", "--limit-steps", "1");
  assertEquals(passing.code, 0, passing.stderr);
  assertMatch(passing.stderr, /^warning: --resume auto skips a checkpoint: .*checkpoint_0001\.pth\.tar/);
  const begun = { ...auto, output: join(folder.path, "empty") };
  assertMatch(
    (await assertRejects(async () => await moco.resolve(begun, () => {}), Error)).message,
    /drawn\.pth\.tar: no such file/,
  );
  const gone = await run("other", "--resume", "auto");
  assertEquals(gone.code, 1);
  assertMatch(gone.stderr, /^error: --pretrained: .*drawn\.pth\.tar does not exist/);
});

Deno.test("pretrain refuses flags that do not go together, and paths that are not there", async () => {
  for (
    const [flags, message] of [
      [["--moco-k", "100"], /--moco-k 100 is not a multiple of --batch-size 64: use --moco-k 64 or 128/],
      [["--bn-splits", "3"], /--bn-splits 3 does not split --batch-size 64/],
      [["--data", "/nowhere"], /--data: .*\/nowhere/],
      [["--pretrained", "/nowhere.pth"], /--pretrained: .*\/nowhere\.pth/],
      [["--test-data", "val"], /--test-data needs --data, the images to learn from/],
      [["--moco-kk", "3"], /--moco-kk.*--moco-k/],
      [["--distill", "x"], /--distill/],
    ] as const
  ) {
    const { code, stderr } = await runProgram(PROGRAM, ...flags);
    assert(code !== 0);
    assertMatch(stderr, message);
  }
});
