import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { type DistillRequest, parseDistillFlags } from "../../../cli/flags/distill_flags.ts";
import { parseLinclsFlags } from "../../../cli/flags/lincls_flags.ts";
import { parsePretrainFlags } from "../../../cli/flags/pretrain_flags.ts";
import {
  checkDistillInputs,
  checkFinetuneInputs,
  checkLinclsInputs,
  checkPretrainInputs,
} from "../../../cli/flags/inputs.ts";
import { SAMPLE_DATA, SAMPLE_TEACHER } from "../../../data/sample.ts";
import { HELD_OUT } from "../../../methods/held_out.ts";
import { UserError } from "../../../errors.ts";
import { encoderNames } from "../../../models/registry.ts";
import { TestFolder } from "../../data/folder.ts";

/** The bundled images, named. */
const OWN = ["--data", SAMPLE_DATA, "--distill", SAMPLE_TEACHER];

function parse(...args: string[]): DistillRequest {
  const command = parseDistillFlags(args, { encoders: ["resnet18", "resnet50"], folder: "/" });
  if (command.help !== undefined) throw new Error("help came instead of options");
  return command.options;
}

async function messageOf(...args: string[]): Promise<string> {
  return (await assertRejects(() => checkDistillInputs(parse(...args)), UserError)).message;
}

Deno.test("checkDistillInputs() finds the bundled images, teacher and test images", async () => {
  assertEquals((await checkDistillInputs(parse())).testData, join(SAMPLE_DATA, "test.tsv"));
  const given = join(SAMPLE_DATA, "train.tsv");
  assertEquals((await checkDistillInputs(parse(...OWN, "--test-data", given))).testData, given);
});

Deno.test("checkDistillInputs() evaluates on held-out labels where there are no test images", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(join(folder, "train.tsv"), "");
    const options = await checkDistillInputs(parse("--data", folder, "--distill", SAMPLE_TEACHER));
    assertEquals(options.testData, HELD_OUT);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the size in the name of an encoder with fresh weights is that of the images", async () => {
  const context = { encoders: encoderNames(), folder: "/" };
  const distilled = await checkDistillInputs(parse("-a", "vit_tiny_96"));
  assertEquals([distilled.studentArch, distilled.imageSize], ["vit_tiny_96", 96]);
  const pretrain = parsePretrainFlags(["-a", "vit_tiny_96"], context);
  assert(pretrain.help === undefined);
  const pretrained = await checkPretrainInputs(pretrain.options);
  assertEquals([pretrained.arch, pretrained.imageSize], ["vit_tiny_96", 96]);
  const lincls = parseLinclsFlags(["-a", "vit_tiny_96"], context);
  assert(lincls.help === undefined && lincls.method === "linear_probe");
  const evaluated = await checkLinclsInputs(lincls.options);
  assertEquals([evaluated.arch, evaluated.imageSize], ["vit_tiny_96", 96]);
});

Deno.test("checkFinetuneInputs() refuses --heads that fresh weights do not have", async () => {
  const context = { encoders: encoderNames(), folder: "/" };
  const command = parseLinclsFlags(["-a", "vit_tiny", "--finetune", "--heads", "12"], context);
  assert(command.help === undefined && command.method === "finetune");
  await assertRejects(
    () => checkFinetuneInputs(command.options),
    UserError,
    "--heads 12 contradicts vit_tiny_32, which has 3",
  );
});

Deno.test("checkDistillInputs() names the flag and the path of what is missing", async () => {
  const missing = join(SAMPLE_DATA, "missing");
  const teacher = ["--distill", SAMPLE_TEACHER];
  assertEquals(
    await messageOf("--data", missing, ...teacher),
    `--data: ${missing} does not exist. ${SAMPLE_DATA} contains README.md, classes.txt, resnet18_moco_v2_cifar10.pth.tar, test.lineidx, ` +
      "test.tsv, train.lineidx, train.tsv.",
  );
  const empty = await Deno.makeTempDir();
  try {
    assertEquals(
      await messageOf("--data", empty, ...teacher),
      `--data: ${empty}: expected one of train.tsv, train/, train.bin, data_batch_1.bin, images, found none. ` +
        `${empty} is empty.`,
    );
  } finally {
    await Deno.remove(empty);
  }
  assertEquals(
    await messageOf("--distill", missing),
    `--distill: ${missing} does not exist. ${SAMPLE_DATA} contains README.md, classes.txt, resnet18_moco_v2_cifar10.pth.tar, test.lineidx, ` +
      "test.tsv, train.lineidx, train.tsv.",
  );
  assertEquals(
    await messageOf("--resume", SAMPLE_DATA),
    `--resume: ${SAMPLE_DATA}: expected a student checkpoint, found a folder.`,
  );
  assertEquals(
    await messageOf(...OWN, "--test-data", join(SAMPLE_TEACHER, "below")),
    `--test-data: ${
      join(SAMPLE_TEACHER, "below")
    } does not exist. ${SAMPLE_DATA} contains README.md, classes.txt, ` +
      "resnet18_moco_v2_cifar10.pth.tar, test.lineidx, test.tsv, train.lineidx, train.tsv. " +
      "Did you mean resnet18_moco_v2_cifar10.pth.tar?",
  );
});

Deno.test({
  name: "checkDistillInputs() refuses a named pipe as a checkpoint, and does not wait for it",
  ignore: Deno.build.os === "windows", // which has none in folders
  async fn() {
    using folder = new TestFolder();
    const pipe = `${folder.path}/teacher.pth`;
    assertEquals((await new Deno.Command("mkfifo", { args: [pipe] }).output()).code, 0);
    assertEquals(
      await messageOf("--distill", pipe),
      `--distill: ${pipe}: expected a teacher checkpoint, found a named pipe. It must allow random access: write ` +
        "its output to a file first.",
    );
    assertStringIncludes(await messageOf("--student-init", "/dev/null"), "found a device. It must allow");
  },
});
