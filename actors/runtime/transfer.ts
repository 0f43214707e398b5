/**
 * Packs messages for `postMessage`: finds what can be transferred, and takes out the references to actors, which travel
 * as ports.
 */

/** Objects with this method travel as the port that it returns, e.g. references to actors. */
export const SHARE = Symbol("share");

/** A port that stands for an actor. */
export interface Shared {
  /** Of the actor: see `Endpoint`. */
  incarnation: number;
  actor: string;
  port: MessagePort;
}

/** Where in a payload a shared port belongs: the keys that lead there. */
export interface SharedSlot extends Shared {
  path: (string | number)[];
}

/** A payload, ready for `postMessage(..., transfer)`. */
export interface Packed {
  payload: unknown;
  shared: SharedSlot[];
  transfer: Transferable[];
}

/** More than this many values in one message are refused: walking them would cost more than sending them. */
export const MAX_VALUES = 100_000;
const MAX_DEPTH = 64;

interface Shareable {
  [SHARE](): Shared;
}

/**
 * Packs a payload. Plain objects and arrays are searched for buffers (also those under typed arrays and `DataView`s),
 * ports and references to actors; anything else is left to structured clone.
 *
 * @param what names the message in errors
 * @param transfer what to transfer instead of everything that is found; the rest is copied
 * @throws {TypeError} where a buffer was sent away before, or the payload is too large or deep to be searched
 */
export function pack(what: string, payload: unknown, transfer?: Transferable[]): Packed {
  const found = new Set<Transferable>();
  const slots: { path: (string | number)[]; value: Shareable }[] = [];
  const seen = new Set<object>();
  const path: (string | number)[] = [];
  let count = 0;

  const take = (buffer: ArrayBufferLike) => {
    if (!(buffer instanceof ArrayBuffer)) return; // shared memory is not moved
    if (buffer.detached) {
      throw new TypeError(`${what}: the buffer at ${where(path)} was already sent to another actor`);
    }
    found.add(buffer);
  };
  const walk = (value: unknown): void => {
    if (++count > MAX_VALUES || path.length > MAX_DEPTH) {
      throw new TypeError(
        `${what}: the payload has more than ${MAX_VALUES} values or more than ${MAX_DEPTH} levels; ` +
          "put numbers into a typed array and text into one string",
      );
    }
    if (typeof value !== "object" || value === null) return;
    if (SHARE in value) {
      slots.push({ path: [...path], value: value as Shareable });
    } else if (ArrayBuffer.isView(value)) {
      take(value.buffer);
    } else if (value instanceof ArrayBuffer) {
      take(value);
    } else if (value instanceof MessagePort) {
      found.add(value);
    } else if (!seen.has(value)) {
      seen.add(value);
      if (Array.isArray(value)) {
        for (let i = 0; i < value.length; i++) step(i, value[i]);
      } else if (isPlain(value)) {
        for (const key of Object.keys(value)) step(key, (value as Record<string, unknown>)[key]);
      }
    }
  };
  const step = (key: string | number, value: unknown) => {
    path.push(key);
    walk(value);
    path.pop();
  };

  walk(payload);
  const shared = slots.map(({ path, value }) => ({ path, ...value[SHARE]() }));
  return {
    payload: shared.reduce((rest, { path }) => replaceAt(rest, path, null), payload),
    shared,
    transfer: [...(transfer ?? found), ...shared.map(({ port }) => port)],
  };
}

/** Puts the references back; `open` makes one of a port. The payload is changed in place. */
export function unpack(
  { payload, shared }: Omit<Packed, "transfer">,
  open: (shared: Shared) => unknown,
): unknown {
  for (const { path, actor, incarnation, port } of shared) {
    const reference = open({ actor, incarnation, port });
    if (path.length === 0) return reference;
    // deno-lint-ignore no-explicit-any -- the path was made from this very payload
    let parent = payload as any;
    for (const key of path.slice(0, -1)) parent = parent[key];
    parent[path.at(-1)!] = reference;
  }
  return payload;
}

function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function where(path: (string | number)[]): string {
  return path.length === 0 ? "its root" : `"${path.join(".")}"`;
}

/** A copy with another value at a path; what does not lie on the path is shared with the original. */
function replaceAt(value: unknown, path: (string | number)[], replacement: unknown): unknown {
  if (path.length === 0) return replacement;
  const [key, ...rest] = path;
  const copy = (Array.isArray(value) ? [...value] : { ...(value as object) }) as Record<string, unknown>;
  copy[key] = replaceAt(copy[key], rest, replacement);
  return copy;
}
