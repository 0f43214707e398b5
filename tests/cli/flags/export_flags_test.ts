import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { exportHelp, parseExportFlags } from "../../../cli/flags/export_flags.ts";
import { UsageError } from "../../../cli/flags/flags.ts";

const CONTEXT = { encoders: ["resnet18", "resnet50"], folder: "/home/me" };

function parse(...args: string[]) {
  const command = parseExportFlags(args, CONTEXT);
  assert(command.help === undefined, "help came instead of options");
  return command;
}

Deno.test("parseExportFlags() with a checkpoint alone asks for its backbone as a PyTorch file", () => {
  const { options, quiet } = parse("runs/a.pth.tar");
  assertEquals(options, {
    checkpoint: "/home/me/runs/a.pth.tar",
    output: undefined,
    format: "pth",
    part: "backbone",
    arch: undefined,
    stem: undefined,
    which: undefined,
    weights: undefined,
    heads: undefined,
    feature: undefined,
    names: undefined,
    imageSize: undefined,
    cropRatio: undefined,
    interpolation: undefined,
    mean: undefined,
    std: undefined,
    normalize: false,
    force: false,
  });
  assertEquals(quiet, false);
});

Deno.test("parseExportFlags() takes every flag", () => {
  const { options, quiet } = parse(
    ...["--format", "onnx", "--part", "encoder", "-a", "resnet50", "--which=teacher", "-o", "out/b.onnx"],
    ...["--stem", "cifar", "--mean", "0.5,0.4,0.3", "--std", "0.25,0.2,0.15"],
    ...["a.pth", "--image-size", "96", "--eval-resize", "none-bicubic", "--normalize", "--force", "-q"],
  );
  assertEquals(options, {
    checkpoint: "/home/me/a.pth",
    output: "/home/me/out/b.onnx",
    format: "onnx",
    part: "encoder",
    arch: "resnet50",
    stem: "cifar",
    which: "teacher",
    weights: undefined,
    heads: undefined,
    feature: undefined,
    names: undefined,
    imageSize: 96,
    cropRatio: 1,
    interpolation: "bicubic",
    mean: [0.5, 0.4, 0.3],
    std: [0.25, 0.2, 0.15],
    normalize: true,
    force: true,
  });
  assertEquals(quiet, true);
  assertEquals(parse("a.pth", "--names", "seed").options.names, "seed");
});

Deno.test("parseExportFlags() takes the format from the output's name", () => {
  const endings = {
    "b.onnx": "onnx",
    "b.ONNX": "onnx",
    "b.pth.tar": "pth",
    "b.pt": "pth",
    "b": "pth",
    "b.safetensors": "safetensors",
  };
  for (const [output, format] of Object.entries(endings)) {
    assertEquals(parse("a.pth", "-o", output).options.format, format, output);
  }
  assertEquals(parse("a.pth", "-o", "b.model", "--format", "onnx").options.format, "onnx");
});

Deno.test("parseExportFlags() refuses what does not go together", () => {
  const refuse = (args: string[], expected: RegExp) =>
    assertMatch(assertThrows(() => parse(...args), UsageError).message, expected);
  refuse([], /expected deno task export \[flags\] CHECKPOINT/);
  refuse(["a.pth", "b.pth"], /unexpected argument "b\.pth"/);
  refuse(["a.pth", "--format", "onxx"], /--format: expected one of pth, .*"onxx"; did you mean onnx\?/);
  refuse(["a.pth", "-a", "resnet19"], /-a: expected one of resnet18, resnet50/);
  refuse(
    ["a.pth", "-o", "b.onnx", "--format", "pth"],
    /b\.onnx has the extension of a onnx file, but --format is pth/,
  );
  refuse(["a.pth", "--format", "onnx", "--names", "moco"], /--names has no effect with --format onnx/);
  refuse(["a.pth", "--no-normalize", "--format", "pth"], /--normalize is for ONNX/);
  refuse(["a.pth", "--format", "onnx", "--normalize"], /--normalize is for embeddings.*--part encoder/);
  refuse(["a.pth", "--mean", "0.5"], /--mean takes three numbers, for red, green and blue/);
  refuse(["a.pth", "--std", "0.5,0,0.5"], /--std: /);
  refuse(["a.pth", "--format", "onnx", "--image-size", "4"], /--image-size: .*from 8 to 4096/);
});

Deno.test("parseExportFlags() shows the help, with every flag in it", () => {
  const help = exportHelp({ ...CONTEXT, extent: "all" });
  for (const args of [["--help", "all"], ["-h", "all", "--nonsense"]]) {
    assertEquals(parseExportFlags(args, CONTEXT), { help });
  }
  const flags = ["--part", "--which", "-a, --arch", "-o, --output", "--format", "--names", "--[no-]force"];
  for (const flag of [...flags, "--image-size", "--eval-resize", "--[no-]normalize", "resnet18, resnet50"]) {
    assertStringIncludes(help, flag);
  }
});
