from __future__ import annotations

import pytest

from seqcls.config.recipe_files import load_recipe, recipe_names
from seqcls.errors import UnknownNameError


def test_the_tutorial_recipe_is_the_tutorials() -> None:
    config = load_recipe("tutorial")
    data, model, fit = config.data, config.model, config.fit
    assert (data.vocab_size, data.max_length, data.truncating) == (10_000, 200, "post")
    assert (model.encoder, model.embedding_size) == ("bilstm-mean-pool", 128)
    assert {"hidden_size": 128, "num_layers": 2, "dropout": 0.2}.items() <= model.encoder_options.items()
    assert (fit.batch_size, fit.eval_batch_size, fit.optimizer, fit.lr) == (64, 200, "adam", 1e-3)
    assert (fit.schedule, fit.betas, fit.clip_norm, fit.ema_decay) == ("constant", (0.9, 0.999), None, None)
    assert (model.word_dropout, model.embedding_dropout, model.output_dropout) == (0, 0.2, 0)
    assert load_recipe("tutorial", dataset="imdb").data.dataset_options == {"validation": "tutorial"}


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("encoder", [None, "lstm", "bilstm", "torch-rnn"])
@pytest.mark.parametrize("dataset", [None, "imdb", "reviews"])
def test_every_recipe_gives_each_encoder_and_data_set_its_own_options_only(
    name: str, encoder: str | None, dataset: str | None
) -> None:
    from seqcls.data.prepare import build_dataset
    from seqcls.model.build import build_encoder

    config = load_recipe(name, encoder=encoder, dataset=dataset)
    build_encoder(config.model)
    build_dataset(config.data)


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown recipe 'tutoriel'; there are: default, fasttext, tutorial"):
        load_recipe("tutoriel")
