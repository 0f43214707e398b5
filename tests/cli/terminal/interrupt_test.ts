import { assertEquals } from "@std/assert";
import { howToGoOn } from "../../../cli/terminal/interrupt.ts";

Deno.test("howToGoOn() names the flags that a command line lacks, as a shell reads them", () => {
  const say = (namesOutput: boolean, resume?: string) => howToGoOn("/my runs/a", { namesOutput, resume });
  const rerun = "to resume, rerun the same command";
  assertEquals(say(false), `${rerun} with --output '/my runs/a' --resume auto`);
  assertEquals(say(true), `${rerun} with --resume auto`);
  assertEquals(say(true, "auto"), rerun);
  assertEquals(say(true, "it's.tar"), `${rerun} with --resume auto in place of --resume 'it'\\''s.tar'`);
  assertEquals(
    say(false, "a.tar"),
    `${rerun} with --output '/my runs/a' --resume auto in place of --resume a.tar`,
  );
});
