// Parity of MobileNetV3 and EfficientNet.
import { testEncoders } from "./encoder_parity.ts";

testEncoders("mobile");
