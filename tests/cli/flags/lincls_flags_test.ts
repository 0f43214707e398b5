import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import {
  FINETUNE_ADAMW,
  FINETUNE_DEFAULTS,
  FINETUNE_SAMPLE_ADAMW,
  FINETUNE_SAMPLE_DEFAULTS,
} from "../../../methods/finetune/options.ts";
import { LINEAR_DEFAULTS, LINEAR_SAMPLE_DEFAULTS } from "../../../methods/linear_probe/options.ts";
import { UsageError } from "../../../cli/flags/flags.ts";
import { checkFinetuneInputs } from "../../../cli/flags/inputs.ts";
import { linclsHelp, parseLinclsFlags } from "../../../cli/flags/lincls_flags.ts";
import { SAMPLE_DATA } from "../../../data/sample.ts";

const CONTEXT = {
  encoders: ["resnet18", "resnet50", "efficientnet_b0"],
  folder: "/home/me",
  now: new Date("2025-11-25T01:45:12.345Z"),
};

function parse(...args: string[]) {
  const command = parseLinclsFlags(args, CONTEXT);
  assert(command.help === undefined, "help came instead of options");
  assert(command.method === "linear_probe", `${command.method} came`);
  return command;
}

function parseFinetune(...args: string[]) {
  const command = parseLinclsFlags(["--finetune", ...args], CONTEXT);
  assert(command.help === undefined && command.method === "finetune");
  return command;
}

/** What `--pretrained ../s.pth.tar /data` gives, beside the defaults. */
const SAID = {
  imageSize: undefined,
  evalResize: undefined,
  pretrained: "/home/s.pth.tar",
  arch: null,
  which: "student",
  data: "/data",
  testData: null,
  output: "/home/me/output/lincls-20251125-014512",
  resume: null,
  evaluate: false,
  classes: null,
} as const;

Deno.test("parseLinclsFlags() takes the original's defaults for one's own images, and others for the bundled ones", () => {
  const { options, warnings } = parse("--pretrained", "../s.pth.tar", "/data");
  assertEquals(options, { ...LINEAR_DEFAULTS, ...SAID });
  assertEquals([options.epochs, options.lr, options.schedule], [100, [30], [60, 80]]);
  assertEquals(warnings, []);
  const sample = parse("--pretrained", "s.pth").options;
  assertEquals([sample.data, sample.lr], [SAMPLE_DATA, LINEAR_SAMPLE_DEFAULTS.lr]);
});

Deno.test("parseLinclsFlags() reads the command line of the original's README", () => {
  const line =
    "-a efficientnet_b0 --lr 30 --batch-size 32 --output ./output /media/drive2/Data_4TB/imagenet2012";
  const { options } = parse(...line.split(" "));
  assertEquals(
    [options.arch, options.lr, options.batchSize, options.output, options.data],
    ["efficientnet_b0", [30], 32, "/home/me/output", "/media/drive2/Data_4TB/imagenet2012"],
  );
  const all = "--arch resnet50 -j 4 --epochs 50 --start-epoch 2 -b 64 --learning-rate 3 --schedule 20 30 " +
    "--momentum 0.8 --wd 1e-4 -p 5 --resume /r.pth -e --seed 3 --gpu 0 --pretrained /p.pth --local_rank 0 /data";
  const parsed = parse(...all.split(" "));
  // Of two retired flags, and that the checkpoint says the epoch.
  assertEquals(parsed.warnings.length, 3);
  assertMatch(parsed.warnings[2], /--start-epoch has no effect with --resume/);
  assertEquals(parsed.options.schedule, [20, 30]);
  assertEquals([parsed.options.evaluate, parsed.options.resume, parsed.options.weightDecay], [
    true,
    "/r.pth",
    1e-4,
  ]);
});

Deno.test("parseLinclsFlags() takes several learning rates", () => {
  for (const form of [["--lr", "1,3,10"], ["--lr=1,3,10"], ["--lr", "1", "3", "10"]]) {
    assertEquals(parse(...form, "--pretrained", "a.pth").options.lr, [1, 3, 10], form.join(" "));
  }
  assertEquals(parse("--lr", "1e-2", ".3", "--pretrained", "a.pth").options.lr, [0.01, 0.3]);
});

Deno.test("parseLinclsFlags() refuses what is wrong or does not go together", () => {
  const refuse = (args: string[], expected: RegExp) =>
    assertMatch(assertThrows(() => parse(...args), UsageError).message, expected);
  refuse([], /nothing to evaluate: give --pretrained FILE/);
  refuse(["-e", "--pretrained", "a.pth"], /--evaluate needs a trained classifier: add --resume/);
  refuse(["-e", "--output", "o", "--resume", "auto"], /^--evaluate does not take --resume auto: name the/);
  refuse(
    ["--lr", "1,x", "--pretrained", "a.pth"],
    /--lr: expected numbers above 0, such as 0\.1,0\.3, found "1,x"/,
  );
  refuse(["--lr", "0", "--pretrained", "a.pth"], /--lr: expected numbers above 0/);
  refuse(["--lr", "1,1", "--pretrained", "a.pth"], /--lr 1,1 contains a learning rate twice/);
  refuse(["--test-data", "val", "-a", "resnet18"], /^--test-data needs DATA, the images to learn from/);
  refuse(["--which", "teacher", "-a", "resnet18"], /--which teacher needs --pretrained FILE/);
  refuse(["--start-epoch", "100", "-a", "resnet18"], /must be below --epochs/);
  refuse(["-a", "resnet18", "one", "two"], /unexpected argument "two"/);
});

Deno.test("parseLinclsFlags() with --finetune takes SwAV's defaults for one's own images, and others for the bundled ones", () => {
  const { options, warnings } = parseFinetune("--pretrained", "../s.pth.tar", "/data");
  assertEquals(options, { ...FINETUNE_DEFAULTS, ...SAID, asked: {}, ofAdamW: FINETUNE_ADAMW });
  const { epochs, lr, lrLastLayer, schedule, gamma, labelFraction } = options;
  assertEquals([epochs, lr, lrLastLayer, schedule, gamma, labelFraction], [20, 0.01, 0.2, [12, 16], 0.2, 1]);
  assertEquals(warnings, []);
  const bundled = parseFinetune("-a", "resnet18").options;
  assertEquals(bundled.batchSize, FINETUNE_SAMPLE_DEFAULTS.batchSize);
  assertEquals(bundled.ofAdamW, FINETUNE_SAMPLE_ADAMW);
  // As SwAV's README has them.
  const swav = parseFinetune(
    ..."--pretrained s.pth --lr 0.02 --lr_last_layer 5 --decay_epochs 30 45 --gamma 0.1 --epochs 60 /data"
      .split(" "),
  );
  assertEquals([swav.options.lr, swav.options.lrLastLayer, swav.options.schedule], [0.02, 5, [30, 45]]);
});

Deno.test("parseLinclsFlags() refuses what belongs to the other of linear evaluation and fine-tuning", () => {
  const refuse = (args: string[], expected: RegExp) =>
    assertMatch(assertThrows(() => parseLinclsFlags(args, CONTEXT), UsageError).message, expected);
  const encoder = ["-a", "resnet18"];
  refuse([...encoder, "--lr-last-layer", "1"], /--lr-last-layer is about a fine-tuning: add --finetune/);
  refuse(
    [...encoder, "--finetune", "--cache-features"],
    /--cache-features needs an encoder that stays as it is/,
  );
  refuse([...encoder, "--finetune", "--lr", "1,2"], /--lr 1,2: --finetune trains one encoder; give one/);
  refuse(
    [...encoder, "--label-fraction", "1.5"],
    /--label-fraction: expected a number above 0 and at most 1/,
  );
});

Deno.test("parseLinclsFlags() warns of flags that have no effect", () => {
  const of = (...args: string[]) => parseFinetune("-a", "resnet18", ...args).warnings;
  assertEquals(of("--cos", "--schedule", "5", "7", "--gamma", "0.5"), [
    "--schedule has no effect with the cosine schedule: it needs --no-cos",
    "--gamma has no effect with the cosine schedule: it needs --no-cos",
  ]);
  assertEquals(of("--optimizer", "adamw", "--momentum", "0.5"), [
    "--momentum has no effect with AdamW: it needs --optimizer sgd",
  ]);
  assertEquals(of("--schedule", "5", "7", "--gamma", "0.5", "--momentum", "0.5"), []);
  const flat = "--warmup-epochs 3 keeps the learning rate at --lr: a warm-up needs --scale-lr";
  const sgd = ["--optimizer", "sgd"];
  assertEquals(of("--warmup-epochs", "3", ...sgd), [`${flat} or --lr-per-step`]);
  for (const rising of ["--scale-lr", "--lr-per-step"]) {
    assertEquals(of("--warmup-epochs", "3", ...sgd, rising), []);
  }
  assertEquals(of("--warmup-epochs", "0", ...sgd), []);
  assertEquals(parse("-a", "resnet18", "--warmup-epochs", "3").warnings, []); // scaled by default
  assertEquals(parse("-a", "resnet18", "--warmup-epochs", "3", "--no-scale-lr").warnings, [flat]);
  for (const parsed of [parse, parseFinetune]) {
    assertEquals(parsed("--resume", "r.pth", "--start-epoch", "3").warnings, [
      "--start-epoch has no effect with --resume: the checkpoint sets the epoch",
    ]);
  }
});

Deno.test("parseLinclsFlags() leaves it to the checkpoint of --resume auto which encoder it is", () => {
  const auto = ["--output", "o", "--resume", "auto"];
  for (const { options, resumesIfThere, resumeFlags } of [parse(...auto), parseFinetune(...auto)]) {
    assertEquals([options.pretrained, options.arch, resumesIfThere], [null, null, true]);
    assertEquals(resumeFlags, { namesOutput: true, resume: "auto" });
  }
});

Deno.test("parseLinclsFlags() says what a fine-tuning that is resumed does not heed", () => {
  const of = (...args: string[]) => parseFinetune("--output", "o", "--heads", "6", ...args).warnings;
  assertEquals(of("--resume", "c.pth.tar"), [
    "--heads has no effect with --resume: the checkpoint holds one encoder",
  ]);
  assertEquals([of("--resume", "auto", "-a", "resnet18"), of("--pretrained", "p")], [[], []]);
  // Which encoder of --pretrained the run began from is compared, so it must be said again.
  const weights = ["--output", "o", "--resume", "c.pth.tar", "--weights", "module.encoder_k"];
  assertEquals(parseFinetune(...weights).warnings, [
    "--weights has no effect with --resume: the checkpoint holds one encoder",
  ]);
  assertEquals(parseFinetune(...weights, "--pretrained", "p.pth.tar").warnings, []);
});

Deno.test("a momentum and a flat warm-up are warned of by the optimizer that the encoder of a fine-tuning is trained with", async () => {
  const warningsOf = async (arch: string, ...args: string[]) => {
    const encoders = ["resnet18", "vit_tiny"];
    const command = parseLinclsFlags(["--finetune", "-a", arch, ...args], { ...CONTEXT, encoders });
    assert(command.help === undefined && command.method === "finetune");
    await checkFinetuneInputs(command.options, command);
    return command.warnings;
  };
  const sentence = "--momentum has no effect with AdamW: it needs --optimizer sgd";
  const momentum = ["--momentum", "0.5"];
  assertEquals(await warningsOf("vit_tiny", ...momentum), [sentence]);
  assertEquals(await warningsOf("vit_tiny", ...momentum, "--optimizer", "adamw"), [sentence]);
  assertEquals(await warningsOf("vit_tiny", ...momentum, "--optimizer", "sgd"), []);
  assertEquals(await warningsOf("vit_tiny"), []);
  assertEquals(await warningsOf("resnet18", ...momentum), []);
  const flat =
    "--warmup-epochs 3 keeps the learning rate at --lr: a warm-up needs --scale-lr or --lr-per-step";
  const warmup = ["--warmup-epochs", "3"];
  // Of the bundled images, where AdamW has one rate an epoch too.
  for (const arch of ["resnet18", "vit_tiny"]) {
    assertEquals(await warningsOf(arch, ...warmup), [flat]);
    assertEquals(await warningsOf(arch, ...warmup, "--lr-per-step"), []);
  }
});

Deno.test("linclsHelp() names every flag of the original, and defaults", () => {
  const help = linclsHelp({ ...CONTEXT, extent: "all" });
  for (
    const flag
      of ("--arch -a --workers -j --epochs --start-epoch --batch-size -b --lr --learning-rate --schedule " +
        "--momentum --weight-decay --wd --print-freq -p --resume --evaluate -e --seed --pretrained --output")
        .split(" ")
  ) assertMatch(help, new RegExp(`(^|[ ,\\]])${flag}\\b|\\[no-\\]${flag.slice(2)}\\b`, "m"));
  assertStringIncludes(
    help.replaceAll(/\s+/g, " "),
    "[default: 30; bundled sample: 0.01,0.03,0.1,0.3; with --finetune: 0.01, with AdamW: 0.0001]",
  );
});
