/** From plain row-major arrays to the device's padded rows and back. See `graph.ts` on the layout. */
import { elementCount, padTo4 } from "./graph.ts";

/** Pads the last dimension to a multiple of four with zeros. */
export function padRows(values: ArrayLike<number>, shape: readonly number[]): Float32Array<ArrayBuffer> {
  const columns = shape.at(-1) ?? 1;
  const stride = padTo4(columns);
  const rows = elementCount(shape) / columns;
  if (values.length !== rows * columns) {
    throw new Error(`padRows: shape [${shape}] holds ${rows * columns} values, was given ${values.length}`);
  }
  const padded = new Float32Array(rows * stride);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      padded[row * stride + column] = values[row * columns + column];
    }
  }
  return padded;
}

/** Drops the padding of the last dimension. */
export function unpadRows(padded: Float32Array, shape: readonly number[]): Float32Array<ArrayBuffer> {
  const columns = shape.at(-1) ?? 1;
  const stride = padTo4(columns);
  const rows = elementCount(shape) / columns;
  const values = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    values.set(padded.subarray(row * stride, row * stride + columns), row * columns);
  }
  return values;
}
