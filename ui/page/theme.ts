/// <reference lib="dom" />
/** Whether the page is light or dark: as the system is, unless somebody chooses, which is remembered. */
import type { Theme } from "page/colours.ts";
import { find } from "page/elements.ts";

const KEY = "seed-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function remembered(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // a browser that keeps nothing
  }
}

function remember(choice: string): void {
  try {
    localStorage.setItem(KEY, choice);
  } catch {
    // It holds until the page is closed.
  }
}

/** Returns how the page is lit. */
export function currentTheme(): Theme {
  const choice = document.documentElement.dataset.theme;
  if (choice === "light" || choice === "dark") return choice;
  return system.matches ? "dark" : "light";
}

/**
 * Lets the theme be chosen.
 *
 * @param onChange draws what has colours of its own
 */
export function followTheme(onChange: () => void): void {
  const select = find<HTMLSelectElement>("theme");
  const apply = () => {
    document.documentElement.dataset.theme = select.value;
    onChange();
  };
  const choice = remembered();
  if ([...select.options].some(({ value }) => value === choice)) select.value = choice!;
  apply();
  select.addEventListener("change", () => {
    remember(select.value);
    apply();
  });
  system.addEventListener("change", onChange);
}
