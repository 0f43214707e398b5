// `deno task knn`, its flags and the program.
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { fileURLToPath } from "node:url";
import { UsageError } from "../../../cli/flags/flags.ts";
import { knnHelp, parseKnnFlags } from "../../../cli/flags/knn_flags.ts";
import { KNN_DEFAULTS } from "../../../methods/knn.ts";
import { SAMPLE_DATA, SAMPLE_TEACHER } from "../../../data/sample.ts";
import { RunFolder, sampleRows } from "../../actors/small_run.ts";
import { join } from "node:path";
import { hostPrograms } from "../run_program.ts";

const runProgram = hostPrograms();
const PROGRAM = fileURLToPath(new URL("../../../cli/commands/knn.ts", import.meta.url));
const CONTEXT = { encoders: ["resnet18", "resnet50"], folder: "/home/me" };

function parse(...args: string[]) {
  const command = parseKnnFlags(args, CONTEXT);
  assert(command.help === undefined, "help came instead of a request");
  return command;
}

Deno.test("parseKnnFlags() evaluates 20 and 200 neighbours, on the bundled images where none are given", () => {
  assertEquals(parse("--pretrained", "a.pth"), {
    help: undefined,
    json: false,
    request: {
      pretrained: "/home/me/a.pth",
      data: SAMPLE_DATA,
    },
  });
  assertEquals(KNN_DEFAULTS, { knnK: [20, 200], knnT: 0.07, seed: 0 });
  const { request } = parse("-a", "resnet50", "-k", "5,1,5", "-t", "0.1", "--seed", "3", "/data");
  assertEquals([request.knnK, request.knnT, request.seed], [[5, 1], 0.1, 3]);
});

Deno.test("parseKnnFlags() refuses what is wrong", () => {
  for (
    const [args, expected] of [
      [[], /nothing to evaluate/],
      [["--which", "teacher", "-a", "resnet18"], /--which teacher needs --pretrained/],
      [
        ["-a", "resnet18", "--test-data", "val"],
        /^--test-data needs DATA, the images to learn from: without it the bundled ones are taken$/,
      ],
      [["-a", "resnet18", "-k", "0"], /-k: expected whole numbers of at least 1/],
      [["-a", "resnet18", "-t", "0"], /-t: expected a number above 0/],
      [["-a", "resnet18", "--image-size", "2900"], /--image-size: expected a whole number from 8 to 2899/],
    ] as const
  ) assertMatch(assertThrows(() => parse(...args), UsageError).message, expected);
  assertStringIncludes(knnHelp(CONTEXT), "20,200]");
});

Deno.test("knn evaluates a checkpoint and fresh weights, as distil does", async () => {
  using folder = new RunFolder(60, 40);
  const flags = ["--image-size", "32", "-k", "5,1", folder.data];
  const trained = await runProgram(PROGRAM, "--pretrained", SAMPLE_TEACHER, ...flags);
  assertEquals(trained.code, 0, trained.stderr);
  assertMatch(
    trained.stderr,
    /^note: [^\n]*cifar10\.pth\.tar says: images of 32 x 32 pixels, [^\n]*\n(evaluated: [^\n]*\n)*$/,
  );
  assertMatch(
    trained.stdout,
    /^encoder +resnet18, .*cifar10\.pth\.tar\nimages +60 training, 40 test, 32 x 32\n/,
  );
  const [, top1] = /^k = 5 +(\S+) % +\S+ %$/m.exec(trained.stdout)!;
  assertMatch(trained.stdout, /^k = 1 /m);
  const json = await runProgram(PROGRAM, "--pretrained", SAMPLE_TEACHER, "--json", ...flags);
  const { encoder, results, ...how } = JSON.parse(json.stdout);
  assertEquals(how, {
    images: { bank: 60, queries: 40, held_out: false },
    image_size: 32,
    eval_resize: "none",
    temperature: 0.07,
  });
  assertEquals([encoder, results[0].k, results[0].top1.toFixed(2)], ["resnet18", 5, top1]);
  // Without a test set too.
  const fresh = await runProgram(
    PROGRAM,
    "-a",
    "resnet18",
    ...flags.with(-1, join(folder.data, "train.tsv")),
  );
  assertMatch(
    fresh.stdout,
    /^encoder +resnet18, random weights\nimages +5\d training, \d with held-out labels, 32 x 32$/m,
    fresh.stderr,
  );
  assertMatch(
    fresh.stderr,
    /^note: no test images, so kNN uses held-out labels of .*train\.tsv: \d images, 10 % of each/m,
  );
  const train = join(folder.data, "train.tsv");
  const heldOut = await runProgram(PROGRAM, "-a", "resnet18", "--json", ...flags.with(-1, train));
  const { images } = JSON.parse(heldOut.stdout);
  assertEquals([images.bank + images.queries, images.held_out], [60, true]);
  const unlabelled = join(folder.path, "unlabelled.tsv");
  Deno.writeTextFileSync(unlabelled, sampleRows("test.tsv", 5).replace(/\t\d+\t/g, "\t-1\t"));
  const none = await runProgram(PROGRAM, "-a", "resnet18", "--test-data", unlabelled, ...flags);
  assertEquals([none.code, none.stdout], [1, ""]);
  assertMatch(
    none.stderr,
    /^error: .*unlabelled\.tsv: expected class labels \(.*\), found none\n$/,
  );
  const missing = await runProgram(PROGRAM, "--pretrained", "no.pth", ...flags);
  assertEquals([missing.code, missing.stdout], [1, ""]);
  assertMatch(missing.stderr, /^error: --pretrained: .*no\.pth does not exist\. [^\n]*\n$/);
});
