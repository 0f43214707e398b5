// vit_tiny and vit_small: timm's shapes, made for a size of images, told from DINO's of the same shape.
import { assert, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../errors.ts";
import { stemOf } from "../../models/encoder_input.ts";
import { initialize } from "../../models/initialize.ts";
import { recognizeEncoders } from "../../models/recognize.ts";
import {
  askedSize,
  chooseFresh,
  encoderNames,
  findEncoder,
  type FreshChoice,
  freshEncoder,
  stemNameOf,
  studentNames,
  summarize,
  teacherNames,
} from "../../models/registry.ts";

/** timm 1.0: parameters of `vit_*_patch16_224` without `head`. */
const PARAMETERS = { vit_tiny: 5_524_416, vit_small: 21_665_664 };

const NO_HEAD = { kind: "none", dimension: 1 } as const;

Deno.test("vit_tiny and vit_small have timm's names and as many parameters, with trunc_normal_ of 0.02", () => {
  for (const [name, count] of Object.entries(PARAMETERS)) {
    const encoder = findEncoder(name);
    const { parameters, state } = summarize(encoder, NO_HEAD);
    assertEquals(parameters, count);
    const shapes = new Map(state.map(({ key, shape }) => [key, shape.join()]));
    assertEquals(shapes.get("pos_embed"), `1,197,${encoder.features}`);
    assertEquals(shapes.get("blocks.11.mlp.fc2.weight"), `${encoder.features},${4 * encoder.features}`);
    assert([studentNames(), teacherNames(), encoderNames()].every((names) => names.includes(name)));
  }
  const few = summarize(findEncoder("vit_tiny_cifar"), NO_HEAD).state.filter(({ key }) =>
    !/blocks\.[^0]/.test(key)
  );
  const values = initialize(few, 1);
  const deviation = (key: string) =>
    Math.sqrt(values.get(key)!.reduce((sum, value) => sum + value ** 2, 0) / values.get(key)!.length);
  for (const key of ["pos_embed", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight"]) {
    assert(Math.abs(deviation(key) - 0.02) < 1e-3, `${key}: ${deviation(key)}`);
  }
  assertEquals([deviation("blocks.0.attn.qkv.bias"), deviation("norm.weight")], [0, 1]);
  // nn.Conv2d's own: uniform within 1 / sqrt(inputs).
  const bound = Math.max(...values.get("patch_embed.proj.weight")!.map(Math.abs));
  assert(bound <= 1 / Math.sqrt(48) && bound > 0.99 / Math.sqrt(48), String(bound));
});

Deno.test("a vision transformer with fresh weights is made for the size of its images, with either stem", () => {
  const made = (name: string, size: number, stem?: "cifar") => {
    const encoder = freshEncoder(name, stem, size);
    const { state } = summarize(encoder, NO_HEAD, size);
    const rows = state.find(({ key }) => key === "pos_embed")!.shape[1];
    assertEquals(findEncoder(encoder.name), encoder);
    assertEquals(freshEncoder(encoder.name, undefined, size), encoder);
    return [encoder.name, rows, stemOf(encoder), stemNameOf(encoder)];
  };
  assertEquals(made("vit_tiny", 224), ["vit_tiny", 197, "conv 16x16/16", "imagenet"]);
  assertEquals(made("vit_small", 96), ["vit_small_96", 37, "conv 16x16/16", "imagenet"]);
  assertEquals(made("vit_tiny", 32, "cifar"), ["vit_tiny_cifar", 65, "conv 4x4/4", "cifar"]);
  assertEquals(made("vit_tiny_cifar", 64), ["vit_tiny_64_cifar", 257, "conv 4x4/4", "cifar"]);
  // Of images that patches of 16 pixels do not divide, and of the other stem's usual ones.
  for (const size of [28, 224]) {
    const name = `vit_small_${size}_cifar`;
    assertEquals(made("vit_small", size, "cifar"), [name, 1 + (size / 4) ** 2, "conv 4x4/4", "cifar"]);
    assertEquals(findEncoder(`${name}_mean`, "cifar").name, `${name}_mean`);
  }
  assertEquals(made("vit_tiny_cifar_mean", 32, "cifar"), ["vit_tiny_cifar_mean", 65, "conv 4x4/4", "cifar"]);
  assertEquals(made("vit_tiny_mean", 32, "cifar"), ["vit_tiny_cifar_mean", 65, "conv 4x4/4", "cifar"]);
  assertEquals(freshEncoder("resnet18", undefined, 97).name, "resnet18");
  assertThrows(
    () => freshEncoder("vit_tiny", undefined, 100),
    UserError,
    "found 100 x 100; the nearest to 100 are 96 and 112 (--image-size)",
  );
  // A name that says a size is not overruled.
  assertEquals([askedSize("vit_tiny_96", undefined), askedSize("vit_tiny_96_cifar_mean", undefined)], [
    96,
    96,
  ]);
  assertEquals(["vit_tiny", "vit_tiny_cifar", "resnet18"].map((name) => askedSize(name, undefined)), [
    undefined,
    undefined,
    undefined,
  ]);
  assertEquals([askedSize("vit_tiny_96", 224), askedSize("vit_tiny", 96)], [224, 96]);
  assertThrows(
    () => freshEncoder("vit_tiny_96_cifar", undefined, 224),
    UserError,
    "vit_tiny_96_cifar is made for images of 96 x 96 pixels, found 224 x 224 (--image-size); use --image-size 96, or name it " +
      "vit_tiny_cifar, which is made for the size that is given",
  );
  for (const wrong of ["vit_tiny_100", "vit_tiny_224", "vit_huge", "vit_tiny_0", "vit_tiny_cifar_64"]) {
    assertThrows(() => findEncoder(wrong), UserError);
  }
});

Deno.test("chooseFresh() refuses what only an encoder of a checkpoint could have", () => {
  const choose = (choice: Omit<FreshChoice, "arch">, arch = "vit_small") =>
    chooseFresh({ arch, ...choice }, 32).name;
  assertEquals(choose({ feature: "mean", heads: 6 }), "vit_small_32_mean");
  const refusals: [Omit<FreshChoice, "arch">, string, string][] = [
    [{ heads: 12 }, "vit_small", "--heads 12 contradicts vit_small_32, which has 6; leave it out"],
    [{ heads: 6 }, "resnet18", "--heads 6 contradicts resnet18, which has no attention heads; leave it out"],
    [
      { weights: "teacher" },
      "vit_small",
      "--weights teacher selects an encoder in a checkpoint, but vit_small has random",
    ],
  ];
  for (const [choice, arch, message] of refusals) {
    assertThrows(() => choose(choice, arch), UserError, message);
  }
});

Deno.test("a student is told from DINO's encoder of its shape by its head, or by the name that its file says", () => {
  const recognized = (name: string, kind: "none" | "mlp", arch?: string) => {
    const encoder = findEncoder(name);
    const head = { kind, dimension: kind === "none" ? encoder.features : 128 };
    const shapes = new Map(summarize(encoder, head).state.map(({ key, shape }) => [key, { shape }]));
    return recognizeEncoders(shapes, kind === "none" ? "backbone" : "encoder", { arch })[0]?.name;
  };
  for (const name of ["vit_tiny", "vit_small_96", "vit_tiny_cifar"]) {
    assertEquals([recognized(name, "mlp", name), recognized(name, "mlp")], [name, name]);
    assertEquals(recognized(name, "none", name), name);
  }
  assertEquals(recognized("vit_small", "none"), "dino_vits16");
  assertEquals(recognized("dino_vits16", "none", "dino_vits16"), "dino_vits16");
});
