// Apart: counts the lines of help, which lists the encoders of plugins.
import {
  assert,
  assertEquals,
  assertGreater,
  assertLessOrEqual,
  assertMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { PAPER_DEFAULTS, SAMPLE_DEFAULTS } from "../../../methods/seed/defaults.ts";
import { RECIPES } from "../../../methods/seed/recipes.ts";
import type { DistillOptions } from "../../../methods/seed/options.ts";
import {
  type DistillFlagsContext,
  distillHelp,
  type DistillRequest,
  parseDistillFlags,
} from "../../../cli/flags/distill_flags.ts";
import { UsageError } from "../../../cli/flags/flags.ts";
import { SAMPLE_DATA, SAMPLE_TEACHER } from "../../../data/sample.ts";
import { listedEncoders } from "../../../models/registry.ts";

const CONTEXT: DistillFlagsContext = {
  encoders: ["resnet18", "resnet34", "resnet50"],
  folder: "/home/me",
  now: new Date("2025-11-25T01:45:12.345Z"),
};

function parse(...args: string[]) {
  const command = parseDistillFlags(args, CONTEXT);
  assert(command.help === undefined, "help came instead of options");
  return command;
}

Deno.test("parseDistillFlags() without flags takes the bundled images, teacher and defaults", () => {
  const { options, warnings, quiet } = parse();
  assertEquals(options, {
    ...SAMPLE_DEFAULTS,
    dim: undefined, // the teacher's
    imageSize: undefined,
    evalResize: undefined,
    teacherArch: null,
    teacherSsl: null,
    schedule: [...SAMPLE_DEFAULTS.schedule],
    data: SAMPLE_DATA,
    distill: SAMPLE_TEACHER,
    testData: null,
    resume: null,
    studentInit: null,
    saveEvery: null,
    tuning: null,
    limitSteps: null,
    output: "/home/me/output/distill-20251125-014512",
  });
  assertEquals(warnings, []);
  assertEquals(quiet, false);
});

Deno.test("parseDistillFlags() takes the paper's defaults for one's own images", () => {
  const { options } = parse("--data", "images", "--distill", "../moco.pth.tar");
  // Of the views and the embeddings the teacher's checkpoint says more.
  const ofTeacher = { dim: undefined, imageSize: undefined, evalResize: undefined };
  for (const [name, value] of Object.entries({ ...PAPER_DEFAULTS, ...ofTeacher })) {
    assertEquals(options[name as keyof DistillOptions], value, name);
  }
  assertEquals([options.data, options.distill], ["/home/me/images", "/home/moco.pth.tar"]);
});

Deno.test("parseDistillFlags() takes one's own teacher for the bundled images", () => {
  const { options } = parse("--distill", "/t.pth");
  assertEquals([options.teacherArch, options.teacherSsl], [null, null]);
  assertEquals(options.batchSize, SAMPLE_DEFAULTS.batchSize);
});

Deno.test("parseDistillFlags() reads a command line of the original", () => {
  const { options, warnings } = parse(
    ..."-a resnet18 -k resnet50 --teacher_ssl swav --distill /t.pth.tar --lr 0.03 --batch-size 16 --temp 0.2"
      .split(" "),
    ..."--workers 4 --output ./output --data /imagenet --student_mlp True --schedule 120 160 --cos False"
      .split(" "),
    ..."--local_rank=0 --wd 1e-4 -p 100 --start-epoch 2 --distill-t 1e-4 --dim 256 --queue 4096".split(" "),
  );
  assertEquals(
    options,
    {
      ...PAPER_DEFAULTS,
      imageSize: undefined,
      evalResize: undefined,
      studentArch: "resnet18",
      teacherArch: "resnet50",
      teacherSsl: "swav",
      distill: "/t.pth.tar",
      data: "/imagenet",
      testData: null,
      output: "/home/me/output",
      workers: 4,
      startEpoch: 2,
      batchSize: 16,
      schedule: [120, 160],
      cos: false,
      weightDecay: 1e-4,
      accumulate: 1,
      clipGrad: null,
      statsEvery: 50,
      resume: null,
      studentInit: null,
      saveEvery: null,
      tuning: null,
      checkpointActivations: false,
      amp: false,
      onNan: "stop",
      maxRestarts: 5,
      dim: 256,
      queue: 4096,
      distillT: 1e-4,
      limitSteps: null,
    } satisfies DistillRequest,
  );
  assertEquals(warnings, ["--local_rank is ignored: mpirun or srun starts the ranks (docs/scaling.md)"]);
});

Deno.test("parseDistillFlags() has small views drawn as SWAV draws them, whatever a recipe says of the others", () => {
  const of = (...args: string[]) =>
    parse("--data", "d", "--distill", "t", "--recipe", "dinov2-vits14", ...args).options.augmentation;
  assertEquals([of(), of("--small-views", "2"), of("--small-views", "0")], ["mocov2", undefined, "mocov2"]);
  assertEquals(of("--small-views", "2", "--augmentation", "mocov2"), "mocov2");
});

Deno.test("parseDistillFlags() takes --cache as a word, or as a path from the current folder", () => {
  const cacheOf = (...args: string[]) => parse(...args).options.cache;
  assertEquals(cacheOf(), "auto");
  for (const word of ["auto", "memory", "off"]) assertEquals(cacheOf("--cache", word), word);
  assertEquals([cacheOf("--cache", "./off"), cacheOf("--cache", "/d/c")], ["/home/me/off", "/d/c"]);
});

Deno.test("parseDistillFlags() takes no other word than these for a file of --cache", () => {
  const meant = {
    none: "off",
    false: "off",
    Off: "off",
    of: "off",
    MEMORY: "memory",
    ram: "memory",
    true: "auto",
  };
  for (const [word, near] of Object.entries(meant)) {
    assertThrows(
      () => parse("--cache", word),
      UsageError,
      `--cache: expected auto, memory, off or the path of a file, found "${word}"; did you mean ${near}? ` +
        `(a file of that name is written ./${word})`,
    );
  }
  assertThrows(
    () => parse("--cache", "decoded"),
    UsageError,
    'found "decoded" (a file of that name is written ./decoded)',
  );
});

Deno.test("parseDistillFlags() takes small views of as many pixels as views are made of", () => {
  const sizeOf = (size: string) => parse("--small-views", "2", "--small-size", size).options.smallSize;
  assertEquals(sizeOf("2899"), 2899);
  assertThrows(() => sizeOf("2900"), UsageError, "--small-size: expected a whole number from 8 to 2899");
});

Deno.test("parseDistillFlags() wants a teacher for one's own images", () => {
  const error = assertThrows(() => parse("--data", "x"), UsageError);
  assertStringIncludes(error.message, "--data needs --distill FILE");
  assertStringIncludes(error.message, SAMPLE_TEACHER);
});

Deno.test("parseDistillFlags() names the queues that go with a batch size", () => {
  const messageOf = (...args: string[]) => assertThrows(() => parse(...args), UsageError).message;
  assertStringIncludes(
    messageOf("--queue", "100", "-b", "32"),
    "is not a multiple of --batch-size 32: use --queue 96 or 128",
  );
  assertStringIncludes(messageOf("--queue", "10", "-b", "32"), "use --queue 32");
});

Deno.test("parseDistillFlags() refuses to start where the run ends", () => {
  assertThrows(() => parse("--epochs", "5", "--start-epoch", "5"), UsageError, "must be below --epochs 5");
  assertEquals(parse("--epochs", "5", "--start-epoch", "4").options.startEpoch, 4);
});

Deno.test("parseDistillFlags() warns of flags that have no effect", () => {
  assertMatch(parse("--schedule", "1").warnings.join(), /--schedule has no effect .* --no-cos/);
  assertEquals(parse("--schedule", "1", "--no-cos").warnings, []);
  assertEquals(parse("--warmup-epochs", "3").warnings, [
    "--warmup-epochs 3 keeps the learning rate at --lr: a warm-up needs --scale-lr or --lr-per-step",
  ]);
  for (const rising of ["--scale-lr", "--lr-per-step"]) {
    assertEquals(parse("--warmup-epochs", "3", rising).warnings, []);
  }
  assertMatch(
    parse("--resume", "a.pth.tar", "--start-epoch", "1").warnings.join(),
    /--start-epoch has no effect/,
  );
  assertEquals(parse("--output", "o", "--resume", "auto", "--start-epoch", "1").warnings, []); // there may be no checkpoint
  assertMatch(parse("--resume-anyway").warnings.join(), /--resume-anyway has no effect without --resume/);
  const of = (...args: string[]) => parse(...args).warnings.join();
  assertMatch(of("--small-size", "64"), /--small-size has no effect without --small-views/);
  assertEquals(of("--small-size", "64", "--small-views", "2"), "");
  assertMatch(
    of("--token-t", "0.1", "--token-weight", "2"),
    /--token-t has no .* --loss seed: .*--token-weight has no/,
  );
  assertEquals(of("--token-t", "0.1", "--loss", "tokens"), "");
  const temperatures = ["--temp", "0.1", "--distill-t", "0.2"];
  for (const loss of ["cosine", "mse"]) {
    assertEquals(parse(...temperatures, "--loss", loss).warnings, [
      `--temp has no effect with --loss ${loss}, which ignores it`,
      `--distill-t has no effect with --loss ${loss}, which ignores it`,
    ]);
  }
  assertEquals(of(...temperatures, "--loss", "in_batch"), "");
  assertEquals(of("--loss", "cosine"), "");
  const { warnings, options } = parse("--resume", "a.pth.tar", "--resume-anyway");
  assertEquals([warnings, options.resumeAnyway], [[], true]);
});

Deno.test("parseDistillFlags() reads when to save, how much to keep, and how to go on", () => {
  const saveEvery = (text: string) => parse("--save-every", text).options.saveEvery;
  assertEquals(["500", "90s", "1.5m", "2h"].map(saveEvery), [
    { steps: 500 },
    { seconds: 90 },
    { seconds: 90 },
    { seconds: 7200 },
  ]);
  for (const text of ["0", "x", "1.5", "5d", "0s", "-3"]) {
    assertThrows(() => saveEvery(text), UsageError, "--save-every");
  }
  const auto = parse("--resume", "auto", "--output", "run", "--keep", "3", "--student-init", "a.pth");
  assertEquals([auto.resumesIfThere, auto.options.resume, auto.options.keep], [true, null, 3]);
  assertEquals([auto.options.studentInit, auto.warnings], ["/home/me/a.pth", []]);
  assertThrows(() => parse("--resume", "auto"), UsageError, "--output");
  // It is what "student before" is evaluated of.
  assertEquals(parse("--resume", "b.pth", "--student-init", "a.pth").warnings, []);
});

Deno.test("parseDistillFlags() takes the paper's settings by name, and flags before them", () => {
  const { options, recipe } = parse(
    ..."--recipe paper-swav-r50 --data /d --distill /t.pth --epochs 400".split(" "),
  );
  assertEquals(recipe, "paper-swav-r50");
  assertEquals([options.epochs, options.smallViews, options.smallSize, options.queue], [400, 6, 96, 65_536]);
  assertEquals([options.teacherArch, options.teacherSsl, options.distillT], ["swav_resnet50", "swav", 0.01]);
  // Of the bundled images a recipe leaves nothing to their defaults.
  assertEquals(parse("--recipe", "paper-moco-r50").options.batchSize, 256);
  for (const [name, { teacherArch }] of Object.entries(RECIPES)) {
    assert(listedEncoders().some((encoder) => encoder.name === teacherArch), name);
  }
  assertThrows(() => parse("--recipe", "paper-moco-r5"), UsageError, "did you mean paper-moco-r50?");
});

Deno.test("--recipe has settings for each released vision transformer and ConvNeXt", () => {
  const { options } = parse(
    ..."--recipe dinov2-vits14-reg --data /d --distill /t.pth --distill-t 0.05 --image-size 112".split(" "),
  );
  assertEquals([options.teacherArch, options.teacherSsl], ["dinov2_vits14_reg", "dinov2"]);
  assertEquals([options.temp, options.distillT, options.queue, options.studentMlp], [
    0.07,
    0.05,
    8192,
    false,
  ]);
  assertEquals([options.loss, options.augmentation, options.imageSize], ["seed", "mocov2", 112]);
  assertEquals(options.dim, undefined); // the teacher's
  const sizes = ["dino-vitb8", "dinov2-vitg14", "dinov3-vits16", "dinov3-convnext-tiny", "mocov3-vit-small"]
    .map((recipe) => parse("--recipe", recipe).options.imageSize);
  assertEquals(sizes, [224, 224, 256, 256, 224]);
  const help = distillHelp({ ...CONTEXT, extent: "all" }).replaceAll(/\s+/g, " ");
  for (const recipe of Object.keys(RECIPES)) assertStringIncludes(help, recipe);
});

Deno.test("distillHelp() says that the teacher's checkpoint decides how large views are", () => {
  const help = distillHelp({ ...CONTEXT, extent: "all" }).replaceAll(/\s+/g, " ");
  for (
    const usual of [
      "224 (DINOv3: 256, CIFAR: 32); bundled images: 32",
      "auto; auto-bicubic for DINO, DINOv2 and DINOv3; none for stems for CIFAR",
    ]
  ) {
    assertStringIncludes(help, `[default: from the teacher's checkpoint, else ${usual}]`);
  }
});

Deno.test("distillHelp() says that --fast-decode goes by the views, which are a teacher's where those are larger", () => {
  const help = distillHelp({ ...CONTEXT, extent: "all" }).replaceAll(/\s+/g, " ");
  assertStringIncludes(help, "where their shorter side stays at least twice as long as a view's:");
});

Deno.test("distillHelp() fits a screen, and names the task that lists the encoders", () => {
  const help = distillHelp(CONTEXT);
  assertLessOrEqual(help.split("\n").length, 50);
  assertMatch(help, /^ +--amp +mixed precision/m);
  assertMatch(help, /\n--help all shows \d+ more flags, and full descriptions\.$/);
  assertStringIncludes(
    distillHelp({ ...CONTEXT, extent: "all" }),
    "student encoder: deno task models lists them [",
  );
});

Deno.test("a command line asks for the common flags or for all of them", () => {
  const help = (...args: string[]) => parseDistillFlags(args, CONTEXT).help!;
  const [common, all] = [help("--help"), help("--help", "all")];
  assertGreater(all.length, 2 * common.length);
  assertEquals(help("-b", "8", "-h"), common);
  assertEquals(help("--help=all"), all);
  assertEquals(help("-h", "all"), all);
});

Deno.test("parseDistillFlags() gives help whatever else is on the line", () => {
  assert(parseDistillFlags(["--lr", "x", "--help"], CONTEXT).help !== undefined);
  assert(parseDistillFlags(["-h"], CONTEXT).help !== undefined);
});

Deno.test("distillHelp() names every flag of the original, and all defaults, within the terminal's width", () => {
  const text = distillHelp({ ...CONTEXT, width: 80, extent: "all" });
  for (
    const flag
      of ("-a --student-arch -k --teacher-arch -s --teacher-ssl --distill --data --output -j --workers " +
        "--epochs --start-epoch -b --batch-size --lr --learning-rate --schedule --momentum --wd --weight-decay -p " +
        "--print-freq --resume --dim --queue --temp --distill-t --student-mlp --cos --seed --image-size")
        .split(" ")
  ) assertMatch(text, new RegExp(`${flag.replace(/^--/, "--(\\[no-\\])?")}\\b`), flag);
  const plain = text.replace(/\s+/g, " ");
  assertStringIncludes(
    plain,
    `[default: ${PAPER_DEFAULTS.batchSize}; bundled sample: ${SAMPLE_DEFAULTS.batchSize}; the original: 4]`,
  );
  assertStringIncludes(plain, `[default: ${PAPER_DEFAULTS.distillT}; `);
  for (const line of text.split("\n")) assertLessOrEqual(line.length, 80, line);
});
