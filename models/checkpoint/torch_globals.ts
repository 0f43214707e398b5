/**
 * The classes and functions of Python that a checkpoint may name, and what stands for them here. Modules that may lie
 * beside weights are passed over; everything else is refused by name. None of them runs code from the file.
 */
import { encodeLatin1 } from "./byte_source.ts";
import { describe, type Fail, quote } from "./checkpoint_error.ts";
import { type Dtype, dtypeOfStorage, DTYPES } from "./dtype.ts";
import { type StorageRef, TensorRef } from "./tensor_ref.ts";
import { INPUT_KEY } from "./saved_input.ts";
import { OrderedDict } from "./torch_value.ts";
import { PickleGlobal, type PickleHost } from "./unpickle.ts";

/** A storage as a tensor sees it: legacy files can point into the middle of one. */
export interface StorageView {
  /** The storage. */
  readonly storage: StorageRef;
  /** Where the view starts, in elements of the storage. */
  readonly offset: number;
}

/** Finds a storage by what its persistent id says. */
export type FindStorage = (
  key: string,
  dtype: Dtype | undefined,
  elements: number,
  view: readonly unknown[] | undefined,
) => StorageView;

/** A class of storages, e.g. `torch.FloatStorage`; `dtype` is undefined for untyped ones. */
class StorageClass {
  readonly dtype: Dtype | undefined;
  constructor(dtype: Dtype | undefined) {
    this.dtype = dtype;
  }
}

/**
 * An object of a class that has no counterpart here, and of which nothing is kept: a module that was saved beside weights.
 * None of its code is run, and what it holds is dropped.
 */
export class SkippedObject extends Map<never, never> {
  /** Full name of the class. */
  readonly className: string;

  /** One of such a class. */
  constructor(className: string) {
    super();
    this.className = className;
  }

  override set(): this {
    return this;
  }
}

/** A class of such objects. */
class SkippedClass extends PickleGlobal {
  constructor(name: string) {
    super(name, () => new SkippedObject(name));
  }
}

/** Modules whose classes are passed over: LightlyTrain saves a whole model beside its state_dict. */
const SKIPPED_MODULES = ["lightly_train.", "torch.nn.modules."];

/** A number type of numpy, in the making: BUILD tells its byte order. */
class NumpyDtype {
  readonly code: string;
  littleEndian = true;
  constructor(code: string) {
    this.code = code;
  }
}

const NUMPY_READERS: Readonly<
  Record<string, (view: DataView, littleEndian: boolean) => number | bigint | boolean>
> = {
  f8: (view, little) => view.getFloat64(0, little),
  f4: (view, little) => view.getFloat32(0, little),
  f2: (view, little) => view.getFloat16(0, little),
  i8: (view, little) => narrow(view.getBigInt64(0, little)),
  i4: (view, little) => view.getInt32(0, little),
  i2: (view, little) => view.getInt16(0, little),
  i1: (view) => view.getInt8(0),
  u8: (view, little) => narrow(view.getBigUint64(0, little)),
  u4: (view, little) => view.getUint32(0, little),
  u2: (view, little) => view.getUint16(0, little),
  u1: (view) => view.getUint8(0),
  b1: (view) => view.getUint8(0) !== 0,
};

function narrow(value: bigint): number | bigint {
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

/** Full names of Python's own classes, in Python 3 and as protocols before 3 have them. */
function builtins(...names: string[]): string[] {
  return names.flatMap((name) => [`builtins.${name}`, `__builtin__.${name}`]);
}

/** Says that a class of Python is none that a checkpoint may name. */
export function describeRefusal(className: string): string {
  return `its pickle uses ${
    quote(className)
  }, which is neither plain data nor a tensor; it was refused, and nothing was ` +
    "run. If you trust the file, save only its weights with PyTorch: torch.save(model.state_dict(), path)";
}

/**
 * The text of a type that is itself a value, as among the arguments of a program: the name of a class that is passed over, such as
 * `torch.nn.modules.normalization.LayerNorm`, or numpy's code of a number type, such as `f4`. `undefined` of anything else.
 */
export function textOfType(value: unknown): string | undefined {
  if (value instanceof SkippedClass) return value.name;
  return value instanceof NumpyDtype ? value.code : undefined;
}

/** Functions of PyTorch that make a tensor of plain parts. */
const TENSOR_MAKERS = /^torch\._utils\._rebuild_(tensor|parameter)/;

/** What PyTorch notes of a tensor in place of changing its memory: another sign, or complex numbers conjugated. */
const LAZY_BITS = ["neg", "conj"];

/** Types of PyTorch that are no plain numbers: of 8 bits, unsigned, quantised, and tensors without values. */
const UNREAD_TENSORS =
  /^torch\.(float8_\w+|float4_\w+|uint(16|32|64)|_utils\._rebuild_(qtensor|meta_tensor_no_storage))$/;

/** What {@linkcode unpickle} needs to read PyTorch's files. */
export class TorchHost implements PickleHost {
  readonly #fail: Fail;
  readonly #findStorage: FindStorage;
  readonly #globals: ReadonlyMap<string, unknown>;
  readonly #namespaces = new WeakSet<object>();
  /** Arrays of numpy: dicts of shape, dtype and data. Weights are in tensors, so that nobody reads them. */
  readonly #arrays = new WeakSet<object>();

  /** Storages are found by `findStorage`; `fail` makes the errors. */
  constructor(findStorage: FindStorage, fail: Fail) {
    this.#findStorage = findStorage;
    this.#fail = fail;
    this.#globals = this.#makeGlobals();
  }

  findGlobal(module: string, name: string): unknown {
    const fullName = `${module}.${name}`;
    const known = this.#globals.get(fullName);
    if (known !== undefined) return known;
    if (/^torch(\.cuda|\.storage)?\.\w+Storage$/.test(fullName)) {
      const dtype = dtypeOfStorage(name);
      if (dtype !== undefined) return new StorageClass(dtype);
      throw this.#fail(
        `has tensors of type ${quote(name)}, which is not supported; known are ` +
          Object.values(DTYPES).map((info) => info.storage).join(", "),
      );
    }
    if (UNREAD_TENSORS.test(fullName)) {
      throw this.#fail(
        `has tensors that are not supported, of ${
          quote(fullName)
        }; save them as float32 with their values: ` +
          "{key: value.dequantize().float() for key, value in model.state_dict().items()}",
      );
    }
    if (SKIPPED_MODULES.some((skipped) => module.startsWith(skipped))) {
      return new SkippedClass(fullName);
    }
    throw this.#fail(describeRefusal(fullName));
  }

  loadPersistent(id: unknown): unknown {
    const [kind, type, key, _location, elements, view] = Array.isArray(id) ? id : [];
    // The legacy container's classes of modules, with their files and sources: (kind, class, path, text).
    if (kind === "module") return type;
    if (kind !== "storage" || !(type instanceof StorageClass)) {
      throw this.#damaged("a persistent id is not that of a storage");
    }
    const name = typeof key === "number" ? String(key) : key;
    if (typeof name !== "string" || !/^[\w.-]{1,200}$/.test(name)) {
      throw this.#damaged(`a storage has the invalid name ${describe(name)}`);
    }
    if (!Number.isSafeInteger(elements) || elements < 0) {
      throw this.#damaged(`the storage ${quote(name)} has ${describe(elements)} elements`);
    }
    return this.#findStorage(name, type.dtype, elements, Array.isArray(view) ? view : undefined);
  }

  setState(object: unknown, state: unknown): boolean {
    if (object instanceof NumpyDtype) {
      object.littleEndian = !(Array.isArray(state) && state[1] === ">");
      return true;
    }
    if (!(object instanceof Map)) return false;
    if (object instanceof SkippedObject) return true;
    if (this.#arrays.has(object)) {
      // (version, shape, dtype, whether in Fortran's order, bytes)
      const [, shape, type, , data] = Array.isArray(state) ? state : [];
      this.#fillArray(object, shape, type, data);
      return true;
    }
    if (this.#namespaces.has(object) && state instanceof Map) {
      for (const [key, value] of state) object.set(key, value);
    }
    // The other attributes of an OrderedDict say nothing that is needed.
    const metadata = object instanceof OrderedDict && state instanceof Map
      ? state.get("_metadata")
      : undefined;
    if (metadata instanceof Map) (object as OrderedDict).input = metadata.get(INPUT_KEY);
    return true;
  }

  #damaged(how: string): Error {
    return this.#fail(
      `its pickle cannot be used: ${how}; the file is damaged or was not written by torch.save`,
    );
  }

  #makeGlobals(): Map<string, unknown> {
    const globals = new Map<string, unknown>();
    const allow = (names: string[], call: (args: unknown[]) => unknown) => {
      for (const name of names) globals.set(name, new PickleGlobal(name, call));
    };
    allow(
      ["torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"],
      (args) => this.#rebuildTensor(args, args[6]),
    );
    allow(["torch._utils._rebuild_tensor_v3"], (args) => this.#rebuildTensor(args, args[7], args[6]));
    allow(
      ["torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"],
      ([data]) => data instanceof TensorRef ? data : this.#refuse("a parameter has no tensor"),
    );
    // A tensor that was given attributes, such as a buffer of nn.Buffer: (function, class, its arguments, attributes).
    allow(
      ["torch._tensor._rebuild_from_type_v2"],
      ([make, _type, args]) =>
        make instanceof PickleGlobal && TENSOR_MAKERS.test(make.name) && Array.isArray(args)
          ? make.call!(args)
          : this.#refuse("a tensor with attributes is made from something other than a tensor"),
    );
    globals.set("torch.Tensor", new PickleGlobal("torch.Tensor"));
    allow(["collections.OrderedDict"], ([items]) => new OrderedDict(this.#pairs(items)));
    allow(
      [...builtins("dict"), "collections.Counter"],
      ([items]) => new Map(this.#pairs(items)),
    );
    allow(["collections.defaultdict"], ([_factory, items]) => new Map(this.#pairs(items)));
    allow(
      [
        "torch.Size",
        ...builtins("list", "tuple", "set", "frozenset"),
      ],
      ([items = []]) => this.#list(items),
    );
    allow(["torch.device"], (parts) => this.#texts(parts).join(":"));
    allow(
      // Python 3.13 says where it keeps them.
      ["pathlib", "pathlib._local"].flatMap((module) =>
        ["PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"].map((name) => `${module}.${name}`)
      ),
      (parts) => this.#texts(parts).join("/").replace(/^\/\//, "/"),
    );
    allow(["argparse.Namespace", "types.SimpleNamespace", "uuid.UUID"], () => {
      const namespace = new Map();
      this.#namespaces.add(namespace);
      return namespace;
    });
    // How protocols 0 and 1 spell `object.__new__(argparse.Namespace)` and `str.__new__(TorchVersion, text)`.
    allow(
      ["copyreg._reconstructor", "copy_reg._reconstructor"],
      ([type, _base, value]) =>
        type instanceof PickleGlobal && type.call
          ? type.call(typeof value === "string" ? [value] : [])
          : this.#refuse("an object has no class"),
    );
    for (const name of [...builtins("object", "str", "unicode"), "builtins.int", "builtins.float"]) {
      globals.set(name, new PickleGlobal(name));
    }
    allow(["numpy.dtype"], ([code]) => new NumpyDtype(this.#text(code)));
    allow(
      ["numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"],
      ([type, bytes]) => this.#numpyScalar(type, bytes),
    );
    // How protocols before 3 spell bytes.
    allow(["_codecs.encode"], ([text]) => encodeLatin1(this.#text(text)));
    // `torch.__version__`, a text of its own class.
    allow(["torch.torch_version.TorchVersion"], ([text]) => this.#text(text));
    // Plain values of other modules, as what they are made from.
    allow(["collections.deque"], ([items = []]) => this.#list(items));
    allow(
      [
        ...["datetime", "date", "time", "timedelta", "timezone"].map((name) => `datetime.${name}`),
        ...builtins("slice", "complex", "range", "xrange"),
        "decimal.Decimal",
      ],
      (parts) => [...parts],
    );
    allow(
      builtins("bytearray", "bytes"),
      ([data = new Uint8Array()]) => data instanceof Uint8Array ? data : encodeLatin1(this.#text(data)),
    );
    const reconstruct = ["numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"];
    allow(reconstruct, () => {
      const array = new Map();
      this.#arrays.add(array);
      return array;
    });
    // How protocol 5 spells them.
    const fromBuffer = ["numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"];
    allow(fromBuffer, ([data, type, shape]) => this.#fillArray(new Map(), shape, type, data));
    globals.set("numpy.ndarray", new PickleGlobal("numpy.ndarray"));
    globals.set("torch.storage.UntypedStorage", new StorageClass(undefined));
    globals.set("torch.storage._UntypedStorage", new StorageClass(undefined));
    globals.set("torch.UntypedStorage", new StorageClass(undefined));
    const dtypeNames = ["half", "float", "double", "short", "int", "long", "complex64", "complex128"];
    for (const name of [...Object.keys(DTYPES), ...dtypeNames]) globals.set(`torch.${name}`, `torch.${name}`);
    return globals;
  }

  #fillArray(array: Map<unknown, unknown>, shape: unknown, type: unknown, data: unknown): typeof array {
    if (Array.isArray(shape)) array.set("shape", shape);
    if (type instanceof NumpyDtype) array.set("dtype", type.code);
    if (data instanceof Uint8Array) array.set("data", data);
    return array;
  }

  #text(value: unknown): string {
    return typeof value === "string" ? value : this.#refuse(`expected a string, found ${describe(value)}`);
  }

  #texts(parts: unknown[]): string[] {
    return parts.map((part) => typeof part === "number" ? String(part) : this.#text(part));
  }

  #list(items: unknown): unknown[] {
    return Array.isArray(items) ? [...items] : this.#refuse("a list has no items");
  }

  #refuse(how: string): never {
    throw this.#damaged(how);
  }

  #pairs(items: unknown): [never, never][] {
    if (items === undefined) return [];
    const pairs = items instanceof Map ? [...items] : items;
    if (!Array.isArray(pairs) || !pairs.every((pair) => Array.isArray(pair) && pair.length === 2)) {
      throw this.#damaged("a dict is made from something other than pairs");
    }
    return pairs as [never, never][];
  }

  /**
   * `(storage, offset, shape, stride, ...)`; what follows concerns gradients.
   *
   * @param metadata may say that the values are those of the storage with the other sign, or conjugated
   */
  #rebuildTensor(
    [view, offset, shape, stride]: unknown[],
    metadata: unknown,
    dtypeName?: unknown,
  ): TensorRef {
    const { storage, offset: viewOffset } = view as Partial<StorageView> ?? {};
    if (
      storage === undefined || viewOffset === undefined || !Array.isArray(shape) || !Array.isArray(stride)
    ) {
      throw this.#damaged("a tensor has no storage or no shape");
    }
    const bit = metadata instanceof Map && LAZY_BITS.find((name) => metadata.get(name) === true);
    if (bit) {
      throw this.#fail(
        `has a tensor with PyTorch's ${bit} bit, which is not supported; save it after .resolve_${bit}()`,
      );
    }
    const numbers = [viewOffset, offset, ...shape.slice(0, 1000), ...stride.slice(0, 1000)];
    const odd = numbers.find((value) => typeof value !== "number");
    if (odd !== undefined) throw this.#damaged(`a tensor has ${describe(odd)} in its shape or strides`);
    const named = typeof dtypeName === "string" ? dtypeName.replace("torch.", "") : undefined;
    const dtype = storage.dtype ??
      (named !== undefined && Object.hasOwn(DTYPES, named) ? named as Dtype : undefined);
    if (dtype === undefined) throw this.#damaged("a tensor has no element type that is supported");
    return new TensorRef(
      storage,
      { dtype, shape, stride, offset: viewOffset + (offset as number) },
      this.#fail,
    );
  }

  /** A number; of another type (a string, a date, a long double) its bytes, since nobody reads it. */
  #numpyScalar(type: unknown, bytes: unknown): unknown {
    if (!(type instanceof NumpyDtype)) throw this.#damaged("a numpy scalar has no number type");
    const { code, littleEndian } = type;
    if (!Object.hasOwn(NUMPY_READERS, code)) return bytes instanceof Uint8Array ? bytes : null;
    const raw = typeof bytes === "string" ? encodeLatin1(bytes) : bytes;
    if (!(raw instanceof Uint8Array) || raw.length !== Number(code[1])) {
      throw this.#damaged(`a numpy scalar of the type ${quote(code)} has not its bytes`);
    }
    return NUMPY_READERS[code](new DataView(raw.buffer, raw.byteOffset), littleEndian);
  }
}
