// `deno task export`, started as people start it.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SAMPLE_TEACHER } from "../../../data/sample.ts";
import { loadStateDict } from "../../../models/checkpoint/state_dict.ts";
import { EXPORT_FORMATS } from "../../../models/export/export_encoder.ts";
import { withFolder } from "../../models/checkpoint/fixtures.ts";
import { decodeOnnx } from "../../models/export/onnx_runtime.ts";
import { referencePath } from "../../reference.ts";
import { hostPrograms } from "../run_program.ts";
import { remountReadOnly, withMount } from "../../with_mount.ts";

const runProgram = hostPrograms();
const PROGRAM = fileURLToPath(new URL("../../../cli/commands/export.ts", import.meta.url));

const run = (...args: string[]) => runProgram(PROGRAM, ...args);

/** A person's mistake: one clear message, a code other than 0, nothing of the program's inside. */
async function assertRefused(args: string[], expected: RegExp, code = 1): Promise<void> {
  const ended = await run(...args);
  assertEquals([ended.code, ended.stdout], [code, ""], `${args.join(" ")}\n${ended.stderr}`);
  assertMatch(ended.stderr, /^error: [^\n]*\n$/);
  assertMatch(ended.stderr, expected);
}

Deno.test("export writes the bundled teacher in every format, and says how to open it", async () => {
  await withFolder(async (folder) => {
    const teacher = join(folder, "teacher.pth.tar");
    Deno.copyFileSync(SAMPLE_TEACHER, teacher);

    const pth = await run(teacher);
    const output = join(folder, "teacher_resnet18_backbone.pth");
    const input =
      "images of 32 x 32 pixels, crop ratio 1, ImageNet's mean and std, stem conv 7x7/2, max pool 3x3/2";
    assertEquals([pth.code, pth.stderr], [0, `note: ${teacher} says: ${input}\n`]);
    assertEquals(pth.stdout.split("\n"), [
      `file       ${output}`,
      "format     pth, plain names",
      "encoder    resnet18, without its head (from a moco checkpoint)",
      `input      ${input}`,
      `weights    11,176,512 parameters in 120 tensors, ${
        Deno.statSync(output).size.toLocaleString("en-US")
      } bytes`,
      "in Python  model = torchvision.models.resnet18()",
      "           model.fc = torch.nn.Identity()",
      `           model.load_state_dict(torch.load("${output}"))`,
      "",
    ]);

    const tensors = await run(teacher, "--part", "encoder", "-o", join(folder, "b.pth.tar"));
    assertEquals(tensors.code, 0, tensors.stderr);
    assertStringIncludes(tensors.stdout, "format     pth, moco names\n");
    using state = await loadStateDict(join(folder, "b.pth.tar"));
    assertEquals([state.framework, state.arch], ["moco", "resnet18"]);

    const flags = "--part encoder --format onnx --normalize --image-size 64 --eval-resize torchvision";
    const onnx = await run(teacher, ...flags.split(" "));
    assertEquals(onnx.code, 0, onnx.stderr);
    assertStringIncludes(
      onnx.stderr,
      `${input}; using 64 x 64 pixels instead, as requested; using crop ratio 0.875 instead, as requested\n`,
    );
    assertStringIncludes(onnx.stdout, "format     onnx\n");
    assertStringIncludes(onnx.stdout, "input      images of 64 x 64 pixels, crop ratio 0.875, ");
    assertStringIncludes(onnx.stdout, '.run(["normalized"], {"images": images})\n');
    const { graph } = decodeOnnx(Deno.readFileSync(join(folder, "teacher_resnet18_encoder.onnx")));
    assertEquals(graph.output.map(({ name }) => name), ["normalized", "feature"]);
    assertEquals([...Deno.readDirSync(folder)].length, 4);
  });
});

Deno.test("export refuses wrong flags and files, and leaves what is there alone", async () => {
  await withFolder(async (folder) => {
    const output = join(folder, "a.pth");
    await assertRefused([], /expected deno task export \[flags\] CHECKPOINT/, 2);
    await assertRefused([SAMPLE_TEACHER, "--format", "tflite"], /--format: expected one of pth, /, 2);
    await assertRefused([SAMPLE_TEACHER, "--quite"], /unknown flag --quite; did you mean --quiet\?/, 2);
    await assertRefused([join(folder, "no.pth")], /no\.pth: no such file/);
    await assertRefused([folder], /is a folder/);
    await assertRefused(
      [referencePath("checkpoints/bad_text.pth.tar"), "-o", output],
      /bad_text\.pth\.tar: /,
    );
    await assertRefused([SAMPLE_TEACHER, "-a", "resnet50", "-o", output], /does not fit the encoder/);
    await assertRefused([SAMPLE_TEACHER, "--which", "teacher", "-o", output], /has only one encoder/);
    assertEquals([...Deno.readDirSync(folder)], []);

    Deno.writeTextFileSync(output, "mine");
    await assertRefused([SAMPLE_TEACHER, "-o", output], /a\.pth already exists.*--force/);
    assertEquals(Deno.readTextFileSync(output), "mine");
    const forced = await run(SAMPLE_TEACHER, "-o", output, "--force");
    assertEquals(forced.code, 0, forced.stderr);
    assert(Deno.statSync(output).size > 1e6);
  });
});

Deno.test("export leaves no half file where the disk is full or read-only, or the folder is missing", async ({ name }) => {
  await withFolder(async (folder) => {
    const missing = join(folder, "missing", "a.onnx");
    await assertRefused(
      [SAMPLE_TEACHER, "-o", missing],
      /a\.onnx: could not be written: the folder .* does not exist/,
    );
    const disk = join(folder, "disk");
    await withMount(name, disk, "size=1m", async () => {
      for (const format of EXPORT_FORMATS) {
        const output = join(disk, `a.${format}`);
        await assertRefused([SAMPLE_TEACHER, "-o", output], /no space left.*no file was created/);
        assertEquals([...Deno.readDirSync(disk)], []);
      }
      await remountReadOnly(disk);
      await assertRefused([SAMPLE_TEACHER, "-o", join(disk, "a.onnx")], /is not writable/);
    });
  });
});
