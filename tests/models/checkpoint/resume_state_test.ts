// What a run goes on with is read from a file that anybody may have written: each value is looked at.
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  buildTrainingCheckpoint,
  checkSavedTensors,
  readTrainingCheckpoint,
} from "../../../methods/encoder_training/checkpoint.ts";
import { DISTILL_CHECKPOINT } from "../../../methods/seed/checkpoint.ts";
import { CheckpointError } from "../../../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { fingerprintWeights } from "../../../models/checkpoint/fingerprint_weights.ts";
import { buildLinearCheckpoint, readLinearCheckpoint } from "../../../methods/linear_probe/checkpoint.ts";
import { buildResumeState, extraStepsOf, readResumeState } from "../../../models/checkpoint/resume_state.ts";
import {
  buildTerms,
  compareTerms,
  describeDifference,
  type Term,
} from "../../../models/checkpoint/run_terms.ts";
import type { NamedTensor } from "../../../models/checkpoint/named_tensor.ts";
import { TensorValue, type TorchDict, type TorchValue } from "../../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../../models/checkpoint/torch_writer.ts";
import { checkpointErrorOf, withFolder } from "./fixtures.ts";

const fail = (problem: string) => new CheckpointError("a.pth.tar", problem);
const TERMS: Term[] = [
  { name: "data", flag: "--data", value: "abc", isEssential: true, content: "images" },
  { name: "temp", flag: "--temp", value: 0.2, isEssential: true },
  { name: "cos", flag: "--cos", value: true, isEssential: false },
  { name: "schedule", flag: "--schedule", value: [1, 2], isEssential: false },
];
const STATE = {
  batch: 3,
  batchesPerEpoch: 7,
  batchSize: 4,
  seed: 5,
  lossScale: { scale: 1024, goodSteps: 2, skipped: 1 },
  origin: { seed: 9, epoch: 2, studentInit: "def" },
  terms: TERMS,
};

Deno.test("readResumeState() gives back what buildResumeState() made, and nothing of a file that has nothing", () => {
  const { terms, ...rest } = readResumeState(readBack(buildResumeState(STATE)), fail);
  const { terms: _, ...expected } = STATE;
  assertEquals(rest, expected);
  assertEquals(compareTerms(terms!, TERMS, fail), []);
  const fewer = { ...STATE, extraSteps: -3 };
  assertEquals(readResumeState(readBack(buildResumeState(fewer)), fail).extraSteps, -3);
  assertEquals(readResumeState(undefined, fail).batch, 0);
  assertEquals(readResumeState(new Map(), fail).terms, undefined);
});

Deno.test("extraStepsOf() counts on from a checkpoint, and refuses one of less than no steps", () => {
  const of = (saved: { batchesPerEpoch?: number; extraSteps?: number }, now: number) =>
    extraStepsOf({ batchesPerEpoch: undefined, ...saved }, 2, now, fail);
  assertEquals([of({ batchesPerEpoch: 12 }, 12), of({ batchesPerEpoch: 12 }, 6)], [0, 12]);
  // 24 steps in two epochs of 12, were there not 4 fewer.
  assertEquals(of({ batchesPerEpoch: 12, extraSteps: -4 }, 15), -10);
  // The original's say nothing.
  assertEquals(of({}, 12), 0);
  assertThrows(
    () => of({ batchesPerEpoch: 12, extraSteps: -25 }, 12),
    CheckpointError,
    'its seed_resume is damaged: expected at least -24 for extra_steps, found "-25"',
  );
});

Deno.test("compareTerms() finds what a run had that has it no more, and the other way round", () => {
  const mixup = (value: number): Term => ({
    name: "mixup",
    flag: "--mixup",
    value,
    isEssential: true,
    usual: 0,
  });
  const feature = (value: boolean): Term => ({
    ...{ name: "feature", flag: "--feature", value, isEssential: true, usual: false },
  });
  // The usual value is not recorded, and older checkpoints do not have it either.
  assertEquals([...buildTerms([mixup(0), feature(false)]).keys()], []);
  assertEquals([...buildTerms([mixup(0.5), feature(true)])], [["mixup", 0.5], ["feature", true]]);
  const differences = (saved: Term[], now: Term[]) =>
    compareTerms(buildTerms(saved), now, fail).map((found) => [describeDifference(found), ...found.back]);
  assertEquals(differences([mixup(0.5)], [mixup(0.5)]), []);
  assertEquals(differences([mixup(0)], [mixup(0)]), []);
  assertEquals(differences([mixup(0.5)], [mixup(0)]), [["--mixup is 0, was 0.5", "--mixup 0.5"]]);
  assertEquals(differences([], [mixup(0.5)]), [["--mixup is 0.5, was 0", "--mixup 0"]]);
  assertEquals(differences([feature(true)], [feature(false)]), [["--feature is off, was on", "--feature"]]);
  assertEquals(differences([], [feature(true)]), [["--feature is on, was off", "no --feature"]]);
});

Deno.test("compareTerms() says by flags how an encoder was named", () => {
  const teacher = (arch: string, isAsked: boolean): Term[] => {
    const encoder = { term: "teacher_arch", flag: "--teacher-arch", feature: "feature" };
    return [
      { name: "teacher_arch", flag: "--teacher-arch", value: arch, isEssential: true, encoder },
      { name: "feature", flag: "--feature", value: isAsked, isEssential: true, usual: false, encoder },
    ];
  };
  const back = (saved: Term[], now: Term[]) => [
    ...new Set(compareTerms(buildTerms(saved), now, fail).flatMap((found) => found.back)),
  ];
  const usual = teacher("dinov2_vits14", false);
  assertEquals(back(teacher("dinov2_vits14_mean", true), usual), ["--feature mean"]);
  assertEquals(back(teacher("dinov2_vits14", true), usual), ["--feature cls"]);
  assertEquals(back(usual, teacher("dinov2_vits14_cls_mean", true)), ["no --feature"]);
  assertEquals(back(teacher("dinov2_vits14_mean", true), teacher("dinov2_vits14", true)), ["--feature mean"]);
  assertEquals(back(teacher("resnet18", true), teacher("resnet18", false)), ["--feature pooled"]);
  assertEquals(back(teacher("resnet18", false), usual), ["--teacher-arch resnet18"]);
  // Of a file whose encoder has no name, there is nothing to type.
  assertEquals(back(teacher("dino_vit_p16_w64_b2_h1_f256_r0_g4", false), usual), ["no --teacher-arch"]);

  const arch = (value: string, feature?: true): Term[] => {
    const encoder = { term: "arch", flag: "--arch", feature };
    return [{ name: "arch", flag: "--arch", value, isEssential: true, encoder }];
  };
  assertEquals(back(arch("vit_tiny_96"), arch("vit_tiny")), []); // its size is a term of its own
  assertEquals(back(arch("vit_small_96"), arch("vit_tiny")), ["--arch vit_small"]);
  assertEquals(back(arch("vit_tiny_96", true), arch("vit_tiny_96_mean", true)), ["--feature cls"]);
});

/** Floats are numbers when they are read. */
function readBack(dict: TorchDict): TorchDict {
  return new Map([...dict].map(([key, value]) => [
    key,
    value instanceof Map ? readBack(value) : (value as { value?: number } | null)?.value ?? value,
  ]));
}

// What no version ever writes, by what is wrong with it.
const NO_COUNTS: TorchValue[] = [2.5, NaN, Infinity, -5, "3", true, null, [1], new Map(), 2n ** 70n];
const NO_TEXTS: TorchValue[] = [1, true, [], new Map()];
const NO_DICTS: TorchValue[] = [1, "x", null, []];
const WRONG: [path: string[], values: TorchValue[]][] = [
  [[], NO_DICTS],
  [["batch"], [...NO_COUNTS, 7, 8]],
  [["batches_per_epoch"], [...NO_COUNTS, 0]],
  [["extra_steps"], [NaN, Infinity, 0.5, "1", null, [1]]],
  [["batch_size"], [...NO_COUNTS, 0]],
  [["seed"], NO_COUNTS],
  [["loss_scale"], [NaN, Infinity, 0, -1, "1024", null, [1]]],
  [["loss_scale_good_steps"], NO_COUNTS],
  [["loss_scale_skipped"], NO_COUNTS],
  [["origin"], NO_DICTS],
  [["origin", "seed"], NO_COUNTS],
  [["origin", "epoch"], NO_COUNTS],
  [["origin", "student_init"], NO_TEXTS],
  [["terms"], NO_DICTS],
];

Deno.test("readResumeState() refuses every wrong value of every field, and names it", () => {
  for (const [path, values] of WRONG) {
    for (const value of values) {
      let state: TorchValue = readBack(buildResumeState(STATE));
      const name = path.at(-1) ?? "seed_resume";
      if (path.length === 0) state = value;
      else (path.slice(0, -1).reduce((dict, key) => dict.get(key) as TorchDict, state)).set(name, value);
      const error = assertThrows(() => readResumeState(state, fail), CheckpointError, name, String(value));
      assertStringIncludes(error.message, "its seed_resume is damaged: expected ");
    }
  }
});

Deno.test("compareTerms() says what differs, passes over what is not known, and refuses what cannot be", () => {
  const saved = () => buildTerms(TERMS);
  const differing = (name: string, value: TorchValue) =>
    compareTerms(saved().set(name, value), TERMS, fail).map((found) => [found.name, found.then]);
  assertEquals(differing("temp", 0.1), [["temp", 0.1]]);
  assertEquals(differing("schedule", [1, 3]), [["schedule", [1, 3]]]);
  assertEquals(differing("data", null), []);
  assertEquals(compareTerms(new Map(), TERMS, fail), []);
  for (
    const [name, value] of [
      ["temp", NaN],
      ["temp", "0.2"],
      ["data", 1],
      ["cos", 1],
      ["schedule", "1,2"],
      ["schedule", [1, NaN]],
      ["schedule", ["1", 2]],
    ] as const
  ) assertThrows(() => differing(name, value as TorchValue), CheckpointError, `for ${name}, found `);
});

const SGD = { lr: 1, momentum: 0.9, weightDecay: 0 };

function studentCheckpoint(): TorchDict {
  const student: NamedTensor[] = [
    { key: "conv1.weight", shape: [2, 3, 1, 1], data: new Float32Array(6) },
    { key: "bn1.num_batches_tracked", dtype: "int64", shape: [], data: BigInt64Array.of(3n) },
  ];
  const queue = { shape: [2, 3], data: new Float32Array(6) };
  const momentum = new Map([["conv1.weight", new Float32Array(6)]]);
  const rest = { sgd: SGD, momentum, queue, smallQueue: queue, queuePointer: 2 };
  return buildTrainingCheckpoint(DISTILL_CHECKPOINT, {
    epoch: 7,
    arch: "resnet18",
    encoder: student,
    ...rest,
  });
}

const dictIn = (root: TorchDict, ...path: TorchValue[]) =>
  path.reduce(
    (at, key) => Array.isArray(at) ? at[key as number] : (at as TorchDict).get(key)!,
    root as TorchValue,
  );
const float = (...values: number[]) => new TensorValue("float32", [values.length], Float32Array.from(values));
const int = (...values: bigint[]) => new TensorValue("int64", [values.length], BigInt64Array.from(values));
const ints = (...shape: number[]) =>
  new TensorValue("int32", shape, new Int32Array(shape.reduce((size, side) => size * side, 1)));

/** Files that are no checkpoint to resume from: where in one to put what, and what is said of it. */
const WRONG_STUDENT: [path: TorchValue[], values: TorchValue[], said: string][] = [
  [["epoch"], NO_COUNTS, "has no valid epoch"],
  [["arch"], [1, null, []], "has no valid epoch and arch"],
  [["state_dict"], NO_DICTS, "no state_dict"],
  [["optimizer"], NO_DICTS, "optimizer"],
  [["optimizer", "state"], NO_DICTS, "optimizer has no state"],
  [["optimizer", "state", 0], NO_DICTS, "a dict for parameter"],
  [["optimizer", "state", 0, "momentum_buffer"], [1, "x", float(1, 2), ints(2, 3, 1, 1)], "not the momentum"],
  [["optimizer", "param_groups"], [1, "x", null, [1]], "param_groups"],
  ...["lr", "momentum", "weight_decay"].map((name): typeof WRONG_STUDENT[number] => [
    ["optimizer", "param_groups", 0, name],
    [NaN, Infinity, -1, "x", null, []],
    name,
  ]),
  [["state_dict", "module.student.conv1.weight"], [ints(2, 3, 1, 1)], "conv1.weight"],
  [
    ["state_dict", "module.student.bn1.num_batches_tracked"],
    [float(3), int(-1n), int(1n, 2n)],
    "num_batches_tracked",
  ],
  [["state_dict", "module.queue"], [ints(2, 3)], "queue"],
  [["state_dict", "module.small_queue"], [ints(2, 3)], "small_queue"],
  [["state_dict", "module.queue_ptr"], [float(2), int(-1n), int(), int(1n, 2n)], "queue_ptr"],
];

/** Writes a checkpoint with each wrong value, and reads it. */
async function refuseAll(
  folder: string,
  table: typeof WRONG_STUDENT,
  build: () => TorchDict,
  read: (path: string) => Promise<unknown>,
): Promise<void> {
  const path = `${folder}/checkpoint.pth.tar`;
  for (const [place, values, said] of table) {
    for (const value of values) {
      const root = build();
      const key = place.at(-1)!;
      const parent = dictIn(root, ...place.slice(0, -1));
      if (Array.isArray(parent)) parent[key as number] = value;
      else (parent as TorchDict).set(key, value);
      await writeTorchFile(path, root);
      const label = `${place.join(".")} ${String(value)}`;
      const message = await checkpointErrorOf(path, read).catch(() => "accepted");
      assertStringIncludes(message, said, label);
    }
  }
}

Deno.test("a student's checkpoint with a wrong value anywhere is refused by the name of what is wrong", async () => {
  const read = async (path: string) => {
    using file = await openCheckpointFile(path);
    await checkSavedTensors(
      readTrainingCheckpoint(DISTILL_CHECKPOINT, file),
      (problem) => new CheckpointError(path, problem),
    );
  };
  await withFolder(async (folder) => {
    await writeTorchFile(`${folder}/whole.pth.tar`, studentCheckpoint());
    await read(`${folder}/whole.pth.tar`);
    await refuseAll(folder, WRONG_STUDENT, studentCheckpoint, read);
  });
});

function linearCheckpoint(): TorchDict {
  const values = () => new Map([["fc.weight", new Float32Array(6)], ["fc.bias", new Float32Array(2)]]);
  return buildLinearCheckpoint({
    epoch: 3,
    arch: "resnet18",
    backbone: [],
    classes: 2,
    features: 3,
    probes: [0.1, 0.2].map((lr) => ({ lr, best: 50, values: values(), momentum: values() })),
    chosen: 1,
    sgd: SGD,
    terms: TERMS,
  });
}

const NO_BEST: TorchValue[] = [NaN, 101, -2, "x", null, []];
const WRONG_LINEAR: typeof WRONG_STUDENT = [
  [["epoch"], NO_COUNTS, "has no valid epoch"],
  [["state_dict"], NO_DICTS, "no classifier"],
  [["state_dict", "module.fc.weight"], [1, float(1, 2), ints(2, 3), ints(0, 3)], "fc.weight"],
  [["state_dict", "module.fc.bias"], [1, float(1), ints(2)], "fc.bias"],
  [["optimizer"], NO_DICTS, "optimizer"],
  [["optimizer", "param_groups", 0, "lr"], [NaN, "x"], "lr"],
  [["seed_resume"], NO_DICTS, "seed_resume"],
  [["seed_sweep"], [1, "x", null, [], new Map()], "a list of classifiers"],
  [["seed_sweep", 0], [1, "x", null, []], "seed_sweep"],
  [["seed_sweep", 0, "lr"], [NaN, Infinity, 0, -1, "x", null], "a learning rate above 0"],
  [["seed_sweep", 0, "lr"], [0.2], "0.2 occurs twice"],
  [["seed_sweep", 0, "best_acc1"], NO_BEST, "best_acc1"],
  [["seed_sweep", 0, "values"], NO_DICTS, "no values and momentum"],
  [["seed_sweep", 0, "momentum"], NO_DICTS, "no values and momentum"],
  [["seed_sweep", 0, "values", "fc.weight"], [1, float(1), ints(2, 3)], "fc.weight"],
  [["seed_sweep", 0, "momentum", "fc.bias"], [1, float(1), ints(2)], "fc.bias"],
];

Deno.test("a linear evaluation's checkpoint with a wrong value anywhere is refused likewise", async () => {
  const read = async (path: string) => {
    using file = await openCheckpointFile(path);
    return await readLinearCheckpoint(file, 30);
  };
  const originals = () => {
    const root = linearCheckpoint();
    root.delete("seed_sweep");
    return root;
  };
  await withFolder(async (folder) => {
    await writeTorchFile(`${folder}/whole.pth.tar`, linearCheckpoint());
    const { probes, terms } = await read(`${folder}/whole.pth.tar`);
    assertEquals([probes.map(({ lr }) => lr), compareTerms(terms!, TERMS, fail)], [[0.1, 0.2], []]);
    await refuseAll(folder, WRONG_LINEAR, linearCheckpoint, read);
    await refuseAll(
      folder,
      [[["best_acc1"], NO_BEST.filter((value) => value !== null), "best_acc1"]],
      originals,
      read,
    );
  });
});

Deno.test("fingerprintWeights() knows weights by names, shapes and values, not by their order or counters", async () => {
  const tensor = (key: string, ...values: number[]): NamedTensor => ({
    key,
    shape: [values.length],
    data: Float32Array.from(values),
  });
  const counter: NamedTensor = {
    key: "bn.num_batches_tracked",
    dtype: "int64",
    shape: [],
    data: BigInt64Array.of(1n),
  };
  const [a, b] = [tensor("a", 1, 2), tensor("b", 3)];
  const whole = await fingerprintWeights([a, b]);
  assertEquals(await fingerprintWeights([b, counter, a]), whole);
  const others = [[a], [a, tensor("b", 4)], [a, tensor("c", 3)], [{ ...a, shape: [2, 1] }, b]];
  for (const other of others) assertEquals(await fingerprintWeights(other) === whole, false);
});
