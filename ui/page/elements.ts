/// <reference lib="dom" />
/** Small help with the document. */
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

/** Fills a table of two columns. */
export function facts(id: string, rows: readonly (readonly [name: string, value: string])[]): void {
  find(id).replaceChildren(...rows.map(([name, value]) => {
    const head = make("th", { textContent: name });
    head.scope = "row";
    return make("tr", {}, head, make("td", { textContent: value }));
  }));
}

/** A short line in a colour and with dashes, as it is in the charts. */
export function swatch(colour: string, dash: readonly number[]): HTMLElement {
  const element = make("span", { className: "swatch" });
  element.setAttribute("aria-hidden", "true");
  // Marks and gaps of the line, over and over.
  const ends = (dash.length === 0 ? [1] : dash).map((_, i) =>
    dash.slice(0, i + 1).reduce((a, b) => a + b, 0)
  );
  const stops = ends.map((end, i) => {
    const from = i === 0 ? 0 : ends[i - 1];
    return `${i % 2 === 0 ? colour : "transparent"} ${from}px ${dash.length === 0 ? 100 : end}px`;
  });
  element.style.backgroundImage = `repeating-linear-gradient(to right, ${stops.join(", ")})`;
  return element;
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
