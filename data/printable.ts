/** Text from data on its way to a terminal, a log or a file of lines. */

/** C0 controls but line feed and tab, DEL, C1 controls, separators of lines, and what turns the direction of writing. */
// deno-lint-ignore no-control-regex -- they are what is looked for
const UNSEEN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

const NAMES: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

// As JSON spells them, so that JSON stays JSON.
function escape(character: string): string {
  return NAMES[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/**
 * Returns text whose control characters are written out (`\u001b`), so that a name in somebody's data moves no cursor,
 * colours nothing and hides nothing. Line feeds and tabs stay.
 */
export function printable(text: string): string {
  return text.replaceAll(UNSEEN, escape);
}

/**
 * As {@linkcode printable}, in one line and without tabs: a name with a line feed takes no other line's place.
 *
 * @param longest characters of the text that are shown; the others become `...`
 */
export function printableLine(text: string, longest: number = Infinity): string {
  const cut = text.length <= longest ? text : `${text.slice(0, longest)}...`;
  return printable(cut).replaceAll(/[\n\t]/g, escape);
}

/** A number of things: `1 epoch`, `2 epochs`. */
export function counted(count: number, noun: string, plural = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : plural}`;
}
