"""Tiny static vectors in the two forms that are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from toy import WORDS

PIECES = ["a", "##s", "##ing", "n", "awful", "superb", *WORDS, *map(str, range(10)), *(f"##{digit}" for digit in range(10))]
TOKENS = ["[PAD]", "[UNK]", *PIECES]


def new_table(rows: int, size: int = 6, *, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(scale=0.3, size=(rows, size)).astype(np.float32)


def write_model2vec(folder: Path, table: NDArray[Any] | None = None, **more: NDArray[Any]) -> Path:
    """Write a folder as Model2Vec does: a WordPiece tokenizer with special tokens, and "embeddings"."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordPiece({token: index for index, token in enumerate(TOKENS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file({"embeddings": new_table(len(TOKENS)) if table is None else table, **more}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"normalize": True}))
    return folder


def write_wordllama(folder: Path, table: NDArray[Any] | None = None) -> Path:
    """Write a folder as the wheel of wordllama has it: a BPE of bytes where need be, and "embedding.weight" in 16 bits."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "s", "u", "p", "su", "▁su", "▁sup"]
    merges = [("s", "u"), ("▁", "su"), ("▁su", "p")]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.ByteFallback()
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    for name in ("weights", "tokenizers"):
        (folder / name).mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    rows = new_table(len(tokens)) if table is None else table
    save_file({"embedding.weight": rows.astype(np.float16)}, folder / "weights" / "l2_supercat_256.safetensors")
    return folder
