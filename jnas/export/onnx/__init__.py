"""Networks as ONNX files; no TensorFlow, no torch, no converter."""
