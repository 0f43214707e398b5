// Parity of ResNet-18 and 34.
import { testEncoders } from "./encoder_parity.ts";

testEncoders("basic");
