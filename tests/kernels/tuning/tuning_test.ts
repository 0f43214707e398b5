import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import { findTuning } from "../../../cli/run_tuning.ts";
import { UserError } from "../../../errors.ts";
import { chooseTile } from "../../../kernels/ops/conv2d/tile.ts";
import { tuneAdapter } from "../../../kernels/tuning/cache.ts";
import { GPU_TUNING, parseTuning, PRODUCT_KINDS, SOFTWARE_TUNING } from "../../../kernels/tuning/tuning.ts";
import { withGpu } from "../check_op.ts";

Deno.test("parseTuning() reads what was written, and says what is wrong with a file", () => {
  for (const tuning of [SOFTWARE_TUNING, GPU_TUNING]) {
    assertEquals(parseTuning(JSON.stringify(tuning), "a.json"), tuning);
  }
  const { tiles } = SOFTWARE_TUNING;
  const broken: [unknown, string][] = [
    [null, "expected a family of kernels (staged or direct), found undefined"],
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
  assertStringIncludes(assertThrows(() => parseTuning("{", "a.json"), UserError).message, "is no JSON");
});

Deno.test("tuneAdapter() measures every tile of the device, once, and the result chooses tiles", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "seed_tuning_" });
  try {
    const progress: [number, number][] = [];
    const warnings: string[] = [];
    const tune = () =>
      tuneAdapter({
        folder,
        onProgress: (done, total) => progress.push([done, total]),
        onWarning: (text) => warnings.push(text),
      });
    const tuning = await tune();
    assertEquals(progress.map(([done]) => done), progress.map((_, i) => i + 1));
    assertEquals(progress.at(-1)![0], progress[0][1]);
    for (const kind of PRODUCT_KINDS) {
      const efficiencies = tuning.tiles[kind].map(({ efficiency }) => efficiency);
      assertEquals(Math.max(...efficiencies), 1);
      assert(Math.min(...efficiencies) < 1);
    }
    await withGpu(({ target }) => {
      for (const kind of PRODUCT_KINDS) {
        // A product of whole tiles, and many of them, takes the fastest.
        const { rows, columns } = chooseTile({ ...target, tuning }, kind, 2 ** 14, 2 ** 10);
        const best = tuning.tiles[kind].filter(({ efficiency }) => efficiency === 1);
        assert(
          best.some((tile) => tile.rows === rows && tile.columns === columns),
          `${kind}: ${rows}x${columns}`,
        );
      }
      return Promise.resolve();
    });

    const measured = progress.length;
    assertEquals(await tune(), tuning);
    assertEquals([progress.length, warnings], [measured, []]);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("findTuning() goes on with what a run began with, and keeps it in the new run's folder", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "seed_tuning_" });
  try {
    const shown = { say() {}, warn() {} };
    for (const name of ["first", "second"]) Deno.mkdirSync(join(folder, name));
    const options = { resume: join(folder, "first", "checkpoint.pth.tar"), output: join(folder, "second") };
    const earlier = { ...SOFTWARE_TUNING, textureFromLoads: 600 };
    Deno.writeTextFileSync(join(folder, "first", "tuning.json"), JSON.stringify(earlier));
    assertEquals(await findTuning(options, shown), earlier);
    assertEquals(JSON.parse(Deno.readTextFileSync(join(folder, "second", "tuning.json"))), earlier);

    Deno.writeTextFileSync(join(folder, "first", "tuning.json"), "{}");
    const { message } = await assertRejects(() => findTuning(options, shown), UserError);
    assertStringIncludes(message, join(folder, "first", "tuning.json"));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
