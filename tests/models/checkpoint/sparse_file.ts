/** Files of zeros, which take no room on the disk however large the tensors are. */
import { elementCount } from "../../../kernels/graph.ts";

/** Writes float32 zeros of these shapes as a safetensors file; `metadata` is what it says of them. */
export function writeSparse(
  path: string,
  shapes: Iterable<readonly [key: string, shape: readonly number[]]>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  let end = 0;
  const entries = [...shapes].map(([key, shape]) => {
    const start = end;
    end += 4 * elementCount(shape);
    return [key, { dtype: "F32", shape, data_offsets: [start, end] }];
  });
  const header = new TextEncoder().encode(
    JSON.stringify({ __metadata__: metadata, ...Object.fromEntries(entries) }),
  );
  const bytes = new Uint8Array(8 + header.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
  bytes.set(header, 8);
  Deno.writeFileSync(path, bytes);
  Deno.truncateSync(path, bytes.length + end);
}
