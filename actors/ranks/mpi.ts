/**
 * MPI by its C interface: the calls that training on several processes needs, of Open MPI and of MPICH (with what keeps MPICH's
 * ABI: Intel MPI, MVAPICH, Cray MPICH). Both have the same functions and other handles.
 *
 * Sources: the headers `mpi.h` of Open MPI 4.1 and MPICH 4.0; the MPI standard 3.1.
 */
import { UserError } from "../../errors.ts";

/** Families of libraries: what a handle is. */
export type MpiFamily = "Open MPI" | "MPICH";

/** Library files, in the order in which they are tried. Other names are told by `SEED_MPI_LIBRARY`. */
export const MPI_LIBRARIES: Readonly<Record<MpiFamily, readonly string[]>> = {
  "Open MPI": ["libmpi.so.40", "libmpi.so.80", "libmpi.so"],
  MPICH: ["libmpich.so.12", "libmpi.so.12", "libmpich.so", "libmpi_cray.so"],
};

/** Values of `dlopen()`: symbols are for the libraries that MPI loads itself, too. */
const RTLD_NOW_GLOBAL = 0x102;
/** `MPI_THREAD_MULTIPLE`, in both. */
const THREAD_MULTIPLE = 3;
/** Tag of the messages that say that a rank lives. */
export const BEAT_TAG = 7;
/** Tag of the message that a rank was stopped by a signal, or has failed. */
export const STOP_TAG = 8;
/** Tag of the messages that a rank has come to its end, and that all have. */
export const LEAVE_TAG = 9;
/** Largest count of numbers in one call: C's `int`. */
const LARGEST_COUNT = 2 ** 30;

/** Addresses and numbers that `mpi.h` names. */
interface Handles {
  world: bigint;
  types: { int32: bigint; float32: bigint; byte: bigint };
  ops: { sum: bigint; max: bigint };
  inPlace: bigint;
  ignoreStatus: bigint;
}

const MPICH_HANDLES: Handles = {
  world: 0x44000000n,
  types: { int32: 0x4c000405n, float32: 0x4c00040an, byte: 0x4c00010dn },
  ops: { sum: 0x58000003n, max: 0x58000001n },
  inPlace: 0xffffffffffffffffn,
  ignoreStatus: 1n,
};

function openMpiHandles(addressOf: (name: string) => bigint): Handles {
  return {
    world: addressOf("ompi_mpi_comm_world"),
    types: {
      int32: addressOf("ompi_mpi_int"),
      float32: addressOf("ompi_mpi_float"),
      byte: addressOf("ompi_mpi_byte"),
    },
    ops: { sum: addressOf("ompi_mpi_op_sum"), max: addressOf("ompi_mpi_op_max") },
    inPlace: 1n,
    ignoreStatus: 0n,
  };
}

// Handles are 4 or 8 bytes; an 8-byte register holds either.
const HANDLE = "u64";

const CALLS = {
  MPI_Initialized: { parameters: ["buffer"], result: "i32" },
  MPI_Init_thread: { parameters: ["u64", "u64", "i32", "buffer"], result: "i32" },
  MPI_Finalize: { parameters: [], result: "i32" },
  MPI_Abort: { parameters: [HANDLE, "i32"], result: "i32" },
  MPI_Comm_rank: { parameters: [HANDLE, "buffer"], result: "i32" },
  MPI_Comm_size: { parameters: [HANDLE, "buffer"], result: "i32" },
  MPI_Get_processor_name: { parameters: ["buffer", "buffer"], result: "i32" },
  MPI_Get_library_version: { parameters: ["buffer", "buffer"], result: "i32" },
  // Those that wait do so on a thread of their own, so that a process that hangs does not hang those who wait for it.
  MPI_Bcast: {
    parameters: ["buffer", "i32", HANDLE, "i32", HANDLE],
    result: "i32",
    nonblocking: true,
  },
  MPI_Allgather: {
    parameters: ["buffer", "i32", HANDLE, "buffer", "i32", HANDLE, HANDLE],
    result: "i32",
    nonblocking: true,
  },
  MPI_Alltoall: {
    parameters: ["buffer", "i32", HANDLE, "buffer", "i32", HANDLE, HANDLE],
    result: "i32",
    nonblocking: true,
  },
  MPI_Allreduce: {
    parameters: ["u64", "buffer", "i32", HANDLE, HANDLE, HANDLE],
    result: "i32",
    nonblocking: true,
  },
  MPI_Iallreduce: {
    parameters: ["u64", "buffer", "i32", HANDLE, HANDLE, HANDLE, "buffer"],
    result: "i32",
  },
  MPI_Isend: { parameters: ["buffer", "i32", HANDLE, "i32", "i32", HANDLE, "buffer"], result: "i32" },
  MPI_Irecv: { parameters: ["buffer", "i32", HANDLE, "i32", "i32", HANDLE, "buffer"], result: "i32" },
  MPI_Test: { parameters: ["buffer", "buffer", "u64"], result: "i32" },
  MPI_Iprobe: { parameters: ["i32", "i32", HANDLE, "buffer", "u64"], result: "i32" },
  MPI_Cancel: { parameters: ["buffer"], result: "i32" },
} as const satisfies Record<string, Deno.ForeignFunction>;

type Calls = { [Name in keyof typeof CALLS]: Deno.UnsafeFnPointer<(typeof CALLS)[Name]>["call"] };

/** Memory that stays where it is while MPI reads or writes it: V8 moves small arrays that have no buffer of their own. */
function int32s(count: number): Int32Array<ArrayBuffer> {
  return new Int32Array(new ArrayBuffer(4 * count));
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}

/** The system's own library. */
const SYSTEM_LIBRARY = Deno.build.os === "darwin" ? "libSystem.dylib" : "libc.so.6";

/** The system's loader. `Deno.dlopen()` keeps a library's symbols from others, and MPI's own parts need them. */
function loader() {
  const { symbols } = Deno.dlopen(SYSTEM_LIBRARY, {
    dlopen: { parameters: ["buffer", "i32"], result: "pointer" },
    dlsym: { parameters: ["pointer", "buffer"], result: "pointer" },
  });
  return symbols;
}

/**
 * Tells a launcher of MPICH's kind to end the job, from a process that cannot join it. By itself it waits until all have joined
 * or one was killed, and so do those that have joined. Other launchers end a job when a process fails.
 *
 * @param channel number of the open file by which the launcher is told: `PMI_FD`
 */
export function abandonJob(channel: number, code: number): void {
  const system = Deno.dlopen(SYSTEM_LIBRARY, {
    write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  });
  const command = new TextEncoder().encode(`cmd=abort exitcode=${code}\n`);
  system.symbols.write(channel, command, BigInt(command.length));
  system.close();
}

/** Something that MPI does on its own, such as a message under way. */
export class MpiRequest {
  readonly #mpi: Mpi;
  /** The handle, which MPI changes when it is done; 8 bytes are enough for both kinds. */
  readonly handle: BigUint64Array<ArrayBuffer> = new BigUint64Array(new ArrayBuffer(8));
  /** Kept so that nobody frees what MPI reads or writes. */
  readonly #data: Int32Array<ArrayBuffer>;
  #isDone = false;

  constructor(mpi: Mpi, data: Int32Array<ArrayBuffer>) {
    this.#mpi = mpi;
    this.#data = data;
  }

  /** The numbers that were sent, or that have come. */
  get data(): Int32Array<ArrayBuffer> {
    return this.#data;
  }

  /** Whether it is done; MPI makes progress when it is asked. */
  test(): boolean {
    this.#isDone ||= this.#mpi.test(this.handle);
    return this.#isDone;
  }

  /** Gives up what has not come. */
  cancel(): void {
    if (this.test()) return;
    this.#mpi.cancel(this.handle);
    this.test();
  }
}

/** A library of MPI, loaded into this process. All calls are about all processes of the job (`MPI_COMM_WORLD`). */
export class Mpi {
  readonly family: MpiFamily;
  readonly path: string;
  readonly #calls: Calls;
  readonly #handles: Handles;

  private constructor(family: MpiFamily, path: string, calls: Calls, handles: Handles) {
    this.family = family;
    this.path = path;
    this.#calls = calls;
    this.#handles = handles;
  }

  /**
   * Loads a library. In every Worker of a process once; they share one MPI.
   *
   * @returns `undefined` where the system does not find it
   * @throws {UserError} where it is no library of MPI
   */
  static load(path: string): Mpi | undefined {
    const { dlopen, dlsym } = loader();
    const library = dlopen(cString(path), RTLD_NOW_GLOBAL);
    if (library === null) return undefined;
    const find = (name: string) => dlsym(library, cString(name));
    const calls = Object.fromEntries(
      Object.entries(CALLS).map(([name, definition]) => {
        const pointer = find(name);
        if (pointer === null) {
          throw new UserError(`${path}: expected a library of MPI, found no ${name} in it`);
        }
        const called = new Deno.UnsafeFnPointer(pointer as Deno.PointerObject<typeof definition>, definition);
        return [name, called.call.bind(called)];
      }),
    ) as unknown as Calls;
    const addressOf = (name: string) => Deno.UnsafePointer.value(find(name));
    return find("ompi_mpi_comm_world") === null
      ? new Mpi("MPICH", path, calls, MPICH_HANDLES)
      : new Mpi("Open MPI", path, calls, openMpiHandles(addressOf));
  }

  /** The library's own name and version, in one line. */
  get version(): string {
    return this.#lineOf("MPI_Get_library_version");
  }

  /** The name of this process's machine. */
  get machine(): string {
    return this.#lineOf("MPI_Get_processor_name");
  }

  /** The first line of what a call writes. */
  #lineOf(call: "MPI_Get_library_version" | "MPI_Get_processor_name"): string {
    const text = new Uint8Array(new ArrayBuffer(8192));
    const length = int32s(1);
    this.#calls[call](text, length);
    const [line] = new TextDecoder().decode(text.subarray(0, length[0])).split("\n");
    return line.replace(/\0.*$/, "").replaceAll(/\s+/g, " ").trim();
  }

  /**
   * Joins the job that the launcher started, if this process has not.
   *
   * @throws {UserError} where the library does not allow calls from more than one thread
   */
  join(): void {
    const flag = int32s(1);
    this.#calls.MPI_Initialized(flag);
    if (flag[0] !== 0) return;
    this.#calls.MPI_Init_thread(0n, 0n, THREAD_MULTIPLE, flag);
    if (flag[0] < THREAD_MULTIPLE) {
      throw new UserError(
        `${this.path} was built without MPI_THREAD_MULTIPLE (it gives level ${
          flag[0]
        } of 3), which actors need; use another ` +
          "build of MPI",
      );
    }
  }

  /** This process's number, from 0. */
  get rank(): number {
    const rank = int32s(1);
    this.#calls.MPI_Comm_rank(this.#handles.world, rank);
    return rank[0];
  }

  /** How many processes there are. */
  get size(): number {
    const size = int32s(1);
    this.#calls.MPI_Comm_size(this.#handles.world, size);
    return size[0];
  }

  /** Leaves the job in order; all processes do. MPI is over in this process then. */
  finalize(): void {
    this.#calls.MPI_Finalize();
  }

  /** Ends every process of the job. */
  abort(code: number): void {
    this.#calls.MPI_Abort(this.#handles.world, code);
  }

  /** Begins to find the maximum over all processes of each number, in place. */
  beginMax(values: ArrayLike<number>): MpiRequest {
    const { types, ops, inPlace, world } = this.#handles;
    const data = int32s(values.length);
    data.set(values);
    const request = new MpiRequest(this, data);
    this.#calls.MPI_Iallreduce(inPlace, data, data.length, types.int32, ops.max, world, request.handle);
    return request;
  }

  /** Sums float32s over all processes, in place. It waits for all of them, and keeps a core busy meanwhile. */
  async sum(values: Float32Array<ArrayBuffer>): Promise<void> {
    const { types, ops, inPlace, world } = this.#handles;
    for (let first = 0; first < values.length; first += LARGEST_COUNT) {
      const part = values.subarray(first, first + LARGEST_COUNT);
      await this.#calls.MPI_Allreduce(inPlace, part, part.length, types.float32, ops.sum, world);
    }
  }

  /** Gathers as many bytes of every process, in the order of their ranks. It waits for all of them. */
  async gather(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    const { types, world } = this.#handles;
    const all = new Uint8Array(this.size * bytes.length);
    const count = bytes.length;
    await this.#calls.MPI_Allgather(bytes, count, types.byte, all, count, types.byte, world);
    return all;
  }

  /**
   * Gives every process one of as many equal parts of these bytes. It waits for all of them.
   *
   * @returns the parts that this one is given, in the order of the ranks
   */
  async swap(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    const { types, world } = this.#handles;
    const parts = new Uint8Array(bytes.length);
    const count = bytes.length / this.size;
    await this.#calls.MPI_Alltoall(bytes, count, types.byte, parts, count, types.byte, world);
    return parts;
  }

  /** Gives every process the bytes of the first one, in place. It waits. */
  async broadcast(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const { types, world } = this.#handles;
    for (let first = 0; first < bytes.length; first += LARGEST_COUNT) {
      const part = bytes.subarray(first, first + LARGEST_COUNT);
      await this.#calls.MPI_Bcast(part, part.length, types.byte, 0, world);
    }
  }

  /** Begins to send numbers to a process. */
  send(values: readonly number[], to: number, tag: number): MpiRequest {
    const data = int32s(values.length);
    data.set(values);
    const request = new MpiRequest(this, data);
    const { types, world } = this.#handles;
    this.#calls.MPI_Isend(data, data.length, types.int32, to, tag, world, request.handle);
    return request;
  }

  /** Begins to receive so many numbers from a process. */
  receive(count: number, from: number, tag: number): MpiRequest {
    const request = new MpiRequest(this, int32s(count));
    const { types, world } = this.#handles;
    this.#calls.MPI_Irecv(request.data, count, types.int32, from, tag, world, request.handle);
    return request;
  }

  /** Takes what others have sent to this process by now: who, and so many numbers of each message. */
  takeAll(count: number, tag: number): { from: number; values: Int32Array<ArrayBuffer> }[] {
    const taken: { from: number; values: Int32Array<ArrayBuffer> }[] = [];
    const hasCome = int32s(1);
    for (let from = 0; from < this.size; from++) {
      for (;;) {
        this.#calls.MPI_Iprobe(from, tag, this.#handles.world, hasCome, this.#handles.ignoreStatus);
        if (hasCome[0] === 0) break;
        const request = this.receive(count, from, tag);
        while (!request.test());
        taken.push({ from, values: request.data });
      }
    }
    return taken;
  }

  /** Gives up a request. */
  cancel(handle: BigUint64Array<ArrayBuffer>): void {
    this.#calls.MPI_Cancel(handle);
  }

  /** Whether a request is done. */
  test(handle: BigUint64Array<ArrayBuffer>): boolean {
    const flag = int32s(1);
    this.#calls.MPI_Test(handle, flag, this.#handles.ignoreStatus);
    return flag[0] !== 0;
  }
}

/**
 * Loads the first library that the system finds.
 *
 * @throws {UserError} where it finds none of them
 */
export function loadMpi(paths: readonly string[]): Mpi {
  for (const path of paths) {
    const mpi = Mpi.load(path);
    if (mpi !== undefined) return mpi;
  }
  throw new UserError(
    `no library of MPI was found: looked for ${
      paths.join(", ")
    }. Install Open MPI or MPICH (on Debian ./seed --mpi), or ` +
      "name the library's file in SEED_MPI_LIBRARY",
  );
}
