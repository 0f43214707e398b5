/**
 * How other programs name the tensors of vision transformers and of DINOv3's ConvNeXts, beside the names that their
 * authors released them under. To add a program's names: a {@linkcode NameFormat} in {@linkcode NAME_FORMATS}.
 *
 * In a name `#` is a number that both sides have, `~` one that is dropped, and `*` the rest. Where the left side is a
 * list, its tensors are the rows of one: query, key and value.
 */

/** A tensor by the program's name, or zeros of the shape that another one has. */
export type NamePart = string | { readonly zerosLike: string };

/** Some names of one program. A file may have those of several formats: they are applied one after the other. */
export interface NameFormat {
  /** What it is called in messages. */
  readonly title: string;
  /** Names that a file of this format has, and one of another has not. */
  readonly marks: readonly string[];
  /** A matrix with twice as many rows as another has columns, where names alone do not tell SwiGLU from GELU. */
  readonly packed?: { readonly rows: string; readonly columns: string };
  /** From the program's names to those of the release; `null` for what no release has. */
  readonly names: readonly (readonly [from: string | readonly NamePart[], to: string | null])[];
}

/** What transformers' ViT and DINOv2 have alike. */
const TRANSFORMERS_VIT = [
  ["embeddings.cls_token", "cls_token"],
  ["embeddings.mask_token", "mask_token"],
  ["embeddings.position_embeddings", "pos_embed"],
  ["embeddings.register_tokens", "register_tokens"],
  ["embeddings.patch_embeddings.projection.*", "patch_embed.proj.*"],
  [
    ["query", "key", "value"].map((part) => `encoder.layer.#.attention.attention.${part}.weight`),
    "blocks.#.attn.qkv.weight",
  ],
  [
    ["query", "key", "value"].map((part) => `encoder.layer.#.attention.attention.${part}.bias`),
    "blocks.#.attn.qkv.bias",
  ],
  ["encoder.layer.#.attention.output.dense.*", "blocks.#.attn.proj.*"],
  ["layernorm.*", "norm.*"],
] as const;

/** Every format, in the order in which they are applied. */
export const NAME_FORMATS: readonly NameFormat[] = [
  {
    title: "DINOv2 in Hugging Face transformers",
    marks: ["embeddings.patch_embeddings.projection.weight", "encoder.layer.0.norm1.weight"],
    names: [
      ...TRANSFORMERS_VIT,
      ["encoder.layer.#.layer_scale1.lambda1", "blocks.#.ls1.gamma"],
      ["encoder.layer.#.layer_scale2.lambda1", "blocks.#.ls2.gamma"],
      ["encoder.layer.#.mlp.weights_in.*", "blocks.#.mlp.w12.*"],
      ["encoder.layer.#.mlp.weights_out.*", "blocks.#.mlp.w3.*"],
      ["encoder.layer.#.*", "blocks.#.*"],
    ],
  },
  {
    title: "ViT in Hugging Face transformers, as DINO is there",
    marks: ["embeddings.patch_embeddings.projection.weight", "encoder.layer.0.layernorm_before.weight"],
    names: [
      ...TRANSFORMERS_VIT,
      ["encoder.layer.#.layernorm_before.*", "blocks.#.norm1.*"],
      ["encoder.layer.#.layernorm_after.*", "blocks.#.norm2.*"],
      ["encoder.layer.#.intermediate.dense.*", "blocks.#.mlp.fc1.*"],
      ["encoder.layer.#.output.dense.*", "blocks.#.mlp.fc2.*"],
      ["pooler.dense.*", null],
    ],
  },
  {
    title: "DINOv3 in Hugging Face transformers 5, as it is in memory",
    marks: ["model.layer.0.attention.q_proj.weight"],
    names: [["model.*", "*"]],
  },
  {
    title: "DINOv3 in Hugging Face transformers",
    marks: ["embeddings.patch_embeddings.weight", "layer.0.attention.q_proj.weight"],
    names: [
      ["embeddings.cls_token", "cls_token"],
      ["embeddings.mask_token", "mask_token"],
      ["embeddings.register_tokens", "storage_tokens"],
      ["embeddings.patch_embeddings.*", "patch_embed.proj.*"],
      [["q", "k", "v"].map((part) => `layer.#.attention.${part}_proj.weight`), "blocks.#.attn.qkv.weight"],
      [
        [
          "layer.#.attention.q_proj.bias",
          { zerosLike: "layer.#.attention.q_proj.bias" },
          "layer.#.attention.v_proj.bias",
        ],
        "blocks.#.attn.qkv.bias",
      ],
      ["layer.#.attention.o_proj.*", "blocks.#.attn.proj.*"],
      ["layer.#.layer_scale1.lambda1", "blocks.#.ls1.gamma"],
      ["layer.#.layer_scale2.lambda1", "blocks.#.ls2.gamma"],
      ["layer.#.*", "blocks.#.*"],
    ],
  },
  {
    title: "DINOv3 with SwiGLU in Hugging Face transformers",
    marks: ["blocks.0.mlp.gate_proj.weight"],
    names: [
      ["blocks.#.mlp.gate_proj.*", "blocks.#.mlp.w1.*"],
      ["blocks.#.mlp.up_proj.*", "blocks.#.mlp.w2.*"],
      ["blocks.#.mlp.down_proj.*", "blocks.#.mlp.w3.*"],
    ],
  },
  {
    title: "DINOv3 with GELU in Hugging Face transformers",
    marks: ["blocks.0.mlp.up_proj.weight"],
    names: [
      ["blocks.#.mlp.up_proj.*", "blocks.#.mlp.fc1.*"],
      ["blocks.#.mlp.down_proj.*", "blocks.#.mlp.fc2.*"],
    ],
  },
  {
    title: "DINOv2 with registers in timm",
    marks: ["reg_token", "pos_embed", "blocks.0.attn.qkv.weight"],
    names: [
      ["reg_token", "register_tokens"],
      // The class token has its position added already.
      [[{ zerosLike: "cls_token" }, "pos_embed"], "pos_embed"],
    ],
  },
  {
    title: "DINOv2 with SwiGLU in timm",
    marks: ["blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.weight"],
    packed: { rows: "blocks.0.mlp.fc1.weight", columns: "blocks.0.mlp.fc2.weight" },
    names: [
      ["blocks.#.mlp.fc1.*", "blocks.#.mlp.w12.*"],
      ["blocks.#.mlp.fc2.*", "blocks.#.mlp.w3.*"],
    ],
  },
  {
    title: "DINOv3 in timm",
    marks: ["reg_token", "blocks.0.gamma_1", "blocks.0.attn.qkv.weight"],
    names: [
      ["reg_token", "storage_tokens"],
      ["blocks.#.gamma_1", "blocks.#.ls1.gamma"],
      ["blocks.#.gamma_2", "blocks.#.ls2.gamma"],
      [
        ["blocks.#.attn.q_bias", { zerosLike: "blocks.#.attn.q_bias" }, "blocks.#.attn.v_bias"],
        "blocks.#.attn.qkv.bias",
      ],
    ],
  },
  {
    title: "DINOv3 with SwiGLU in timm",
    marks: ["blocks.0.mlp.fc1_g.weight", "blocks.0.mlp.fc1_x.weight"],
    names: [
      ["blocks.#.mlp.fc1_g.*", "blocks.#.mlp.w1.*"],
      ["blocks.#.mlp.fc1_x.*", "blocks.#.mlp.w2.*"],
      ["blocks.#.mlp.fc2.*", "blocks.#.mlp.w3.*"],
    ],
  },
  {
    title: "a training run of DINOv2, which has its blocks in chunks",
    marks: ["cls_token", "blocks.0.0.attn.qkv.weight"],
    names: [["blocks.~.#.*", "blocks.#.*"]],
  },
  {
    title: "DINOv3's ConvNeXt in Hugging Face transformers",
    marks: ["stages.0.downsample_layers.0.weight", "stages.0.layers.0.depthwise_conv.weight"],
    names: [
      ["stages.#.downsample_layers.#.*", "downsample_layers.#.#.*"],
      ["stages.#.layers.#.depthwise_conv.*", "stages.#.#.dwconv.*"],
      ["stages.#.layers.#.layer_norm.*", "stages.#.#.norm.*"],
      ["stages.#.layers.#.pointwise_conv1.*", "stages.#.#.pwconv1.*"],
      ["stages.#.layers.#.pointwise_conv2.*", "stages.#.#.pwconv2.*"],
      ["stages.#.layers.#.gamma", "stages.#.#.gamma"],
      ["layer_norm.*", "norm.*"],
    ],
  },
  {
    title: "DINOv3's ConvNeXt in timm",
    marks: ["stem.0.weight", "stages.0.blocks.0.conv_dw.weight"],
    names: [
      ["stem.#.*", "downsample_layers.0.#.*"],
      ["stages.#.downsample.#.*", "downsample_layers.#.#.*"],
      ["stages.#.blocks.#.conv_dw.*", "stages.#.#.dwconv.*"],
      ["stages.#.blocks.#.norm.*", "stages.#.#.norm.*"],
      ["stages.#.blocks.#.mlp.fc1.*", "stages.#.#.pwconv1.*"],
      ["stages.#.blocks.#.mlp.fc2.*", "stages.#.#.pwconv2.*"],
      ["stages.#.blocks.#.gamma", "stages.#.#.gamma"],
      ["head.norm.*", "norm.*"],
    ],
  },
];
