/**
 * Every setting of the tasks that compute or write, and the test that fails when it has no effect. A flag that is added
 * needs a row here: `FILE: part of the test's name`, from `tests/`. Rows that begin with `-` say why there is none.
 */

const RUN = "methods/seed/settings_test.ts: warm-up, cosine, SGD";
const MORE = "methods/seed/settings_test.ts: steps of the rate";
const LINEAR = "methods/linear_probe/settings_test.ts: does with each of its settings";
const KNN = "methods/knn_settings_test.ts: kNN votes with as many neighbours";
const PIXELS = "actors/max_pixels_test.ts: an image of more pixels";
const SAVING = "methods/seed/saving_test.ts: student_trainer saves every so many steps";
const DISTILL = "cli/commands/distill_test.ts: distill writes its files";
const LINCLS = "cli/commands/lincls_test.ts: lincls evaluates a checkpoint";
const PLUGIN = "cli/flags/plugin_test.ts: an encoder of one's own is distilled";
const PRINT = "cli/terminal/progress_test.ts: Progress prints a line for the first step";
const QUIET = "cli/terminal/progress_test.ts: Progress is silent but for the log when quiet";
const PAGE = "ui/live_run_test.ts: ";
const HOST = "cli/flags/permissions_test.ts: the permissions of a command follow its paths";
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
const STEM = "models/stem_test.ts: a student with --stem cifar is saved, embedded";
const STEM_CHOICE = "models/stem_test.ts: of encoders that have the same tensors with either stem";
const FORMATS = "cli/commands/export_test.ts: export writes the bundled teacher in every format";
const TUNED = "cli/output/run_tuning_test.ts: findTuning() goes on with what a run began with";

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
    "eval-resize": KNN,
    "workers": RUN,
    "epochs": MORE,
    "start-epoch": RUN,
    "batch-size": RUN,
    "lr": RUN,
    "scale-lr": RUN,
    "warmup-epochs": RUN,
    "cos": RUN,
    "schedule": MORE,
    "momentum": RUN,
    "weight-decay": RUN,
    "accumulate": MORE,
    "clip-grad": MORE,
    "checkpoint-activations":
      "- the step uses less memory (models/student_step_test.ts); that the trainer asks for it is not seen",
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
    "knn-t": KNN,
    "stats-every":
      "methods/seed/accumulate_test.ts: with batches that accumulate ends and stops between steps",
    "knn-every": "methods/seed/run_test.ts: evaluates teacher and student next to training",
    "on-nan": MORE,
    "max-restarts": "actors/crash_test.ts: when it crashes more often than is allowed",
    "print-freq": PRINT,
    "tensorboard": DISTILL,
    "tune": TUNED,
    "trace-actors": "cli/commands/distill_test.ts: distill --profile --trace-actors",
    "profile": "cli/commands/distill_test.ts: distill --profile --trace-actors",
    "ui": PAGE,
    "ui-host": HOST,
    "insight": "actors/diagnostics_test.ts: a run that is looked into tells what it sees",
    "quiet": QUIET,
    "json": "cli/commands/distill_test.ts: distill --json says everything",
  },
  lincls: {
    "pretrained": LINEAR,
    "arch": LINEAR,
    "stem": STEM_CHOICE,
    "which": "cli/commands/encoder_choice_test.ts: lincls evaluates the encoder of --which",
    "weights": WEIGHTS,
    "plugin": PLUGIN,
    "output": LINCLS,
    "test-data": "methods/linear_probe/run_test.ts: says what is wrong with labels and checkpoints",
    "resume": "methods/linear_probe/run_test.ts: gives the same bits for any number of readers",
    "resume-anyway": LINCLS,
    "evaluate": LINCLS,
    "cache-features": LINEAR,
    "image-size": LINEAR,
    "max-pixels": PIXELS,
    "eval-resize": LINEAR,
    "classes": LINEAR,
    "workers": "- any number gives the same bits (actors/linear_evaluation_test.ts)",
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
    "print-freq": PRINT,
    "tensorboard": LINCLS,
    "tune": TUNED,
    "ui": "- the same code as of distill",
    "ui-host": HOST,
    "quiet": QUIET,
    "json": LINCLS,
  },
  knn: {
    "pretrained": KNN,
    "arch": KNN,
    "stem": STEM_CHOICE,
    "which": KNN_CHOICE,
    "weights": WEIGHTS,
    "plugin": KNN,
    "seed": KNN_CHOICE,
    "knn-k": KNN,
    "knn-t": KNN,
    "test-data": "cli/commands/knn_test.ts: knn evaluates a checkpoint and fresh weights",
    "image-size": KNN,
    "max-pixels": PIXELS,
    "eval-resize": RESIZE,
    "json": "cli/commands/knn_test.ts: knn evaluates a checkpoint and fresh weights",
  },
  embed: {
    "pretrained": ROWS,
    "arch": "cli/commands/embed_test.ts: embed flags",
    "stem": STEM,
    "which": EMBED_CHOICE,
    "weights": WEIGHTS,
    "plugin": PLUGIN,
    "part": EMBED_CHOICE,
    "output": ROWS,
    "split": EMBED_CHOICE,
    "force": ROWS,
    "neighbours": SHEET,
    "queries": SHEET,
    "knn-k": SHEET,
    "seed": "cli/commands/embed_test.ts: neighbours are those of the cosines",
    "image-size": EMBED_CHOICE,
    "max-pixels": PIXELS,
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
    "arch": "cli/commands/export_test.ts: export refuses wrong flags and files",
    "stem": STEM_CHOICE,
    "plugin": PLUGIN,
    "output": FORMATS,
    "format": FORMATS,
    "names": "cli/flags/export_flags_test.ts: parseExportFlags() takes every flag",
    "force": "cli/commands/export_test.ts: export refuses wrong flags and files",
    "image-size": FORMATS,
    "eval-resize": FORMATS,
    "normalize": FORMATS,
    "quiet": "- that it is silent is not seen",
  },
};
