/** Sizes of `deno task bench:paper`: which encoders, images and settings. */
import type { DistillInput, LinearInput, PretrainInput } from "../mod.ts";
import { counted } from "../data/printable.ts";
import { SAMPLE_TEACHER } from "../data/sample.ts";
import { PRETRAIN_DEFAULTS } from "../methods/moco/defaults.ts";
import { PAPER_DEFAULTS } from "../methods/seed/defaults.ts";
import { findEncoder } from "../models/registry.ts";
import { DEFAULT_LOSS } from "../models/loss/losses.ts";
import type { Experiment, Work } from "./experiments.ts";

/** An encoder that teaches. */
export interface PaperTeacher {
  arch: string;
  work: Work;
  title: string;
  /** Whether it is trained on all images, where the students are not. */
  onAll?: boolean;
}

/** A size of the comparison. */
export interface PaperSize {
  /** Of the section of what is found. */
  section: { name: string; title: string; about?: string };
  /** Images to train on and to evaluate on, drawn from CIFAR-10's; `null` for all. */
  images: { train: number; test: number } | null;
  /** The encoder that teaches. */
  teacher: PaperTeacher;
  /** Another one: a worse one, for an ablation, or the one that taught the teacher. */
  otherTeacher: PaperTeacher & { name: string; teachesStudents: boolean };
  /** Encoders that are taught; ablations are of the first one. */
  students: readonly string[];
  /** Seeds of each student, from 0. */
  seeds: number;
  /** Seeds of each ablation; 0 for no ablations. */
  ablationSeeds: number;
  /** Epochs of each student, with and without a teacher. */
  epochs: number;
  /** Settings of MoCo-v2 on a student. */
  moco: Partial<PretrainInput>;
  /** Settings of SEED. */
  seed: Partial<DistillInput>;
  /** What multi-view adds to them, if it is compared; students that do not take views as small go without. */
  multiView: Required<Pick<DistillInput, "smallViews" | "smallSize">> | null;
  /** Neighbours in kNN. */
  knnK: number;
  /** Settings of the linear classifiers. */
  linear: Partial<LinearInput>;
  /** Values of the ablations. */
  temperatures: readonly number[];
  queues: readonly number[];
  losses: readonly string[];
  mixups: readonly number[];
  bnSplits: readonly number[];
  /** Further changes of SEED's settings, as they are typed. */
  changes: Readonly<Record<string, Partial<DistillInput>>>;
}

/** Features are computed once, without augmentation; of several learning rates the best counts. */
const LINEAR: Partial<LinearInput> = {
  epochs: 30,
  schedule: [20, 25],
  warmupEpochs: 0,
  batchSize: 256,
  cacheFeatures: true,
};

/** What the paper varies (Fang et al. 2021, section 4.3 and appendix): the teacher's temperature, queue, loss. */
const ABLATIONS = {
  temperatures: [0.01, 0.04, 0.07, 0.1],
  queues: [128, 1024, 16_384],
  losses: ["seed", "cosine", "mse", "in_batch"],
  mixups: [0, 1],
} as const;

/**
 * MoCo with the numbers of MoCo's notebook for CIFAR-10, where it is a ResNet-18 for 200 epochs, in batches of 512. Head and
 * augmentation are MoCo-v2's: the notebook has a head of one layer, crops of 0.08 to 1 of the area, and no blur.
 */
const NOTEBOOK: Partial<PretrainInput> = {
  lr: 0.06,
  weightDecay: 5e-4,
  mocoK: 4096,
  mocoM: 0.99,
  mocoT: 0.1,
  bnSplits: 8,
  imageSize: 32,
};

const BUNDLED: PaperTeacher = {
  arch: "resnet18",
  work: { method: "given", path: SAMPLE_TEACHER },
  title: "bundled",
};

/** Of `full`: the teacher, and as a worse one the same encoder after a tenth of its epochs. */
export function pretrainedTeachers(
  arch: string,
  epochs: number,
): Pick<PaperSize, "teacher" | "otherTeacher"> {
  const pretrained = (epochs: number): PaperTeacher => ({
    arch,
    work: { method: "moco", options: { ...NOTEBOOK, epochs, batchSize: 512 } },
    title: "MoCo-v2",
  });
  const worse = pretrained(Math.max(1, Math.round(epochs / 10)));
  return {
    teacher: pretrained(epochs),
    otherTeacher: { ...worse, name: "worse-teacher", teachesStudents: true },
  };
}

const COMPARISON = { name: "paper", title: "SEED against MoCo-v2 on CIFAR-10" };

/** What most of `small` and `vit` have alike. */
const FEW_IMAGES = {
  images: { train: 4000, test: 1000 },
  students: ["mobilenetv3_small"],
  seeds: 3,
  ablationSeeds: 1,
  epochs: 6,
  knnK: 20,
  linear: { ...LINEAR, lr: [0.01, 0.03, 0.1, 0.3] },
} satisfies Partial<PaperSize>;

/** Sizes by the name that `--size` takes. */
export const PAPER_SIZES: Readonly<Record<"small" | "full" | "vit", PaperSize>> = {
  small: {
    ...FEW_IMAGES,
    section: COMPARISON,
    teacher: BUNDLED,
    otherTeacher: {
      name: "worse-teacher",
      teachesStudents: true,
      arch: "resnet18",
      // Nothing is learnt at a rate of 0, but batch norm takes the statistics of the images.
      work: { method: "moco", options: { lr: 0, epochs: 1, batchSize: 64, mocoK: 1024, imageSize: 32 } },
      title: "fresh weights",
    },
    moco: { batchSize: 32, lr: 0.1, mocoK: 1024, mocoM: 0.99, mocoT: 0.1, imageSize: 32 },
    seed: {
      batchSize: 32,
      lr: 0.1,
      scaleLr: false,
      warmupEpochs: 0,
      queue: 1024,
      imageSize: 32,
    },
    multiView: { smallViews: 2, smallSize: 16 },
    ...ABLATIONS,
    bnSplits: [1, 4], // groups of 8 images, the fewest
    changes: {},
  },
  full: {
    section: COMPARISON,
    images: null,
    ...pretrainedTeachers("resnet50_cifar", 200),
    students: ["resnet18_cifar", "mobilenetv3_large_cifar", "efficientnet_b0_cifar"],
    seeds: 3,
    ablationSeeds: 1,
    epochs: 100,
    moco: { ...NOTEBOOK, batchSize: 256 },
    seed: { batchSize: 256, lr: 0.1, scaleLr: false, warmupEpochs: 5, queue: 16_384, imageSize: 32 },
    multiView: { smallViews: 4, smallSize: 16 },
    knnK: 200,
    linear: { ...LINEAR, lr: [0.1, 0.3, 1, 3, 10] },
    ...ABLATIONS,
    queues: [256, 1024, 16_384], // no fewer than a batch
    losses: [...ABLATIONS.losses, "tokens"], // of the small size, maps have one place
    bnSplits: [1, 8],
    changes: {},
  },
  vit: {
    ...FEW_IMAGES,
    section: {
      name: "vit-teacher",
      title: "Settings under a vision transformer that teaches",
      about:
        "Unless a row says otherwise, SEED has the settings of the recipes for such teachers: `--feature cls --dim 192 " +
        "--temp 0.07 --distill-t 0.07 --no-student-mlp`, here with `--queue 1024 --lr 0.1`, and images of 64 pixels.",
    },
    teacher: {
      arch: "vit_tiny_64",
      onAll: true,
      work: {
        method: "seed",
        teacher: "bundled",
        options: {
          ...{ epochs: 2, batchSize: 64, lr: 0.001, warmupEpochs: 0, queue: 1024, loss: "cosine" },
          ...{ lrPerStep: false, imageSize: 64, teacherSize: 32 },
        },
      },
      title: "taught on all images by the bundled ResNet-18",
    },
    otherTeacher: { ...BUNDLED, name: "bundled", teachesStudents: false },
    moco: { batchSize: 32, lr: 0.1, mocoK: 1024, mocoM: 0.99, mocoT: 0.1, imageSize: 64 },
    // As the recipes for teachers of DINO's kind have it: the class token at full width, and no head.
    seed: {
      ...{ batchSize: 32, lr: 0.1, scaleLr: false, warmupEpochs: 0, queue: 1024, imageSize: 64 },
      ...{ feature: "cls", dim: 192, temp: 0.07, distillT: 0.07, studentMlp: false },
    },
    multiView: null,
    temperatures: [0.01, 0.04, 0.07, 0.1],
    queues: [128, 1024, 4096],
    losses: ["seed", "cosine", "mse", "tokens"],
    mixups: [0, 1],
    bnSplits: [],
    changes: {
      "--temp 0.2 --distill-t 0.01 --student-mlp": { temp: 0.2, distillT: 0.01, studentMlp: true },
      "--temp 0.2": { temp: 0.2 },
      "--student-mlp": { studentMlp: true },
      "--lr 0.03": { lr: 0.03 },
      "--lr 0.3": { lr: 0.3 },
      "--optimizer adamw --lr 0.001 --no-lr-per-step": {
        ...{ optimizer: "adamw", lr: 0.001, lrPerStep: false, weightDecay: 0.05 },
      },
      "--feature mean": { feature: "mean" },
      "--feature cls+mean --dim 384": { feature: "cls+mean", dim: 384 },
    },
  },
};

/** A row of the table. */
export interface PaperRow {
  /** What stands in the first column. */
  title: string;
  /** Name of the experiment that it shows. */
  experiment: string;
  seeds: number;
}

/** What is run, in which order, and which rows show it. */
export interface PaperPlan {
  /** Experiments with their seeds: what others need comes before them. */
  steps: readonly { experiment: Experiment; seed: number }[];
  rows: readonly PaperRow[];
}

/** The plan of a size. */
export function planOf(size: PaperSize): PaperPlan {
  const experiments = new Map<string, Planned>();
  const rows: PaperRow[] = [];
  const add = (title: string, seeds: number, experiment: Experiment, round = 0) => {
    const { name } = experiment;
    if (!experiments.has(name)) experiments.set(name, { experiment, seeds, round });
    rows.push({ title, experiment: name, seeds: Math.min(seeds, experiments.get(name)!.seeds) });
  };
  const { teacher, otherTeacher, epochs, seeds, ablationSeeds } = size;
  const distilled = (
    arch: string,
    suffix: string,
    options: Partial<DistillInput> = {},
    teacher = "teacher",
  ): Experiment => ({
    name: `${arch}-seed${suffix}`,
    arch,
    work: { method: "seed", teacher, options: { ...size.seed, epochs, ...options } },
  });
  const pretrained = (arch: string, suffix: string, options: Partial<PretrainInput>): Experiment => ({
    name: `${arch}-${suffix}`,
    arch,
    work: { method: "moco", options: { ...size.moco, epochs, ...options } },
  });

  const teaching = (name: string, { arch, work, onAll }: PaperTeacher): Experiment => (
    { name, arch, work, ...onAll && { onAll } }
  );
  const titleOf = ({ arch, work, title }: PaperTeacher) =>
    `${arch}, ${title}${
      work.method === "moco" && work.options.lr !== 0 ? `, ${counted(work.options.epochs!, "epoch")}` : ""
    }`;
  const addOther = (title: string, round: number) => {
    add(`${title}: ${titleOf(otherTeacher)}`, 1, teaching(otherTeacher.name, otherTeacher), round);
  };
  add(`teacher: ${titleOf(teacher)}`, 1, teaching("teacher", teacher));
  if (!otherTeacher.teachesStudents) addOther("the teacher's own", BEFORE_ALL);
  for (const arch of size.students) {
    add(`${arch}: fresh weights`, seeds, pretrained(arch, "fresh", { lr: 0, epochs: 1 }));
    add(`${arch}: MoCo-v2 alone`, seeds, pretrained(arch, "moco", {}));
    add(`${arch}: SEED`, seeds, distilled(arch, ""));
    const { smallest = 1 } = findEncoder(arch);
    if (size.multiView === null || size.multiView.smallSize < smallest) continue; // EfficientNet's of the small size
    add(`${arch}: SEED, multi-view`, seeds, distilled(arch, "-multi-view", size.multiView), COSTLY);
  }

  if (ablationSeeds === 0) return { steps: orderOf([...experiments.values()]), rows };
  const [arch] = size.students;
  // The usual value of a setting is the student's own run, and has a row among the others.
  const vary = <Value>(
    values: readonly Value[],
    { usual, title }: { usual: Value; title: string },
    experimentOf: (value: Value) => Experiment,
    own: Experiment = distilled(arch, ""),
  ) => {
    let round = 0;
    for (const value of values) {
      const isUsual = value === usual;
      add(
        `${title} ${value}`,
        isUsual ? seeds : ablationSeeds,
        isUsual ? own : experimentOf(value),
        isUsual ? 0 : ++round,
      );
    }
  };
  const { distillT = PAPER_DEFAULTS.distillT, queue } = size.seed;
  vary(
    size.temperatures,
    { usual: distillT, title: "SEED, --distill-t" },
    (distillT) => distilled(arch, `-distill-t-${distillT}`, { distillT }),
  );
  vary(
    size.queues,
    { usual: queue, title: "SEED, --queue" },
    (queue) => distilled(arch, `-queue-${queue}`, { queue }),
  );
  vary(
    size.losses,
    { usual: DEFAULT_LOSS, title: "--loss" },
    (loss) => distilled(arch, `-loss-${loss}`, { loss }),
  );
  vary(
    size.mixups,
    { usual: PAPER_DEFAULTS.mixup, title: "SEED, --mixup" },
    (mixup) => distilled(arch, `-mixup-${mixup}`, { mixup }),
  );
  for (const [flags, options] of Object.entries(size.changes)) {
    add(`SEED, ${flags}`, ablationSeeds, distilled(arch, flags.replaceAll(/[ -]+/g, "-"), options), 1);
  }
  if (otherTeacher.teachesStudents) {
    addOther("worse teacher", 1);
    const { name } = otherTeacher;
    add("SEED by the worse teacher", ablationSeeds, distilled(arch, `-${name}`, {}, name), 1);
  }
  vary(
    size.bnSplits,
    { usual: size.moco.bnSplits ?? PRETRAIN_DEFAULTS.bnSplits, title: "MoCo-v2, --bn-splits" },
    (bnSplits) => pretrained(arch, `moco-bn-splits-${bnSplits}`, { bnSplits }),
    pretrained(arch, "moco", {}),
  );
  return { steps: orderOf([...experiments.values()]), rows };
}

/** The round of what takes several times as long as the rest. */
const COSTLY = 100;
/** The round of what all the others need. */
const BEFORE_ALL = -1;

/** An experiment, and when it is run. */
interface Planned {
  experiment: Experiment;
  seeds: number;
  /** 0 for the comparison itself, 1 for the first value of each ablation, and so on. */
  round: number;
}

/** All of the first seed by rounds, so that a table made early has something of each ablation; then further seeds. */
function orderOf(planned: readonly Planned[]): PaperPlan["steps"] {
  const most = Math.max(...planned.map(({ seeds }) => seeds));
  const all = Array.from({ length: most }, (_, seed) => seed).flatMap((seed) =>
    planned.filter(({ seeds }) => seed < seeds).map((one) => ({ ...one, seed }))
  );
  const rank = ({ seed, round }: typeof all[number]) => seed === 0 ? round : COSTLY + 1 + Math.min(round, 1);
  return all.toSorted((a, b) => rank(a) - rank(b)).map(({ experiment, seed }) => ({ experiment, seed }));
}
