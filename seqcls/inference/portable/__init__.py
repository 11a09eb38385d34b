"""Classifiers that need no PyTorch: on NumPy alone, and on ONNX Runtime; and the export to ONNX, which does need it."""
