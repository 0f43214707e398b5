import { assertEquals, assertThrows } from "@std/assert";
import { BrokenRowError, checkSameClassNames } from "../../data/dataset.ts";
import { UserError } from "../../errors.ts";

Deno.test("checkSameClassNames() names the class that is not in both, or not in the same place", () => {
  const data = (path: string, ...classNames: string[]) => ({ path, classNames });
  checkSameClassNames(data("a", "cat", "dog"), data("b", "cat", "dog"));
  checkSameClassNames(data("a", "cat"), { path: "b", classNames: undefined });
  const refuse = (names: string[], others: string[], message: string) =>
    assertThrows(() => checkSameClassNames(data("a", ...names), data("b", ...others)), UserError, message);
  // A list of classes has such a name in one line.
  checkSameClassNames(data("a", "c\nat"), data("b", "c\\nat"));
  refuse(["cat", "dog"], ["dog"], 'b: expected the classes of a, but "cat" is missing');
  refuse(["dog"], ["cat", "dog"], 'a: expected the classes of b, but "cat" is missing');
  refuse(
    ["cat", "dog"],
    ["dog", "cat"],
    'b: expected the classes of a in the same order, found "cat" at another position',
  );
});

Deno.test("checkSameClassNames() says where names differ only in their Unicode form", () => {
  const data = (path: string, ...classNames: string[]) => ({ path, classNames });
  const [composed, decomposed] = ["NFC", "NFD"].map((form) => "caf\u00e9".normalize(form));
  assertThrows(
    () => checkSameClassNames(data("a", "bar", composed), data("b", "bar", decomposed)),
    UserError,
    `b: expected the class "${composed}" as in a, found that name in another Unicode form, so the ` +
      "labels would not match. Rename one like the other.",
  );
});

Deno.test("BrokenRowError says in one line what is wrong, whatever the row's name is", () => {
  const error = new BrokenRowError("/data", 3, "/data/a\nwarning: b\x1b[2J.jpg", "expected a file\n");
  assertEquals(error.message, String.raw`/data/a\nwarning: b\u001b[2J.jpg: expected a file\n`);
});
