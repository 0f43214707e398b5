import { assertEquals } from "@std/assert";
import {
  efficienciesOf,
  fastestFamily,
  type MeasuredTile,
  winsMost,
} from "../../../kernels/tuning/fastest.ts";
import type { ProductFamily, ProductKind, Tile } from "../../../kernels/tuning/tuning.ts";

const TILES = [4, 8, 16].map((rows): Tile => ({ rows, columns: 4, lanesAcross: 8, lanesDown: 8 }));

/** A tile with its times. */
function measured(
  family: ProductFamily,
  kind: ProductKind,
  tile: Tile,
  ...times: number[]
): MeasuredTile {
  return { family, kind, tile, times };
}

Deno.test("efficienciesOf() gives the fastest tile 1 and others their share of its speed, by the median of their times", () => {
  const efficiencies = efficienciesOf([
    measured("direct", "forward", TILES[0], 4, 1, 900), // one round was disturbed, and one a matter of luck
    measured("direct", "forward", TILES[1], 2, 2.5, 2),
    measured("direct", "forward", TILES[2], 3, 3, 3),
  ]);
  assertEquals([...efficiencies], [[TILES[0], 0.5], [TILES[1], 1], [TILES[2], 0.667]]);
});

Deno.test("fastestFamily() takes the family with the least time of all products, each by its fastest tile", () => {
  const [small, large] = TILES;
  const staged = [
    measured("staged", "forward", small, 9),
    measured("staged", "forward", large, 2),
    measured("staged", "weightGradient", small, 5),
  ];
  const direct = (weightGradient: number) => [
    measured("direct", "forward", small, 3),
    measured("direct", "forward", large, 4),
    measured("direct", "weightGradient", small, weightGradient),
  ];
  // 2 + 5 milliseconds against 3 + 3, and against 3 + 6.
  for (const [time, expected] of [[3, "direct"], [6, "staged"]] as const) {
    assertEquals(fastestFamily([...staged, ...direct(time)]), expected);
    assertEquals(fastestFamily([...direct(time), ...staged]), expected);
  }
  assertEquals(fastestFamily(direct(900)), "direct");
});

Deno.test("winsMost() is whether the first is faster in more than half of the rounds", () => {
  const [won, lost, even] = [[1, 2], [2, 1], [1, 1]] as const;
  assertEquals(winsMost([won, won, won, won, lost, lost]), true);
  assertEquals(winsMost([won, won, lost, lost, lost, lost]), false);
  assertEquals(winsMost([won, won, won, lost, lost, lost]), false);
  assertEquals(winsMost([won, even, even]), false);
  // By how much does not count: what else the machine does may disturb a round.
  assertEquals(winsMost([won, won, [900, 1]]), true);
});
