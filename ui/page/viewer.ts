/// <reference lib="dom" />
/** Images of a sprite, and the window in which one of them is shown large. */
import { find, make } from "page/elements.ts";
import type { Sprite } from "../records.ts";

/** An image, and what it shows. */
export interface Tile {
  sprite: Sprite;
  /** Its place in the sprite. */
  index: number;
  said: string;
  className?: string;
}

/** Shows an image of the sprite in an element. */
function paint(element: HTMLElement, { sprite, index, said }: Tile): void {
  const rows = Math.ceil(sprite.count / sprite.columns);
  const [x, y] = [index % sprite.columns, Math.floor(index / sprite.columns)];
  const at = (place: number, count: number) => count === 1 ? "0" : `${100 * place / (count - 1)}%`;
  element.setAttribute("aria-label", said);
  element.style.backgroundImage = `url(${sprite.url})`;
  element.style.backgroundSize = `${100 * sprite.columns}% ${100 * rows}%`;
  element.style.backgroundPosition = `${at(x, sprite.columns)} ${at(y, rows)}`;
}

/** An image that is only looked at. */
export function image(shown: Tile): HTMLElement {
  const element = make("span", { className: "tile" });
  element.setAttribute("role", "img");
  paint(element, shown);
  return element;
}

let shownTiles: readonly Tile[] = [];
let shownAt = 0;

function show(step: number): void {
  const place = shownAt + step;
  if (place < 0 || place >= shownTiles.length) return;
  shownAt = place;
  const large = find("viewer-image");
  large.className = `tile ${shownTiles[place].className ?? ""}`;
  paint(large, shownTiles[place]);
  find("viewer-said").textContent = `${shownTiles[place].said} (${place + 1} of ${shownTiles.length})`;
  find<HTMLButtonElement>("viewer-before").disabled = place === 0;
  find<HTMLButtonElement>("viewer-next").disabled = place === shownTiles.length - 1;
}

/** Makes the window's buttons and arrow keys work. */
export function prepareViewer(): void {
  find("viewer-before").addEventListener("click", () => show(-1));
  find("viewer-next").addEventListener("click", () => show(1));
  const viewer = find<HTMLDialogElement>("viewer");
  find("viewer-close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("keydown", ({ key }) => {
    if (key === "ArrowLeft") show(-1);
    if (key === "ArrowRight") show(1);
  });
  // A click beside the image closes it, as Escape does.
  viewer.addEventListener("click", ({ target }) => {
    if (target === viewer) viewer.close();
  });
}

/**
 * Shows images in an element that can be clicked to be enlarged; in the window the arrow keys go from one to the next. Of them
 * the first alone is a stop of the Tab key. While there are as many, their buttons stay, and with them the keyboard's focus.
 *
 * @param wrap what a button is put into
 */
export function showTiles(
  set: HTMLElement,
  all: readonly Tile[],
  wrap: (button: HTMLButtonElement) => HTMLElement = (button) => button,
): void {
  let buttons = [...set.querySelectorAll("button")];
  if (buttons.length !== all.length) {
    buttons = all.map(() => make("button"));
    set.replaceChildren(...buttons.map(wrap));
  }
  for (const [place, button] of buttons.entries()) {
    const { said, className = "" } = all[place];
    Object.assign(button, { type: "button", className: `tile ${className}`, title: said });
    button.tabIndex = place === 0 ? 0 : -1;
    paint(button, all[place]);
    button.onclick = () => {
      [shownTiles, shownAt] = [all, place];
      show(0);
      find<HTMLDialogElement>("viewer").showModal();
    };
  }
}
