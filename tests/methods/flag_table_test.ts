import { assertRejects, assertThrows } from "@std/assert";
import { UserError } from "../../errors.ts";
import { checkOptions } from "../../methods/flag_table.ts";
import {
  distill,
  embed,
  type EmbedInput,
  finetune,
  knn,
  type KnnInput,
  linearProbe,
  METHODS,
  pretrain,
  SAMPLE_DATA,
  sampleOptions,
  startMethod,
} from "../../mod.ts";

const TABLE = {
  count: { kind: "integer", min: 1, max: 9, group: "", help: "" },
  rate: { kind: "number", above: 0, group: "", help: "" },
  steps: { kind: "integers", min: 0, group: "", help: "" },
  rates: { kind: "numbers", above: 0, group: "", help: "" },
  rule: { kind: "choice", values: ["a", "b"], group: "", help: "" },
  long: { kind: "choice", values: ["a"], valuesShown: "see there", group: "", help: "" },
  on: { kind: "boolean", group: "", help: "" },
  path: { kind: "text", metavar: "FILE", group: "", help: "" },
  interval: { kind: "text", metavar: "TIME", isParsed: true, group: "", help: "" },
} as const;

Deno.test("checkOptions() lets through what the flags could say, and refuses the rest by name", () => {
  checkOptions(TABLE, {
    ...{
      count: 9,
      rate: 0.5,
      steps: [0, 3],
      rates: [1e-9],
      rule: "b",
      long: "of a plugin",
      on: false,
      path: "x",
      interval: { seconds: 5 },
    },
    ...{ other: {}, tuning: null },
  });
  checkOptions(TABLE, { count: undefined, rate: null });
  const refused: [object, string][] = [
    [{ count: 0 }, "count: expected a whole number from 1 to 9, found 0"],
    [{ count: 2.5 }, "count: expected a whole number from 1 to 9, found 2.5"],
    [{ count: "3" }, 'count: expected a whole number from 1 to 9, found "3"'],
    [{ count: NaN }, "found NaN"],
    [{ rate: 0 }, "rate: expected a number above 0, found 0"],
    [{ rate: Infinity }, "found Infinity"],
    [{ steps: [] }, "steps: expected whole numbers of at least 0"],
    [{ steps: [1, 0.5] }, "found [ 1, 0.5 ]"],
    [{ steps: 3 }, "found 3"],
    [{ rates: [1, -1] }, "rates: expected numbers above 0"],
    [{ rule: "c" }, 'rule: expected one of a, b, found "c"'],
    [{ on: 1 }, "on: expected true or false"],
    [{ long: 5 }, "long: expected a string (see there), found 5"],
    [{ path: 5 }, "path: expected a non-empty string (FILE), found 5"],
    [{ path: "" }, 'path: expected a non-empty string (FILE), found ""'],
    [{ path: new URL("file:///x") }, "path: expected a non-empty string (FILE), found a URL object"],
  ];
  for (const [options, message] of refused) {
    assertThrows(() => checkOptions(TABLE, options), UserError, message);
  }
  for (const [path, found] of [["", '""'], [new URL("file:///x"), "a URL object"]]) {
    assertThrows(
      () => checkOptions({}, { path }, ["path"]),
      UserError,
      `path: expected a path, found ${found}`,
    );
  }
});

Deno.test("a program's options are checked as the command line's are, before anything is made", async () => {
  const output = `${Deno.makeTempDirSync()}/run`;
  try {
    await assertRejects(
      () => distill(sampleOptions({ output, batchSize: -4 })).result,
      UserError,
      "batchSize: expected a whole number of at least 1, found -4",
    );
    await assertRejects(
      () => distill(sampleOptions({ output, onNan: "pass" as "stop" })).result,
      UserError,
      'onNan: expected one of stop, skip, found "pass"',
    );
    const probe = linearProbe({
      pretrained: null,
      arch: "resnet18",
      data: "x",
      testData: "y",
      output,
      lr: [-1],
    });
    await assertRejects(() => probe.result, UserError, "lr: expected numbers above 0");
    assertThrows(() => Deno.statSync(output), Deno.errors.NotFound);
  } finally {
    Deno.removeSync(output.slice(0, -4), { recursive: true });
  }
});

Deno.test("an option that is missing is named, in every task", async () => {
  // As a program without types may call them.
  const none = {} as never;
  for (const task of [distill, pretrain, linearProbe, finetune, knn, embed]) {
    await assertRejects(() => task(none).result, UserError, ": expected a path, found undefined");
  }
  const { distill: teacher, ...others } = sampleOptions({ output: "/never" });
  await assertRejects(
    () => startMethod(METHODS.seed, others as never, {}).result,
    UserError,
    "distill: expected a path, found undefined",
  );
  const data = SAMPLE_DATA;
  await assertRejects(
    () => linearProbe({ data, output: "/never" } as never).result,
    UserError,
    "expected a checkpoint (pretrained) or the name of an encoder (arch), found neither",
  );
  const head: EmbedInput = { pretrained: teacher, data, part: "head" as "encoder" };
  await assertRejects(() => embed(head).result, UserError, "part: expected one of backbone, encoder");
  for (const batchSize of [0, -5, 1.5]) {
    await assertRejects(
      () => embed({ pretrained: teacher, data, batchSize }).result,
      UserError,
      `batchSize: expected a whole number of at least 1, found ${batchSize}`,
    );
  }
  const neighbours = { queries: 2, k: 3 } as NonNullable<EmbedInput["neighbours"]>;
  await assertRejects(
    () => embed({ pretrained: teacher, data, neighbours: { ...neighbours, k: 0 } }).result,
    UserError,
    "neighbours.k: expected a whole number of at least 1, found 0",
  );
  await assertRejects(
    () => embed({ pretrained: teacher, data, neighbours }).result,
    UserError,
    "neighbours.seed: expected a whole number of at least 0, found undefined",
  );
  const one: KnnInput = { pretrained: teacher, data, knnK: 5 as unknown as number[] };
  await assertRejects(() => knn(one).result, UserError, "knnK: expected whole numbers of at least 1");
});

Deno.test("a run makes no folder where the checkpoint to resume from is not there", async () => {
  const output = `${Deno.makeTempDirSync()}/run`;
  try {
    const { result } = distill(sampleOptions({ output, resume: "/no.pth.tar" }));
    await assertRejects(() => result, UserError, "/no.pth.tar: no such file");
    assertThrows(() => Deno.statSync(output), Deno.errors.NotFound);
  } finally {
    Deno.removeSync(output.slice(0, -4), { recursive: true });
  }
});
