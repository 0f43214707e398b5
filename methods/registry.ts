/** The methods that there are. */
import { finetune } from "./finetune/mod.ts";
import { linearProbe } from "./linear_probe/mod.ts";
import { seed } from "./seed/mod.ts";

/** By name: a new method is a folder beside these, and a line here. */
export const METHODS = { seed, linear_probe: linearProbe, finetune } as const;
