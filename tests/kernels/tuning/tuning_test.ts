import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { UserError } from "../../../errors.ts";
import { GPU_TUNING, parseTuning, softwareTuning } from "../../../kernels/tuning/tuning.ts";

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
