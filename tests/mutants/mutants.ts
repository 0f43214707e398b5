/**
 * Faults that somebody might make, each of which some test has to see. `deno task test:mutants` makes them one at a time
 * in a copy of the tree; a fast test looks whether their texts are still there. It is one long list on purpose: nothing in
 * it depends on anything else.
 */

/** One fault. */
export interface Mutant {
  /** The file, from the checkout. */
  file: string;
  /** A text that stands in it exactly once. */
  from: string;
  /** What stands there instead. */
  to: string;
  /** Test files that are to see it, from `tests/`; they run in this order until one fails. */
  tests: readonly string[];
  /** Runs only the tests with this in their names, where the others cannot see it. */
  only?: string;
}

const SETTINGS = ["methods/seed/settings_test.ts"];
const RUN = ["methods/seed/run_test.ts"];
const LINEAR = ["methods/linear_probe/settings_test.ts"];
const STEP = ["methods/seed/step_test.ts"];
const VIT = ["methods/seed/vit_step_test.ts"];
const FINETUNE_RUN = ["methods/finetune/run_test.ts"];

/** A mutant in few words. */
function mutant(file: string, from: string, to: string, tests: readonly string[], only?: string): Mutant {
  return { file, from, to, tests, only };
}

/** Settings that the actors do not pass on, and states that they do not keep. */
const ACTORS: readonly Mutant[] = [
  mutant(
    "actors/encoder.ts",
    "if (ofLocal !== undefined) requireFiniteFeatures(",
    "if (ofLocal === null) requireFiniteFeatures(",
    ["actors/finite_test.ts"],
    "small views alone",
  ),
  mutant(
    "methods/linear_probe/linear_trainer.ts",
    "sgd: { lr: learningRate,",
    "sgd: { lr: 0,",
    LINEAR,
    "features that are kept",
  ),
  mutant(
    "methods/encoder_training/run.ts",
    "if (ends) this.#noteLastSaved();",
    "this.#noteLastSaved();",
    ["actors/ranks/ranks_test.ts"],
    "as its epoch ends",
  ),
  mutant(
    "methods/finetune/run.ts",
    "if (this.#ranks === undefined || how.ends) this.#noteSaved();",
    "this.#noteSaved();",
    ["actors/ranks/evaluations_test.ts"],
    "between a test and the checkpoint",
  ),
  mutant(
    "methods/encoder_training/run.ts",
    "if (!this.#isNew(event) || event.step === this.#statsReported) return;",
    "if (!this.#isNew(event)) return;",
    ["actors/faults_test.ts"],
    "statistics are told once",
  ),
  mutant(
    "methods/encoder_training/step_options.ts",
    "    momentum,\n    weightDecay",
    "    momentum: 0.9,\n    weightDecay",
    SETTINGS,
  ),
  mutant(
    "methods/encoder_training/step_options.ts",
    "    weightDecay,\n    accumulate",
    "    weightDecay: 0,\n    accumulate",
    SETTINGS,
  ),
  mutant(
    "methods/seed/student_trainer.ts",
    "        temperature,\n",
    "        temperature: 0.2,\n",
    SETTINGS,
  ),
  mutant(
    "methods/seed/student_trainer.ts",
    "        teacherTemperature,\n",
    "        teacherTemperature: 0.01,\n",
    SETTINGS,
  ),
  mutant(
    "methods/encoder_training/encoder_trainer.ts",
    "learningRateOf(options, position, ",
    "learningRateOf(options, { ...position, epoch: Math.max(0, position.epoch - 1) }, ",
    SETTINGS,
  ),
  mutant(
    "methods/encoder_training/options.ts",
    "isPerStep: options.lrPerStep",
    "isPerStep: false",
    ["methods/lr_per_step_test.ts"],
  ),
  mutant(
    "methods/encoder_training/step_options.ts",
    "batch: batch - index }",
    "batch: 0 }",
    ["methods/lr_per_step_test.ts"],
  ),
  mutant(
    "models/optim/schedule.ts",
    "(epoch - warmupEpochs) / falling",
    "epoch / epochs",
    ["models/optim/schedule_test.ts"],
  ),
  mutant(
    "models/optim/schedule.ts",
    "epoch + batch / batchesPerEpoch",
    "epoch + (batch + 1) / batchesPerEpoch",
    ["models/optim/schedule_test.ts"],
  ),
  mutant("methods/seed/student_trainer.ts", "    loss: options.loss,\n", "", SETTINGS),
  mutant(
    "methods/encoder_training/step_options.ts",
    "dropoutSeed: seed,",
    "dropoutSeed: 0,",
    SETTINGS,
  ),
  mutant(
    "methods/encoder_training/encoder_trainer.ts",
    "queuePointer, step, group, takesStats }",
    "queuePointer, step: 0, group, takesStats }",
    SETTINGS,
  ),
  mutant(
    "methods/encoder_training/step_options.ts",
    "amp ? GRAD_SCALER : FIXED_SCALE",
    "GRAD_SCALER",
    SETTINGS,
  ),
  mutant(
    "methods/encoder_training/step_options.ts",
    'amp || onNan === "skip"',
    "amp",
    SETTINGS,
  ),
  mutant(
    "methods/encoder_training/trained_steps.ts",
    "countSteps(this.#run, { epoch, batch }) + 1",
    "batch + 1",
    SETTINGS,
  ),
  mutant(
    "methods/encoder_training/initial_weights.ts",
    "initialize(state, seed)",
    "initialize(state, 0)",
    SETTINGS,
  ),
  mutant(
    "methods/seed/student.ts",
    'kind: studentMlp ? "mlp" : "linear"',
    'kind: "mlp"',
    SETTINGS,
  ),
  mutant(
    "methods/encoder_training/encoder_trainer.ts",
    "step.queues[1].load(queue.local);",
    "step.queues[1].load(queue.keys);",
    SETTINGS,
  ),
  mutant(
    "methods/encoder_training/encoder_trainer.ts",
    "sgd: { lr, momentum: options.momentum, weightDecay: options.weightDecay }",
    "sgd: { lr, momentum: 0.9, weightDecay: options.weightDecay }",
    SETTINGS,
  ),
  mutant(
    "methods/encoder_training/encoder_trainer.ts",
    "epoch: next.epoch,",
    "epoch,",
    SETTINGS,
  ),
  mutant(
    "methods/encoder_training/encoder_trainer.ts",
    "batch: next.batch,",
    "batch: Math.max(0, next.batch - 1),",
    RUN,
    "stopped and resumed",
  ),
  mutant(
    "methods/encoder_training/encoder_trainer.ts",
    "          seed: options.seed,\n",
    "          seed: 0,\n",
    RUN,
    "another batch size",
  ),
  mutant(
    "methods/encoder_training/encoder_trainer.ts",
    "    step.parameters.loadArena(arena, kept);\n",
    "",
    RUN,
    "stopped and resumed",
  ),
  mutant(
    "methods/encoder_training/encoder_trainer.ts",
    "this.#steps.step % saveEvery.steps === 0",
    "this.#steps.step % saveEvery.steps === 1",
    ["methods/seed/saving_test.ts"],
  ),
  mutant(
    "methods/encoder_training/encoder_trainer.ts",
    ">= 1000 * saveEvery.seconds",
    ">= saveEvery.seconds",
    ["methods/seed/saving_test.ts"],
  ),
  mutant(
    "methods/seed/encoder_method.ts",
    "augmentation: augmentationOf(options),",
    'augmentation: "mocov2",',
    SETTINGS,
  ),
  mutant(
    "methods/encoder_training/training_pipeline.ts",
    "          seed,\n          first: this.#position(),",
    "          seed: 0,\n          first: this.#position(),",
    SETTINGS,
  ),
  mutant(
    "methods/encoder_training/training_pipeline.ts",
    "maxRestarts: options.maxRestarts,",
    "maxRestarts: 5,",
    ["actors/crash_test.ts"],
    "more often than is allowed",
  ),
  mutant(
    "methods/encoder_training/options.ts",
    "scaleLr ? batchScale(imagesOfStep(options, batchesPerEpoch)) : 1",
    "1",
    SETTINGS,
  ),
  mutant(
    "methods/encoder_training/options.ts",
    "milestones: schedule, isPerStep",
    "milestones: [120, 160], isPerStep",
    SETTINGS,
  ),
  mutant(
    "methods/encoder_training/options.ts",
    "return { lr, scale, warmupEpochs,",
    "return { lr, scale, warmupEpochs: 0,",
    SETTINGS,
  ),
  mutant(
    "methods/seed/augmentation.ts",
    'teacherSsl === "swav") return "swav"',
    'teacherSsl === "swav") return "mocov2"',
    SETTINGS,
  ),
  mutant("methods/seed/augmentation.ts", "imageSize: smallSize }", "imageSize: 16 }", SETTINGS),
  mutant(
    "methods/encoder_training/start.ts",
    "epoch: startEpoch, batch: 0, queue",
    "epoch: 0, batch: 0, queue",
    SETTINGS,
  ),
  mutant("methods/encoder_training/start.ts", 'seed, "small queue")', "seed)", SETTINGS),
  mutant("methods/encoder_training/prepare.ts", "limitSteps ?? Infinity", "Infinity", SETTINGS),
  mutant("actors/training_run.ts", "if (keep > 0) await", "if (keep > 1) await", [
    "methods/seed/saving_test.ts",
  ]),
  mutant("actors/augmenter.ts", '"augment", batch.position.epoch, row)', '"augment", 0, row)', SETTINGS),
  mutant(
    "actors/augmenter.ts",
    '"small", position.epoch, row, i % views)',
    '"small", position.epoch, row)',
    SETTINGS,
  ),
  mutant("actors/evaluation_resize.ts", "Math.round(size * 256 / 224)", "size", [
    "actors/evaluation_resize_test.ts",
  ]),
  mutant("actors/augmenter.ts", "imageSize, image, filterOf(resize))", "imageSize, image)", [
    "methods/vit_teacher_test.ts",
  ]),
  mutant("methods/encoder_views.ts", 'interpolation === "bicubic" ?', "interpolation === undefined ?", [
    "methods/vit_teacher_test.ts",
  ]),
  mutant(
    "methods/seed/queue_keeper.ts",
    "this.#pointer = (pointer + this.#batchSize) % this.#size;",
    "this.#pointer = (pointer + this.#batchSize + 1) % this.#size;",
    ["methods/seed/queue_keeper_test.ts"],
  ),
  mutant("actors/tsv_reader.ts", "batch === order.batchCount - 1", "batch === order.batchCount", [
    "actors/tsv_reader_test.ts",
  ]),
  mutant("actors/tsv_reader.ts", "    maxPixels: config.maxPixels,\n", "", ["actors/max_pixels_test.ts"]),
  mutant(
    "actors/batch_number.ts",
    "return batch + 1 < batchesPerEpoch ?",
    "return batch < batchesPerEpoch ?",
    ["actors/batch_number_test.ts"],
  ),
  mutant(
    "methods/encoder_training/evaluations.ts",
    "(epoch + 1) % knnEvery === 0",
    "epoch % knnEvery === 0",
    RUN,
    "evaluates teacher and student",
  ),
  mutant(
    "methods/linear_probe/linear_trainer.ts",
    "{ seed, batchSize } } = this.#config",
    "{ batchSize } } = this.#config, seed = 0",
    LINEAR,
  ),
  mutant(
    "methods/classification.ts",
    "this.sums[i].loss += loss * images;",
    "this.sums[i].loss += loss;",
    ["methods/linear_probe/settings_test.ts"],
  ),
];

/** Shares of the labels, and fine-tuning. */
const FINETUNING: readonly Mutant[] = [
  mutant(
    "data/label_fraction.ts",
    "Math.max(1, Math.round(fraction * rows.length))",
    "Math.round(fraction * rows.length)",
    [
      "data/label_fraction_test.ts",
    ],
  ),
  mutant("data/sampler.ts", "yield this.#rowAt(place);", "yield place;", ["data/sampler_test.ts"]),
  mutant("methods/finetune/step.ts", "[lr, lrLastLayer]", "[lr, lr]", [
    "methods/finetune/step_test.ts",
  ]),
  mutant("methods/finetune/options.ts", "milestones, gamma, isPerStep }", "milestones, isPerStep }", [
    "methods/finetune/settings_test.ts",
  ]),
  mutant("methods/finetune/pipeline.ts", "rows: data.rows,", "", FINETUNE_RUN),
  mutant(
    "methods/finetune/finetune_trainer.ts",
    "this.#steps.savesNow(exchange?.agreed.save ?? false)",
    "false",
    FINETUNE_RUN,
    "accumulate",
  ),
  mutant(
    "methods/encoder_training/trained_steps.ts",
    'if (onNan === "skip" && !isLast(group)) return false;',
    "",
    FINETUNE_RUN,
    "not finite, where",
  ),
  mutant(
    "methods/finetune/finetune_trainer.ts",
    "this.#isTested = !endsEpoch;",
    "this.#isTested = true;",
    FINETUNE_RUN,
  ),
  mutant(
    "methods/finetune/finetune_trainer.ts",
    "for (const [arena, kept] of optimizer.arenas) step.loadArena(arena, kept);",
    "",
    FINETUNE_RUN,
  ),
  mutant(
    "methods/finetune/finetune_trainer.ts",
    "if (images > 0) this.#trained.restore(images, [sums]);",
    "",
    FINETUNE_RUN,
  ),
  mutant(
    "methods/finetune/finetune_trainer.ts",
    "counters.set(key, count + 1)",
    "counters.set(key, count)",
    FINETUNE_RUN,
  ),
];

/** Settings that the recipes do not pass on. */
const RECIPES: readonly Mutant[] = [
  mutant("methods/seed/recipes.ts", "  temp: 0.2,", "  temp: 0.1,", ["methods/original_defaults_test.ts"]),
  mutant("methods/moco/defaults.ts", "mocoM: 0.999,", "mocoM: 0.99,", ["methods/original_defaults_test.ts"]),
  mutant("methods/encoder_training/defaults.ts", "knnK: 200,", "knnK: 20,", [
    "methods/original_defaults_test.ts",
  ]),
  mutant(
    "methods/encoder_training/evaluations.ts",
    "teacherSize === undefined ? student :",
    "true ? student :",
    ["methods/knn_settings_test.ts"],
    "kNN votes",
  ),
  mutant("methods/seed/augmentation.ts", 'return studentMlp ? "mocov2" : "mocov1";', 'return "mocov2";', [
    "methods/seed/augmentation_test.ts",
  ]),
  mutant("methods/seed/augmentation.ts", '  if (teacherSsl === "simclr") return "simclr";\n', "", [
    "methods/seed/augmentation_test.ts",
  ]),
  mutant("methods/seed/mod.ts", "encoder, asked, isSample", "encoder, input, isSample", [
    "methods/seed/recipes_test.ts",
  ]),
  mutant("actors/evaluation.ts", "...{ maxPixels, leastSide, caches,", "...{ leastSide, caches,", [
    "actors/max_pixels_test.ts",
  ]),
  mutant("actors/evaluation.ts", "...{ maxPixels, leastSide, caches,", "...{ maxPixels, caches,", [
    "methods/fast_decode_test.ts",
  ]),
  mutant("methods/linear_probe/pipeline.ts", "maxPixels: options.maxPixels,", "", [
    "actors/max_pixels_test.ts",
  ]),
  mutant("actors/evaluation.ts", "ks: knn?.ks ?? [],", "ks: knn === undefined ? [] : [20],", [
    "methods/knn_settings_test.ts",
  ]),
  mutant("actors/evaluation.ts", "temperature: knn?.temperature ?? 1,", "temperature: 0.07,", [
    "methods/knn_settings_test.ts",
  ]),
  mutant(
    "methods/linear_probe/run.ts",
    "scaleLr ? batchScale(batchSize) : 1;",
    "1;",
    LINEAR,
  ),
  mutant(
    "methods/linear_probe/run.ts",
    "{ lr: rate, scale, warmupEpochs,",
    "{ lr: rate, scale, warmupEpochs: 5,",
    LINEAR,
  ),
  mutant(
    "methods/linear_probe/run.ts",
    "warmupEpochs, milestones })",
    "warmupEpochs, milestones: [60, 80] })",
    LINEAR,
  ),
  mutant(
    "methods/linear_probe/pipeline.ts",
    'AUGMENTATION = "plain"',
    'AUGMENTATION = "mocov2"',
    LINEAR,
  ),
  mutant(
    "methods/linear_probe/linear_trainer.ts",
    "    momentum: options.momentum,\n    weightDecay",
    "    momentum: 0.9,\n    weightDecay",
    LINEAR,
  ),
  mutant(
    "methods/linear_probe/linear_trainer.ts",
    "    weightDecay: options.weightDecay,\n  }, exchange);",
    "    weightDecay: 0,\n  }, exchange);",
    LINEAR,
  ),
  mutant(
    "methods/linear_probe/linear_trainer.ts",
    "initialize(probes.state, options.seed)",
    "initialize(probes.state, 0)",
    LINEAR,
  ),
];

/** Wrong numbers in models, in what is computed or in what is written. */
const MODELS: readonly Mutant[] = [
  mutant("models/efficientnet.ts", "const DROP_CONNECT = 0.2;", "const DROP_CONNECT = 0.1;", [
    "models/dropout_rates_test.ts",
  ]),
  mutant("models/efficientnet.ts", "DROP_CONNECT * i / blocks.length", "DROP_CONNECT", [
    "models/dropout_rates_test.ts",
  ]),
  mutant("models/efficientnet.ts", "[1.8, 2.6, 528, 0.5]", "[1.8, 2.6, 528, 0.4]", [
    "models/dropout_rates_test.ts",
  ]),
  mutant("models/mobilenet_v3.ts", "const DROPOUT = 0.2;", "const DROPOUT = 0.5;", [
    "models/dropout_rates_test.ts",
  ]),
  mutant("models/encoder.ts", '= ["dino", "dinov2", "dinov3"];', '= ["dino"];', [
    "models/encoder_source_test.ts",
  ], "bicubic"),
  mutant("models/efficientnet.ts", "1 / Math.sqrt(fanIn)", "1 / fanIn", ["models/initialize_test.ts"]),
  mutant("models/encoder_builder.ts", "fanOut: outputs * kernel", "fanOut: inputs * kernel", [
    "models/initialize_test.ts",
  ]),
  mutant("models/mobilenet_v3.ts", "deviation: 0.01", "deviation: 0.1", ["models/initialize_test.ts"]),
  mutant("models/vit_layers.ts", "deviation: 0.02", "deviation: 0.01", ["models/initialize_test.ts"]),
  mutant("models/vit_layers.ts", "1 / Math.sqrt(3 * patch ** 2)", "1 / (3 * patch ** 2)", [
    "models/initialize_test.ts",
  ]),
  mutant("models/optim/schedule.ts", "return batchSize / 256;", "return batchSize / 128;", [
    "models/optim/schedule_test.ts",
  ]),
  mutant(
    "models/optim/schedule.ts",
    "if (epoch < warmupEpochs) return warmup(schedule, epoch);",
    "if (epoch <= warmupEpochs) return warmup(schedule, epoch);",
    ["models/optim/schedule_test.ts"],
  ),
  mutant(
    "models/optim/schedule.ts",
    "Math.cos(Math.PI * epoch / epochs)",
    "Math.cos(Math.PI * epoch / (epochs - 1))",
    ["models/optim/schedule_test.ts"],
  ),
  mutant("models/optim/schedule.ts", "epoch >= milestone ?", "epoch > milestone ?", [
    "models/optim/schedule_test.ts",
  ]),
  mutant("models/ring.ts", "Math.min(count, size - pointer)", "Math.min(count, size - pointer - 1)", [
    "methods/seed/queue_keeper_test.ts",
  ]),
  mutant("models/heads.ts", "{ mlp: 2, mlp_bn: 3 }", "{ mlp: 1, mlp_bn: 3 }", ["models/heads_test.ts"]),
  mutant("models/initialize.ts", "Math.sqrt(2 / initial.fanOut)", "Math.sqrt(1 / initial.fanOut)", [
    "models/initialize_test.ts",
  ]),
  mutant("models/initialize.ts", 'new Random(seed, "initialize", key)', 'new Random(seed, "initialize")', [
    "models/initialize_test.ts",
  ]),
  mutant(
    "methods/seed/step.ts",
    "queueSize, temperature, teacherTemperature }",
    "queueSize, temperature: teacherTemperature, teacherTemperature: temperature }",
    STEP,
    "parity",
  ),
  mutant(
    "methods/seed/step.ts",
    "Uint32Array.of(dropoutSeed, batch.step ?? 0)",
    "Uint32Array.of(dropoutSeed, 0)",
    STEP,
    "dropout",
  ),
  mutant(
    "methods/encoder_training/key_queue.ts",
    "stride === 1 ? [1, count] : [count, 1]",
    "[1, count]",
    STEP,
    "small views",
  ),
  mutant(
    "methods/encoder_training/step_results.ts",
    "loss: losses.reduce((sum, loss) => sum + loss, 0),",
    "loss: losses[0],",
    STEP,
    "small views",
  ),
  mutant(
    "models/parameter_store.ts",
    "segments[segment] + bytes) / ALIGNMENT) * ALIGNMENT",
    "segments[segment] + bytes) / 4) * 4",
    SETTINGS,
  ),
  mutant("models/knn.ts", ".filter((place) => labels[place] !== own)", ".filter(() => true)", [
    "models/knn_test.ts",
    "cli/commands/embed_test.ts",
  ]),
  mutant("methods/classification.ts", "result.loss += loss / rows;", "result.loss += loss;", [
    "methods/linear_probe/step_test.ts",
  ]),
  mutant("methods/classification.ts", "if (rank < 5) result.top5++;", "if (rank <= 5) result.top5++;", [
    "methods/linear_probe/step_test.ts",
  ]),
  mutant(
    "methods/linear_probe/step.ts",
    'findOptimizer("sgd", { momentum, weightDecay })',
    'findOptimizer("sgd", { momentum, weightDecay: 0 })',
    ["methods/linear_probe/step_test.ts"],
  ),
  mutant(
    "models/checkpoint/sgd_state.ts",
    '["weight_decay", new PyFloat(settings.weightDecay)]',
    '["weight_decay", new PyFloat(0)]',
    ["methods/seed/checkpoint_test.ts"],
  ),
  mutant("models/checkpoint/sgd_state.ts", '["dampening", 0]', '["dampening", 1]', [
    "methods/seed/checkpoint_test.ts",
  ]),
  mutant(
    "methods/encoder_training/checkpoint.ts",
    "const index = parameters.indexOf(layout.trained + key);",
    "const index = parameters.indexOf(layout.trained + key) + 1;",
    ["methods/seed/checkpoint_test.ts"],
  ),
  mutant(
    "methods/encoder_training/checkpoint.ts",
    "entries.filter(({ key }) => isParameter(key))",
    "entries",
    ["methods/seed/checkpoint_test.ts"],
  ),
  mutant(
    "methods/encoder_training/checkpoint.ts",
    "countParameters(optimizer) === before.length ? before : now",
    "now",
    ["methods/encoder_buffers_test.ts"],
  ),
  mutant("models/checkpoint/run_checkpoints.ts", "others.length + 1 - keep", "others.length - keep", [
    "models/checkpoint/run_checkpoints_test.ts",
  ]),
  mutant(
    "models/checkpoint/run_checkpoints.ts",
    "a.epoch - b.epoch || a.written - b.written",
    "a.written - b.written || a.epoch - b.epoch",
    ["models/checkpoint/run_checkpoints_test.ts"],
  ),
  mutant(
    "methods/linear_probe/checkpoint.ts",
    '["best_acc1", new PyFloat(best)]',
    '["best_acc1", new PyFloat(0)]',
    ["methods/linear_probe/checkpoint_test.ts"],
  ),
  mutant("models/checkpoint/dtype.ts", "bits[at + i] = raw[i] << 16;", "bits[at + i] = raw[i] << 15;", [
    "models/checkpoint/checkpoint_file_test.ts",
    "models/checkpoint/safetensors_test.ts",
  ]),
  mutant("models/checkpoint/dtype.ts", "raw[i] === 0 ? 0 : 1;", "raw[i];", [
    "models/checkpoint/checkpoint_file_test.ts",
    "models/checkpoint/tensor_ref_test.ts",
  ]),
  mutant("models/checkpoint/zip_writer.ts", "offset: this.#position };", "offset: this.#position + 1 };", [
    "models/checkpoint/zip_writer_test.ts",
  ]),
  mutant("models/checkpoint/pickle.ts", "value ? 0x88 : 0x89", "value ? 0x89 : 0x88", [
    "models/checkpoint/pickle_test.ts",
  ]),
  mutant("models/checkpoint/saved_input.ts", "floats(mean)", "floats(std ?? mean)", [
    "models/export/onnx_file_test.ts",
    "methods/encoder_views_test.ts",
  ]),
  mutant("models/encoder_input.ts", "asked.imageSize ?? saved?.imageSize", "asked.imageSize", [
    "methods/encoder_views_test.ts",
  ]),
  mutant(
    "actors/load_encoder.ts",
    "encoder, head, normalization });\n    await frozen.load(source.read);",
    "encoder, head });\n    await frozen.load(source.read);",
    ["methods/encoder_views_test.ts"],
  ),
  mutant("models/locate_encoder.ts", "Number(isTaken(b)) - Number(isTaken(a))", "0", [
    "models/locate_encoder_test.ts",
  ]),
  mutant("models/knn.ts", "if (place >= 0 && ", "if (place > 0 && ", ["models/knn_test.ts"]),
];

/** Data that is read, decoded, ordered or written wrong. */
const DATA: readonly Mutant[] = [
  mutant("kernels/timestamps.ts", "found < LEAST_OTHER_PERIOD ? 1 : found", "found", [
    "kernels/timestamps_test.ts",
  ]),
  mutant(
    "models/checkpoint/state_dict.ts",
    "own.length > 0 && countWeights(value) >= LEAST_WEIGHTS",
    "own.length > 0",
    ["models/checkpoint/state_dict_test.ts"],
  ),
  mutant("data/replace_file.ts", "() => temporary.file.sync()", "() => Promise.resolve()", [
    "data/replace_file_test.ts",
  ]),
  mutant("data/replace_file.ts", "    await handle.sync();\n", "", ["data/replace_file_test.ts"]),
  mutant("data/temporary.ts", "any more.\n          quietly(() => Deno.removeSync(path));\n", "any more.\n", [
    "data/replace_file_test.ts",
    "data/temporary_test.ts",
  ]),
  mutant("data/replace_file.ts", "return Deno.realPathSync(path);", "return path;", [
    "data/replace_file_test.ts",
  ]),
  mutant(
    "data/replace_file.ts",
    "done += file.writeSync(bytes.subarray(done))",
    "done += Math.max(bytes.length, file.writeSync(bytes.subarray(done)))",
    ["data/replace_file_test.ts"],
  ),
  mutant("data/random.ts", "x ^= x >>> 13;", "x ^= x >>> 12;", ["data/sampler_test.ts"]),
  mutant(
    "data/random.ts",
    "return low + Math.floor(this.uniform() * (high - low + 1));",
    "return low + Math.floor(this.uniform() * (high - low));",
    ["data/sampler_test.ts"],
  ),
  mutant("data/random.ts", "const j = this.integer(0, i);", "const j = this.integer(0, items.length - 1);", [
    "data/sampler_test.ts",
  ]),
  mutant("data/sampler.ts", 'new Random(seed, "order", epoch)', 'new Random(seed, "order")', [
    "data/sampler_test.ts",
  ]),
  mutant(
    "data/sampler.ts",
    "const behind = (((worker - from) % workers) + workers) % workers;",
    "const behind = worker;",
    ["data/sampler_test.ts"],
  ),
  mutant("data/sampler.ts", "while (greatestCommonDivisor(stride, count) !== 1)", "while (stride === 0)", [
    "data/sampler_test.ts",
  ]),
  mutant(
    "data/batch_reader.ts",
    "if (taken.has(row) || this.#broken.has(row)) continue;",
    "if (this.#broken.has(row)) continue;",
    ["data/batch_reader_test.ts"],
  ),
  mutant(
    "methods/labelled_run.ts",
    "await this.whileUp(this.training.save());",
    "await this.training.save();",
    [
      "methods/labelled_run_test.ts",
    ],
  ),
  mutant(
    "methods/encoder_training/encoder_trainer.ts",
    '      "the checkpoint that it goes on from": resume && await fingerprintFile(resume),\n',
    "",
    ["actors/ranks/ranks_test.ts"],
  ),
  mutant(
    "actors/runtime/stats.ts",
    "return await begin();",
    "const begun = begin();\n      this.#since = this.#now();\n      return await begun;",
    [
      "actors/runtime/stats_test.ts",
    ],
  ),
  mutant("data/batch_reader.ts", "      if (reports && !this.#reported.has(error.row)) {", "      {", [
    "data/batch_reader_test.ts",
  ]),
  mutant(
    "data/tsv.ts",
    "if (before === 1 && this.#buffer[0] !== NEWLINE) throw this.#indexError(row);\n",
    "",
    ["data/tsv_test.ts"],
  ),
  mutant("data/collect_labels.ts", "row < end; row++", "row < end - 1; row++", ["data/tsv_test.ts"]),
  mutant("methods/labelled_data.ts", "Math.max(most, label), -1", "Math.min(most, label), 1", [
    "methods/labelled_data_test.ts",
  ]),
  mutant("data/line_index.ts", "i = atLineStart ? end + 1 : read;", "i = atLineStart ? end + 2 : read;", [
    "data/line_index_test.ts",
  ]),
  mutant(
    "data/line_index.ts",
    "offsets.length > 0 && value <= previous",
    "offsets.length > 0 && value < previous",
    ["data/line_index_test.ts"],
  ),
  mutant("data/line_index.ts", "if (next === size) return;", "return;", ["data/line_index_test.ts"]),
  mutant("data/decode.ts", "const product = ink * white + 128;", "const product = ink * white;", [
    "data/decode_test.ts",
  ]),
  mutant("data/decode.ts", "data[at + 1] > 0 ? 255 : data[at]", "data[at + 1] > 0 ? 254 : data[at]", [
    "data/decode_test.ts",
  ]),
  mutant("data/rgb.ts", "(b >>> 16) | (c << 16) | OPAQUE", "(b >>> 16) | (c << 8) | OPAQUE", [
    "data/decode_test.ts",
  ]),
  mutant(
    "data/decode.ts",
    "Math.floor(shorter / factor) >= leastSide",
    "Math.floor(shorter / factor) > leastSide",
    [
      "data/decode_test.ts",
    ],
  ),
  mutant("data/decode.ts", 'if (format !== "JPEG") return 1;', "", ["data/decode_test.ts"]),
  mutant("data/decoded_size.ts", "unitsOf(decodedSize(header, { leastSide }))", "unitsOf(header)", [
    "methods/fast_decode_test.ts",
  ]),
  mutant("actors/data_facts.ts", "Math.max(imageSize, teacherSize)", "imageSize", [
    "actors/data_facts_test.ts",
  ]),
  mutant("actors/image_caches.ts", "...leastSide === undefined ? [] : [", "...leastSide !== -1 ? [] : [", [
    "methods/fast_decode_test.ts",
  ]),
  mutant("models/checkpoint/run_terms.ts", "saved.get(term.name) ?? term.usual", "saved.get(term.name)", [
    "models/checkpoint/resume_state_test.ts",
  ]),
  mutant("data/formats/gif.ts", "lengths[string];", "lengths[code];", ["data/formats/formats_test.ts"]),
  mutant("data/formats/gif.ts", "fill(colours[background])", "fill(colours[0])", [
    "data/formats/formats_test.ts",
  ]),
  mutant(
    "data/formats/bmp.ts",
    "Math.floor(((value >> shift) & largest) * 255 / largest)",
    "(value >> shift) & 255",
    [
      "data/formats/formats_test.ts",
    ],
  ),
  mutant(
    "data/formats/netpbm.ts",
    "rounded % 2 === 1 ? rounded - 1 : rounded",
    "rounded % 2 === 1 ? rounded : rounded",
    [
      "data/formats/formats_test.ts",
    ],
  ),
  mutant("data/formats/netpbm.ts", "    if (samples === undefined) tokens.expect(count, kind === 1);\n", "", [
    "data/formats/formats_test.ts",
  ]),
  mutant("data/formats/tiff.ts", "  changed.fill(0, ...extraAt);\n", "", ["data/formats/formats_test.ts"]),
  mutant("data/formats/tiff.ts", "offset + sizes[i] > bytes.length", "offset > bytes.length", [
    "data/formats/formats_test.ts",
  ]),
  mutant("data/decode.ts", "if (isTurned) image = image.autoOrient();", "", ["data/formats/formats_test.ts"]),
  mutant("data/image_cache.ts", " || found.width * found.height > maxPixels", "", [
    "data/image_cache_test.ts",
  ]),
  mutant("data/image_cache.ts", "      this.#table.forget(row); // to be written again\n", "", [
    "data/image_cache_test.ts",
  ]),
  mutant("data/image_cache.ts", "!this.#store.isWriter || ", "", ["data/image_cache_test.ts"]),
  mutant(
    "data/image_cache_table.ts",
    "if (used + units > most) return undefined;",
    "if (used + units >= most) return undefined;",
    ["data/image_cache_test.ts"],
  ),
  mutant("data/image_cache_file.ts", " && checksumOf(row, rgb) === row.checksum", "", [
    "data/image_cache_test.ts",
  ]),
  mutant("data/image_cache_file.ts", " && front.fingerprint === fingerprint", "", [
    "data/image_cache_test.ts",
  ]),
  mutant("data/image_cache_file.ts", "canWrite && mayWrite(file)", "canWrite", ["data/image_cache_test.ts"]),
  mutant("data/image_cache_file.ts", "  table.setUsed(used);\n", "", ["data/image_cache_test.ts"]),
  mutant(
    "data/image_cache_file.ts",
    "readFront(file, path).name === name",
    'readFront(file, path).name !== ""',
    ["data/image_cache_test.ts"],
  ),
  mutant("data/batch_reader.ts", "        cache.put(image, words);\n", "", ["data/image_cache_test.ts"]),
  mutant("data/rgb.ts", "| (pixels[i + 3] << 8)", "| (pixels[i + 3] << 9)", ["data/rgb_test.ts"]),
  mutant("actors/image_caches.ts", "    this.#free -= most;\n", "", ["actors/image_caches_test.ts"]),
  mutant("actors/pipeline.ts", "              cache: caches?.of(path),\n", "", ["methods/cache_test.ts"]),
  mutant("data/pack.ts", "    offset += width * height;\n", "    offset += width * width;\n", [
    "data/pack_test.ts",
  ]),
  mutant("data/cifar.ts", "parseInt(a.slice(11)) - parseInt(b.slice(11))", "a < b ? 1 : -1", [
    "data/cifar_test.ts",
  ]),
  mutant("data/image_folder.ts", "if (seen.has(identity)) {", "if (false) {", ["data/image_folder_test.ts"]),
  mutant("data/image_folder.ts", "[listing.path.slice(0, -1), listing]", "[listing.path, listing]", [
    "data/image_folder_test.ts",
  ]),
  mutant("data/image_folder.ts", "names.some((name) => SURROGATE.test(name))", "false", [
    "data/image_folder_test.ts",
  ]),
  mutant("data/line_index.ts", "        await writeLineIndex(kept, offsets);\n", "", [
    "data/line_index_test.ts",
  ]),
  mutant("models/checkpoint/run_checkpoints.ts", " && formOf(path) === form", "", [
    "models/checkpoint/run_checkpoints_test.ts",
  ]),
  mutant("actors/augmenter.ts", "...rank === 0 ? [] : [rank]", "", ["actors/augmenter_test.ts"]),
  mutant("actors/trainer.ts", "    context.onStop(() => this.#writing);\n", "", ["actors/trainer_test.ts"]),
  mutant("actors/runtime/mailbox.ts", "if (link.incarnation === incarnation) this.#drop(link)", "break", [
    "actors/runtime/handle_test.ts",
  ]),
  mutant(
    "actors/runtime/supervisor.ts",
    "return this.#parent.#countRestart(crash);",
    "return { count: 1, repeats: 1 };",
    [
      "actors/runtime/supervisor_test.ts",
    ],
  ),
  mutant("kernels/graph.ts", "if (needed.has(node)) {", "{", ["methods/finetune/step_test.ts"]),
  mutant(
    "methods/moco/step.ts",
    "program.rangeOf(queued), queuePointer",
    "program.rangeOf(this.#traced.embeddings.key), queuePointer",
    [
      "methods/moco/step_test.ts",
    ],
  ),
  mutant(
    "kernels/ops/loss_scale/update.wgsl",
    "clamp(state.x * factor, LEAST_SCALE, MOST_SCALE)",
    "state.x * factor",
    [
      "kernels/ops/loss_scale_test.ts",
    ],
  ),
  mutant("kernels/ops/conv2d/generator.ts", "max(first_column, past_column)", "past_column", [
    "kernels/ops/conv2d_test.ts",
  ]),
  mutant(
    "methods/labelled_run.ts",
    "retry(async () => {\n        if (!this.#isConnected) await this.#connect();\n      });",
    "retry(() => Promise.resolve());\n      await this.#connect();",
    ["actors/faults_test.ts"],
  ),
  mutant("data/convert/convert.ts", 'new Random(seed, "split")', 'new Random(0, "split")', [
    "data/convert/convert_test.ts",
  ]),
  mutant("data/convert/convert.ts", "limit ?? order.length", "order.length", [
    "data/convert/convert_test.ts",
  ]),
  mutant("data/convert/convert.ts", "encoder.encode(name).length - name.length", "0", [
    "data/convert/convert_test.ts",
  ]),
  mutant(
    "data/convert/npm_package.ts",
    "clearEnv: true, ",
    "",
    ["docs/commands_run_test.ts"],
    "distilling.md: its",
  ),
  mutant("data/fingerprint.ts", "hash.update(`${label}`)", "hash.update(``)", ["data/fingerprint_test.ts"]),
  mutant("data/dataset.ts", "others[label] !== name", "false", ["data/dataset_test.ts"]),
];

/** Kernels' host code: what is planned, laid out, differentiated and sampled. */
const KERNELS: readonly Mutant[] = [
  mutant("kernels/tuning/fastest.ts", "first < second)", "first > second)", [
    "kernels/tuning/fastest_test.ts",
  ]),
  mutant("kernels/tuning/fastest.ts", "1000 * least / median(times)", "1000 * median(times) / least", [
    "kernels/tuning/fastest_test.ts",
  ]),
  mutant("kernels/tuning/fastest.ts", "totalOf(other) < totalOf(best)", "totalOf(other) > totalOf(best)", [
    "kernels/tuning/fastest_test.ts",
  ]),
  mutant("kernels/image/view_parameters.ts", "hue: 0.4 },", "hue: 0.1 },", [
    "kernels/image/view_parameters_test.ts",
  ]),
  mutant("kernels/image/view_parameters.ts", "    grayscaleFirst: true,\n", "", [
    "kernels/image/view_parameters_test.ts",
  ]),
  mutant("kernels/ceilings.ts", "LANES * STEPS * chains * 4 * 2", "LANES * STEPS * chains * 4 * 4", [
    "kernels/ceilings_test.ts",
  ]),
  mutant("kernels/ceilings.ts", "${STEPS / perTurn}u", "${STEPS}u", ["kernels/ceilings_test.ts"]),
  mutant("kernels/fold_workgroups.ts", 'rows * folds === down ? "" :', 'rows > 0 ? "" :', [
    "kernels/fold_workgroups_test.ts",
  ]),
  mutant("kernels/image/view_plan.ts", "Math.min(bytes, MOST_BYTES)", "bytes", [
    "kernels/image/view_plan_test.ts",
  ]),
  mutant("kernels/wgsl.ts", "${Math.floor(i / lanes)}, ${i % lanes}u", "0, ${i % lanes}u", [
    "kernels/ops/conv2d_test.ts",
  ]),
  mutant(
    "kernels/ops/conv2d/staged_generator.ts",
    "group.z / p.splits / p.stride, group.z / p.splits % p.stride",
    "group.z % (p.stride * p.stride) / p.stride, group.z % p.stride",
    ["kernels/ops/conv2d_test.ts"],
    "whose sums are cut",
  ),
  mutant("kernels/ops/conv2d/generator.ts", "pixel${u} * x_step +", "pixel${u} +", [
    "kernels/ops/conv2d_test.ts",
  ]),
  mutant("kernels/ops/conv2d/generator.ts", "p.stride + kx${u} - p.pad_left;", "p.stride + kx${u};", [
    "kernels/ops/conv2d_test.ts",
  ]),
  mutant("kernels/ops/conv2d/generator.ts", 'rows.lanes > 1 ? "subgroupAny" : ""', '""', [
    "kernels/ops/conv2d_test.ts",
  ]),
  mutant("kernels/ops/attention/generator.ts", "min(${u * lanes}u + lane, HEAD - 1u)", "${u * lanes}u", [
    "kernels/ops/attention_test.ts",
  ]),
  mutant("models/efficientnet.ts", "padTop + padBottom - kernel", "padTop - kernel", [
    "models/registry_test.ts",
  ]),
  mutant("kernels/graph.ts", "return (length + 3) & ~3;", "return (length + 4) & ~3;", [
    "kernels/ops/sgd_test.ts",
  ]),
  mutant(
    "kernels/layout.ts",
    "padded[row * stride + column] = values[row * columns + column];",
    "padded[row * columns + column] = values[row * columns + column];",
    ["kernels/ops/queue_cross_entropy_test.ts"],
  ),
  mutant(
    "kernels/autodiff.ts",
    "earlier === undefined ? gradient : sum(graph, earlier, gradient)",
    "gradient",
    ["kernels/autodiff_test.ts"],
  ),
  mutant(
    "kernels/autodiff.ts",
    "outputGradient === undefined ? lossScale :",
    "outputGradient === undefined ? undefined :",
    STEP,
    "overflow",
  ),
  mutant(
    "kernels/memory_plan.ts",
    "other.first <= life.last && life.first <= other.last",
    "other.first < life.last && life.first < other.last",
    ["kernels/memory_plan_test.ts"],
  ),
  mutant(
    "kernels/memory_plan.ts",
    "if (alive.some(({ life: other }) => life.apart?.has(other.id) || other.apart?.has(life.id))) continue;",
    "",
    ["kernels/memory_plan_test.ts"],
  ),
  mutant("kernels/memory_plan.ts", "Math.ceil(bytes / ALIGNMENT) * ALIGNMENT", "bytes", [
    "kernels/memory_plan_test.ts",
  ]),
  mutant("kernels/ops/sgd/sgd.ts", "f32(momentum), f32(weightDecay)", "f32(momentum), f32(0)", [
    "kernels/ops/sgd_test.ts",
  ]),
  mutant("kernels/ops/sgd/sgd.ts", "gradient * loss_scale[1].y", "gradient * loss_scale[0].x", [
    "kernels/ops/loss_scale_test.ts",
  ]),
  mutant(
    "kernels/ops/queue_cross_entropy/queue_cross_entropy.ts",
    "f32(1 / (rows * temperature))",
    "f32(1 / (count * temperature))",
    ["kernels/ops/queue_cross_entropy_test.ts"],
  ),
  mutant(
    "kernels/ops/queue_cross_entropy/queue_cross_entropy.ts",
    "[f32(1 / temperature), f32(1 / (teacherTemperature ?? 1))]",
    "[f32(1 / temperature), f32(1 / temperature)]",
    ["kernels/ops/queue_cross_entropy_test.ts"],
  ),
  mutant(
    "kernels/ops/queue_cross_entropy/queue_cross_entropy.ts",
    "lower(rowDot, [teacher, teacher], [wantedOwn], {});",
    "lower(rowDot, [student, teacher], [wantedOwn], {});",
    ["kernels/ops/queue_cross_entropy_test.ts"],
  ),
  mutant(
    "kernels/ops/max_pool/max_pool.ts",
    "Math.floor((length + 2 * padding - kernel) / stride) + 1",
    "Math.ceil((length + 2 * padding - kernel) / stride) + 1",
    ["kernels/ops/elementwise_and_pool_test.ts"],
  ),
  mutant("kernels/ops/batch_norm/batch_norm.ts", "keepMasked ? dz : dy]", "dy]", [
    "kernels/ops/batch_norm_test.ts",
  ]),
  mutant(
    "kernels/ops/conv2d/geometry.ts",
    "padLeft + padRight - kernelWidth",
    "padLeft + padLeft - kernelWidth",
    ["kernels/ops/conv2d_test.ts"],
  ),
  mutant(
    "kernels/ops/conv2d/geometry.ts",
    "kernelHeight === 1 && kernelWidth === 1 && stride === 1 &&",
    "kernelWidth === 1 && stride === 1 &&",
    ["kernels/ops/conv2d_test.ts"],
  ),
  mutant(
    "kernels/ops/loss_scale/loss_scale.ts",
    "growthInterval: 2000, backoff: 0.5",
    "growthInterval: 2000, backoff: 0.25",
    ["methods/seed/step_test.ts"],
    "overflow",
  ),
  mutant(
    "kernels/image/view_parameters.ts",
    "rest > 0.5 || (rest === 0.5 && floor % 2 !== 0)",
    "rest >= 0.5",
    ["kernels/image/view_parameters_test.ts"],
  ),
  mutant(
    "kernels/image/view_parameters.ts",
    "Math.exp(random.uniform(Math.log(ratio[0]), Math.log(ratio[1])))",
    "random.uniform(...ratio)",
    ["kernels/image/view_parameters_test.ts"],
  ),
  mutant("kernels/image/view_parameters.ts", "tries < 10; tries++", "tries < 9; tries++", [
    "kernels/image/view_parameters_test.ts",
  ]),
  mutant("kernels/image/view_parameters.ts", "scale: [0.14, 1] }", "scale: [0.2, 1] }", [
    "kernels/image/view_parameters_test.ts",
  ]),
  mutant(
    "kernels/image/view_parameters.ts",
    "-Math.floor((size - resized) / 2)",
    "-Math.ceil((size - resized) / 2)",
    ["kernels/image/view_parameters_test.ts"],
  ),
  mutant(
    "kernels/image/resize_table.ts",
    "const center = (output + 0.5) * scale;",
    "const center = output * scale;",
    ["kernels/image/resize_table_test.ts"],
  ),
  mutant("kernels/image/resize_table.ts", "weight < 0 ? weight - 0.5 : weight + 0.5", "weight + 0.5", [
    "kernels/image/resize_table_test.ts",
  ]),
  mutant("kernels/image/blur_weights.ts", "const PASSES = 3;", "const PASSES = 2;", [
    "kernels/image/blur_weights_test.ts",
  ]),
];

/** Guards of what a person sees, and of what a page's clients can do. */
const SHOWN: readonly Mutant[] = [
  mutant("cli/output/run_tuning.ts", "kernels are chosen again", "each of the kernels is measured anew", [
    "docs/troubleshooting_test.ts",
  ]),
  mutant("cli/output/contact_sheet.ts", "? SAME : OTHER", "? OTHER : SAME", [
    "cli/output/contact_sheet_test.ts",
  ]),
  mutant("cli/output/contact_sheet.ts", "thumbnail(row.image", "thumbnail(asked.image", [
    "cli/output/contact_sheet_test.ts",
  ]),
  mutant("cli/terminal/run_main.ts", 'typeof arg === "string" ? printable(arg) : arg', "arg", [
    "cli/terminal/run_main_test.ts",
  ]),
  mutant("cli/terminal/run_main.ts", "printableLine(error.message)", "error.message", [
    "cli/terminal/run_main_test.ts",
  ]),
  mutant("cli/terminal/run_main.ts", "printable(Deno.inspect(error.cause))", "Deno.inspect(error.cause)", [
    "cli/terminal/run_main_test.ts",
  ]),
  mutant("cli/output/line_file.ts", "printable(text).replaceAll", "text.replaceAll", [
    "cli/output/output_folder_test.ts",
  ]),
  mutant("cli/output/line_file.ts", "\\n${stamp} | `", "\\n${stamp} `", [
    "cli/output/output_folder_test.ts",
  ]),
  mutant("cli/terminal/progress.ts", "${CLEAR_LINE}${printable(text)}", "${CLEAR_LINE}${text}", [
    "cli/terminal/progress_test.ts",
  ]),
  mutant("cli/terminal/progress.ts", "warning: ${printable(text)}", "warning: ${text}", [
    "cli/terminal/progress_test.ts",
  ]),
  mutant("cli/terminal/count_progress.ts", "printableLine(text).slice", "text.slice", [
    "cli/terminal/progress_test.ts",
  ]),
  mutant("cli/terminal/count_progress.ts", "${CLEAR_LINE}${printable(text)}", "${CLEAR_LINE}${text}", [
    "cli/terminal/progress_test.ts",
  ]),
  mutant("cli/commands/export.ts", "await new Promise((resolve) => setTimeout(resolve));", "", [
    "cli/commands/signals_test.ts",
  ]),
  mutant("ui/server.ts", "headersTimeout: requestMs,\n      requestTimeout: requestMs,", "", [
    "ui/server_test.ts",
  ], "answers again"),
  mutant("ui/watchers.ts", "{ ...this.#names(), begins: true }", "this.#names()", ["ui/state_test.ts"]),
  mutant("ui/page/csv.ts", "NUMBER.test(cell) ? cell : formatField(cell)", "formatField(cell)", [
    "ui/names_test.ts",
  ]),
  mutant(
    "methods/reading_progress.ts",
    "    if (this.#hasEnded) return; // what was told before the end can arrive after it\n",
    "",
    ["methods/reading_progress_test.ts"],
  ),
  mutant("methods/linear_probe/run.ts", "    this.#reading?.end();\n", "", [
    "methods/reading_progress_test.ts",
  ]),
  mutant("methods/finetune/run.ts", "    this.#testing.end();\n", "", ["methods/reading_progress_test.ts"]),
  mutant("cli/commands/encoder_training.ts", "if (images === 0) return", "if (false) return", [
    "cli/commands/expect_evaluations_test.ts",
  ]),
  mutant("actors/span_totals.ts", "if (last.start >= start) continue;", "break;", [
    "actors/run_profile_test.ts",
  ]),
  mutant("actors/run_profile.ts", "spans.slice(0, MOST_SPANS - this.#kept)", "spans", [
    "actors/run_profile_test.ts",
  ]),
  mutant("models/largest.ts", "value > values[largest[place - 1]]", "value >= values[largest[place - 1]]", [
    "models/queue_similarities_test.ts",
  ]),
];

/** What happens between a batch's gradients and new weights. */
const STEPS: readonly Mutant[] = [
  mutant(
    "methods/encoder_training/step_options.ts",
    "findOptimizer(optimizer, { momentum, weightDecay })",
    "findOptimizer(optimizer, { momentum: 0.9, weightDecay })",
    ["models/training_step_test.ts"],
    "clipNorm scales",
  ),
  mutant(
    "methods/encoder_training/key_queue.ts",
    "pointer + size - index * batch % size",
    "pointer",
    ["models/training_step_test.ts"],
  ),
  mutant(
    "methods/encoder_training/key_queue.ts",
    "copyKeys(waiting, 0, index * batch, batch)",
    "copyKeys(waiting, 0, 0, batch)",
    ["models/training_step_test.ts"],
  ),
  mutant(
    "methods/encoder_training/step_results.ts",
    "isApplied: isApplied || !endsStep",
    "isApplied",
    ["models/training_step_test.ts"],
  ),
  mutant(
    "models/training_step.ts",
    "1 / group.size",
    "1",
    ["models/training_step_test.ts"],
  ),
  mutant(
    "models/training_step.ts",
    "store.segments(optimizer.sums === undefined ? GRADIENT : SUM)",
    "store.segments(GRADIENT)",
    ["models/training_step_test.ts"],
  ),
  mutant(
    "models/training_step.ts",
    "padRows([learningRates[i]], [1])",
    "padRows([learningRates[0]], [1])",
    ["models/training_step_test.ts"],
  ),
  mutant(
    "models/training_step.ts",
    "applyAll(clipGradients, [control, ...gradients]",
    "applyAll(clipGradients, [control, gradients[0]]",
    ["models/training_step_test.ts"],
  ),
  mutant(
    "models/training_step.ts",
    "applyAll(updateLossScale, [control, ...gradients]",
    "applyAll(updateLossScale, [control, gradients[0]]",
    ["models/training_step_test.ts"],
  ),
  mutant(
    "kernels/ops/adamw/adamw.ts",
    "1 - beta2, ",
    "1 - Math.fround(beta2), ",
    ["kernels/ops/adamw_test.ts"],
  ),
  mutant(
    "kernels/ops/adamw/adamw.wgsl",
    "x > -0.3",
    "false",
    ["kernels/ops/adamw_test.ts"],
  ),
  mutant(
    "kernels/ops/accumulate/accumulate.wgsl",
    "select(sums[i], vec4<f32>(), group[0].x == 0.0)",
    "sums[i] * select(1.0, 0.0, group[0].x == 0.0)",
    ["kernels/ops/accumulate_test.ts"],
  ),
  mutant(
    "kernels/ops/clip_gradients/sum_of_squares.wgsl",
    "sum += gradient * gradient",
    "sum += gradients[i] * gradients[i] * control[1].y * control[1].y",
    ["kernels/ops/clip_gradients_test.ts"],
  ),
  mutant(
    "kernels/ops/clip_gradients/clip.wgsl",
    "control[1].y * factor",
    "factor",
    ["kernels/ops/clip_gradients_test.ts"],
  ),
  mutant(
    "kernels/ops/moving_average/moving_average.wgsl",
    "(1.0 - momentum[0].x)",
    "0.5",
    ["kernels/ops/moving_average_test.ts"],
  ),
];

/** Vision transformers that are trained, and AdamW. */
const TRANSFORMERS: readonly Mutant[] = [
  mutant("models/optim/optimizers.ts", "decays ? weightDecay : 0", "weightDecay", VIT),
  mutant("models/vit_layers.ts", "b.dropPath * i / (blocks - 1)", "b.dropPath", VIT),
  mutant(
    "models/training_step.ts",
    "options.lossScale ?? NO_SCALE, options.steps",
    "options.lossScale ?? NO_SCALE",
    VIT,
  ),
  mutant("methods/moco/step.ts", 'name === "query" ? dropPath : 0', "0", ["methods/vit_student_test.ts"]),
];

/** All of them. */
/** What exports of vision transformers keep, and what of them is told from the file. */
const VITS: readonly Mutant[] = [
  mutant(
    "models/vit.ts",
    "i >= width && i < 2 * width ? 0 : 1",
    "i >= width && i < 2 * width ? 1 : 0",
    ["models/export/export_vit_test.ts"],
  ),
  mutant(
    "models/complete_entries.ts",
    "key === PERIODS_KEY && ropeTheta !== undefined",
    "key === PERIODS_KEY && ropeTheta === 0",
    ["models/export/export_vit_test.ts"],
  ),
  mutant(
    "models/recognize.ts",
    "heads ?? input?.heads ?? config?.heads",
    "heads ?? config?.heads",
    ["models/export/export_vit_test.ts"],
  ),
  mutant(
    "models/export/onnx_token_rules.ts",
    "t.number(1 / Math.sqrt(length))",
    "t.number(1 / length)",
    ["models/export/onnx_vit_test.ts"],
  ),
  mutant(
    "cli/flags/recipe_teacher.ts",
    "found.ssl !== teacherSsl || ",
    "",
    ["cli/commands/recipe_test.ts"],
    "refuses a teacher",
  ),
];

export const MUTANTS: readonly Mutant[] = [
  ...ACTORS,
  ...FINETUNING,
  ...RECIPES,
  ...VITS,
  ...MODELS,
  ...STEPS,
  ...DATA,
  ...KERNELS,
  ...SHOWN,
  ...TRANSFORMERS,
];
