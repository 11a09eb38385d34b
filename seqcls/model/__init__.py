"""The network and how it is built: embeddings, encoders, the compiled LSTM layers, and passes without gradients."""
