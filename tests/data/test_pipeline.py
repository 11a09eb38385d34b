from __future__ import annotations

import logging
from pathlib import Path

import pytest
from toy import LastStep, toy_pairs

from seqcls import Classifier, Trainer, registry
from seqcls.config.settings import Config, DataConfig, ModelConfig
from seqcls.data.datasets.base import Dataset
from seqcls.data.datasets.reviews import ReviewsDataset
from seqcls.data.prepare import SPLITS, load_splits, prepare_data
from seqcls.data.splits import Splits
from seqcls.data.tokenizer import TextTokenizer
from seqcls.errors import ConfigError
from seqcls.model.build import build_model, describe_plugins
from seqcls.model.encoders.lstm import LSTM
from seqcls.training.resolve import name_objects


class Counted(Dataset):
    """A small data set that counts how often it is read."""

    loads = 0

    def __init__(self, *, flavour: str = "plain") -> None:
        self.flavour = flavour

    def load(self) -> Splits:
        type(self).loads += 1
        return Splits.from_pairs(
            [("seen good", "pos"), ("seen bad", "neg")], validation=[("held good", "pos")], test=[("tested bad", "neg")]
        )

    def fingerprint(self) -> str:
        return f"counted 1 {self.flavour}"


@pytest.fixture(autouse=True)
def _fresh_count() -> None:
    Counted.loads = 0


def test_the_vocabulary_comes_from_the_training_split_alone() -> None:
    data = prepare_data(DataConfig(), Counted().load())
    assert set(data.preprocessor.words()[2:]) == {"seen", "good", "bad"}
    assert set(data.splits) == {"train", "validation", "test"}
    assert data.splits["validation"][0].tolist() == [1, data.preprocessor.encode("good")[0]]


def test_a_second_preparation_reads_no_data_and_gives_the_same() -> None:
    first, second = prepare_data(DataConfig(), Counted()), prepare_data(DataConfig(), Counted())
    assert Counted.loads == 1
    assert first.label_names == second.label_names
    for name, split in first.splits.items():
        assert [row.tolist() for row in split] == [row.tolist() for row in second.splits[name]]


@pytest.mark.parametrize(
    "config", [DataConfig(vocab_size=4), DataConfig(max_length=1), DataConfig(truncating="pre"), DataConfig(split_seed=1)]
)
def test_other_settings_prepare_anew(config: DataConfig) -> None:
    prepare_data(DataConfig(), Counted())
    prepare_data(config, Counted())
    assert Counted.loads == 2


def test_other_options_or_data_prepare_anew() -> None:
    prepare_data(DataConfig(), Counted())
    prepare_data(DataConfig(), Counted(flavour="other"))
    assert Counted.loads == 2


def test_a_damaged_entry_is_rebuilt_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SEQCLS_HOME", str(tmp_path))
    prepare_data(DataConfig(), Counted())
    (damaged,) = (tmp_path / "encoded").glob("*/train.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        data = prepare_data(DataConfig(), Counted())
    assert Counted.loads == 2
    assert "train.safetensors is damaged" in caplog.text
    assert "rebuilt" in caplog.text
    assert len(data.splits["train"]) == 2


def test_validation_is_held_out_where_the_data_brings_none() -> None:
    splits = Splits.from_pairs(toy_pairs(50))
    divided = load_splits(DataConfig(validation_fraction=0.2), splits)
    assert divided.validation is not None
    assert (len(divided.train), len(divided.validation)) == (40, 10)
    other = load_splits(DataConfig(validation_fraction=0.2, split_seed=1), splits)
    assert other.train.texts != divided.train.texts


def test_an_encoder_of_another_input_size_is_refused_with_both_numbers() -> None:
    with pytest.raises(ConfigError, match=r"vectors of size 8, but model\.embedding_size is 16"):
        build_model(ModelConfig(embedding_size=16), vocab_size=10, num_classes=2, encoder=LSTM(8))


def test_names_and_options_of_built_objects_are_recorded() -> None:
    config = name_objects(Config(), LSTM(8, hidden_size=4), ReviewsDataset(seed=3))
    assert config.model.encoder == "lstm"
    assert {"hidden_size": 4, "num_layers": 1}.items() <= config.model.encoder_options.items()
    assert config.model.embedding_size == 8
    assert (config.data.dataset, config.data.dataset_options) == ("reviews", {"seed": 3})
    own = name_objects(Config(), LastStep(5, size=3), Counted().load())
    assert (own.model.encoder, own.model.encoder_options) == ("toy:LastStep", {"size": 3, "poison_after": None})
    assert own.data.dataset == SPLITS


def test_an_alias_is_recorded_by_its_full_name_and_options_are_converted() -> None:
    settings = Config().replace(encoder_options={"num_layers": "2"})
    with registry.isolated():
        registry.encoders.register("another-lstm", aliases=("other",))(LSTM)
        config = name_objects(settings, "other", None)
    assert config.model.encoder == "another-lstm"
    assert config.model.encoder_options == {"num_layers": 2}


def test_naming_validates_the_settings_once(monkeypatch: pytest.MonkeyPatch) -> None:
    validated = []
    monkeypatch.setattr(Config, "model_validate", lambda values: validated.append(values) or Config())
    name_objects(Config(), "bilstm", "reviews")
    assert len(validated) == 1


def test_where_plugins_come_from_is_described() -> None:
    described = describe_plugins(ModelConfig(encoder="lstm"))
    # By name alone: a file that moves breaks no saved model.
    assert {name: value["target"] for name, value in described.items()} == {"encoder": None, "embedding": None}
    assert described["encoder"]["version"]
    unknown = describe_plugins(ModelConfig(encoder="toy:LastStep"))
    assert unknown["encoder"] == {"name": "toy:LastStep", "target": "toy:LastStep", "distribution": None, "version": None}


def test_rules_of_the_tokenizer_are_a_setting() -> None:
    data = prepare_data(
        DataConfig(tokenizer="basic-english"), Splits.from_pairs([("isn't", "a"), ("is", "b")], validation=[])
    )
    assert set(data.preprocessor.words()[2:]) == {"isn", "'", "t", "is"}


def test_a_tokenizer_file_is_used_as_it_is_and_belongs_to_the_cache_key(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    config = DataConfig(tokenizer=str(path), vocab_size=3)
    for words in (["seen"], ["good", "seen"]):
        TextTokenizer.from_words(words).save(path)
        assert prepare_data(config, Counted()).preprocessor.words()[2:] == words
    assert Counted.loads == 2


def test_a_model_needs_its_tokenizer_file_no_more(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    TextTokenizer.from_words(["superb", "awful"]).save(path)
    config = Config().updated({"data": {"tokenizer": str(path)}, "fit": {"epochs": 1}}, source="test")
    run = Trainer("mean-pool", ReviewsDataset(train_size=100), config=config, callbacks=[], output=tmp_path / "run").fit()
    assert run.model_dir is not None
    path.unlink()
    classifier = Classifier.from_pretrained(run.model_dir, device="cpu")
    assert run.test is not None
    assert classifier.evaluate().loss == pytest.approx(run.test.loss, rel=1e-5)


def test_a_tokenizer_that_is_neither_rules_nor_a_file_is_refused() -> None:
    config = Config().updated({"data": {"tokenizer": "wrod"}}, source="test")
    with pytest.raises(
        ConfigError,
        match=r"tokenizer is 'wrod', which is not a file; give word, basic-english, character, bpe, or a tokenizer\.json",
    ):
        name_objects(config, None, None)
