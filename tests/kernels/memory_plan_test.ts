import { assert, assertEquals, assertGreaterOrEqual } from "@std/assert";
import { Random } from "../../data/random.ts";
import { type Lifetime, planMemory } from "../../kernels/memory_plan.ts";

Deno.test("planMemory() lets tensors share a slot when they are not alive together", () => {
  const plan = planMemory([
    { id: 1, bytes: 100, first: 0, last: 1 },
    { id: 2, bytes: 80, first: 1, last: 2 },
    { id: 3, bytes: 90, first: 2, last: 3 },
  ]);
  assertEquals(plan.slots, [100, 80]);
  assertEquals(plan.slotOf.get(1), plan.slotOf.get(3));
  assertEquals(plan.peakBytes, 180);
});

Deno.test("planMemory() never puts two living tensors into one slot, and fits each into its own", () => {
  const random = new Random(3, "lifetimes");
  for (let trial = 0; trial < 50; trial++) {
    const lives: Lifetime[] = Array.from({ length: 40 }, (_, id) => {
      const first = random.integer(0, 30);
      return { id, bytes: 16 * random.integer(1, 50), first, last: first + random.integer(0, 6) };
    });
    const plan = planMemory(lives);
    for (const a of lives) {
      assertGreaterOrEqual(plan.slots[plan.slotOf.get(a.id)!], a.bytes);
      for (const b of lives) {
        const together = a.id < b.id && a.first <= b.last && b.first <= a.last;
        assert(
          !together || plan.slotOf.get(a.id) !== plan.slotOf.get(b.id),
          `${a.id} and ${b.id} share a slot`,
        );
      }
    }
    assertGreaterOrEqual(plan.bytes, plan.peakBytes);
  }
});
