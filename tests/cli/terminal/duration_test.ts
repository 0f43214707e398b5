import { assertEquals } from "@std/assert";
import { formatDuration } from "../../../cli/terminal/duration.ts";

Deno.test("formatDuration() shows the two largest units", () => {
  const cases: [number, string][] = [
    [0, "0s"],
    [59.4, "59s"],
    [59.6, "1m 00s"],
    [185, "3m 05s"],
    [3599.9, "1h 00m"],
    [7620, "2h 07m"],
    [3 * 86400 + 4 * 3600, "3d 04h"],
    [NaN, "?"],
    [Infinity, "?"],
  ];
  for (const [seconds, text] of cases) assertEquals(formatDuration(seconds), text, String(seconds));
});
