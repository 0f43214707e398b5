/**
 * Every setting of the tasks that compute or write, and the test that fails when it has no effect. A flag that is added
 * needs a row here: `FILE: part of the test's name`, from `tests/`. Rows that begin with `-` say why there is none.
 */

const RUN = "methods/seed/settings_test.ts: warm-up, cosine, SGD";
const PER_STEP = "methods/lr_per_step_test.ts: --lr-per-step gives each step of a distillation";
const PRETRAIN_PER_STEP = "methods/lr_per_step_test.ts: --lr-per-step gives each step of a pretraining";
const FINETUNE_PER_STEP = "methods/lr_per_step_test.ts: --lr-per-step gives each step of a fine-tuning";
const MORE = "methods/seed/settings_test.ts: steps of the rate";
const LINEAR = "methods/linear_probe/settings_test.ts: does with each of its settings";
const FINETUNE = "methods/finetune/settings_test.ts: does with each of its settings";
const KNN = "methods/knn_settings_test.ts: kNN votes with as many neighbours";
const AMP = "methods/amp_test.ts: --amp keeps a frozen encoder in float16, in every task";
const FAST =
  "methods/fast_decode_test.ts: --fast-decode decodes JPEGs at half their size, in every task and by every cache";
const KNN_SAMPLE = "methods/knn_settings_test.ts: kNN of a run takes a sample";
const PIXELS = "actors/max_pixels_test.ts: an image of more pixels";
const SAVING = "methods/seed/saving_test.ts: student_trainer saves every so many steps";
const DISTILL = "cli/commands/distill_test.ts: distill writes its files";
const LINCLS = "cli/commands/lincls_test.ts: lincls evaluates a checkpoint";
const PLUGIN = "cli/flags/plugin_test.ts: an encoder of one's own is distilled";
const CACHE = "methods/cache_test.ts: a distillation has the same weights wherever";
const CONSOLE = "cli/commands/console_test.ts: prints a line every so many steps, none where it is quiet";
const PAGE = "ui/live_run_test.ts: ";
const RESIZE = "actors/evaluation_resize_test.ts: features of images of the view's size follow the rule";
const ROWS = "cli/commands/embed_test.ts: embed writes a row for each image";
const SHEET = "cli/commands/embed_test.ts: embed finds the nearest images";
const KNN_CHOICE =
  "cli/commands/encoder_choice_test.ts: knn evaluates the encoder of --which, and fresh weights of --seed";
const EMBED_CHOICE =
  "cli/commands/encoder_choice_test.ts: embed does as --which, --part, --split and --image-size say";
const CONVERT = "data/convert/convert_test.ts: convert() keeps the order, shuffles by the seed";
const WEIGHTS =
  "methods/weights_test.ts: --weights chooses among the encoders of a checkpoint, in every task";
const HEADS =
  "methods/vit_teacher_test.ts: --heads of a vision transformer changes what it gives, in every task";
const SIZES = "methods/seed/settings_test.ts: a run with mixup, the loss ";
const FEATURE = "models/features_test.ts: --feature changes what an encoder gives, in every task";
const STEM = "models/stem_test.ts: a student with --stem cifar is saved, embedded";
const STEM_CHOICE = "models/stem_test.ts: of encoders that have the same tensors with either stem";
const FORMATS = "cli/commands/export_test.ts: export writes the bundled teacher in every format";
const NORMALIZED =
  "models/export/export_vit_test.ts: a mean and a deviation that an export is given are those of every later task";
const TUNED = "cli/output/run_tuning_test.ts: findTuning() goes on with what a run began with";

const VIT = "methods/vit_student_test.ts: a vision transformer is pretrained, taught and fine-tuned";

const MOCO = "methods/moco/settings_test.ts: does with each of its settings what is done by hand";
const MOCO_RUN = "methods/moco/run_test.ts: a pretrained encoder is evaluated next to training";
const PRETRAIN = "cli/commands/pretrain_test.ts: pretrain writes its files";
const SAME = "- the same code as of distill";

/** By task and long name. */
export const SETTINGS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  distill: {
    "recipe": "cli/flags/distill_flags_test.ts: takes the paper's settings by name",
    "student-arch": MORE,
    "stem": STEM,
    "teacher-arch": RUN,
    "teacher-ssl": RUN,
    "distill": RUN,
    "weights": WEIGHTS,
    "heads": HEADS,
    "teacher-size": SIZES,
    "token-t": SIZES,
    "token-weight": SIZES,
    "mixup": SIZES,
    "feature": "methods/seed/feature_test.ts: a teacher without a head gives its pooled feature",
    "plugin": PLUGIN,
    "dim": RUN,
    "student-mlp": RUN,
    "data": RUN,
    "test-data": KNN,
    "output": DISTILL,
    "resume": "methods/seed/run_test.ts: when it is stopped and resumed",
    "resume-anyway": "methods/seed/resume_test.ts: a checkpoint of another run is refused",
    "student-init": "cli/commands/resume_test.ts: --student-init starts from an exported student",
    "save-every": SAVING,
    "keep": "methods/seed/saving_test.ts: keeps as many checkpoints",
    "augmentation": MORE,
    "image-size": RUN,
    "max-pixels": PIXELS,
    "fast-decode": FAST,
    "eval-resize": KNN,
    "workers": RUN,
    "cache": CACHE,
    "epochs": MORE,
    "start-epoch": RUN,
    "batch-size": RUN,
    "lr": RUN,
    "scale-lr": RUN,
    "warmup-epochs": RUN,
    "cos": RUN,
    "lr-per-step": PER_STEP,
    "schedule": MORE,
    "optimizer": VIT,
    "momentum": RUN,
    "weight-decay": RUN,
    "drop-path": VIT,
    "accumulate": MORE,
    "clip-grad": MORE,
    "sync-bn": "actors/ranks/ranks_test.ts: 2 and 4 ranks take the ",
    "compress":
      "actors/ranks/ranks_test.ts: gradients that travel as float16 give steps near those of float32",
    "checkpoint-activations":
      "- the step uses less memory (methods/seed/step_test.ts); that the trainer asks for it is not seen",
    "amp": "methods/seed/run_test.ts: in mixed precision gives the same bits",
    "limit-steps": RUN,
    "seed": RUN,
    "loss": MORE,
    "queue": RUN,
    "temp": RUN,
    "distill-t": RUN,
    "small-views": MORE,
    "small-size": MORE,
    "knn-k": KNN,
    "knn-images": KNN_SAMPLE,
    "knn-t": KNN,
    "stats-every":
      "methods/seed/accumulate_test.ts: with batches that accumulate ends and stops between steps",
    "knn-every": "methods/seed/run_test.ts: evaluates teacher and student next to training",
    "on-nan": MORE,
    "max-restarts": "actors/crash_test.ts: when it crashes more often than is allowed",
    "print-freq": CONSOLE,
    "tensorboard": DISTILL,
    "tune": TUNED,
    "trace-actors": "cli/commands/distill_test.ts: distill --profile --trace-actors",
    "profile": "cli/commands/distill_test.ts: distill --profile --trace-actors",
    "ui": PAGE,
    "ui-host": CONSOLE,
    "insight": "actors/diagnostics_test.ts: a run that is looked into tells what it sees",
    "quiet": CONSOLE,
    "json": "cli/commands/distill_test.ts: distill --json says everything",
  },
  pretrain: {
    "arch": MOCO,
    "stem": SAME,
    "plugin": PRETRAIN,
    "pretrained": MOCO,
    "mlp": MOCO,
    "data": MOCO,
    "test-data": MOCO_RUN,
    "output": PRETRAIN,
    "resume": "methods/moco/run_test.ts: gives the same bits for any number of readers",
    "resume-anyway": SAME,
    "save-every": SAME,
    "keep": SAME,
    "image-size": MOCO,
    "max-pixels": SAME,
    "fast-decode": FAST,
    "eval-resize": SAME,
    "workers": "methods/moco/run_test.ts: gives the same bits for any number of readers",
    "epochs": MOCO,
    "start-epoch": MOCO,
    "batch-size": MOCO,
    "lr": MOCO,
    "scale-lr": MOCO,
    "warmup-epochs": MOCO,
    "cos": MOCO,
    "lr-per-step": PRETRAIN_PER_STEP,
    "schedule": SAME,
    "optimizer": VIT,
    "momentum": MOCO,
    "weight-decay": MOCO,
    "drop-path": VIT,
    "accumulate": "methods/moco/step_test.ts: two batches that accumulate",
    "clip-grad": SAME,
    "stats-every": PRETRAIN,
    "sync-bn": "actors/ranks/ranks_test.ts: 2 ranks pretrain as one by itself",
    "compress": "actors/ranks/ranks_test.ts: 2 ranks pretrain with gradients that travel as float16",
    "checkpoint-activations": "methods/moco/step_test.ts: activations that are computed again",
    "amp": "methods/moco/step_test.ts: in mixed precision",
    "limit-steps": MOCO,
    "seed": MOCO,
    "on-nan": SAME,
    "moco-dim": MOCO,
    "moco-k": MOCO,
    "moco-m": MOCO,
    "moco-t": MOCO,
    "aug-plus": MOCO,
    "bn-splits": MOCO,
    "cache": SAME,
    "knn-k": MOCO_RUN,
    "knn-images": KNN_SAMPLE,
    "knn-t": SAME,
    "knn-every": MOCO_RUN,
    "max-restarts": SAME,
    "print-freq": CONSOLE,
    "tensorboard": PRETRAIN,
    "tune": TUNED,
    "trace-actors": SAME,
    "profile": PRETRAIN,
    "ui": PAGE,
    "ui-host": CONSOLE,
    "insight": PRETRAIN,
    "quiet": CONSOLE,
    "json": PRETRAIN,
  },
  lincls: {
    "pretrained": LINEAR,
    "arch": LINEAR,
    "stem": STEM_CHOICE,
    "which": "cli/commands/encoder_choice_test.ts: lincls evaluates the encoder of --which",
    "weights": WEIGHTS,
    "heads": HEADS,
    "feature": FEATURE,
    "plugin": PLUGIN,
    "output": LINCLS,
    "test-data": "methods/linear_probe/run_test.ts: says what is wrong with labels and checkpoints",
    "resume": "methods/linear_probe/run_test.ts: gives the same bits for any number of readers",
    "resume-anyway": LINCLS,
    "evaluate": LINCLS,
    "cache-features": LINEAR,
    "image-size": LINEAR,
    "max-pixels": PIXELS,
    "fast-decode": FAST,
    "eval-resize": LINEAR,
    "label-fraction": LINEAR,
    "classes": LINEAR,
    "workers": "- any number gives the same bits (methods/linear_probe/run_test.ts)",
    "cache": "methods/cache_test.ts: a linear evaluation keeps the images",
    "epochs": LINEAR,
    "start-epoch": LINEAR,
    "batch-size": LINEAR,
    "lr": LINEAR,
    "scale-lr": LINEAR,
    "warmup-epochs": LINEAR,
    "schedule": LINEAR,
    "momentum": LINEAR,
    "weight-decay": LINEAR,
    "seed": LINEAR,
    "finetune": "cli/commands/lincls_finetune_test.ts: lincls --finetune trains a checkpoint",
    "optimizer": VIT,
    "drop-path": VIT,
    "lr-last-layer": FINETUNE,
    "cos": FINETUNE,
    "lr-per-step": FINETUNE_PER_STEP,
    "gamma": FINETUNE,
    "accumulate": FINETUNE,
    "clip-grad": FINETUNE,
    "stats-every": "methods/finetune/run_test.ts: with batches that accumulate stops between steps",
    "amp": AMP,
    "sync-bn": "actors/ranks/evaluations_test.ts: ranks fine-tune as one by itself",
    "compress": "actors/ranks/evaluations_test.ts: 2 ranks fine-tune with gradients that travel as float16",
    "on-nan": "methods/finetune/run_test.ts: that are not finite, where it is told to",
    "trace-actors": SAME,
    "profile": "cli/commands/lincls_finetune_test.ts: lincls --finetune trains a checkpoint",
    "print-freq": CONSOLE,
    "tensorboard": LINCLS,
    "tune": TUNED,
    "ui": "- the same code as of distill",
    "ui-host": CONSOLE,
    "quiet": CONSOLE,
    "json": LINCLS,
  },
  knn: {
    "pretrained": KNN,
    "arch": KNN,
    "stem": STEM_CHOICE,
    "which": KNN_CHOICE,
    "weights": WEIGHTS,
    "heads": HEADS,
    "feature": FEATURE,
    "plugin": KNN,
    "amp": AMP,
    "seed": KNN_CHOICE,
    "knn-k": KNN,
    "knn-t": KNN,
    "test-data": "cli/commands/knn_test.ts: knn evaluates a checkpoint and fresh weights",
    "image-size": KNN,
    "max-pixels": PIXELS,
    "fast-decode": FAST,
    "eval-resize": RESIZE,
    "json": "cli/commands/knn_test.ts: knn evaluates a checkpoint and fresh weights",
  },
  embed: {
    "pretrained": ROWS,
    "arch": "cli/commands/embed_test.ts: embed flags",
    "stem": STEM,
    "which": EMBED_CHOICE,
    "weights": WEIGHTS,
    "heads": HEADS,
    "feature": FEATURE,
    "plugin": PLUGIN,
    "part": EMBED_CHOICE,
    "amp": AMP,
    "output": ROWS,
    "split": EMBED_CHOICE,
    "force": ROWS,
    "neighbours": SHEET,
    "queries": SHEET,
    "knn-k": SHEET,
    "seed": "cli/commands/embed_test.ts: neighbours are those of the cosines",
    "image-size": EMBED_CHOICE,
    "max-pixels": PIXELS,
    "fast-decode": FAST,
    "eval-resize": RESIZE,
    "batch-size": "- any size gives the same rows",
    "workers": "- any number gives the same rows",
    "quiet": ROWS,
  },
  tsv: {
    "output": "cli/commands/tsv_test.ts: tsv makes, checks and refuses files",
    "force": "cli/commands/tsv_test.ts: tsv makes, checks and refuses files",
    "shuffle": CONVERT,
    "split": CONVERT,
    "limit": CONVERT,
    "seed": CONVERT,
    "max-pixels": "cli/commands/tsv_test.ts: tsv makes, checks and refuses files",
    "check": "data/convert/convert_test.ts: check leaves out images",
    "quiet": "cli/commands/tsv_test.ts: tsv makes, checks and refuses files",
  },
  export: {
    "part": FORMATS,
    "which": "cli/commands/export_test.ts: export refuses wrong flags and files",
    "weights": WEIGHTS,
    "heads": HEADS,
    "feature": FEATURE,
    "arch": "cli/commands/export_test.ts: export refuses wrong flags and files",
    "stem": STEM_CHOICE,
    "plugin": PLUGIN,
    "output": FORMATS,
    "format": FORMATS,
    "names": "cli/flags/export_flags_test.ts: parseExportFlags() takes every flag",
    "force": "cli/commands/export_test.ts: export refuses wrong flags and files",
    "image-size": FORMATS,
    "eval-resize": FORMATS,
    "mean": NORMALIZED,
    "std": NORMALIZED,
    "normalize": FORMATS,
    "quiet": "- that it is silent is not seen",
  },
};
