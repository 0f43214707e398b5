import { assertEquals } from "@std/assert";
import { encoderByFlags } from "../../models/encoder_by_flags.ts";

Deno.test("encoderByFlags() takes the size and the feature off a name that no flag takes", () => {
  const said = (name: string) => {
    const { arch, feature, imageSize } = encoderByFlags(name);
    return [arch, feature, imageSize];
  };
  assertEquals(said("resnet18_cifar"), ["resnet18_cifar", undefined, undefined]);
  assertEquals(said("vit_tiny"), ["vit_tiny", "cls", 224]);
  assertEquals(said("vit_tiny_96"), ["vit_tiny", "cls", 96]);
  assertEquals(said("vit_small_48_cifar"), ["vit_small_cifar", "cls", 48]);
  assertEquals(said("vit_tiny_96_cls_mean"), ["vit_tiny", "cls+mean", 96]);
  assertEquals(said("dinov2_vits14_mean"), ["dinov2_vits14", "mean", undefined]);
  assertEquals(said("dinov3_convnext_tiny_cls_mean"), ["dinov3_convnext_tiny", "cls+mean", undefined]);
  // What a checkpoint's shapes tell has no name for a flag, and what is no more registered none at all.
  assertEquals(said("dino_vit_p16_w64_b2_h1_f256_r0_g4_mean"), [undefined, "mean", undefined]);
  assertEquals(said("of_a_plugin"), [undefined, undefined, undefined]);
});
