/** The methods that there are. */
import { finetune } from "./finetune/mod.ts";
import { linearProbe } from "./linear_probe/mod.ts";
import { moco } from "./moco/mod.ts";
import { seed } from "./seed/mod.ts";

/** All methods by name. A new method is a folder next to theirs, and a line here. */
export const METHODS = { seed, moco, linear_probe: linearProbe, finetune } as const;
