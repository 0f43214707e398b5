import { assert, assertEquals } from "@std/assert";
import { drawChart } from "../../bench/chart.ts";

Deno.test("drawChart() gives each contestant a colour of its own, and a legend within the image", () => {
  const time = (median: number) => ({ median, min: median, max: median });
  const others = ["tfjs", "jax-js", "multiply-adds alone", "PyTorch", "onnxruntime webgpu", "DataLoader"];
  for (const count of [1, 4, 6]) {
    const entered = Object.fromEntries(others.slice(0, count).map((name, i) => [name, time(2 + i)]));
    const rows = ["512", "1024"].map((name) => ({ name, timings: { ours: time(1), ...entered } }));
    const { svg } = drawChart({ name: "product", title: "Products", about: "", rows })!;
    const [, width] = svg.match(/viewBox="0 0 ([\d.]+) /)!;
    const entries = [...svg.matchAll(
      /<rect x="[\d.]+" y="([\d.]+)" width="11" height="11" fill="([^"]+)"\/><text x="([\d.]+)"[^>]*>([^<]+)</g,
    )].map(([, y, colour, x, text]) => ({ y: Number(y), colour, x: Number(x), text }));
    assertEquals(entries.map(({ text }) => text), others.slice(0, count).map((name) => `against ${name}`));
    assertEquals(new Set(entries.map(({ colour }) => colour)).size, count);
    for (const { x, text } of entries) assert(x + 6 * text.length < Number(width), text);
    const bars = [...svg.matchAll(/<rect x="[\d.]+" y="([\d.]+)" width="[\d.]+" height="11" fill="([^"]+)"/g)]
      .map(([, y, colour]) => ({ y: Number(y), colour })).slice(count);
    assertEquals(bars.map(({ colour }) => colour), [1, 2].flatMap(() => entries.map(({ colour }) => colour)));
    assert(bars.every(({ y }) => entries.every((entry) => y > entry.y + 11)), "bars are below the legend");
  }
});
