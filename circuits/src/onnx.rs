//! ONNX bytes to the float network, or what stands in the way, by node and reason.
