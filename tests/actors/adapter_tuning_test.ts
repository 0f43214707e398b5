import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { tuneAdapter } from "../../actors/adapter_tuning.ts";
import { describeAdapter } from "../../kernels/gpu.ts";
import { chooseTile } from "../../kernels/ops/conv2d/tile.ts";
import { PRODUCT_KINDS } from "../../kernels/tuning/tuning.ts";
import { withGpu } from "../kernels/check_op.ts";

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

Deno.test("tuneAdapter() takes the usual table of a full device with the adapter's name, and saves none", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "seed_tuning_" });
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (descriptor) {
    const device = await requestDevice.call(this, descriptor);
    const { createBuffer } = device;
    device.createBuffer = (buffer) => {
      const error = new GPUOutOfMemoryError("no more");
      device.dispatchEvent(new GPUUncapturedErrorEvent("uncapturederror", { error }));
      return createBuffer.call(device, buffer);
    };
    return device;
  };
  try {
    const warnings: string[] = [];
    const { adapter } = await tuneAdapter({ folder, onWarning: (text) => warnings.push(text) });
    assertEquals(adapter, (await describeAdapter()).name);
    assertEquals(warnings.length, 1);
    assertStringIncludes(warnings[0], "too little memory");
    assertEquals([...Deno.readDirSync(folder)], []);
  } finally {
    GPUAdapter.prototype.requestDevice = requestDevice;
    Deno.removeSync(folder, { recursive: true });
  }
});
