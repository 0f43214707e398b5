import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { type DistillRequest, parseDistillFlags } from "../../cli/distill_flags.ts";
import { checkDistillInputs } from "../../cli/inputs.ts";
import { SAMPLE_DATA, SAMPLE_TEACHER } from "../../data/sample.ts";
import { UserError } from "../../errors.ts";

function parse(...args: string[]): DistillRequest {
  const command = parseDistillFlags(args, { encoders: ["resnet18", "resnet50"], folder: "/" });
  if (command.help !== undefined) throw new Error("help came instead of options");
  return command.options;
}

async function messageOf(...args: string[]): Promise<string> {
  return (await assertRejects(() => checkDistillInputs(parse(...args)), UserError)).message;
}

Deno.test("checkDistillInputs() finds the bundled pictures, teacher and test pictures", async () => {
  assertEquals((await checkDistillInputs(parse())).testData, join(SAMPLE_DATA, "test.tsv"));
  const given = join(SAMPLE_DATA, "train.tsv");
  assertEquals((await checkDistillInputs(parse("--test-data", given))).testData, given);
});

Deno.test("checkDistillInputs() leaves the evaluation out where there are no test pictures", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(join(folder, "train.tsv"), "");
    const options = await checkDistillInputs(parse("--data", folder, "--distill", SAMPLE_TEACHER));
    assertEquals(options.testData, null);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("checkDistillInputs() names the flag and the path of what is missing", async () => {
  const missing = join(SAMPLE_DATA, "missing");
  const teacher = ["--distill", SAMPLE_TEACHER];
  assertEquals(
    await messageOf("--data", missing, ...teacher),
    `--data: ${missing} does not exist. ${SAMPLE_DATA} has README.md, resnet18_moco_v2_cifar10.pth.tar, test.lineidx, ` +
      "test.tsv, train.lineidx, train.tsv.",
  );
  const empty = await Deno.makeTempDir();
  try {
    assertEquals(
      await messageOf("--data", empty, ...teacher),
      `--data: ${empty}: expected one of train.tsv, train/, train.bin, data_batch_1.bin, pictures, found none. ` +
        `${empty} has nothing in it.`,
    );
  } finally {
    await Deno.remove(empty);
  }
  assertEquals(
    await messageOf("--distill", missing),
    `--distill: there is no file ${missing}; expected the teacher's checkpoint`,
  );
  assertEquals(
    await messageOf("--resume", SAMPLE_DATA),
    `--resume: ${SAMPLE_DATA} is a folder; expected the checkpoint of a student`,
  );
  assertEquals(
    await messageOf("--test-data", join(SAMPLE_TEACHER, "below")),
    `--test-data: ${join(SAMPLE_TEACHER, "below")} does not exist. ${SAMPLE_DATA} has README.md, ` +
      "resnet18_moco_v2_cifar10.pth.tar, test.lineidx, test.tsv, train.lineidx, train.tsv. " +
      "Did you mean resnet18_moco_v2_cifar10.pth.tar?",
  );
});
