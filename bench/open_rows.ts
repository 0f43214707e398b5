/** A process that opens a TSV, and prints what that takes: `{"ms": ..., "bytes": ..., "rows": ...}`. */
import { openDataset } from "../data/open_dataset.ts";

const before = Deno.memoryUsage().rss;
const start = performance.now();
using dataset = await openDataset(Deno.args[0]);
const ms = performance.now() - start;
console.log(JSON.stringify({ ms, bytes: Deno.memoryUsage().rss - before, rows: dataset.rowCount }));
