"""The network: embedding, encoder, linear head, and beside them the wide path and the other networks of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqcls.config.auto import chosen
from seqcls.config.settings import ModelConfig
from seqcls.data.batches import Bags
from seqcls.data.rules import PAD_ID, UNK_ID
from seqcls.errors import DataError
from seqcls.model.dropout import Dropout
from seqcls.model.embeddings.base import Embedding
from seqcls.model.encoders.base import Encoder
from seqcls.model.encoders.recurrent import RecurrentEncoder
from seqcls.model.wide import WidePath


class Network(nn.Module):
    """Embedding, encoder, and a linear head that gives one logit per class; beside them, if there are n-grams, a wide path.

    Three kinds of noise keep it from memorizing its training examples. Words of the vocabulary become the unknown word
    wherever they stand in the batch (Gal & Ghahramani 2016, sec. 4.2: dropping one occurrence of a name would leave the
    others). Values of the embedded sequence are dropped, and so are values of the encoded one.

    An ensemble has further networks of the same form and other initial weights (Lakshminarayanan et al. 2017). Each of them
    learns by itself, from the same batches, and the logits of the sequence are the mean of theirs.
    """

    def __init__(
        self,
        embedding: Embedding,
        encoder: Encoder,
        *,
        vocab_size: int,
        num_classes: int,
        config: ModelConfig,
        wide: WidePath | None = None,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.vocab_size = vocab_size
        self.word_dropout = chosen(config.word_dropout)
        self.embedding_dropout = Dropout(chosen(config.embedding_dropout))
        self.encoder = encoder
        self.output_dropout = Dropout(chosen(config.output_dropout))
        self.head = nn.Linear(encoder.output_size, num_classes) if encoder.output_size else None
        self.wide = wide
        self.others = nn.ModuleList()

    @property
    def members(self) -> list[Network]:
        """The networks whose logits are averaged: this one, and the others of an ensemble."""
        return [self, *self.others]

    @property
    def is_linear(self) -> bool:
        """Whether the logits are linear in what is trained: the wide path, and a head on vectors that stay as they are."""
        has_weights = any(True for part in (self.embedding, self.encoder) for _ in part.parameters())
        return self.wide is not None and not has_weights

    def forward(self, inputs: Tensor, lengths: Tensor, ngrams: Bags | None = None) -> Tensor:
        """Classify a padded batch.

        Args:
            inputs: int64 [B, T] token ids, 0 in the padding; for an embedding of features, float [B, T, D].
            lengths: int64 [B] on the CPU, each in 1..T.
            ngrams: What the wide path reads, if the network has one.

        Returns:
            Logits, float [B, num_classes]. In training mode they are those of the sequence alone: the wide path, which is
            fitted before, would leave nothing to learn, since it knows the training examples by heart. Those of the K
            networks of an ensemble then follow each other, [K * B, num_classes].
        """
        if self.training:
            return torch.cat([member._read_sequence(inputs, lengths) for member in self.members])
        if self.wide is None:
            return self._read_sequences(inputs, lengths)
        if ngrams is None:
            raise DataError("the model has a wide path, but the batch has no n-grams; encode texts with its preprocessor")
        wide: Tensor = self.wide(*ngrams)
        return wide if self.head is None else self.mix(wide, self._read_sequences(inputs, lengths))

    def mix(self, wide: Tensor, deep: Tensor) -> Tensor:
        """Return the logits of the network from those of the wide path and of the sequence, all [B, num_classes]."""
        assert self.wide is not None
        shares = self.wide.shares
        return shares[0] * wide + shares[1] * deep

    def _read_sequences(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits of the sequence alone, [B, num_classes]."""
        return mean([member._read_sequence(inputs, lengths) for member in self.members])

    def _read_sequence(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return what this network says of the sequence, without the others of an ensemble, [B, num_classes]."""
        if self._can_gather(inputs):
            encoded = self._encode_gathered(inputs, lengths)
        else:
            x = self.embedding_dropout(self.embedding(self._drop_words(inputs)))  # [B, T, embedding_size]
            encoded = self.encoder(x, lengths)  # [B, output_size]
        return self.read_out(encoded)

    def read_out(self, encoded: Tensor) -> Tensor:
        """Return the logits [B, num_classes] of encoded sequences [B, output_size]."""
        assert self.head is not None
        logits: Tensor = self.head(self.output_dropout(encoded))
        return logits

    def _drop_words(self, inputs: Tensor) -> Tensor:
        """In training, replace every occurrence of randomly chosen words by the unknown word."""
        if not self.training or not self.word_dropout or self.embedding.kind != "text":
            return inputs
        is_dropped = torch.rand(self.vocab_size, device=inputs.device) < self.word_dropout
        return inputs.masked_fill(is_dropped[inputs] & (inputs != PAD_ID), UNK_ID)

    def _can_gather(self, inputs: Tensor) -> bool:
        """Return whether equal words may share the encoder's first product: without noise, and where that is compiled."""
        is_prediction = not (self.training or torch.is_grad_enabled() or torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]
        return (
            is_prediction
            and inputs.device.type == "cpu"
            and self.embedding.is_table
            and isinstance(self.encoder, RecurrentEncoder)
            and self.encoder.can_gather
        )

    def _encode_gathered(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Embed each different word once, and let the encoder gather."""
        assert isinstance(self.encoder, RecurrentEncoder)
        ids, index = inputs.unique(return_inverse=True)  # [U], [B, T]
        rows = self.embedding(ids.unsqueeze(0)).squeeze(0)  # [U, embedding_size]
        return self.encoder.forward_gathered(rows, index, lengths)


def mean(logits: Sequence[Tensor]) -> Tensor:
    """Return the mean of the logits of several networks, each [B, num_classes]."""
    return logits[0] if len(logits) == 1 else torch.stack(list(logits)).mean(dim=0)
