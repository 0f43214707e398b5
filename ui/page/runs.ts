/// <reference lib="dom" />
/** All runs: searched, sorted, chosen for the curves, and compared by their settings. */
import { formatNumber } from "page/charts.ts";
import { duration, find, make, swatch } from "page/elements.ts";
import { shortNames } from "page/names.ts";
import { describeRun, differingSettings, formatSetting } from "page/settings.ts";
import { lookOf } from "page/shown_runs.ts";
import { accuracyNow, BY, describeImages, type Run, secondsTaken, type State, stateOf } from "page/state.ts";

/** What is known of a run by a column: what is sorted by, and what is shown. */
interface Cell {
  key: string | number;
  text: string;
}

/** A run as it is listed. */
interface Listed {
  run: Run;
  index: number;
  name: string;
  state: string;
}

function textCell(text: string): Cell {
  return { key: text.toLowerCase(), text };
}

/** A cell of a number; one that is not known comes last. */
function numberCell(value: number | undefined, format: (value: number) => string): Cell {
  return value === undefined ? { key: -Infinity, text: "" } : { key: value, text: format(value) };
}

/** Columns behind the name; those of numbers begin with the largest. */
const COLUMNS: readonly (readonly [heading: string, cellOf: (listed: Listed) => Cell])[] = [
  ["run", ({ name }) => textCell(name)],
  ["state", ({ state }) => textCell(state)],
  ["student", ({ run }) => textCell(describeRun(run.config).student)],
  ["teacher", ({ run }) => textCell(describeRun(run.config).teacher)],
  ["top-1", ({ run }) => {
    const now = accuracyNow(run);
    return numberCell(
      now?.top1,
      (top1) => `${top1.toFixed(1)} %${now!.by === "knn" ? describeImages(now) : ` ${BY[now!.by]}`}`,
    );
  }],
  ["loss", ({ run }) => numberCell(run.last?.loss ?? undefined, formatNumber)],
  ["steps", ({ run }) => numberCell(run.last?.step, String)],
  ["time taken", ({ run }) => numberCell(secondsTaken(run), duration)],
  [
    "started",
    ({ run: { record } }) =>
      numberCell(record && Date.parse(record.started_at), (time) => new Date(time).toLocaleString()),
  ],
];

const [NAME, STARTED] = [0, COLUMNS.length - 1];

/** Columns of text; those behind them are of numbers. */
const TEXTS = 4;

/** A row of the list, whose cells are filled again and again. */
interface Row {
  row: HTMLTableRowElement;
  box: HTMLInputElement;
  look: HTMLButtonElement;
  cells: HTMLTableCellElement[];
}

/** The section. */
export class Runs {
  readonly #onChoice: () => void;
  readonly #onFocus: (index: number) => void;
  readonly #search = find<HTMLInputElement>("search");
  readonly #body = make("tbody");
  readonly #headings: HTMLTableCellElement[];
  readonly #rows = new Map<Run, Row>();
  #sort = { column: STARTED, isAscending: false };
  #state: State | undefined;

  /**
   * @param onChoice runs were chosen for the curves
   * @param onFocus takes the number of a run that is to be looked into
   */
  constructor(onChoice: () => void, onFocus: (index: number) => void) {
    this.#onChoice = onChoice;
    this.#onFocus = onFocus;
    this.#headings = COLUMNS.map(([heading], column) => {
      const button = make("button", { textContent: heading });
      button.type = "button";
      button.addEventListener("click", () => this.#sortBy(column));
      const cell = make("th", {}, button);
      cell.scope = "col";
      return cell;
    });
    const drawn = make("th", { textContent: "plot" });
    drawn.scope = "col";
    find("list").append(make("thead", {}, make("tr", {}, drawn, ...this.#headings)), this.#body);
    this.#search.addEventListener("input", () => this.#redraw());
    find("draw-found").addEventListener(
      "click",
      () => this.#choose(new Set(this.#found().map(({ run }) => run))),
    );
    find("draw-none").addEventListener("click", () => this.#choose(new Set()));
  }

  /** Shows them. */
  draw(state: State): void {
    this.#state = state;
    find("runs").hidden = state.runs.length < 2;
    if (state.runs.length < 2) return;
    const found = this.#found();
    for (const listed of found) this.#fill(listed, state.focus);
    const rows = found.map(({ run }) => this.#rows.get(run)!.row);
    // Rows that stay in place keep the focus, and a click on them is not lost.
    if (rows.length !== this.#body.children.length || rows.some((row, i) => row !== this.#body.children[i])) {
      this.#body.replaceChildren(...rows);
    }
    for (const [column, heading] of this.#headings.entries()) {
      const isSorted = column === this.#sort.column;
      heading.ariaSort = isSorted ? this.#sort.isAscending ? "ascending" : "descending" : "none";
    }
    const shown = state.runs.filter(({ isShown }) => isShown).length;
    const text = `${found.length} of ${state.runs.length} runs found, ${shown} plotted`;
    if (find("runs-said").textContent !== text) find("runs-said").textContent = text;
    this.#drawDiffering(state);
  }

  /** The runs that are searched for, in order. */
  #found(): Listed[] {
    const state = this.#state!;
    const { runs } = state;
    const names = shortNames(runs.map(({ name }) => name));
    const words = this.#search.value.toLowerCase().split(/\s+/).filter((word) => word !== "");
    const { column, isAscending } = this.#sort;
    const cellOf = COLUMNS[column][1];
    const compare = (a: Listed, b: Listed) => {
      const [x, y] = [cellOf(a).key, cellOf(b).key];
      const order = typeof x === "number" && typeof y === "number"
        ? x === y ? 0 : x - y
        : String(x).localeCompare(String(y), undefined, { numeric: true });
      return (isAscending ? order : -order) || a.index - b.index;
    };
    return runs.map((run, index) => ({ run, index, name: names[index], state: stateOf(run, state) }))
      .filter((listed) => {
        const text = COLUMNS.map(([, cellOf]) => cellOf(listed).text).join(" ").toLowerCase();
        return words.every((word) => text.includes(word));
      })
      .sort(compare);
  }

  #fill(listed: Listed, focus: number): void {
    const { run, index, name } = listed;
    const { colour, dash } = lookOf(index);
    const row = this.#rows.get(run) ?? this.#add(run, index);
    row.box.checked = run.isShown;
    row.box.setAttribute("aria-label", `Plot ${name}`);
    row.look.replaceChildren(swatch(colour, dash), name);
    row.row.classList.toggle("focus", index === focus);
    row.look.setAttribute("aria-current", String(index === focus));
    for (const [column, cell] of row.cells.entries()) {
      if (column === NAME) continue;
      const { text } = COLUMNS[column][1](listed);
      if (cell.textContent !== text) cell.textContent = text;
    }
  }

  #add(run: Run, index: number): Row {
    const box = make("input");
    box.type = "checkbox";
    box.addEventListener("change", () => {
      run.isShown = box.checked;
      this.#onChoice();
    });
    const look = make("button", { className: "look", title: "Show this run in detail" });
    look.type = "button";
    look.addEventListener("click", () => this.#onFocus(index));
    const cells = COLUMNS.map((_, column) => column === NAME ? make("td", {}, look) : make("td"));
    const row = { row: make("tr", {}, make("td", {}, box), ...cells), box, look, cells };
    this.#rows.set(run, row);
    return row;
  }

  #sortBy(column: number): void {
    const { column: before, isAscending } = this.#sort;
    // Text begins with A, numbers with the largest; once more is the other way round.
    this.#sort = { column, isAscending: column === before ? !isAscending : column < TEXTS };
    this.#redraw();
  }

  #redraw(): void {
    if (this.#state !== undefined) this.draw(this.#state);
  }

  #choose(chosen: ReadonlySet<Run>): void {
    for (const run of this.#state?.runs ?? []) run.isShown = chosen.has(run);
    this.#onChoice();
  }

  #drawDiffering({ runs }: State): void {
    const names = shortNames(runs.map(({ name }) => name));
    const shown = runs.flatMap(({ isShown, config }, i) =>
      isShown && config !== undefined ? [{ name: names[i], config, look: lookOf(i) }] : []
    );
    const differing = differingSettings(shown.map(({ config }) => config));
    const said = find("differing-said");
    said.textContent = shown.length < 2
      ? "Plot at least two runs with settings to compare them."
      : differing.length === 0
      ? "The settings are the same."
      : "";
    said.hidden = said.textContent === "";
    const isThere = shown.length > 1 && differing.length > 0;
    const heading = (scope: "row" | "col", ...content: (Node | string)[]) => {
      const cell = make("th", {}, ...content);
      cell.scope = scope;
      return cell;
    };
    const head = make(
      "tr",
      {},
      heading("col", "setting"),
      ...shown.map(({ name, look: { colour, dash } }) => heading("col", swatch(colour, dash), name)),
    );
    find("differing-list").replaceChildren(
      ...!isThere ? [] : [
        make("thead", {}, head),
        make(
          "tbody",
          {},
          ...differing.map((setting) =>
            make(
              "tr",
              {},
              heading("row", setting),
              ...formatSetting(shown.map(({ config }) => config[setting])).map((text) =>
                make("td", { textContent: text })
              ),
            )
          ),
        ),
      ],
    );
  }
}
