/**
 * Settings by the name that `--recipe` takes, for the teachers that they are for: those of the paper's experiments, and settings
 * for the teachers of DINO, DINOv2, DINOv3 and MoCo-v3. To add one: a row.
 */
import type { Encoder } from "../../models/encoder.ts";
import { FAMILIES } from "../../models/registry.ts";
import type { Defaults } from "./defaults.ts";
import type { DistillOptions } from "./options.ts";

/** A recipe: settings, and the teacher that they are for. */
export type Recipe =
  & Partial<Defaults>
  & Pick<DistillOptions, "teacherArch" | "teacherSsl">
  & Partial<Pick<DistillOptions, "augmentation" | "loss">>;

/** What the paper's runs have where nothing says otherwise (section 4.1 and appendix): said in full, so that a recipe does not change. */
const PAPER = {
  epochs: 200,
  batchSize: 256,
  lr: 0.03,
  scaleLr: true,
  warmupEpochs: 5,
  cos: true,
  momentum: 0.9,
  weightDecay: 1e-4,
  dim: 128,
  queue: 65_536,
  temp: 0.2,
  distillT: 0.01,
  studentMlp: true,
  imageSize: 224,
  smallViews: 0,
} satisfies Partial<Defaults>;

/**
 * SWAV's teachers teach with six small views of each image (the original's main_small-patch.py). Its README says so of deeper
 * teachers than ResNet-50, which teach for 800 epochs. Its command for ResNet-50 is that script's too; the student of that
 * teacher in its table had 200 epochs, and nothing says whether it saw small views.
 */
const MULTI_VIEW = { ...PAPER, smallViews: 6, smallSize: 96 } satisfies Partial<Defaults>;

const { dim: _, ...PAPER_OF_ANY_LENGTH } = PAPER;

/**
 * For teachers whose embedding is their feature; `dim` follows it. The loss is the paper's, and so are optimizer, epochs and
 * views. Both temperatures, the length of the queue and the single layer to the teacher's length are those of version 1 of
 * lightly-train's distillation, which was made for DINOv2's teachers. They were tried under a small vision transformer
 * (`docs/distilling.md`), and nothing was measured with released weights.
 */
const FEATURES = {
  ...PAPER_OF_ANY_LENGTH,
  loss: "seed",
  augmentation: "mocov2",
  queue: 8192,
  temp: 0.07,
  distillT: 0.07,
  studentMlp: false,
} satisfies Partial<Recipe>;

/** A recipe for an encoder that was released: `dinov2_vits14_reg` is `dinov2-vits14-reg`, with views of its usual size. */
function forFeatures({ name, ssl, sizes }: Encoder): [string, Recipe] {
  const teacher = { teacherArch: name, teacherSsl: ssl };
  return [name.replaceAll("_", "-"), { ...FEATURES, ...sizes && { imageSize: sizes.usual }, ...teacher }];
}

/** Every recipe by its name. */
export const RECIPES: Readonly<Record<string, Recipe>> = {
  "paper-moco-r50": { ...PAPER, teacherArch: "resnet50", teacherSsl: "moco" },
  "paper-moco-r101": { ...PAPER, teacherArch: "resnet101", teacherSsl: "moco" },
  "paper-moco-r152": { ...PAPER, teacherArch: "resnet152", teacherSsl: "moco" },
  "paper-simclr-r50": { ...PAPER, teacherArch: "simclr_resnet50", teacherSsl: "simclr" },
  "paper-swav-r50": { ...MULTI_VIEW, teacherArch: "swav_resnet50", teacherSsl: "swav" },
  "paper-swav-r50w2": { ...MULTI_VIEW, epochs: 800, teacherArch: "swav_resnet50w2", teacherSsl: "swav" },
  ...Object.fromEntries(
    FAMILIES.flatMap(({ released }) => released.filter(({ roles }) => !roles.includes("student"))).map(
      forFeatures,
    ),
  ),
};

/**
 * Returns the settings of a recipe, for those that are not asked for.
 *
 * @param asked small views among it are drawn as SWAV draws them, and so are all unless an augmentation is asked for: none of a recipe's
 */
export function recipeSettings(
  name: string,
  { smallViews }: Pick<Partial<DistillOptions>, "smallViews">,
): Recipe {
  return { ...RECIPES[name], ...smallViews && { augmentation: undefined } };
}

/** Name of the recipe for a teacher; `undefined` where there is none. */
export function recipeFor(teacherArch: string): string | undefined {
  return Object.entries(RECIPES).find(([, recipe]) => recipe.teacherArch === teacherArch)?.[0];
}
