import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { checkNames } from "../../methods/flag_table.ts";
import { finetuneFlags } from "../../methods/finetune/flags.ts";
import { linearFlags } from "../../methods/linear_probe/flags.ts";
import { pretrainFlags } from "../../methods/moco/flags.ts";
import { distillFlags } from "../../methods/seed/flags.ts";
import {
  type ActorModules,
  distill,
  type DistillInput,
  embed,
  type EmbedInput,
  finetune,
  type FinetuneInput,
  knn,
  type KnnInput,
  type LinearInput,
  linearProbe,
  METHODS,
  pretrain,
  type PretrainInput,
  type SaveInterval,
  UserError,
} from "../../mod.ts";

const NAMES = { encoders: [] };
const TABLES = {
  seed: distillFlags(NAMES),
  moco: pretrainFlags(NAMES),
  linear_probe: linearFlags(NAMES),
  finetune: finetuneFlags(NAMES),
} as const;

interface Inputs {
  seed: DistillInput;
  moco: PretrainInput;
  linear_probe: LinearInput;
  finetune: FinetuneInput;
}

/** Names that `deno check` refuses where one is missing or too many: of options without a flag, and of flags that are no options. */
const APART: {
  [M in keyof Inputs]: [
    options: Record<Exclude<keyof Inputs[M], keyof typeof TABLES[M]>, true>,
    flags: Record<Exclude<keyof typeof TABLES[M], keyof Inputs[M]>, true>,
  ];
} = {
  seed: [{ actors: true, defaults: true, images: true, plugins: true, tuning: true }, { plugin: true }],
  moco: [{ actors: true, defaults: true, images: true, plugins: true, tuning: true }, { plugin: true }],
  linear_probe: [{ actors: true, data: true, plugins: true, tuning: true }, { plugin: true }],
  finetune: [{ actors: true, data: true, plugins: true, tuning: true }, { plugin: true }],
};

/** Calls a task as a program without types may. */
function call(task: (input: never) => { result: Promise<unknown> }, options: object): Promise<unknown> {
  return task({ data: "/nowhere", ...options } as never).result;
}

Deno.test("every method takes the names of its options, and no others", () => {
  for (const name of ["seed", "moco", "linear_probe", "finetune"] as const) {
    const [options, flags] = APART[name];
    assertEquals(METHODS[name].unflagged.toSorted(), Object.keys(options));
    const names = new Set(Object.keys(METHODS[name].flags()));
    assertEquals(Object.keys(TABLES[name]).filter((flag) => !names.has(flag)).toSorted(), Object.keys(flags));
  }
});

Deno.test("knn() and embed() take the names of their options", async () => {
  const both: Required<Pick<KnnInput & EmbedInput, keyof KnnInput & keyof EmbedInput>> = {
    ...{ pretrained: "/nowhere", arch: "resnet18", stem: "cifar", which: "student", weights: "x", heads: 1 },
    ...{ feature: "cls", amp: false, imageSize: 32, evalResize: "none", maxPixels: 9, fastDecode: false },
    ...{ data: "/nowhere", actors: {}, plugins: [], tuning: null },
  };
  const evaluation: Required<KnnInput> = {
    ...both,
    seed: 1,
    testData: "/nowhere",
    knnK: [1],
    knnT: 1,
  };
  await assertRejects(() => knn(evaluation).result, UserError, "/nowhere: no such file");
  const neighbours = { queries: 1, k: 1, seed: 0 };
  const embedding: Required<EmbedInput> = {
    ...both,
    part: "encoder",
    split: "test",
    batchSize: 1,
    workers: 1,
    neighbours,
  };
  await assertRejects(() => embed(embedding).result, UserError, "/nowhere does not exist");
});

Deno.test("an option that there is not is refused, with the name that may be meant", async () => {
  for (const task of [distill, pretrain, linearProbe, finetune, knn, embed]) {
    await assertRejects(() => call(task, { dat: "x" }), UserError, "unknown option dat; did you mean data?");
    await assertRejects(() => call(task, { plugin: "x" }), UserError, "unknown option plugin; did you mean");
    await assertRejects(() => call(task, { somethingElse: undefined, elsewhere: 1 }), UserError, "elsewhere");
  }
  const refused: [object, string][] = [
    [{ batchsize: 32 }, "unknown option batchsize; did you mean batchSize?"],
    [{ batch_size: 32 }, "unknown option batch_size; did you mean batchSize?"],
    [{ learningRate: 1 }, "unknown option learningRate; did you mean lr?"],
    [{ recipes: "paper-moco-r50" }, "unknown option recipes; did you mean recipe?"],
  ];
  for (const [options, message] of refused) {
    await assertRejects(() => call(distill, options), UserError, message);
  }
  assertThrows(() => checkNames({}, [], { toString: 1 }), UserError, "unknown option toString");
});

Deno.test("an actor that there is not is refused, and a module that no absolute URL names", async () => {
  const advice =
    'expected the text of an absolute URL, such as new URL("./mine.ts", import.meta.url).href, found ';
  const url = new URL(import.meta.url);
  for (const task of [distill, pretrain, linearProbe, finetune, knn, embed]) {
    const refused: [object, string][] = [
      [{ actors: { teacher_encoder: url.href } }, "augmenter, encoder, evaluator"],
      [{ actors: { teacher_encoder: url.href } }, "found teacher_encoder"],
      [{ actors: { tsv_reader: "./tsv_reader.ts" } }, `actors.tsv_reader: ${advice}"./tsv_reader.ts"`],
      [{ actors: { encoder: "/mine/encoder.ts" } }, `actors.encoder: ${advice}"/mine/encoder.ts"`],
      [{ actors: { encoder: url } }, `actors.encoder: ${advice}a URL object`],
      [{ plugins: [url.href, "./mine.ts"] }, `plugins[1]: ${advice}"./mine.ts"`],
      [{ plugins: [url] }, `plugins[0]: ${advice}a URL object`],
      [{ plugins: url.href }, "plugins: expected an array of URLs, found"],
    ];
    for (const [options, message] of refused) {
      await assertRejects(() => call(task, options), UserError, message);
    }
  }
  // Not set, as any option that is undefined.
  const actors: ActorModules = { tsv_reader: undefined };
  await assertRejects(() => call(knn, { actors, plugins: ["data:text/javascript,"] }), UserError, "arch");
});

Deno.test("saveEvery that is neither steps nor seconds is refused", async () => {
  for (const saveEvery of ["30m", 500, {}, { steps: 0 }, { steps: 1.5 }, { seconds: -1 }, { steps: "5" }]) {
    for (const task of [distill, pretrain]) {
      const options = { output: "/never", ...task === distill && { distill: "/nowhere" }, saveEvery };
      await assertRejects(() => call(task, options), UserError, "saveEvery: expected { steps: 500 }");
    }
  }
  const fitting: SaveInterval[] = [{ steps: 1 }, { seconds: 0.5 }];
  for (const saveEvery of fitting) {
    const options = { distill: "/nowhere", output: "/never", saveEvery };
    await assertRejects(() => call(distill, options), UserError, "/nowhere: no such file");
  }
});

Deno.test("images, and the seed and test images of a kNN evaluation, are checked as the options of flags are", async () => {
  const actors = { tsv_reader: import.meta.url };
  for (const task of [distill, pretrain]) {
    for (const images of [-5, 0, 1.5, NaN, Infinity, "160"]) {
      const options = { output: "/never", ...task === distill && { distill: "/nowhere" }, actors, images };
      const message = "images: expected a whole number of at least 1, found ";
      await assertRejects(() => call(task, options), UserError, message);
    }
  }
  for (const seed of ["x", -1, NaN]) {
    await assertRejects(() => call(knn, { seed }), UserError, "seed: expected a whole number of at least 0");
  }
  const testData = new URL("file:///test.tsv");
  await assertRejects(() => call(knn, { testData }), UserError, "testData: expected a non-empty string");
});

Deno.test("an AbortSignal in the place of the settings is refused, in every task", async () => {
  const { signal } = new AbortController();
  for (const task of [distill, pretrain, linearProbe, finetune, knn, embed]) {
    await assertRejects(
      () => task({ data: "/nowhere" } as never, signal as never).result,
      UserError,
      "expected settings of the run, such as { signal }, found an AbortSignal",
    );
  }
});
