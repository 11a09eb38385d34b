"""The model: embedding, encoder, linear head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqcls.config.settings import ModelConfig
from seqcls.data.rules import PAD_ID, UNK_ID
from seqcls.model.dropout import Dropout
from seqcls.model.embeddings.base import Embedding
from seqcls.model.encoders.base import Encoder


class Network(nn.Module):
    """Embedding, encoder and a linear head that gives a logit a class.

    While training, three kinds of noise keep it from learning texts by heart: words of the vocabulary become the unknown
    word wherever they stand in the batch (Gal & Ghahramani 2016, sec. 4.2: dropping one occurrence of a name would leave
    the others), embedding values are dropped, and values of the encoded sequence are dropped.
    """

    def __init__(
        self, embedding: Embedding, encoder: Encoder, *, vocab_size: int, num_classes: int, config: ModelConfig
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.vocab_size = vocab_size
        self.word_dropout = config.word_dropout
        self.embedding_dropout = Dropout(config.embedding_dropout)
        self.encoder = encoder
        self.output_dropout = Dropout(config.output_dropout)
        self.head = nn.Linear(encoder.output_size, num_classes)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Classify a padded batch.

        Args:
            inputs: int64 [B, T] token ids, 0 in the padding; for an embedding of features float [B, T, D].
            lengths: int64 [B] on the CPU, each in 1..T.

        Returns:
            Logits, float [B, num_classes].
        """
        if self.training and self.word_dropout and self.embedding.kind == "text":
            dropped = torch.rand(self.vocab_size, device=inputs.device) < self.word_dropout
            inputs = inputs.masked_fill(dropped[inputs] & (inputs != PAD_ID), UNK_ID)
        if self._can_share_words(inputs):
            ids, index = inputs.unique(return_inverse=True)  # [U], [B, T]
            encoded = self.encoder(self.embedding(ids.unsqueeze(0)).squeeze(0), lengths, index)
        else:
            x = self.embedding_dropout(self.embedding(inputs))  # [B, T, embedding_size]
            encoded = self.encoder(x, lengths)  # [B, output_size]
        return self.read_out(encoded)

    def read_out(self, encoded: Tensor) -> Tensor:
        """Return the logits [B, num_classes] of encoded sequences [B, output_size]."""
        logits: Tensor = self.head(self.output_dropout(encoded))
        return logits

    def _can_share_words(self, inputs: Tensor) -> bool:
        """Return whether to give the encoder the vectors of different words: in training each has noise of its own."""
        is_prediction = not (self.training or torch.is_grad_enabled() or torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]
        return is_prediction and self.encoder.takes_index and self.embedding.is_table and inputs.device.type == "cpu"
