/** `--recipe` with teachers that it is for, and with others. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseDistillFlags } from "../../../cli/flags/distill_flags.ts";
import { checkDistillInputs } from "../../../cli/flags/inputs.ts";
import { SAMPLE_TEACHER } from "../../../data/sample.ts";
import { UserError } from "../../../errors.ts";
import { RunFolder, TINY_ENCODER } from "../../actors/small_run.ts";
import { referencePath } from "../../reference.ts";
import { vitTest } from "../../vit_files.ts";
import { hostPrograms } from "../run_program.ts";

const runProgram = hostPrograms();
const DISTILL = fileURLToPath(new URL("../../../cli/commands/distill.ts", import.meta.url));
const path = (name: string) => referencePath(`vit/checkpoints/${name}`);

async function check(...args: string[]) {
  const command = parseDistillFlags(args, {
    encoders: ["resnet18", "resnet50"],
    teachers: ["resnet18", "resnet50", "dinov2_vits14", "dino_vits16"],
    folder: "/",
  });
  if (command.help !== undefined) throw new Error("help came instead of options");
  const { teacherArch, temp, dim } = await checkDistillInputs(command.options, command);
  return { teacherArch, temp, dim, warnings: command.warnings };
}

vitTest("a recipe takes another encoder of its teacher's method with a warning", async () => {
  const teacher = path("dinov2_tiny_reg.pth");
  const flags = ["--recipe", "dinov2-vits14", "--distill", teacher, "--heads", "2", "--image-size", "56"];
  const arch = "dinov2_vit_p14_w64_b2_h2_f256_r4_g5";
  assertEquals(await check(...flags), {
    teacherArch: arch,
    temp: 0.07,
    dim: 64,
    warnings: [
      `--recipe dinov2-vits14 is for dinov2_vits14, but ${teacher} holds a ${arch}; its settings are used all the same`,
    ],
  });
});

vitTest("a recipe refuses a teacher of another method, and says which recipe is for it", async () => {
  const refuse = async (recipe: string, teacher: string, expected: string) => {
    const error = await assertRejects(() => check("--recipe", recipe, "--distill", teacher), UserError);
    assertStringIncludes(error.message, `--recipe ${recipe} is for ${expected}`);
  };
  const tiny = path("dinov2_width128.pth");
  await refuse(
    "dino-vits16",
    tiny,
    `dino_vits16, but ${tiny} holds a dinov2_vit_p14_w128_b2_h2_f512_r0_g5; leave --recipe out`,
  );
  await refuse(
    "paper-moco-r50",
    SAMPLE_TEACHER,
    `resnet50, but ${SAMPLE_TEACHER} holds a resnet18; leave --recipe out`,
  );
  // A flag of one's own wins, and it is what the error speaks of.
  const own = ["--recipe", "dino-vits16", "--distill", tiny, "--teacher-arch", "dinov2_vits14"];
  assertStringIncludes(
    (await assertRejects(() => check(...own), UserError)).message,
    "--teacher-arch is dinov2_vits14",
  );
});

Deno.test("a recipe whose encoder a flag replaces is named where the teacher is of another method", async () => {
  const refused = async (arch: string) => {
    const own = ["--recipe", "paper-swav-r50", "--distill", SAMPLE_TEACHER, "--teacher-arch", arch];
    return (await assertRejects(() => check(...own), UserError)).message;
  };
  assertEquals(
    await refused("resnet18"),
    `--recipe paper-swav-r50 is for swav_resnet50, but ${SAMPLE_TEACHER} holds a resnet18; leave --recipe out`,
  );
  // Nothing is said of a method that no flag names.
  assertStringIncludes(await refused("resnet50"), "holds a resnet18, but --teacher-arch is resnet50");
});

vitTest("a run with a recipe prints its settings, and records its name", async () => {
  using folder = new RunFolder(8, 4);
  const output = join(folder.path, "run");
  const { code, stdout, stderr } = await runProgram(
    DISTILL,
    ...["--recipe", "dinov2-vits14", "--distill", path("dinov2_tiny_reg.pth"), "--data", folder.data],
    ...["--output", output, "--plugin", fileURLToPath(TINY_ENCODER), "-a", "tiny_convnet"],
    ..."--heads 2 --image-size 28 -b 4 --queue 8 -j 1 --limit-steps 1 --no-insight".split(" "),
  );
  assertEquals(code, 0, stderr);
  assertStringIncludes(stdout + stderr, "recipe    dinov2-vits14, with these settings:");
  const { recipe, temp, distill_t, dim, student_mlp } = JSON.parse(
    Deno.readTextFileSync(join(output, "config.json")),
  );
  assertEquals({ recipe, temp, distill_t, dim, student_mlp }, {
    recipe: "dinov2-vits14",
    temp: 0.07,
    distill_t: 0.07,
    dim: 64,
    student_mlp: false,
  });
});
