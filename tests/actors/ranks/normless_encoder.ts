/** An encoder without batch norm, whose batch may be cut into parts anywhere; and the tiny teacher. */
import "../fixtures/tiny_encoder.ts";
import { registerEncoder } from "../../../parts.ts";
import { TINY_ENCODER } from "../../models/tiny_encoder.ts";

registerEncoder({ ...TINY_ENCODER, name: "normless" });
