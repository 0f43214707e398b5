import { assertEquals } from "@std/assert";
import { isAfter, nextOf } from "../../actors/batch_number.ts";

Deno.test("nextOf() goes on in the epoch, and after its last batch with the next one", () => {
  assertEquals(nextOf({ epoch: 2, batch: 0 }, 3), { epoch: 2, batch: 1 });
  assertEquals(nextOf({ epoch: 2, batch: 2 }, 3), { epoch: 3, batch: 0 });
  // Before the first batch of an epoch there is none.
  assertEquals(nextOf({ epoch: 2, batch: -1 }, 3), { epoch: 2, batch: 0 });
  assertEquals(nextOf({ epoch: 0, batch: 0 }, 1), { epoch: 1, batch: 0 });
});

Deno.test("isAfter() orders by epoch, then by batch, and nothing is after itself", () => {
  const order = [{ epoch: 0, batch: 1 }, { epoch: 0, batch: 5 }, { epoch: 1, batch: 0 }, {
    epoch: 1,
    batch: 1,
  }];
  for (const [i, one] of order.entries()) {
    for (const [j, other] of order.entries()) assertEquals(isAfter(one, other), i > j);
  }
});
