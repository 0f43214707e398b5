// Parity of the wide ResNets, SimCLR and SWAV.
import { testEncoders } from "./encoder_parity.ts";

testEncoders("ssl");
