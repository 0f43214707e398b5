/**
 * A pickle machine that executes nothing: it knows Python's plain data, and of everything else only what its host
 * allows by name. Protocols 0 to 5, the opcodes that PyTorch and Python's own containers emit.
 *
 * Values: None is `null`, an int is a `number` (a `bigint` where a number would round), a float is a `number`, a
 * dict is a `Map`, a list, tuple or set is an array, bytes are a `Uint8Array`.
 */
import { type ByteReader, decodeLatin1 } from "./byte_source.ts";
import { type Fail, quote } from "./checkpoint_error.ts";
import { COST, ReadBudget } from "./read_budget.ts";

/** Objects that may be on the machine's stack or in its memo; the largest known state_dicts need a tenth of it. */
const MAX_OBJECTS = 1 << 20;
/** Bytes of an integer; Python itself refuses to print longer ones. */
const MAX_INTEGER_BYTES = 1024;
const MAX_LINE_BYTES = 4096;
/** Texts below this many bytes, where they are ASCII, are read without the text decoder, which takes longer to call. */
const SHORT_TEXT = 64;

/** Something a pickle may name: a class or function of Python that has a safe counterpart here. */
export class PickleGlobal {
  /** Full name, e.g. `collections.OrderedDict`. */
  readonly name: string;
  /** What calling it gives; absent for what must not be called. */
  readonly call: ((args: unknown[]) => unknown) | undefined;

  /** A global without `call` can be named, but not called. */
  constructor(name: string, call?: (args: unknown[]) => unknown) {
    this.name = name;
    this.call = call;
  }
}

/** What lies outside of the pickle itself. Its functions throw a `CheckpointError` for what they do not allow. */
export interface PickleHost {
  /** The counterpart of a class, function or constant of Python. */
  findGlobal(module: string, name: string): unknown;
  /** The object that a persistent id stands for (a storage). */
  loadPersistent(id: unknown): unknown;
  /** Gives `object` the state of a BUILD instruction; `false` where it can have none. */
  setState(object: unknown, state: unknown): boolean;
}

const MARK = Symbol("mark");
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Reads one pickle, up to and including its STOP.
 *
 * @param budget what the file may cost; the pickles of one file share it
 * @returns the value; it may still share or contain parts of itself, see `checkTree` in `checkpoint_file.ts`
 * @throws CheckpointError for damage, unknown instructions, and what the host refuses
 */
export function unpickle(
  reader: ByteReader,
  host: PickleHost,
  fail: Fail,
  budget: ReadBudget = new ReadBudget(fail),
): unknown {
  return new PickleMachine(reader, host, fail, budget).run();
}

class PickleMachine {
  readonly #reader: ByteReader;
  readonly #host: PickleHost;
  readonly #fail: Fail;
  readonly #stack: unknown[] = [];
  readonly #memo = new Map<number, unknown>();
  readonly #budget: ReadBudget;

  constructor(reader: ByteReader, host: PickleHost, fail: Fail, budget: ReadBudget) {
    this.#budget = budget;
    this.#reader = reader;
    this.#host = host;
    this.#fail = fail;
  }

  run(): unknown {
    for (;;) {
      const position = this.#reader.position;
      const opcode = this.#reader.byte();
      this.#budget.spend(COST.instruction);
      if (opcode === 0x2e) return this.#pop(); // STOP
      if (!this.#runLiteral(opcode) && !this.#runContainer(opcode) && !this.#runObject(opcode)) {
        throw this.#damaged(
          `instruction 0x${opcode.toString(16).padStart(2, "0")} at byte ${position} is unknown`,
        );
      }
    }
  }

  /** None, booleans, numbers, strings, bytes. `false` for other opcodes. */
  #runLiteral(opcode: number): boolean {
    switch (opcode) {
      case 0x4e: // NONE
        return this.#push(null);
      case 0x88: // NEWTRUE
        return this.#push(true);
      case 0x89: // NEWFALSE
        return this.#push(false);
      case 0x4b: // BININT1
        return this.#push(this.#reader.byte());
      case 0x4d: // BININT2
        return this.#push(this.#reader.uint(2));
      case 0x4a: // BININT
        return this.#push(this.#reader.uint(4) | 0);
      case 0x49: // INT: a decimal line; 00 and 01 are booleans
      case 0x4c: // LONG: a decimal line with an L
        return this.#push(this.#decimal(this.#line()));
      case 0x8a: // LONG1
        return this.#push(this.#integer(this.#reader.byte()));
      case 0x8b: // LONG4
        return this.#push(this.#integer(this.#reader.uint(4)));
      case 0x46: // FLOAT: a line
        return this.#push(this.#float(this.#line()));
      case 0x47: // BINFLOAT: big-endian
        this.#budget.spend(COST.object);
        return this.#push(new DataView(this.#reader.bytes(8).buffer).getFloat64(0));
      case 0x8c: // SHORT_BINUNICODE
      case 0x55: // SHORT_BINSTRING, of Python 2
        return this.#push(this.#text(this.#reader.byte()));
      case 0x58: // BINUNICODE
      case 0x54: // BINSTRING, of Python 2
        return this.#push(this.#text(this.#reader.uint(4)));
      case 0x8d: // BINUNICODE8
        return this.#push(this.#text(this.#length8()));
      case 0x56: // UNICODE: a line
        return this.#push(this.#line());
      case 0x53: // STRING: a quoted line
        return this.#push(this.#line().replace(/^(['"])(.*)\1$/s, "$2"));
      case 0x43: // SHORT_BINBYTES
        return this.#push(this.#bytes(this.#reader.byte()));
      case 0x42: // BINBYTES
        return this.#push(this.#bytes(this.#reader.uint(4)));
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        return this.#push(this.#bytes(this.#length8()));
      default:
        return false;
    }
  }

  /** Dicts, lists, tuples, sets, the stack and the memo. `false` for other opcodes. */
  #runContainer(opcode: number): boolean {
    switch (opcode) {
      case 0x28: // MARK
        return this.#push(MARK);
      case 0x30: // POP
        this.#stack.pop();
        return true;
      case 0x31: // POP_MARK
        this.#popMark();
        return true;
      case 0x32: { // DUP
        const top = this.#pop();
        return this.#push(top) && this.#push(top);
      }
      case 0x7d: // EMPTY_DICT
        return this.#pushNew(new Map(), COST.container);
      case 0x5d: // EMPTY_LIST
      case 0x8f: // EMPTY_SET
        return this.#pushNew([], COST.container);
      case 0x29: // EMPTY_TUPLE
        return this.#pushNew([], COST.object);
      case 0x6c: // LIST
      case 0x74: // TUPLE
      case 0x91: // FROZENSET
        return this.#pushNew(this.#popMark(), COST.object);
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: { // TUPLE3
        const items = Array.from({ length: opcode - 0x84 }, () => this.#pop());
        return this.#pushNew(items.reverse(), COST.object);
      }
      case 0x61: // APPEND
        return this.#append([this.#pop()]);
      case 0x65: // APPENDS
      case 0x90: // ADDITEMS
        return this.#append(this.#popMark());
      case 0x64: { // DICT
        const items = this.#popMark();
        return this.#pushNew(new Map(), COST.container) && this.#setItems(items);
      }
      case 0x73: { // SETITEM
        const value = this.#pop();
        return this.#setItems([this.#pop(), value]);
      }
      case 0x75: // SETITEMS
        return this.#setItems(this.#popMark());
      case 0x71: // BINPUT
        return this.#put(this.#reader.byte());
      case 0x72: // LONG_BINPUT
        return this.#put(this.#reader.uint(4));
      case 0x70: // PUT
        return this.#put(Number(this.#line()));
      case 0x94: // MEMOIZE
        return this.#put(this.#memo.size);
      case 0x68: // BINGET
        return this.#get(this.#reader.byte());
      case 0x6a: // LONG_BINGET
        return this.#get(this.#reader.uint(4));
      case 0x67: // GET
        return this.#get(Number(this.#line()));
      default:
        return false;
    }
  }

  /** What the host decides on: globals, calls, state, persistent ids; and the protocol's own. */
  #runObject(opcode: number): boolean {
    switch (opcode) {
      case 0x80: { // PROTO
        const protocol = this.#reader.byte();
        if (protocol > 5) throw this.#damaged(`protocol ${protocol} is not supported, 5 is the newest`);
        return true;
      }
      case 0x95: // FRAME: only says how much to read at once
        this.#reader.uint(4);
        this.#reader.uint(4);
        return true;
      case 0x63: // GLOBAL
        return this.#global(this.#line(), this.#line());
      case 0x93: { // STACK_GLOBAL
        const name = this.#pop();
        const module = this.#pop();
        if (typeof name !== "string" || typeof module !== "string") {
          throw this.#damaged("a name is not a string");
        }
        return this.#global(module, name);
      }
      case 0x52: // REDUCE
      case 0x81: // NEWOBJ
        return this.#call(this.#pop());
      case 0x62: { // BUILD
        const state = this.#pop();
        this.#budget.spendCopy(state);
        if (!this.#host.setState(this.#top(), state)) throw this.#damaged("plain data is given a state");
        return true;
      }
      case 0x51: // BINPERSID
        return this.#loadPersistent(this.#pop());
      case 0x50: // PERSID
        return this.#loadPersistent(this.#line());
      default:
        return false;
    }
  }

  #damaged(how: string): Error {
    return this.#fail(
      `its pickle cannot be read: ${how}; the file is damaged or was not written by torch.save`,
    );
  }

  #push(value: unknown): true {
    if (this.#stack.length >= MAX_OBJECTS) throw this.#damaged(`it stacks more than ${MAX_OBJECTS} objects`);
    this.#stack.push(value);
    return true;
  }

  #top(): unknown {
    const top = this.#stack.at(-1);
    if (top === undefined || top === MARK) throw this.#damaged("an instruction finds no operand");
    return top;
  }

  #pop(): unknown {
    const top = this.#top();
    this.#stack.pop();
    return top;
  }

  #popMark(): unknown[] {
    const mark = this.#stack.lastIndexOf(MARK);
    if (mark < 0) throw this.#damaged("an instruction finds no mark");
    this.#budget.spend((this.#stack.length - mark) * COST.item);
    const items = this.#stack.slice(mark + 1);
    this.#stack.length = mark;
    return items;
  }

  /** Pushes what an instruction has made. */
  #pushNew(value: unknown, cost: number): true {
    this.#budget.spend(cost);
    return this.#push(value);
  }

  #global(module: string, name: string): true {
    this.#budget.spend(COST.object + module.length + name.length);
    return this.#push(this.#host.findGlobal(module, name));
  }

  #loadPersistent(id: unknown): true {
    this.#budget.spend(COST.tensor);
    return this.#push(this.#host.loadPersistent(id));
  }

  #append(items: unknown[]): true {
    const list = this.#top();
    if (!Array.isArray(list)) throw this.#damaged("items are appended to something that is not a list");
    this.#budget.spend(items.length * COST.item);
    for (const item of items) list.push(item);
    return true;
  }

  #setItems(items: unknown[]): true {
    const dict = this.#top();
    if (!(dict instanceof Map)) throw this.#damaged("items are set on something that is not a dict");
    if (items.length % 2 !== 0) throw this.#damaged("a dict has a key without a value");
    this.#budget.spend(items.length / 2 * COST.pair);
    for (let i = 0; i < items.length; i += 2) {
      if (items[i] instanceof Map) throw this.#damaged("a dict is used as a key");
      dict.set(items[i], items[i + 1]);
    }
    return true;
  }

  #put(index: number): true {
    if (this.#memo.size >= MAX_OBJECTS) throw this.#damaged(`it remembers more than ${MAX_OBJECTS} objects`);
    this.#memo.set(index, this.#top());
    return true;
  }

  #get(index: number): true {
    if (!this.#memo.has(index)) throw this.#damaged(`it refers to object ${index}, which does not exist`);
    return this.#push(this.#memo.get(index));
  }

  #call(args: unknown): true {
    const callee = this.#pop();
    if (!(callee instanceof PickleGlobal) || callee.call === undefined || !Array.isArray(args)) {
      const name = callee instanceof PickleGlobal ? quote(callee.name) : "something that is not a function";
      throw this.#damaged(`it calls ${name}`);
    }
    // Counted before the call: a few instructions could join, copy or compare one long value without end.
    this.#budget.spend(COST.tensor);
    this.#budget.spendCopy(args);
    for (const arg of args) this.#budget.spendCopy(arg);
    return this.#push(callee.call(args));
  }

  #bytes(length: number): Uint8Array {
    const bytes = this.#reader.bytes(length); // no more than the pickle has
    this.#budget.spend(COST.object + length);
    return bytes;
  }

  #length8(): number {
    return Number(new DataView(this.#reader.bytes(8).buffer).getBigUint64(0, true));
  }

  /** Little-endian two's complement of any length. */
  #integer(length: number): number | bigint {
    if (length > MAX_INTEGER_BYTES) throw this.#damaged(`an integer has ${length} bytes`);
    if (length === 0) return 0;
    const hex = this.#bytes(length).reverse().toHex();
    return toNumber(BigInt.asIntN(8 * length, BigInt(`0x${hex}`)));
  }

  #decimal(line: string): number | bigint | boolean {
    if (line === "00" || line === "01") return line === "01";
    if (!/^-?\d{1,2400}L?$/.test(line)) throw this.#damaged(`${quote(line)} is not an integer`);
    return toNumber(BigInt(line.replace("L", "")));
  }

  #float(line: string): number {
    const special = new Map([["nan", NaN], ["inf", Infinity], ["-inf", -Infinity]]).get(line);
    const value = special ?? Number(line);
    if (line === "" || (Number.isNaN(value) && line !== "nan")) {
      throw this.#damaged(`${quote(line)} is not a number`);
    }
    return value;
  }

  #text(length: number): string {
    const bytes = this.#bytes(length);
    if (length < SHORT_TEXT && bytes.every((byte) => byte < 0x80)) return String.fromCharCode(...bytes);
    try {
      return UTF8.decode(bytes);
    } catch {
      // Python 2's strings are bytes; its numpy puts raw numbers in them.
      return decodeLatin1(bytes);
    }
  }

  #line(): string {
    const bytes: number[] = [];
    for (let byte = this.#reader.byte(); byte !== 0x0a; byte = this.#reader.byte()) {
      if (bytes.length >= MAX_LINE_BYTES) throw this.#damaged("a line is too long");
      bytes.push(byte);
    }
    this.#budget.spend(COST.object + bytes.length);
    return decodeLatin1(Uint8Array.from(bytes));
  }
}

function toNumber(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
