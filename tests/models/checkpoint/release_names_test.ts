import { assert, assertEquals, assertThrows } from "@std/assert";
import { CheckpointError } from "../../../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { toReleaseNames } from "../../../models/checkpoint/release_names.ts";
import { TensorRef } from "../../../models/checkpoint/tensor_ref.ts";
import { openEncoder } from "../../../models/locate_encoder.ts";
import { referencePath } from "../../reference.ts";
import { vitTest } from "../../vit_files.ts";

const CHECKPOINTS = "vit/checkpoints/";

/** Files of other formats, and those of the release that hold the same weights. */
const SAME = {
  "dinov2_tiny_chunked.pth": "dinov2_tiny.pth",
  "dinov2_tiny_training.pth": "dinov2_tiny.pth",
  "dinov2_tiny_hf.safetensors": "dinov2_tiny.pth",
  "dinov2_tiny_hf_bf16.safetensors": "dinov2_tiny.pth",
  "dinov2_tiny_timm.safetensors": "dinov2_tiny.pth",
  "dinov2_tiny_reg_hf.safetensors": "dinov2_tiny_reg.pth",
  "dinov2_tiny_reg_timm.safetensors": "dinov2_tiny_reg.pth",
  "dinov2_tiny_lightly.ckpt": "dinov2_tiny_reg.pth",
  "dinov2_tiny_lightly_embedding.pth": "dinov2_tiny_reg.pth",
  "dinov2_tiny_swiglu_hf.safetensors": "dinov2_tiny_swiglu.pth",
  "dinov2_tiny_swiglu_timm.safetensors": "dinov2_tiny_swiglu.pth",
  "dino_tiny_full.pth": "dino_tiny.pth",
  "dino_tiny_full_bn.pth": "dino_tiny.pth",
  "dino_tiny_timm.safetensors": "dino_tiny.pth",
  "dinov3_tiny_training.pth": "dinov3_tiny.pth",
  "dinov3_tiny_lightly_distilled.ckpt": "dinov3_tiny.pth",
  "dinov3_tiny_hf.safetensors": "dinov3_tiny.pth",
  "dinov3_tiny_timm.safetensors": "dinov3_tiny.pth",
  "dinov3_tiny_swiglu_hf.safetensors": "dinov3_tiny_swiglu.pth",
  "dinov3_tiny_swiglu_timm.safetensors": "dinov3_tiny_swiglu.pth",
  "dinov3_tiny_convnext_hf.safetensors": "dinov3_tiny_convnext.pth",
  "dinov3_tiny_convnext_timm.safetensors": "dinov3_tiny_convnext.pth",
  "mocov3_tiny_deit.pth": "mocov3_tiny.pth.tar",
};

/** What not every format has, since no embedding depends on it. */
const LEFT_OUT = /^(mask_token|rope_embed\.|norms\.|(dino_|ibot_)?head\.|blocks\.\d+\.attn\.qkv\.bias_mask)/;

async function read(tensor: TensorRef): Promise<Float32Array> {
  const values = await tensor.read();
  assertEquals(values.length, tensor.shape.reduce((a, b) => a * b, 1));
  return values;
}

for (const [name, release] of Object.entries(SAME)) {
  vitTest(`parity: ${name} has the tensors of ${release} under the names of the release`, async () => {
    using found = await openEncoder(referencePath(CHECKPOINTS + name));
    using expected = await openEncoder(referencePath(CHECKPOINTS + release));
    const wanted = [...expected.tensors.keys()].filter((key) => !LEFT_OUT.test(key));
    assertEquals(
      [...found.tensors.keys()].filter((key) => !LEFT_OUT.test(key)).toSorted(),
      wanted.toSorted(),
    );
    for (const key of wanted) {
      const [tensor, other] = [found.tensors.get(key)!, expected.tensors.get(key)!];
      assertEquals(tensor.shape, other.shape, key);
      const [values, others] = [await read(tensor), await read(other)];
      const third = values.length / 3;
      const isKeyBias = (i: number) =>
        name.startsWith("dinov3") && key.endsWith("qkv.bias") && i >= third && i < 2 * third;
      // timm's class token has its position added.
      const isAdded = (i: number) =>
        name.includes("reg_timm") &&
        (key === "cls_token" || (key === "pos_embed" && i < tensor.shape[2]));
      const tolerance = name.includes("bf16") ? 2 ** -8 : 0;
      const wrong = values.findIndex((value, i) =>
        !isKeyBias(i) && !isAdded(i) && Math.abs(value - others[i]) > tolerance * Math.abs(others[i])
      );
      assertEquals(wrong, -1, `${key}: ${values[wrong]}, not ${others[wrong]}`);
    }
  });
}

vitTest("the class position that timm adds to DINOv2's class token is added once", async () => {
  using found = await openEncoder(referencePath(`${CHECKPOINTS}dinov2_tiny_reg_timm.safetensors`));
  using release = await openEncoder(referencePath(`${CHECKPOINTS}dinov2_tiny_reg.pth`));
  const classOf = async (tensors: ReadonlyMap<string, TensorRef>) => {
    const [token, positions] = await Promise.all(
      ["cls_token", "pos_embed"].map((key) => read(tensors.get(key)!)),
    );
    return token.map((value, i) => value + positions[i]);
  };
  const [sum, expected] = [await classOf(found.tensors), await classOf(release.tensors)];
  assert(sum.every((value, i) => Math.abs(value - expected[i]) < 1e-6));
});

vitTest("rows of a matrix that a file has in three parts are read across the parts", async () => {
  using found = await openEncoder(referencePath(`${CHECKPOINTS}dinov2_tiny_hf.safetensors`));
  const joined = found.tensors.get("blocks.1.attn.qkv.weight")!; // three of [64, 64]
  const whole = await joined.read();
  for (const [first, count] of [[0, 192], [60, 10], [63, 66], [128, 64]]) {
    assertEquals(await joined.narrow(first, count).read(), whole.slice(first * 64, (first + count) * 64));
  }
});

vitTest(
  "parts of other types are joined as float32, in the order of their elements, and zeros between them",
  async () => {
    using found = await openEncoder(referencePath(`${CHECKPOINTS}dinov2_tiny_hf.safetensors`));
    using halves = await openEncoder(referencePath(`${CHECKPOINTS}dinov2_tiny_hf_bf16.safetensors`));
    const [full, half] = [found, halves].map(({ tensors }) => tensors.get("norm.bias")!);
    const joined = TensorRef.join([half, { zeros: [3] }, full]);
    assertEquals([joined.dtype, joined.shape], ["float32", [131]]);
    assertEquals([...await joined.read()], [...await half.read(), 0, 0, 0, ...await full.read()]);
    const matrix = found.tensors.get("blocks.0.mlp.fc1.weight")!;
    assertThrows(() => TensorRef.join([full, matrix]), CheckpointError, "that should be parts of one");
  },
);

vitTest("transformers 5 calls DINOv3's layers otherwise in memory", async () => {
  using file = await openCheckpointFile(referencePath(`${CHECKPOINTS}dinov3_tiny_swiglu_hf.safetensors`));
  const saved = file.value as Map<string, TensorRef>;
  const held = new Map(
    [...saved].map(([key, tensor]) => [key.replace(/^(layer|norm)\./, "model.$1."), tensor]),
  );
  assert(held.has("model.layer.1.mlp.gate_proj.weight") && held.has("model.norm.bias"));
  assertEquals([...toReleaseNames(held).tensors.keys()], [...toReleaseNames(saved).tensors.keys()]);
});

vitTest("DINO has the names of ViT in transformers, with its matrices in parts", async () => {
  using release = await openEncoder(referencePath(`${CHECKPOINTS}dino_tiny.pth`));
  const names: readonly (readonly [RegExp, string])[] = [
    [/^(cls_token)$/, "embeddings.$1"],
    [/^pos_embed$/, "embeddings.position_embeddings"],
    [/^patch_embed\.proj\./, "embeddings.patch_embeddings.projection."],
    [/^norm\./, "layernorm."],
    [/^blocks\.(\d)\.norm1\./, "encoder.layer.$1.layernorm_before."],
    [/^blocks\.(\d)\.norm2\./, "encoder.layer.$1.layernorm_after."],
    [/^blocks\.(\d)\.attn\.proj\./, "encoder.layer.$1.attention.output.dense."],
    [/^blocks\.(\d)\.mlp\.fc1\./, "encoder.layer.$1.intermediate.dense."],
    [/^blocks\.(\d)\.mlp\.fc2\./, "encoder.layer.$1.output.dense."],
  ];
  const asVit = new Map([...release.tensors].flatMap(([key, tensor]): [string, TensorRef][] => {
    const [, block, kind] = /^blocks\.(\d)\.attn\.qkv\.(\w+)$/.exec(key) ?? [];
    if (block === undefined) {
      return [[names.reduce((name, [from, to]) => name.replace(from, to), key), tensor]];
    }
    return ["query", "key", "value"].map((part, i) => [
      `encoder.layer.${block}.attention.attention.${part}.${kind}`,
      tensor.narrow(64 * i, 64),
    ]);
  }));
  asVit.set("pooler.dense.bias", [...release.tensors.values()][0]);
  const { tensors, formats } = toReleaseNames(asVit);
  assertEquals(formats, ["ViT in Hugging Face transformers, as DINO is there"]);
  assertEquals([...tensors.keys()].toSorted(), [...release.tensors.keys()].toSorted());
  for (const key of ["blocks.1.attn.qkv.weight", "blocks.0.attn.qkv.bias", "blocks.1.mlp.fc2.weight"]) {
    assertEquals(await tensors.get(key)!.read(), await release.tensors.get(key)!.read(), key);
  }
});
