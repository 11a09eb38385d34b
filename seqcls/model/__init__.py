"""The network and how it is built: embeddings, encoders, compiled LSTM layers, and passes without gradients.

Training, and loading a saved model, are elsewhere: in `seqcls.training` and `seqcls.storage`.
"""
