import { assert, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../errors.ts";
import { Graph } from "../../kernels/graph.ts";
import { describeImageSize, type Encoder, requireSize, traceOutputs } from "../../models/encoder.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";
import { stemOf } from "../../models/encoder_input.ts";
import { firstEntryOf, partsOf } from "../../models/encoder_parts.ts";
import type { HeadOptions } from "../../models/heads.ts";
import {
  ENCODERS,
  encodersNamed,
  encodersOfAllStems,
  findEncoder,
  freshEncoder,
  registerEncoder,
  studentNames,
  summarize,
  teacherNames,
  usualHead,
} from "../../models/registry.ts";

Deno.test("encoders have names of their own, and all may teach", () => {
  assertEquals(new Set(ENCODERS.map(({ name }) => name)).size, ENCODERS.length);
  for (const encoder of ENCODERS) {
    assertEquals(findEncoder(encoder.name), encoder);
    assert(encoder.roles.includes("teacher"), encoder.name);
  }
  assertThrows(
    () => findEncoder("resnet51"),
    UserError,
    'there is no encoder "resnet51"; known are resnet18, ',
  );
});

Deno.test("encodersNamed() knows the original's names, which need --teacher-ssl beside them", () => {
  const named = (name: string) => encodersNamed(name).map((encoder) => [encoder.name, encoder.ssl]);
  assertEquals(named("resnet50"), [
    ["resnet50", "moco"],
    ["resnet50_cifar", "moco"],
    ["resnet50_cifar_pad2", "moco"],
    ["simclr_resnet50", "simclr"],
    ["swav_resnet50", "swav"],
  ]);
  assertEquals(named("resnet50w2"), [["moco_resnet50w2", "moco"], ["swav_resnet50w2", "swav"]]);
  assertEquals(named("swav_resnet50w5"), [["swav_resnet50w5", "swav"]]);
  assertEquals(named("resnet51"), []);
});

Deno.test("registerEncoder() refuses an encoder that does not say which of another one's stems it has", () => {
  const usual = { ...findEncoder("resnet18"), name: "mine" };
  const cifar = { ...usual, name: "mine_cifar" };
  assertThrows(
    () => registerEncoder({ ...usual, cifar, cifarPad2: undefined }),
    Error,
    'expected stem "cifar" of the encoder "mine_cifar", found "imagenet"',
  );
  assertEquals(encodersNamed("mine"), []);
});

Deno.test("registerEncoder() refuses what an encoder is with a stem unless it is called so, and that name is free", () => {
  const usual = { ...findEncoder("resnet18"), cifar: undefined, cifarPad2: undefined };
  const withCifar = (name: string, cifar: string) => () =>
    registerEncoder({ ...usual, name, cifar: { ...usual, name: cifar, stem: "cifar" } });
  for (const name of ["mine", "others_cifar"]) {
    assertThrows(
      withCifar("mine", name),
      Error,
      `expected the encoder that "mine" is with the stem "cifar" to be called "mine_cifar", found "${name}"`,
    );
  }
  registerEncoder({ ...usual, name: "taken_cifar" });
  assertThrows(withCifar("taken", "taken_cifar"), Error, 'there is already an encoder "taken_cifar"');
  assertEquals([...encodersNamed("mine"), ...encodersNamed("taken")].map(({ name }) => name), [
    "taken_cifar",
  ]);
  withCifar("small", "small_cifar")();
  assertEquals(freshEncoder("small", "cifar", 32).name, "small_cifar");
});

Deno.test("registerEncoder() names the field that is missing or has a value that no encoder has", () => {
  const { trace: _, ...untraced } = findEncoder("resnet18");
  const usual = { ...untraced, cifar: undefined, cifarPad2: undefined, trace: findEncoder("resnet18").trace };
  for (
    const [field, value, message] of [
      ["name", "mine/net", '`name` of the encoder "mine/net" to be letters, digits and the signs . _ + -'],
      ["name", undefined, "`name` of an encoder to be letters, digits"],
      ["family", undefined, '`family` of the encoder "mine" to be a text'],
      [
        "roles",
        undefined,
        '`roles` of the encoder "mine" to be an array of "teacher", "student", found undefined',
      ],
      ["roles", ["pupil"], 'found [ "pupil" ]'],
      ["ssl", "mocov9", '`ssl` of the encoder "mine" to be one of "moco", "simclr", '],
      [
        "head",
        "mlp3",
        '`head` of the encoder "mine" to be one of "none", "linear", "mlp", "mlp_bn", found "mlp3"',
      ],
      ["features", 1.5, '`features` of the encoder "mine" to be the length of its feature'],
      ["headDropout", 1, '`headDropout` of the encoder "mine" to be the share of values that are dropped'],
      ["headDropout", "0.2", 'from 0 to below 1, found "0.2"'],
      ["trace", undefined, '`trace` of the encoder "mine" to be a function, found undefined'],
    ] as const
  ) {
    const wrong = { ...usual, name: "mine", [field]: value } as Encoder;
    assertThrows(() => registerEncoder(wrong), Error, message);
  }
  assertEquals(encodersNamed("mine"), []);
});

Deno.test("an encoder whose trace returns a promise, or lacks an output, is refused by its name", () => {
  const resnet = findEncoder("resnet18");
  const traced = (trace: unknown) =>
    summarize({ ...resnet, name: "mine", trace } as Encoder, usualHead(resnet));
  for (
    const [trace, message] of [
      [
        async (...given: Parameters<Encoder["trace"]>) =>
          await Promise.reject(new Error(String(given.length))),
        "a promise; make it a function that is not async",
      ],
      [() => undefined, "no feature; return { feature, embedding }, two tensors [n, 1, 1, length]"],
      [
        (...given: Parameters<Encoder["trace"]>) => ({ feature: resnet.trace(...given).feature }),
        "no embedding; return",
      ],
    ] as const
  ) {
    assertThrows(() => traced(trace), UserError, `\`trace\` of the encoder "mine" returned ${message}`);
  }
});

Deno.test("an encoder of large images alone is traced on such as it takes", () => {
  const resnet = findEncoder("resnet18");
  const large: Encoder = {
    ...resnet,
    name: "large",
    smallest: 256,
    trace(builder, images, head) {
      requireSize(large, images.shape[1], images.shape[2]);
      return resnet.trace(builder, images, head);
    },
  };
  const head = usualHead(large);
  assertEquals(partsOf(large, head).encoder.length, summarize(large, head).state.length);
  assertEquals(stemOf(large), stemOf(resnet));
  assertEquals(firstEntryOf(large, head)?.key, "conv1.weight");
});

Deno.test("students are chosen by their own names alone, teachers also by the original's", () => {
  for (const name of studentNames()) assert(findEncoder(name).roles.includes("student"));
  const teachers = teacherNames();
  assertEquals(new Set(teachers).size, teachers.length);
  for (const name of teachers) assert(encodersNamed(name).length > 0, name);
  for (const name of ["resnet50", "swav_resnet50w4", "resnet50w4"]) assert(teachers.includes(name), name);
  for (const name of ["resnet50w4", "swav_resnet50w4"]) assertEquals(studentNames().includes(name), false);
});

Deno.test("an encoder takes every size of image that it says it takes, and says so of no other", () => {
  const takes = (encoder: Encoder, side: number) => {
    const graph = new Graph();
    const images = graph.source("images", [1, side, side, 3]);
    try {
      encoder.trace(new EncoderBuilder(graph, "eval"), images, { kind: encoder.head, dimension: 4 });
      return true;
    } catch (error) {
      if (error instanceof UserError) return false;
      throw error;
    }
  };
  for (const encoder of encodersOfAllStems()) {
    if (/resnet.*(101|152|_?w[2-9]|x[2-9]|sk)|vit[lgb]|large/.test(encoder.name)) continue; // like the small ones
    for (const side of [1, 2, 3, 7, 11, 12, 15, 16, 17, 28, 31, 32, 33]) {
      const problem = describeImageSize(encoder, side, side);
      assertEquals(takes(encoder, side), problem === undefined, `${encoder.name} at ${side}: ${problem}`);
    }
  }
});

Deno.test("images that are too small for an encoder are refused by the flag's name", () => {
  assertEquals(findEncoder("efficientnet_b0").smallest, 32);
  const { message } = assertThrows(() => freshEncoder("efficientnet_b0", undefined, 31), UserError);
  assertEquals(
    message,
    "efficientnet_b0 takes images of 32 x 32 pixels or more, found 31 x 31 (--image-size)",
  );
  assertEquals(freshEncoder("efficientnet_b0", "cifar", 16).name, "efficientnet_b0_cifar");
});

Deno.test("an encoder whose outputs are not of the declared length is refused by its name", () => {
  const trace = (encoder: Encoder, head: HeadOptions, options?: { readsEmbedding: boolean }) => {
    const graph = new Graph();
    traceOutputs(
      encoder,
      new EncoderBuilder(graph, "eval"),
      graph.source("images", [2, 64, 64, 3]),
      head,
      options,
    );
  };
  const resnet = findEncoder("resnet18");
  const linear: HeadOptions = { kind: "linear", dimension: 16 };
  trace(resnet, linear);
  trace(resnet, { kind: "none", dimension: 16 });
  for (const features of [1024, 256]) {
    const { message } = assertThrows(() => trace({ ...resnet, name: "mine", features }, linear), UserError);
    assertEquals(
      message,
      `the feature of the encoder "mine" has the shape [2, 1, 1, 512], expected [2, 1, 1, ${features}]: images, 1, 1 and ` +
        "the encoder's `features`",
    );
  }
  const fixed: Encoder = { ...resnet, trace: (b, images) => resnet.trace(b, images, linear) };
  assertThrows(
    () => trace(fixed, { kind: "linear", dimension: 32 }),
    UserError,
    "has the shape [2, 1, 1, 16], expected [2, 1, 1, 32]",
  );
  trace(fixed, { kind: "linear", dimension: 32 }, { readsEmbedding: false });
});
