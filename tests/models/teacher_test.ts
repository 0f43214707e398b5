import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { UserError } from "../../errors.ts";
import { openInitialCheckpoint } from "../../methods/encoder_training/initial_weights.ts";
import { buildInput } from "../../models/checkpoint/saved_input.ts";
import { torchDict, type TorchValue } from "../../models/checkpoint/torch_value.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { resolveTeacher, type TeacherRequest } from "../../models/teacher.ts";
import { globalAveragePool, projectionHead, registerEncoder } from "../../parts.ts";
import { referencePath } from "../reference.ts";
import { type ShapeOptions, withShapes } from "./shape_checkpoint.ts";

/** What the checkpoints of each program look like around the encoder's own names. */
const PUBLISHED: Record<string, ShapeOptions> = {
  moco: {
    prefix: "module.encoder_q.",
    more: { "module.queue": [128, 8], "module.encoder_k.conv1.weight": [64, 3, 7, 7] },
    wrap: (dict) => torchDict([["epoch", 800], ["arch", "resnet50"], ["state_dict", dict]]),
  },
  simclr: { prefix: "module.module.", wrap: (dict) => torchDict([["model", dict]]) },
  swav: { prefix: "module.", more: { "module.prototypes.weight": [3000, 128] } },
};

async function messageOf(path: string, request: TeacherRequest): Promise<string> {
  const { message } = await assertRejects(() => resolveTeacher(path, request), UserError);
  assertStringIncludes(message, path);
  return message;
}

for (
  const [arch, ssl, original] of [
    ["resnet18", "moco", "resnet18"],
    ["resnet50", "moco", "resnet50"],
    ["resnet101", "moco", "resnet101"],
    ["moco_resnet50w2", "moco", "resnet50w2"],
    ["simclr_resnet50", "simclr", "resnet50"],
    ["swav_resnet50", "swav", "resnet50"],
    ["swav_resnet50w2", "swav", "resnet50w2"],
  ] as const
) {
  Deno.test(`resolveTeacher() recognises ${arch}, and takes it by the original's flags`, async () => {
    await withShapes(arch, PUBLISHED[ssl], async (path) => {
      const teacher = { arch, ssl };
      assertEquals(await resolveTeacher(path), teacher);
      assertEquals(await resolveTeacher(path, { arch: null, ssl: null }), teacher);
      assertEquals(await resolveTeacher(path, { ssl }), teacher);
      assertEquals(await resolveTeacher(path, { arch: original }), teacher);
      assertEquals(await resolveTeacher(path, { arch: original, ssl }), teacher);
      assertEquals(await resolveTeacher(path, { arch, ssl }), teacher);
    });
  });
}

Deno.test("resolveTeacher() names what is said and what is found where they contradict", async () => {
  await withShapes("swav_resnet50", PUBLISHED.swav, async (path) => {
    const wrongMethod = await messageOf(path, { arch: "resnet50", ssl: "moco" });
    assertStringIncludes(wrongMethod, "has a head `projection_head`, as SWAV's checkpoints do");
    assertStringIncludes(wrongMethod, "--teacher-ssl is moco; use --teacher-ssl swav, or leave it out");
    for (const ssl of [null, "swav"] as const) {
      const wrongEncoder = await messageOf(path, { arch: "resnet101", ssl });
      assertStringIncludes(wrongEncoder, "--teacher-arch resnet101 is an encoder of MoCo's");
      assertStringIncludes(wrongEncoder, "use --teacher-arch swav_resnet50, or leave it out");
    }
    assertStringIncludes(
      await messageOf(path, { arch: "swav_resnet50w2" }),
      "holds a swav_resnet50, but --teacher-arch is swav_resnet50w2; use --teacher-arch swav_resnet50",
    );
    await assertRejects(
      () => resolveTeacher(path, { arch: "resnet5" }),
      UserError,
      'there is no encoder "resnet5"; known are ',
    );
  });
  await withShapes("resnet18", PUBLISHED.moco, async (path) => {
    assertStringIncludes(
      await messageOf(path, { ssl: "simclr" }),
      "has a head `fc` without batch norm, as MoCo's checkpoints do, but --teacher-ssl is simclr",
    );
    assertStringIncludes(
      await messageOf(path, { arch: "resnet34" }),
      "holds a resnet18, but --teacher-arch is resnet34",
    );
  });
});

Deno.test("resolveTeacher() takes a student of SEED for a teacher", async () => {
  const options: ShapeOptions = {
    prefix: "module.student.",
    more: { "module.teacher.conv1.weight": [64, 3, 7, 7] },
    wrap: (dict) => torchDict([["epoch", 200], ["arch", "resnet34"], ["state_dict", dict]]),
  };
  await withShapes("resnet34", options, async (path) => {
    assertEquals(await resolveTeacher(path), { arch: "resnet34", ssl: "moco" });
  });
  const simclr: ShapeOptions = {
    head: { kind: "mlp", dimension: 128 },
    prefix: "module.student.module.",
    wrap: (dict) => torchDict([["epoch", 200], ["arch", "simclr_resnet50"], ["state_dict", dict]]),
  };
  await withShapes("simclr_resnet50", simclr, async (path) => {
    const teacher = { arch: "simclr_resnet50", ssl: "simclr" } as const;
    assertEquals(await resolveTeacher(path), teacher);
    assertEquals(await resolveTeacher(path, { arch: "simclr_resnet50" }), teacher);
    assertEquals(await resolveTeacher(path, { arch: "resnet50", ssl: "moco" }), {
      arch: "resnet50",
      ssl: "moco",
    });
  });
});

Deno.test("resolveTeacher() takes the pooled feature of a vision transformer with a head of another kind", async () => {
  const more = {
    ...{ "projection_head.0.weight": [512, 384], "projection_head.0.bias": [512] },
    ...{ "projection_head.2.weight": [128, 512], "projection_head.2.bias": [128] },
  };
  await withShapes("mocov3_vit_small", { more }, async (path) => {
    const { arch } = await resolveTeacher(path, { feature: "pooled" });
    assertEquals(arch, "mocov3_vit_small");
    assertEquals(
      (await resolveTeacher(path, { feature: "pooled", heads: 3 })).arch,
      "mocov3_vit_p16_w384_b12_h3_f1536_r0_g14",
    );
  });
});

Deno.test("--heads that contradict the encoder that is named are refused", async () => {
  await withShapes("dino_vits16", {}, async (path) => {
    const message = "--heads 12 contradicts dino_vits16, which has 6; leave one of them out";
    await assertRejects(() => resolveTeacher(path, { arch: "dino_vits16", heads: 12 }), UserError, message);
    await assertRejects(
      () => openEncoderSource(path, { part: "encoder", arch: "dino_vits16", heads: 12 }),
      UserError,
      message,
    );
    assertEquals(await resolveTeacher(path, { arch: "dino_vits16", heads: 6 }), {
      arch: "dino_vits16",
      ssl: "dino",
    });
    const { arch } = await resolveTeacher(path, { heads: 12 });
    assertEquals(arch, "dino_vit_p16_w384_b12_h12_f1536_r0_g14"); // of the same shapes
  });
});

Deno.test("an encoder that is named has the heads that its file says, unless others are asked for", async () => {
  const wrap = (dict: TorchValue) =>
    torchDict([["state_dict", dict], ["seed_input", buildInput({ heads: 12 })]]);
  await withShapes("dino_vits16", { wrap }, async (path) => {
    const arch = "dino_vits16";
    const message =
      `${path}: was saved from an encoder with 12 attention heads, but dino_vits16 has 6, and would give other features`;
    await assertRejects(() => resolveTeacher(path, { arch }), UserError, message);
    const asked = { part: "encoder", arch, isAsked: true } as const;
    await assertRejects(() => openEncoderSource(path, asked), UserError, message);
    const init = { init: path, arch, head: { kind: "mlp", dimension: 128 } } as const;
    await assertRejects(() => openInitialCheckpoint(init), UserError, message);
    assertEquals((await resolveTeacher(path, { arch, heads: 6 })).arch, arch);
    using six = await openEncoderSource(path, { ...asked, heads: 6 });
    // What a run has decided on is not looked at again.
    using decided = await openEncoderSource(path, { ...asked, isAsked: false });
    assertEquals([six.encoder.heads, decided.encoder.heads], [6, 6]);
  });
});

Deno.test("resolveTeacher() wants a head, and an encoder that it knows", async () => {
  await withShapes("resnet18", { without: /^fc\./ }, async (path) => {
    assertStringIncludes(
      await messageOf(path, {}),
      "is a torchvision checkpoint without a known projection head",
    );
  });
  await withShapes("resnet18", { ...PUBLISHED.moco, without: /^layer3\.0\.conv1/ }, async (path) => {
    const message = await messageOf(path, {});
    assertStringIncludes(
      message,
      'is a MoCo checkpoint, but not of a known encoder (the file says "resnet50")',
    );
    assertStringIncludes(message, "the most similar is resnet18: 1 key is missing (layer3.0.conv1.weight)");
    // What is missing is listed by who loads it.
    assertEquals(await resolveTeacher(path, { arch: "resnet18" }), { arch: "resnet18", ssl: "moco" });
  });
  for (const name of ["moco", "simclr", "swav", "seed_student", "torchvision"]) {
    const path = referencePath(`checkpoints/${name}.zip.pth.tar`);
    assertStringIncludes(await messageOf(path, {}), "not of a known encoder");
  }
});

Deno.test("a plugin's encoder without a head is a teacher, and gives embeddings", async () => {
  registerEncoder({
    name: "headless_net",
    family: "tests",
    roles: ["teacher"],
    ssl: "moco",
    head: "none",
    features: 8,
    trace(b, images, head) {
      const convolution = b.convolution("stem", { inputs: 3, outputs: 8, kernel: 5, stride: 4, padding: 2 });
      const x = b.convolveAndNormalize(images, convolution, b.batchNorm("norm", 8), { activation: "relu" });
      const feature = b.graph.apply(globalAveragePool, [x], {});
      return { feature, embedding: projectionHead(b, "fc", 8, head)(feature) };
    },
  });
  await withShapes("headless_net", {}, async (path) => {
    for (const request of [{}, { arch: "headless_net" }, { ssl: "moco" }] as const) {
      assertEquals(await resolveTeacher(path, request), { arch: "headless_net", ssl: "moco" });
    }
    assertStringIncludes(
      await messageOf(path, { ssl: "simclr" }),
      "holds a headless_net, an encoder of MoCo's, but --teacher-ssl is simclr; use --teacher-ssl moco, or leave it out",
    );
    for (const arch of [undefined, "headless_net"]) {
      using source = await openEncoderSource(path, { arch, part: "encoder" });
      assertEquals([source.encoder.name, source.head], ["headless_net", { kind: "none", dimension: 8 }]);
    }
  });
});
