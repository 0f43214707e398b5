// `deno task lincls`, started as people start it.
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { SAMPLE_TEACHER } from "../../../data/sample.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { listCheckpoints } from "../../../models/checkpoint/run_checkpoints.ts";
import { PyFloat, type TorchDict } from "../../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../../models/checkpoint/torch_writer.ts";
import { digestFile, RunFolder, TINY_ENCODER, TINY_TEACHER } from "../../actors/small_run.ts";
import { writeBiasedSweep, writeOneClass } from "../../methods/linear_probe/biased_sweep.ts";
import { hostPrograms, runProgram as runAlone } from "../run_program.ts";
import { eventFiles, readEvents } from "../output/tensorboard/event_file.ts";

const runProgram = hostPrograms();
const PROGRAM = fileURLToPath(new URL("../../../cli/commands/lincls.ts", import.meta.url));
const lincls = (...args: string[]) => runProgram(PROGRAM, ...args);

Deno.test("lincls evaluates a checkpoint, writes its files, and evaluates what it wrote", async () => {
  using folder = new RunFolder(60, 40);
  const output = join(folder.path, "run", "out");
  // It lies in the folder of the run that it evaluates, whose report it belongs to.
  Deno.mkdirSync(join(folder.path, "run"));
  const report = join(folder.path, "run", "report.html");
  Deno.writeTextFileSync(report, "");
  const evaluated = { task: "distill", status: "finished", command: "", started_at: "", versions: {} };
  Deno.writeTextFileSync(
    join(folder.path, "run", "run.json"),
    JSON.stringify({ ...evaluated, hardware: {}, inputs: [] }),
  );
  const plugin = ["--plugin", TINY_ENCODER];
  const flags = [
    ...`--epochs 3 -b 16 --image-size 32 -j 1 --lr 0.03 0.3 --schedule 2 -p 2`.split(" "),
    ...plugin,
  ];
  const ended = await lincls("--pretrained", TINY_TEACHER, ...flags, "--output", output, folder.data);
  assertEquals([ended.code, ended.stderr], [0, ""]);
  for (
    const line of [
      /^encoder +tiny_convnet, .*seed_teacher_.*\.pth\.tar$/m,
      /^images +60 training, 40 test, 32 x 32$/m,
      /^probe +8 features, 10 classes$/m,
      /^test after epoch 2: top-1 \d+\.\d\d %, top-5 \d+\.\d\d % \(best of 2 learning rates\)$/m,
      /^0\.03 +\d+\.\d\d % +\d+\.\d\d % +\d+\.\d{4} +\d+\.\d\d %$/m,
      /^best: \d+\.\d\d %, with learning rate 0\.0?3$/m,
    ]
  ) assertMatch(ended.stdout, line);
  const [events] = eventFiles(output);
  const curve = readEvents(events).filter(({ tag }) => tag === "lincls_acc1");
  assertEquals(curve.map(({ step }) => step), [0, 1, 2]);
  const files = [...Deno.readDirSync(output)].map(({ name }) => name).toSorted();
  assertEquals(files, [
    "actors.json",
    "config.json",
    basename(events),
    "lincls_checkpoint_0002.pth.tar",
    "log.txt",
    "metrics.jsonl",
    "model_best.pth.tar",
    "report.html",
    "run.json",
    "scores.jsonl",
    "tuning.json",
  ]);
  assertMatch(
    Deno.readTextFileSync(report),
    /"evaluations":\[\{"name":"out","record":\{"task":"lincls","status":"finished"/,
  );
  const record = JSON.parse(Deno.readTextFileSync(join(output, "run.json")));
  assertEquals([record.task, record.status, record.plan.total_steps], ["lincls", "finished", 3 * 4]);
  const rows = Deno.readTextFileSync(join(output, "scores.jsonl")).trim().split("\n").map((row) =>
    JSON.parse(row)
  );
  assertEquals(
    rows.map(({ step, lr }) => [step, lr]),
    [[4, 0.03], [4, 0.3], [8, 0.03], [8, 0.3], [12, 0.03], [12, 0.3]],
  );
  const bests = record.results.slice(-2);
  for (const [i, lr] of [0.03, 0.3].entries()) {
    const best = Math.max(...rows.filter((row) => row.lr === lr).map(({ top1 }) => top1));
    assertEquals(bests[i], { name: `learning rate ${lr}, best top-1`, value: best, unit: "%" });
  }
  assertEquals(record.inputs.map(({ role }: { role: string }) => role), [
    "images",
    "test images",
    "encoder",
  ]);
  for (const { fingerprint } of record.inputs) assertMatch(fingerprint, /^[0-9a-f]{64}$/);
  const [, best] = /^best: (\S+) %, with learning rate (\S+)$/m.exec(ended.stdout)!;
  const again = await lincls(
    // The learning rates are the checkpoint's.
    ..."-e --image-size 32 -b 16 -j 1 --no-tune".split(" "),
    ...plugin,
    ...["--resume", join(output, "model_best.pth.tar"), "--output", join(folder.path, "again"), folder.data],
  );
  assertEquals([again.code, again.stderr], [0, ""]);
  assertStringIncludes(again.stdout, `result: ${best} %`);
  const config = Deno.readTextFileSync(join(output, "config.json"));
  const resume = ["--output", output, "--resume", "auto", folder.data];
  const done = await lincls("--pretrained", TINY_TEACHER, ...flags, "--weight-decay", "0.5", ...resume);
  assertEquals([done.code, done.stderr], [0, ""]);
  assertStringIncludes(done.stdout, "3 of 3 epochs are done");
  assertEquals(Deno.readTextFileSync(join(output, "config.json")), config);

  // Killed after its last checkpoint: the record says that it runs, and there is neither the last score nor a report.
  const scores = Deno.readTextFileSync(join(output, "scores.jsonl"));
  const { status: _, results, ended_at: __, ...running } = record;
  Deno.writeTextFileSync(join(output, "run.json"), JSON.stringify({ ...running, status: "running" }));
  Deno.writeTextFileSync(join(output, "scores.jsonl"), scores.split("\n").slice(0, 2 * 2).join("\n") + "\n");
  Deno.removeSync(join(output, "report.html"));
  const stale = join(output, ".model_best.pth.tar.1-0a1b2c3d.tmp");
  Deno.writeTextFileSync(stale, "half");
  const finish = ["--pretrained", TINY_TEACHER, ...flags, ...resume];
  const finished = await lincls(...finish);
  assertEquals([finished.code, finished.stderr], [0, ""]);
  assertStringIncludes(finished.stdout, "all 3 epochs are done; finishing the run");
  assertStringIncludes(finished.stdout, `best: ${best} %`);
  const after = JSON.parse(Deno.readTextFileSync(join(output, "run.json")));
  const withoutTime = (figures: { name: string }[]) => figures.filter(({ name }) => !name.startsWith("time"));
  assertEquals([after.status, withoutTime(after.results)], ["finished", withoutTime(results)]);
  assertEquals(Deno.readTextFileSync(join(output, "scores.jsonl")), scores);
  assert(Deno.statSync(join(output, "report.html")).isFile);
  await assertRejects(() => Deno.stat(stale), Deno.errors.NotFound);
  // Then it is whole, and stays as it is to the byte.
  const digests = () =>
    Object.fromEntries(
      [...Deno.readDirSync(output)].filter(({ isFile }) => isFile)
        .map(({ name }) => [name, Deno.readFileSync(join(output, name))]),
    );
  const before = digests();
  const whole = await lincls(...finish);
  assertEquals([whole.code, whole.stderr], [0, ""]);
  assertStringIncludes(whole.stdout, "there is nothing left to do");
  assertEquals(digests(), before);
  // Other images, another encoder or other settings are another evaluation.
  const others = [
    "--epochs",
    "4",
    "-b",
    "16",
    "--image-size",
    "40",
    "-j",
    "1",
    "--lr",
    "0.03",
    "0.3",
    ...plugin,
  ];
  const other = await lincls(
    "--pretrained",
    TINY_TEACHER,
    ...others,
    "--test-data",
    folder.data,
    ...resume,
  );
  assertEquals([other.code, other.stdout.includes("test after epoch 3")], [1, false]);
  assertMatch(other.stderr, /^error: \S+: is from a different run: /m);
  assertStringIncludes(other.stderr, "--image-size is 40, was 32");
  assertStringIncludes(other.stderr, "--resume-anyway");
  const anyway = await lincls(
    ...["--pretrained", TINY_TEACHER, ...others, "--test-data", folder.data, ...resume],
    ...["--resume-anyway", "--json"],
  );
  assertEquals(anyway.code, 0, anyway.stderr);
  assertStringIncludes(anyway.stderr, "warning: resumed with a change: --image-size is 40, was 32\n");
  const told = anyway.stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
  assertEquals(told.filter(({ type }) => type === "step").length, 4); // of the fourth epoch
  assertEquals(told.at(-1).type, "result");
});

Deno.test("lincls --evaluate of several learning rates has the accuracy of the checkpoint's in all that it says", async () => {
  using folder = new RunFolder(24, 10);
  const output = join(folder.path, "out");
  const common = `--image-size 32 -j 1 --no-tune --plugin ${TINY_ENCODER}`.split(" ");
  const flags = [...common, ..."--cache-features --epochs 1 -b 8 --lr 0.03,0.3 --output".split(" "), output];
  const trained = await lincls("--pretrained", TINY_TEACHER, ...flags, folder.data);
  assertEquals(trained.code, 0, trained.stderr);
  const [saved, resume] = ["out/lincls_checkpoint_0000", "biased"].map((name) =>
    join(folder.path, `${name}.pth.tar`)
  );
  await writeBiasedSweep(saved, resume, (i) => i === 0);
  const testData = join(folder.path, "test.tsv");
  writeOneClass(join(folder.data, "test.tsv"), testData);
  const evaluate = async (output: string, resume: string, ...more: string[]) => {
    const images = ["--test-data", testData, folder.data, "--output", output, "--lr", "0.03,0.3"];
    const { code, stdout, stderr } = await lincls("-e", "--resume", resume, ...common, ...images, ...more);
    assertEquals(code, 0, stderr);
    return stdout;
  };
  const again = join(folder.path, "again");
  const told = (await evaluate(again, resume, "--json")).trimEnd().split("\n").map((line) =>
    JSON.parse(line)
  );
  const { top1, learning_rates: each } = told.find(({ type }) => type === "evaluation");
  assert(top1 < 100);
  assertEquals(each.map(({ top1 }: { top1: number }) => top1), [top1, 100]);
  // Of what they were in an epoch a checkpoint says nothing.
  assertEquals(each.map((rate: object) => "learning_rate" in rate), [false, false]);
  assertEquals([told.at(-1).chosen, told.at(-1).is_checkpoint_choice], [0, true]);
  const row = JSON.parse(Deno.readTextFileSync(join(again, "scores.jsonl")));
  assertEquals([row.lr, row.top1], [0.03, top1]);
  const { results } = JSON.parse(Deno.readTextFileSync(join(again, "run.json")));
  const figure = ({ name }: { name: string }) => name === "linear classifier, best top-1";
  assertEquals(results.find(figure).value, top1);
  const said = await evaluate(join(folder.path, "for people"), resume);
  const shown = top1.toFixed(2);
  assertStringIncludes(said, `test after epoch 0: top-1 ${shown} %, `);
  assertMatch(said, /^test after epoch 0: .* \(learning rate 0\.03\)$/m);
  assertStringIncludes(said, `result: ${shown} %, with learning rate 0.03, the checkpoint's choice`);
  const other = await writeBiasedSweep(saved, join(folder.path, "other.pth.tar"), (i) => i === 2);
  const left = await evaluate(join(folder.path, "left out"), other);
  const why = "whose best top-1 in the checkpoint is the highest";
  assertStringIncludes(
    left,
    `learning rate 0.2 was chosen, which --lr leaves out; the result is that of 0.03, ${why}`,
  );
  assertStringIncludes(left, `result: ${shown} %, with learning rate 0.03, ${why}`);
});

for (const [kind, ...own] of [["linear evaluation", "--lr", "0.1"], ["fine-tuning", "--finetune"]]) {
  Deno.test(`lincls --evaluate leaves the folder of a ${kind} as it is, and has records elsewhere`, async () => {
    using folder = new RunFolder(40, 20);
    const output = join(folder.path, "out");
    const common = [...own, ...`--image-size 32 -j 1 --no-tune --plugin ${TINY_ENCODER}`.split(" ")];
    const trained = await lincls(
      ...[
        "--pretrained",
        TINY_TEACHER,
        ...common,
        "-b",
        "8",
        "--epochs",
        "3",
        "--output",
        output,
        folder.data,
      ],
    );
    assertEquals([trained.code, trained.stderr], [0, ""]);
    const last = [...Deno.readDirSync(output)].map(({ name }) => name).find((name) =>
      name.includes("_0002")
    )!;
    const contents = () =>
      Object.fromEntries(
        [...Deno.readDirSync(output)].map(({ name }) => [name, Deno.readFileSync(join(output, name))]),
      );
    const before = contents();
    const [top1] = /\d+\.\d\d %/.exec(trained.stdout.slice(trained.stdout.indexOf("test after epoch 2")))!;
    // With the defaults of -b and --epochs, which are not the run's.
    const evaluate = (...flags: string[]) =>
      lincls("--evaluate", "--resume", join(output, last), ...common, folder.data, ...flags);
    const here = await evaluate("--output", output);
    assertEquals([here.code, here.stderr], [0, ""]);
    assertStringIncludes(here.stdout, `output    none: ${output} stays as it is\n`);
    assertMatch(here.stdout, new RegExp(`^test after epoch 2: top-1 ${top1}`, "m"));
    assertMatch(here.stdout, /^evaluated in \S+$/m);
    assertMatch(here.stdout, /^images +20 test, 32 x 32$/m);
    assert(!here.stdout.includes("best"), here.stdout);
    assertEquals(contents(), before);

    const elsewhere = join(folder.path, "elsewhere");
    const told = await evaluate("--output", elsewhere, "--json");
    assertEquals([told.code, told.stderr], [0, ""]);
    const events = told.stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
    assertEquals(events.filter(({ type }) => type === "evaluation").map(({ epoch, step }) => [epoch, step]), [
      [2, 15],
    ]);
    assertEquals([events.at(-1).type, events.at(-1).seconds_in_all], ["result", undefined]);
    assertEquals(contents(), before);
    const read = (name: string) => JSON.parse(Deno.readTextFileSync(join(elsewhere, name)));
    assertEquals(read("scores.jsonl").step, 15);
    const { status, before: started, plan } = read("run.json");
    assertEquals([status, started, plan.first_step, plan.total_steps, plan.epochs], [
      "finished",
      undefined,
      15,
      15,
      3,
    ]);
    assert(Deno.statSync(join(elsewhere, "report.html")).isFile);

    // Another use of that folder has its own scores alone.
    const earlier = { of: "student", by: "knn", step: 15, top1: 100, top5: 100 };
    const rows = () =>
      Deno.readTextFileSync(join(elsewhere, "scores.jsonl")).trimEnd().split("\n").map((line) =>
        JSON.parse(line)
      );
    const score = rows();
    Deno.writeTextFileSync(join(elsewhere, "scores.jsonl"), JSON.stringify(earlier) + "\n", { append: true });
    const repeated = await evaluate("--output", elsewhere);
    assertEquals([repeated.code, repeated.stderr], [0, ""]);
    assertEquals(rows(), score);
    const anew = await lincls(
      ...["--pretrained", TINY_TEACHER, ...common, "-b", "8", "--epochs", "1"],
      ...["--output", elsewhere, folder.data],
    );
    assertEquals([anew.code, anew.stderr], [0, ""]);
    assertEquals(rows().map(({ step }) => step), [5]);

    // Gone on with elsewhere, it gets no better than all images, and names no best checkpoint there.
    using file = await openCheckpointFile(join(output, last));
    const root = file.value as TorchDict;
    for (const of of [root, ...root.get("seed_sweep") as TorchDict[] ?? []]) {
      of.set("best_acc1", new PyFloat(100));
    }
    const full = join(folder.path, last);
    await writeTorchFile(full, root);
    const [there, more] = [join(folder.path, "there"), ["-b", "8", "--epochs", "4", "--resume", full]];
    const resumed = await lincls(
      "--pretrained",
      TINY_TEACHER,
      ...common,
      ...more,
      "--output",
      there,
      folder.data,
    );
    assertEquals([resumed.code, resumed.stderr], [0, ""]);
    assertMatch(resumed.stdout, /^last +\S+_0003\.pth\.tar$/m);
    assert(!resumed.stdout.includes("model_best"), resumed.stdout);
    assertMatch(trained.stdout, /^best +model_best\.pth\.tar$/m);
  });
}

for (const [kind, ...own] of [["linear evaluation", "--lr", "0.1"], ["fine-tuning", "--finetune"]]) {
  Deno.test(`lincls --resume auto has each step of a ${kind} once that ended before its first checkpoint`, async () => {
    using folder = new RunFolder(16, 2); // two of classes that are learnt, so that nothing is warned of
    const output = folder.makeOutput("out");
    const metrics = join(output, "metrics.jsonl");
    const first = { epoch: 0, step: 1, loss: 9, lr: 1, images_per_second: null, time: 1 };
    Deno.writeTextFileSync(metrics, JSON.stringify(first) + '\n{"epoch":0,"st');
    const small = "-b 8 --image-size 32 -j 1 --no-tune --no-tensorboard --resume auto".split(" ");
    const line = (epochs: string) => [
      ...["--plugin", TINY_ENCODER, ...own, ...small, "--epochs", epochs, "--output", output, folder.data],
    ];
    // Without a checkpoint there is no encoder.
    const nothing = await lincls(...line("1"));
    assertEquals(nothing.code, 2);
    assertMatch(nothing.stderr, /^error: nothing to evaluate: give --pretrained FILE, or --resume FILE,/);
    const ended = await lincls("--pretrained", TINY_TEACHER, ...line("1"));
    assertEquals([ended.code, ended.stderr], [0, ""]);
    const rows = Deno.readTextFileSync(metrics).trimEnd().split("\n").map((line) => JSON.parse(line));
    assertEquals([rows.map(({ step }) => step), rows[0].lr !== first.lr], [[1, 2], true]);
    // Now there is one.
    const longer = await lincls(...line("2"));
    assertEquals([longer.code, longer.stderr], [0, ""]);
  });
}

for (const [kind, ...method] of [["linear evaluation"], ["fine-tuning", "--finetune"]]) {
  Deno.test(`lincls goes on with a ${kind} without the file of its encoder, to the same bytes`, async () => {
    using folder = new RunFolder(16, 8);
    const lost = join(folder.path, "lost.pth.tar");
    Deno.copyFileSync(TINY_TEACHER, lost);
    const run = (output: string, epochs: string, pretrained: string, ...more: string[]) =>
      lincls(
        ...[
          "--pretrained",
          pretrained,
          "--plugin",
          TINY_ENCODER,
          "-b",
          "8",
          "--image-size",
          "32",
          "-j",
          "1",
          "--no-tune",
        ],
        ...["--output", join(folder.path, output), "--epochs", epochs, ...method, ...more, folder.data],
      );
    assertEquals((await run("whole", "2", TINY_TEACHER)).code, 0);
    assertEquals((await run("broken", "1", lost)).code, 0);
    Deno.removeSync(lost);
    const { code, stderr } = await run("broken", "2", lost, "--resume", "auto");
    assertEquals(code, 0, stderr);
    assertMatch(
      stderr,
      /warning: --pretrained: .*lost\.pth\.tar does not exist: the encoder is that of .*_0000\.pth\.tar\n/,
    );
    const [written] = await listCheckpoints(join(folder.path, "broken"));
    const [expected] = await listCheckpoints(join(folder.path, "whole"));
    assertEquals(await digestFile(written.path), await digestFile(expected.path));
    // It is needed to begin, and names what is evaluated.
    const refused = [["new"], ["broken", "--evaluate", "--resume", written.path]];
    for (const [output, ...more] of refused) {
      const { code, stderr } = await run(output, "2", lost, ...more);
      assertEquals(code, 1);
      assertMatch(stderr, /error: --pretrained: .*lost\.pth\.tar does not exist\. /);
    }
  });
}

Deno.test("lincls computes with the kernels that it measured, by both of its methods", async () => {
  using folder = new RunFolder(24, 10);
  // A module of one's own that tells what a method is started with.
  const plugin = join(folder.path, "tell.ts");
  const registry = new URL("../../../methods/registry.ts", import.meta.url).href;
  Deno.writeTextFileSync(
    plugin,
    `import { METHODS } from ${JSON.stringify(registry)};
    import ${JSON.stringify(TINY_ENCODER)};
    for (const method of [METHODS.linear_probe, METHODS.finetune]) {
      const { run } = method;
      method.run = (options, ...rest) => {
        console.error("tuning is given:", typeof options.tuning === "object" && options.tuning !== null);
        return run(options, ...rest);
      };
    }`,
  );
  for (const [i, method] of [[], ["--finetune"]].entries()) {
    const flags = ["--epochs", "1", "-b", "8", "--image-size", "32", "-j", "1", "--plugin", plugin];
    const output = join(folder.path, `tuned${i}`);
    const { code, stderr } = await runAlone(
      PROGRAM,
      ...["--pretrained", TINY_TEACHER, ...method, ...flags, "--output", output, folder.data],
    );
    assertEquals(code, 0, stderr);
    assertStringIncludes(stderr, "tuning is given: true");
  }
});

Deno.test("lincls refuses wrong files in one line, and another run's folder", async () => {
  using folder = new RunFolder(20, 10);
  const refuse = async (args: string[], expected: RegExp, code = 1) => {
    const ended = await lincls(...args);
    assertEquals([ended.code, ended.stdout], [code, ""], ended.stderr);
    assertMatch(ended.stderr, /^error: [^\n]*\n$/);
    assertMatch(ended.stderr, expected);
  };
  await refuse([], /^error: nothing to evaluate/m, 2);
  await refuse(["--pretrained", "/no.pth", folder.data], /--pretrained: \/no\.pth does not exist/);
  await refuse(["--pretrained", SAMPLE_TEACHER, join(folder.path, "no")], /DATA: .*no does not exist/);
  await refuse(
    ["--pretrained", SAMPLE_TEACHER, "-a", "resnet50", folder.data],
    /does not fit the encoder chosen/,
  );
  Deno.removeSync(join(folder.data, "test.tsv"));
  await refuse(["--pretrained", SAMPLE_TEACHER, folder.data], /DATA: .*expected one of test\.tsv, val\.tsv/);
});
