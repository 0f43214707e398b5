import { assertEquals } from "@std/assert";
import { openGpu } from "../../kernels/gpu.ts";
import { readBuffer } from "../../kernels/readback.ts";
import { upload } from "../../kernels/upload.ts";

Deno.test("upload() writes what is small, and what takes several pieces, where it belongs", async () => {
  const gpu = await openGpu("upload");
  const most = 9 * 2 ** 20 + 4;
  const buffer = gpu.device.createBuffer({
    size: most + 16,
    usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  });
  const source = Uint8Array.from({ length: most + 3 * 4 }, (_, i) => (i * 7) ^ (i >> 8));
  const cases: [offset: number, data: Uint8Array<ArrayBuffer>][] = [
    [8, source.subarray(12)], // an offset on both sides
    [0, source.subarray(4, 8)],
    [most, source.subarray(0, 16)],
  ];
  const expected = new Uint8Array(most + 16);
  for (const [offset, data] of cases) {
    upload(gpu.device.queue, buffer, offset, data);
    expected.set(data, offset);
  }
  const found = new Uint8Array(await readBuffer(gpu, buffer, 0, most + 16));
  assertEquals(found.findIndex((byte, i) => byte !== expected[i]), -1);

  upload(gpu.device.queue, buffer, 4, source.slice(0, most).buffer);
  const again = new Uint8Array(await readBuffer(gpu, buffer, 4, most));
  assertEquals(again.findIndex((byte, i) => byte !== source[i]), -1);
  gpu.destroy();
});
