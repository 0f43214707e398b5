/**
 * Packs messages for `postMessage`: finds what can be transferred, and takes out the references to actors, which travel
 * as ports.
 */

/** Objects with this method travel as the port that it returns, e.g. references to actors. */
export const SHARE = Symbol("share");

/** Last message on a port, of a holder of a reference who lets go of it. */
export const CLOSE = { kind: "close" } as const;

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
 * @param transfer what to transfer instead of all buffers that are found; the others are copied. Ports, which cannot be copied, are
 *   transferred all the same
 * @throws {TypeError} where a buffer was sent away before, or the payload is too large or deep to be searched
 */
export function pack(what: string, payload: unknown, transfer?: Transferable[]): Packed {
  const found = new Set<Transferable>(transfer);
  const slots: { path: (string | number)[]; value: Shareable }[] = [];
  const seen = new Set<object>();
  const path: (string | number)[] = [];
  let count = 0;

  const take = (buffer: ArrayBufferLike) => {
    if (!(buffer instanceof ArrayBuffer)) return; // shared memory is not moved
    if (buffer.detached) {
      throw new TypeError(`${what}: the buffer at ${where(path)} was already sent to another actor`);
    }
    if (transfer === undefined) found.add(buffer);
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
  const shared: SharedSlot[] = [];
  try {
    for (const { path, value } of slots) shared.push({ path, ...value[SHARE]() });
  } catch (error) { // one of the actors has ended
    release(shared);
    throw error;
  }
  return {
    payload: slots.length === 0 ? payload : withoutReferences(payload, new Map()),
    shared,
    transfer: [...found, ...shared.map(({ port }) => port)],
  };
}

/**
 * Posts what was packed. Where it cannot be cloned, its references are let go of: nobody will get them.
 *
 * @param what names the message in errors
 * @throws {DOMException} where it cannot be cloned
 */
export function postPacked(what: string, { transfer, ...payload }: Packed, send: Post): void {
  try {
    send(payload, transfer);
  } catch (error) {
    release(payload.shared);
    if (!(error instanceof DOMException)) throw error;
    const { name, message } = error;
    throw new DOMException(
      `${what}: ${
        message.replace(/\.$/, "")
      }; functions cannot be sent, and references to actors only in plain objects and ` +
        "arrays, not in a Map, a Set or an instance of a class",
      name,
    );
  }
}

/** Calls `postMessage`. */
type Post = (payload: Omit<Packed, "transfer">, transfer: Transferable[]) => void;

/** Lets go of references that are not sent, or that nobody unpacks, as `Link.close()` does: their actors would wait for more on these ports. */
export function release(shared: readonly Shared[]): void {
  for (const { port } of shared) {
    port.postMessage(CLOSE);
    port.close();
  }
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

/**
 * A copy with `null` in the place of each reference. What is in several places of the payload is so in the copy: then it is cloned
 * once, and gets its references back once.
 *
 * @param copies of objects that were met before
 */
function withoutReferences(value: unknown, copies: Map<object, unknown>): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (SHARE in value) return null;
  if (!Array.isArray(value) && !isPlain(value)) return value;
  const known = copies.get(value);
  if (known !== undefined) return known;
  const copy: Record<string, unknown> | unknown[] = Array.isArray(value) ? new Array(value.length) : {};
  copies.set(value, copy);
  for (const [key, inner] of Object.entries(value)) {
    (copy as Record<string, unknown>)[key] = withoutReferences(inner, copies);
  }
  return copy;
}
