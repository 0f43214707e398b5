import { assert, assertEquals } from "@std/assert";
import { type Dispatch, Graph } from "../../kernels/graph.ts";
import { ConstantTextures, OperandTextures, TEXTURE_WIDTH } from "../../kernels/texture_operand.ts";
import { withGpu, withLimits } from "./check_op.ts";

/** Heights of the textures of a program with one dispatch, which reads one operand of so many rows of texels. */
function heightsOf(device: GPUDevice, rows: number): Set<number> {
  const texture = new Graph().source("operand", [rows * TEXTURE_WIDTH, 4]);
  const dispatch: Dispatch = {
    label: "reads",
    source: "",
    uniforms: new Uint32Array(),
    workgroups: [1, 1, 1],
    bindings: [{ texture }],
  };
  const { textures } = new OperandTextures(device, [dispatch]);
  for (const texture of textures) texture.destroy();
  return new Set(textures.map(({ height }) => height));
}

Deno.test("operand textures hold their operand, and their heights are no powers of two", () =>
  withGpu((gpu) => {
    const heights = [1, 2, 3, 4, 7, 8, 9].map((rows) => [...heightsOf(gpu.device, rows)]);
    assertEquals(heights, [[3], [3], [3], [5], [7], [9], [9]]);
    return Promise.resolve();
  }));

Deno.test("operand textures are no higher than the device allows", () =>
  withGpu((gpu) => {
    const { device } = withLimits(gpu, { maxTextureDimension2D: 8 });
    assertEquals([...heightsOf(device, 8)], [8]);
    return Promise.resolve();
  }));

Deno.test("constant operands have textures for good, but where these could hold a small part of them only", () =>
  withGpu(({ device }) => {
    const buffer = device.createBuffer({
      size: 1024,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC,
    });
    const source = { buffer, offset: 0, bytes: 1024 };
    using few = new ConstantTextures(device, 2 ** 30);
    assert(few.viewOf(source) !== undefined);
    assertEquals(few.viewOf({ ...source, bytes: 2 ** 28 }), undefined);
    using many = new ConstantTextures(device, 2 ** 30 + 4);
    assertEquals(many.viewOf(source), undefined);
    buffer.destroy();
    return Promise.resolve();
  }));
