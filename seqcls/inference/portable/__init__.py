"""Classifiers that do not need PyTorch, on NumPy alone and on ONNX Runtime, and the export to ONNX, which does need it."""
