import { assertEquals } from "@std/assert";
import { describeStart, SHARED_CORES, SHARED_DEVICE } from "../../../cli/output/rank_facts.ts";

const RANK = { host: "a", adapter: "Radeon", isSoftware: false, cores: 16, allCores: 16 };

Deno.test("describeStart() warns of ranks of one machine whose GPUs have one name", () => {
  const ranks = [RANK, { ...RANK, adapter: "GeForce" }, RANK, { ...RANK, host: "b" }];
  assertEquals(describeStart(ranks), {
    lines: ["ranks     0, 1, 2 on a: Radeon; GeForce", "ranks     3 on b: Radeon"],
    warnings: [`ranks 0, 2 on a, Radeon: ${SHARED_DEVICE}`],
  });
});

Deno.test("describeStart() says in one line that ranks share a software adapter, and warns of few cores", () => {
  const rank = { ...RANK, adapter: "llvmpipe", isSoftware: true, cores: 1 };
  assertEquals(describeStart([rank, rank]), {
    lines: [`ranks     0, 1 on a: llvmpipe; ${SHARED_CORES}`],
    warnings: [
      "ranks 0, 1 on a: the launcher binds each rank to 1 core of 16: readers need more, so add --bind-to none",
    ],
  });
});
