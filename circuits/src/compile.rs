//! The whole way from an ONNX file and samples to a model and its report.
