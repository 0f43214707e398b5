import { assertAlmostEquals, assertEquals } from "@std/assert";
import { Graph } from "../../kernels/graph.ts";
import { dropout, type DropoutAttributes } from "../../kernels/ops/dropout/dropout.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";
import { findEncoder } from "../../models/registry.ts";

/** Rates that an encoder drops by in training, in order: of images where a block ends, and of single values. */
function ratesOf(name: string): { images: number[]; values: number[] } {
  const graph = new Graph();
  const builder = new EncoderBuilder(graph, "train", { dropoutSeed: graph.source("seed", [2], "u32") });
  const head = { kind: "linear", dimension: 8 } as const;
  findEncoder(name).trace(builder, graph.source("images", [1, 64, 64, 3]), head);
  const found = graph.nodes.filter(({ op }) => op === dropout)
    .map(({ attributes }) => attributes as DropoutAttributes);
  const of = (wanted: DropoutAttributes["granularity"]) =>
    found.filter(({ granularity }) => granularity === wanted).map(({ rate }) => rate);
  return { images: of("sample"), values: of("element") };
}

/** Blocks with a shortcut, from 0; blocks; and dropout: `efficientnet_params()` and table 1 of the paper. */
const EFFICIENTNETS: [name: string, shortcuts: number[], blocks: number, dropout: number][] = [
  ["efficientnet_b0", [2, 4, 6, 7, 9, 10, 12, 13, 14], 16, 0.2],
  ["efficientnet_b1", [1, 3, 4, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 20, 22], 23, 0.2],
];

Deno.test("parity: EfficientNet leaves blocks out by the original's drop_connect_rate of 0.2, in proportion to their depth", () => {
  for (const [name, shortcuts, blocks, dropout] of EFFICIENTNETS) {
    const { images, values } = ratesOf(name);
    assertEquals(images.length, shortcuts.length, name);
    for (const [i, rate] of images.entries()) {
      assertAlmostEquals(rate, 0.2 * shortcuts[i] / blocks, 1e-12, `block ${shortcuts[i]} of ${name}`);
    }
    assertEquals(values, [dropout], name);
  }
});

Deno.test("parity: dropout before the head has the original's rates, and ResNets have none", () => {
  const found = (names: readonly string[]) => names.map((name) => ratesOf(name).values);
  const efficientNets = [2, 3, 4, 5, 6, 7].map((scale) => `efficientnet_b${scale}`);
  assertEquals(found(efficientNets), [[0.3], [0.3], [0.4], [0.4], [0.5], [0.5]]);
  const mobileNets = ["mobilenetv3_large", "mobilenetv3_small"];
  assertEquals(mobileNets.map(ratesOf), [{ images: [], values: [0.2] }, { images: [], values: [0.2] }]);
  assertEquals(ratesOf("resnet18"), { images: [], values: [] });
});
