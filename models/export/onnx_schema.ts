/** ONNX's messages as plain objects, and their bytes. What they mean is at https://onnx.ai/onnx/repo-docs/IR.html. */
import protobuf from "protobufjs";
import schema from "./onnx.proto" with { type: "text" };

/** `TensorProto.DataType.FLOAT`. */
export const ONNX_FLOAT = 1;

/** A key and a value. */
export interface OnnxEntry {
  key: string;
  value: string;
}

/** `AttributeProto`: a float, an integer or a list of integers, as `type` says. */
export type OnnxAttribute =
  | { name: string; type: "FLOAT"; f: number }
  | { name: string; type: "INT"; i: number }
  | { name: string; type: "INTS"; ints: readonly number[] };

/** `NodeProto`: one operation, with the names of the values that it reads and makes. */
export interface OnnxNode {
  name: string;
  opType: string;
  input: readonly string[];
  output: readonly string[];
  attribute: readonly OnnxAttribute[];
}

/** `TensorProto` of float32, without its data where that is written apart. */
export interface OnnxTensor {
  name: string;
  dims: readonly number[];
  dataType: typeof ONNX_FLOAT;
  rawData?: Uint8Array;
  externalData?: readonly OnnxEntry[];
  dataLocation?: "DEFAULT" | "EXTERNAL";
}

/** `ValueInfoProto`: name, element type and shape of an input or output. A dimension with a name may have any length. */
export interface OnnxValueInfo {
  name: string;
  type: {
    tensorType: {
      elemType: typeof ONNX_FLOAT;
      shape: { dim: readonly ({ dimValue: number } | { dimParam: string })[] };
    };
  };
}

/** `GraphProto`. Nodes stand in an order in which they can run. */
export interface OnnxGraph {
  name: string;
  node: readonly OnnxNode[];
  initializer: readonly OnnxTensor[];
  input: readonly OnnxValueInfo[];
  output: readonly OnnxValueInfo[];
}

/** `ModelProto`. */
export interface OnnxModel {
  irVersion: number;
  producerName: string;
  docString: string;
  opsetImport: readonly { domain: string; version: number }[];
  metadataProps: readonly OnnxEntry[];
  graph?: OnnxGraph;
}

const { root } = protobuf.parse(schema);

/** Numbers of the fields that weights are nested in, for writers that do not hold them all. */
export const ONNX_FIELDS = {
  graph: fieldNumber("ModelProto", "graph"),
  initializer: fieldNumber("GraphProto", "initializer"),
  rawData: fieldNumber("TensorProto", "rawData"),
} as const;

function fieldNumber(message: string, field: string): number {
  return root.lookupType(`onnx.${message}`).fields[field].id;
}

function encode(message: string, value: object): Uint8Array<ArrayBuffer> {
  const type = root.lookupType(`onnx.${message}`);
  return Uint8Array.from(type.encode(type.fromObject(value)).finish());
}

/** Bytes of a `ModelProto`. */
export function encodeOnnxModel(model: OnnxModel): Uint8Array<ArrayBuffer> {
  return encode("ModelProto", model);
}

/** Bytes of a `GraphProto`. */
export function encodeOnnxGraph(graph: OnnxGraph): Uint8Array<ArrayBuffer> {
  return encode("GraphProto", graph);
}

/** Bytes of a `TensorProto`. */
export function encodeOnnxTensor(tensor: OnnxTensor): Uint8Array<ArrayBuffer> {
  return encode("TensorProto", tensor);
}

/** The start of a field whose content is `length` bytes that follow. */
export function encodeFieldStart(field: number, length: number): Uint8Array<ArrayBuffer> {
  const LENGTH_DELIMITED = 2;
  return Uint8Array.from(
    protobuf.Writer.create().uint32(field << 3 | LENGTH_DELIMITED).uint64(length).finish(),
  );
}
