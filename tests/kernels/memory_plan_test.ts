import { assert, assertEquals, assertGreaterOrEqual } from "@std/assert";
import { Random } from "../../data/random.ts";
import { type Lifetime, type MemoryPlan, planMemory } from "../../kernels/memory_plan.ts";

/** Fails where two living tensors overlap, one lies outside of its buffer, or two that must be apart are not. */
function expectSound(lives: readonly Lifetime[], plan: MemoryPlan): void {
  for (const a of lives) {
    const { buffer, offset } = plan.placements.get(a.id)!;
    assertEquals(offset % 256, 0);
    assertGreaterOrEqual(plan.buffers[buffer], offset + a.bytes);
    for (const b of lives) {
      const other = plan.placements.get(b.id)!;
      if (a.id >= b.id || buffer !== other.buffer || a.first > b.last || b.first > a.last) continue;
      const isDisjoint = offset + a.bytes <= other.offset || other.offset + b.bytes <= offset;
      assert(isDisjoint, `${a.id} and ${b.id} overlap`);
      assert(!a.apart?.has(b.id) && !b.apart?.has(a.id), `${a.id} and ${b.id} share a buffer`);
    }
  }
  assertGreaterOrEqual(plan.bytes, plan.peakBytes);
}

Deno.test("planMemory() lets tensors share a place when they are not alive together", () => {
  const lives: Lifetime[] = [
    { id: 1, bytes: 2560, first: 0, last: 1 },
    { id: 2, bytes: 2048, first: 1, last: 2, apart: new Set([1]) },
    { id: 3, bytes: 2304, first: 2, last: 3, apart: new Set([2]) },
  ];
  const plan = planMemory(lives);
  assertEquals(plan.buffers, [2560, 2048]);
  assertEquals(plan.placements.get(1), plan.placements.get(3));
  assertEquals(plan.peakBytes, 2560 + 2048);
});

Deno.test("planMemory() puts several small tensors into the place of a large one", () => {
  const plan = planMemory([
    { id: 1, bytes: 1024, first: 0, last: 1 },
    { id: 2, bytes: 512, first: 2, last: 4 },
    { id: 3, bytes: 256, first: 3, last: 4 },
    { id: 4, bytes: 256, first: 3, last: 5 },
  ]);
  assertEquals(plan.bytes, 1024);
  assertEquals(plan.peakBytes, 1024);
});

Deno.test("planMemory() never lets two living tensors overlap, and keeps apart what must be apart", () => {
  const random = new Random(3, "lifetimes");
  for (let trial = 0; trial < 50; trial++) {
    const lives: Lifetime[] = Array.from({ length: 40 }, (_, id) => {
      const first = random.integer(0, 30);
      const apart = new Set(Array.from({ length: 2 }, () => random.integer(0, 40)));
      return { id, bytes: 16 * random.integer(1, 200), first, last: first + random.integer(0, 6), apart };
    });
    expectSound(lives, planMemory(lives));
  }
});
