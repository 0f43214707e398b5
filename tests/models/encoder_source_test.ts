import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { Buffer } from "node:buffer";
import { UserError } from "../../errors.ts";
import { chooseInput } from "../../models/encoder_input.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { referencePath } from "../reference.ts";
import { withFolder } from "./checkpoint/fixtures.ts";
import { formulaTensors, writeMoco } from "./export/fixtures.ts";
import { withShapes } from "./shape_checkpoint.ts";

async function messageOf(path: string, arch: string, dimension?: number): Promise<string> {
  const open = () => openEncoderSource(path, { arch, dimension, part: "encoder" });
  const { message } = await assertRejects(open, UserError);
  assertStringIncludes(message, path);
  return message;
}

Deno.test("openEncoderSource() takes kind and lengths of the head from the file", async () => {
  const cases = [
    ["resnet18", { kind: "mlp", dimension: 128, hidden: 512 }],
    ["resnet18", { kind: "linear", dimension: 64 }],
    ["simclr_resnet50", { kind: "mlp_bn", dimension: 128, hidden: 2048 }],
    ["swav_resnet50", { kind: "mlp_bn", dimension: 128, hidden: 1024 }],
    ["swav_resnet50", { kind: "linear", dimension: 128 }],
  ] as const;
  for (const [arch, head] of cases) {
    await withShapes(arch, { head, prefix: "module." }, async (path) => {
      using source = await openEncoderSource(path, {
        arch,
        dimension: head.dimension,
        part: "encoder",
      });
      const { root, ...found } = { root: "", ...source.head };
      assertEquals([root, found], [arch.startsWith("swav") ? "projection_head" : "fc", head]);
    });
  }
});

Deno.test("openEncoderSource() says bicubic evaluations of the families whose authors evaluate so, and bilinear ones of others", async () => {
  const filters = {
    dino_vits16: "bicubic",
    dinov2_vits14: "bicubic",
    dinov2_vits14_reg: "bicubic",
    dinov3_vits16: "bicubic",
    dinov3_convnext_tiny: "bicubic",
    mocov3_vit_small: "bilinear",
    resnet18: "bilinear",
    simclr_resnet50: "bilinear",
    swav_resnet50: "bilinear",
  };
  for (const [arch, filter] of Object.entries(filters)) {
    await withShapes(arch, {}, async (path) => {
      using source = await openEncoderSource(path, { arch, part: "backbone" });
      assertEquals([source.interpolation, chooseInput(source, {}).interpolation], [filter, filter], arch);
    });
  }
});

Deno.test("openEncoderSource() reads entries whole or some of their rows", async () => {
  await withFolder(async (folder) => {
    const tensors = formulaTensors("resnet18");
    const path = await writeMoco(`${folder}/moco.pth.tar`, tensors);
    using source = await openEncoderSource(path, { arch: "resnet18", part: "encoder" });
    const { read } = source;
    const expected = tensors.find(({ key }) => key === "layer2.0.conv1.weight")!.data as Float32Array;
    assertEquals(await read("layer2.0.conv1.weight"), expected);
    const row = 64 * 3 * 3;
    for (const [first, count] of [[0, 1], [7, 30], [127, 1], [0, 128]]) {
      const rows = await read("layer2.0.conv1.weight", { first, count });
      assertEquals(rows, expected.slice(first * row, (first + count) * row));
    }
  });
});

Deno.test("openEncoderSource() finds damage in a tensor that is read in parts", async () => {
  await withFolder(async (folder) => {
    const tensors = formulaTensors("resnet18");
    const path = await writeMoco(`${folder}/moco.pth.tar`, tensors);
    const bytes = Buffer.from(await Deno.readFile(path));
    const values = tensors.find(({ key }) => key === "layer4.1.conv2.weight")!.data;
    // A value of the middle of the tensor, by the four that come before it.
    const mark = new Uint8Array(values.buffer, 4_000_000, 16);
    const at = bytes.indexOf(mark);
    bytes[at + 16] ^= 1;
    await Deno.writeFile(path, bytes);
    using source = await openEncoderSource(path, { arch: "resnet18", part: "encoder" });
    const read = () => source.read("layer4.1.conv2.weight", { first: 0, count: 8 });
    assertStringIncludes((await assertRejects(read, UserError)).message, "do not match their CRC-32");
  });
});

Deno.test("openEncoderSource() refuses a head that gives no embeddings of the length wanted", async () => {
  await withShapes("resnet18", {}, async (path) => {
    assertStringIncludes(
      await messageOf(path, "resnet18", 256),
      "its embeddings have length 128, but --dim is 256; use --dim 128",
    );
  });
  const classifier = { head: { kind: "linear", dimension: 1000 } } as const;
  await withShapes("resnet18", classifier, async (path) => {
    assertStringIncludes(
      await messageOf(path, "resnet18", 128),
      "its fc looks like a classifier of 1000 classes, but a self-supervised teacher is needed",
    );
  });
  await withShapes("resnet18", { without: /^fc\./ }, async (path) => {
    assertStringIncludes(await messageOf(path, "resnet18"), "without a known projection head");
  });
});

Deno.test("openEncoderSource() names the format that an unknown checkpoint's names are most like", async () => {
  const weights = (parts: string[], nameOf: (layer: number, part: string) => string) =>
    [0, 1].flatMap((layer) => parts.map((part) => nameOf(layer, part)));
  const formats: Record<string, string[]> = {
    "DINOv2 in Hugging Face transformers": weights(
      ["query", "key", "value"],
      (layer, part) => `encoder.layer.${layer}.attention.attention.${part}.weight`,
    ),
    "DINOv3 in Hugging Face transformers": weights(
      ["q", "k", "v", "o"],
      (layer, part) => `layer.${layer}.attention.${part}_proj.weight`,
    ),
  };
  const refusals = async (names: string[], prefix = "", arch?: string) => {
    const more = Object.fromEntries(names.map((name): [string, number[]] => [prefix + name, [4, 4]]));
    const messages: string[] = [];
    await withShapes("resnet18", { without: /./, more }, async (path) => {
      for (const part of ["encoder", "backbone"] as const) {
        const open = () => openEncoderSource(path, { part, arch });
        messages.push((await assertRejects(open, UserError)).message);
      }
    });
    return messages;
  };
  for (const [title, known] of Object.entries(formats)) {
    for (const prefix of ["", "module."]) {
      for (const message of await refusals(["embeddings.word.weight", ...known], prefix)) {
        assertStringIncludes(
          message,
          `its ${
            known.length + 1
          } names, such as "embeddings.word.weight", are most like those of ${title}, ` +
            `which has ${known.length} of them; none of these is similar: resnet18, `,
        );
      }
    }
  }
  // One that is asked for by name lacks all of its keys, which says less.
  const [title, known] = Object.entries(formats)[0];
  for (const message of await refusals(["embeddings.word.weight", ...known], "", "dinov2_vits14")) {
    assertStringIncludes(
      message,
      `Its ${
        known.length + 1
      } names, such as "embeddings.word.weight", are most like those of ${title}, which has ` +
        `${known.length} of them; no known encoder is similar`,
    );
  }
  // Others, among them those of which a format only drops a number.
  for (const others of [["decoder.0.weight", "decoder.1.weight"], ["blocks.0.0.mix.weight"]]) {
    for (const message of await refusals(others)) {
      assertEquals(message.includes("most like"), false, message);
    }
  }
});

Deno.test("openEncoderSource() lists what does not fit, however much that is", async () => {
  await withShapes("resnet50", { prefix: "module.encoder_q." }, async (path) => {
    const message = await messageOf(path, "resnet101");
    assertStringIncludes(message, "255 keys are missing (layer3.6.conv1.weight, ");
    assertStringIncludes(message, ", and 251 more)");
    assertEquals(message.length - path.length < 600, true, message);
    assertStringIncludes(
      await messageOf(path, "swav_resnet50"),
      "keys are missing (projection_head.0.weight",
    );
  });
  for (const name of ["moco", "simclr", "swav", "seed_student", "torchvision"]) {
    const message = await messageOf(referencePath(`checkpoints/${name}.zip.pth.tar`), "resnet18");
    assertStringIncludes(message, "keys are missing");
    assertStringIncludes(message, "conv1.weight is [4,3,3,3], not [64,3,7,7]");
  }
});
