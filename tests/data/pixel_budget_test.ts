import { assertEquals, assertRejects } from "@std/assert";
import { PixelBudget } from "../../data/pixel_budget.ts";

Deno.test("PixelBudget never lets more pixels through than there is room for, and starts work in order", async () => {
  const budget = new PixelBudget(100);
  const started: number[] = [];
  let underWay = 0, most = 0;
  const sizes = [60, 60, 30, 1000, 5, 5, 90, 10, 100];
  await Promise.all(sizes.map((pixels, i) =>
    budget.run(pixels, async () => {
      started.push(i);
      underWay += Math.min(pixels, 100);
      most = Math.max(most, underWay);
      for (let turn = 0; turn < 5; turn++) await Promise.resolve();
      underWay -= Math.min(pixels, 100);
    })
  ));
  assertEquals(started, [...sizes.keys()]);
  assertEquals([underWay, most], [0, 100]);
});

Deno.test("PixelBudget gives room back when work fails", async () => {
  const budget = new PixelBudget(10);
  await assertRejects(() => budget.alone(() => Promise.reject(new Error("no"))), Error, "no");
  assertEquals(await budget.run(10, () => Promise.resolve("yes")), "yes");
});
