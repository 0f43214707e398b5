import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { UserError } from "../../../errors.ts";
import { PLAIN } from "../../../kernels/ops/conv2d/generator.ts";
import {
  stagedForwardSource,
  stagedInputGradientSource,
  stagedWeightGradientSource,
} from "../../../kernels/ops/conv2d/staged_generator.ts";
import {
  GPU_TUNING,
  parseTuning,
  PRODUCT_KINDS,
  sameTiles,
  softwareTuning,
  type Tile,
} from "../../../kernels/tuning/tuning.ts";
import { fitsWorkgroup, tilesWithin } from "../../../kernels/tuning/workgroup_memory.ts";

const SOFTWARE_TUNING = softwareTuning(8, true);

Deno.test("parseTuning() reads what was written, and says what is wrong with a file", () => {
  for (const tuning of [SOFTWARE_TUNING, GPU_TUNING]) {
    assertEquals(parseTuning(JSON.stringify(tuning), "a.json"), tuning);
  }
  const { tiles } = SOFTWARE_TUNING;
  const broken: [unknown, string][] = [
    [null, "expected a family of kernels (staged or direct), found undefined"],
    [{ ...SOFTWARE_TUNING, adapter: 1 }, "expected the name of an adapter, found 1"],
    [{ ...SOFTWARE_TUNING, family: "fast" }, 'found "fast"'],
    [
      { ...SOFTWARE_TUNING, productTextures: 1 },
      "expected productTextures to be true or false, found 1",
    ],
    [
      { ...SOFTWARE_TUNING, textureFromLoads: -1 },
      "expected textureFromLoads to be a number or null, found -1",
    ],
    [{ ...SOFTWARE_TUNING, tiles: { ...tiles, forward: [] } }, "expected a list of tiles for forward"],
    [{ ...SOFTWARE_TUNING, tiles: { ...tiles, weightGradient: [null] } }, "tiles for weightGradient"],
    [
      { ...SOFTWARE_TUNING, tiles: { ...tiles, inputGradient: [{ ...tiles.forward[0], columns: 6 }] } },
      "tiles for inputGradient",
    ],
    [
      { ...SOFTWARE_TUNING, tiles: { ...tiles, forward: [{ ...tiles.forward[0], efficiency: 0 }] } },
      "tiles for forward",
    ],
  ];
  for (const [value, expected] of broken) {
    const { message } = assertThrows(() => parseTuning(JSON.stringify(value), "a.json"), UserError);
    assertStringIncludes(message, "a.json: ");
    assertStringIncludes(message, expected);
    assertStringIncludes(message, "--no-tune");
  }
  assertStringIncludes(
    assertThrows(() => parseTuning("{", "a.json"), UserError).message,
    "is not valid JSON",
  );
});

Deno.test("tilesWithin() leaves the staged tiles whose kernels declare no more workgroup memory than there is", () => {
  const GUARANTEED = 16384; // by WebGPU
  const declared = ({ tile, kind }: { tile: Tile; kind: (typeof PRODUCT_KINDS)[number] }) => {
    const source = kind === "weightGradient"
      ? stagedWeightGradientSource(tile, false)
      : (kind === "forward" ? stagedForwardSource : stagedInputGradientSource)(tile, PLAIN, false);
    const arrays = [...source.matchAll(/var<workgroup> \w+: array<vec4<f32>, (\d+)>/g)];
    assertEquals(arrays.length, 2);
    return arrays.reduce((sum, [, vec4s]) => sum + 16 * Number(vec4s), 0);
  };
  const within = tilesWithin(GPU_TUNING, GUARANTEED);
  for (const kind of PRODUCT_KINDS) {
    const all = GPU_TUNING.tiles[kind];
    const fitting = all.filter((tile) =>
      PRODUCT_KINDS.every((kind) => declared({ tile, kind }) <= GUARANTEED)
    );
    assertEquals(within.tiles[kind], fitting);
    assertEquals(all.length - fitting.length, 2);
    const most = Math.max(...all.flatMap((tile) => PRODUCT_KINDS.map((kind) => declared({ tile, kind }))));
    assertEquals(tilesWithin(GPU_TUNING, most), GPU_TUNING);
    assertEquals(all.every((tile) => fitsWorkgroup(tile, most)), true);
    assertEquals(tilesWithin(GPU_TUNING, most - 16).tiles[kind].length, all.length - 1);
  }
  // Of tiles that were all measured elsewhere none may be left.
  const large = { ...GPU_TUNING, tiles: sameTiles(GPU_TUNING.tiles.forward.slice(0, 1)) };
  assertEquals(tilesWithin(large, GUARANTEED), within);
  assertEquals(tilesWithin(SOFTWARE_TUNING, 0), SOFTWARE_TUNING);
});
