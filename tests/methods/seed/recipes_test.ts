// A recipe of the library against that of the command line.
import { assertEquals, assertRejects } from "@std/assert";
import { parseDistillFlags } from "../../../cli/flags/distill_flags.ts";
import { SAMPLE_DATA, SAMPLE_TEACHER } from "../../../data/sample.ts";
import type { DistillOptions } from "../../../methods/seed/options.ts";
import { METHODS } from "../../../methods/registry.ts";
import { distill, UserError } from "../../../mod.ts";
import { studentNames, teacherNames } from "../../../models/registry.ts";

/** What a recipe, and a student's optimizer, decide. */
const DECIDED = [
  ...["optimizer", "lr", "weightDecay", "epochs", "warmupEpochs", "queue", "temp", "distillT", "studentMlp"],
  ...["imageSize", "smallViews", "smallSize", "augmentation", "loss"],
] as (keyof DistillOptions)[];

for (
  const [title, input, expected] of [
    ["keeps AdamW's settings", { recipe: "paper-moco-r50", studentArch: "vit_small" }, { lr: 5e-4 }],
    ["has its queue and temperatures", { recipe: "dinov2-vits14" }, { queue: 8192, temp: 0.07, lr: 0.03 }],
    ["yields to what is asked for", { recipe: "dinov2-vits14", queue: 512, lr: 0.1 }, {
      queue: 512,
      lr: 0.1,
    }],
    ["leaves small views to their augmentation", { recipe: "dinov2-vits14", smallViews: 2 }, {
      augmentation: undefined,
    }],
  ] as [string, Partial<DistillOptions> & { recipe: string }, Partial<DistillOptions>][]
) {
  Deno.test(`distill({ recipe }) ${title}, as --recipe does`, async () => {
    // The bundled teacher is none of the recipes', so it is named.
    const teacher = { teacherArch: "resnet18", teacherSsl: "moco" } as const;
    const files = { data: SAMPLE_DATA, distill: SAMPLE_TEACHER, output: "/none" };
    const options = await METHODS.seed.resolve({ ...files, ...teacher, ...input }, () => {});
    const flags = Object.entries({ ...files, ...teacher, ...input }).flatMap(([name, value]) => [
      `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
      String(value),
    ]);
    const command = parseDistillFlags(flags, {
      encoders: studentNames(),
      teachers: teacherNames(),
      folder: "/",
    });
    if (command.help !== undefined) throw new Error("expected a run");
    for (const name of DECIDED) {
      const { [name]: byFlag } = command.options;
      assertEquals(options[name], name in expected ? expected[name] : byFlag, name);
      assertEquals(options[name], byFlag, name);
    }
  });
}

Deno.test("distill() refuses a recipe that there is not, and names the nearest", async () => {
  const input = { data: SAMPLE_DATA, distill: SAMPLE_TEACHER, output: "/none", recipe: "paper-moco-r5" };
  await assertRejects(() => distill(input).result, UserError, "paper-moco-r50");
});
