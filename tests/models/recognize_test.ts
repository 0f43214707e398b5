// Which encoder a file holds, where it has a classifier in place of a head: as fine-tunings and linear evaluations write it.
import { assertEquals } from "@std/assert";
import { FEATURES } from "../../models/encoder.ts";
import { inputOf } from "../../models/encoder_input.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { inputJson } from "../../models/checkpoint/saved_input.ts";
import { findEncoder, listedEncoders, stemsOf, summarize, usualHead } from "../../models/registry.ts";
import { writeSparse } from "./checkpoint/sparse_file.ts";
import { withFolder } from "./checkpoint/fixtures.ts";

/** A DINO encoder of each shape and stem that a student has. */
const OF_STUDENTS = [
  "p16_w192_b12_h3_f768_r0_g14",
  "p16_w384_b12_h6_f1536_r0_g2",
  "p4_w192_b12_h3_f768_r0_g8",
]
  .map((shape) => findEncoder(`dino_vit_${shape}`));

Deno.test("every encoder comes back under its own name from a file with a classifier, which says it", () =>
  withFolder(async (folder) => {
    const path = `${folder}/classified.safetensors`;
    const encoders = [...listedEncoders().flatMap((usual) => [...stemsOf(usual).values()]), ...OF_STUDENTS]
      .flatMap((encoder) =>
        encoder.withFeature === undefined ? [encoder] : FEATURES.map((kind) => encoder.withFeature!(kind))
      );
    for (const encoder of encoders) {
      const head = usualHead(encoder);
      const shapes = summarize(encoder, head).state
        .filter(({ key, kind }) => kind !== "counter" && !/^(module\.)?(fc|projection_head)\./.test(key))
        .map(({ key, shape }) => [`module.${key}`, shape] as const);
      const classifier = [["module.fc.weight", [10, encoder.features]], ["module.fc.bias", [10]]] as const;
      const size = {
        imageSize: encoder.sizes?.usual ?? 224,
        cropRatio: 0.875,
        interpolation: "bicubic",
      } as const;
      const words = { arch: encoder.name, epoch: "1", seed_input: inputJson(inputOf(encoder, size)) };
      writeSparse(path, [...shapes, ...classifier], words);
      using source = await openEncoderSource(path, { part: "backbone" });
      assertEquals(source.encoder.name, encoder.name);
    }
  }));
