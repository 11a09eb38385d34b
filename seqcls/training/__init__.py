"""Training a model: the Trainer, the loop, the state of a run, the optimizer, callbacks.

Using a trained model is the business of `seqcls.inference`.
"""
