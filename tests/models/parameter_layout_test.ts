import { assertEquals, assertThrows } from "@std/assert";
import { elementCount } from "../../kernels/graph.ts";
import { CONVOLUTION, takeRows } from "../../models/parameter_layout.ts";

Deno.test("takeRows() takes rows out of a whole entry, and leaves alone what is these rows already", () => {
  const whole = Float32Array.from({ length: 12 }, (_, i) => i);
  assertEquals(takeRows(whole, 3, undefined), whole);
  assertEquals(takeRows(whole, 3, { first: 1, count: 2 }), whole.slice(3, 9));
  const rows = whole.slice(3, 9);
  assertEquals(takeRows(rows, 3, { first: 1, count: 2 }), rows);
  assertThrows(() => takeRows(rows, 3, { first: 2, count: 1 }), Error, "rows 2 to 3 of 3 values: got 6");
});

for (const weight of [[35, 5, 3, 2], [16, 4, 1, 1], [1, 3, 2, 2]]) {
  Deno.test(`CONVOLUTION has each weight of [${weight}] where it says, times its row's factor, and gives it back`, () => {
    const [out, input, kh, kw] = weight;
    const values = Float32Array.from({ length: elementCount(weight) }, (_, i) => i + 1);
    const [, , inputs] = CONVOLUTION.shape(weight);
    const outputs = Math.ceil(out / 4) * 4;
    const scale = Float64Array.from({ length: out }, (_, o) => o + 0.5);
    const device = CONVOLUTION.toDevice(values, weight, scale);
    const expected = new Float32Array(kh * kw * inputs * outputs);
    for (let at = 0; at < values.length; at++) {
      const [o, i, tap] = [
        Math.trunc(at / (input * kh * kw)),
        Math.trunc(at / (kh * kw)) % input,
        at % (kh * kw),
      ];
      expected[(tap * inputs + i) * outputs + o] = values[at] * scale[o];
    }
    assertEquals(device, expected);
    assertEquals(CONVOLUTION.fromDevice(CONVOLUTION.toDevice(values, weight), weight), values);
  });
}
