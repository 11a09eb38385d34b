"""The compiled LSTM layers: the C code, the library that the build makes of it, and the layer as an autograd function."""
