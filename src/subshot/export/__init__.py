"""Export hands the trained network on: as ONNX, as a program of torch.export, as weights with plain code."""
