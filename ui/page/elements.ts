/// <reference lib="dom" />
/** Small help with the document. */
import type { Sprite } from "../records.ts";

/** An element of the page, which is there. */
export function find<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}

/** Makes an element; text is never read as markup. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  properties: Partial<Record<"className" | "textContent" | "title", string>> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  element.append(...children);
  return element;
}

/** One image of a sprite. */
export function tile(sprite: Sprite, index: number, said: string, className = ""): HTMLElement {
  const element = make("span", { className: `tile ${className}`, title: said });
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", said);
  const rows = Math.ceil(sprite.count / sprite.columns);
  const [x, y] = [index % sprite.columns, Math.floor(index / sprite.columns)];
  const at = (place: number, count: number) => count === 1 ? "0" : `${100 * place / (count - 1)}%`;
  element.style.backgroundImage = `url(${sprite.url})`;
  element.style.backgroundSize = `${100 * sprite.columns}% ${100 * rows}%`;
  element.style.backgroundPosition = `${at(x, sprite.columns)} ${at(y, rows)}`;
  return element;
}

/** Fills a table of two columns. */
export function facts(id: string, rows: readonly (readonly [name: string, value: string])[]): void {
  find(id).replaceChildren(...rows.map(([name, value]) => {
    const head = make("th", { textContent: name });
    head.scope = "row";
    return make("tr", {}, head, make("td", { textContent: value }));
  }));
}

/** `1h 5m`. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  const whole = Math.round(seconds);
  const [days, hours, minutes] = [
    Math.floor(whole / 86400),
    Math.floor(whole / 3600) % 24,
    Math.floor(whole / 60) % 60,
  ];
  if (days > 0) return `${days}d ${hours}h`;
  if (hours > 0) return `${hours}h ${minutes}m`;
  return minutes > 0 ? `${minutes}m ${whole % 60}s` : `${whole}s`;
}
