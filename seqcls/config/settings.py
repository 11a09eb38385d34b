"""Every setting and its default, once; reading settings from TOML, flags and recipes, and writing them back."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from seqcls import registry
from seqcls.config import old_names
from seqcls.config.data_paths import dataset_of_path, is_data_path
from seqcls.errors import ConfigError, UnknownNameError

OptionValue = bool | int | float | str | None
Probability = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A group of settings: frozen, no unknown names, no silent conversions that lose anything."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _read_none(cls, value: object) -> object:
        # TOML and flags have no null: the word "none" stands for it.
        return None if isinstance(value, str) and value.lower() == "none" else value

    @model_validator(mode="before")
    @classmethod
    def _read_old_names(cls, settings: object) -> object:
        return old_names.rename(settings, warn=True) if isinstance(settings, dict) else settings


class DataConfig(Section):
    """Which data, and how it becomes token ids."""

    dataset: str = "reviews"
    """Registered name of the data set, or files: see the data set files."""
    dataset_options: dict[str, OptionValue] = {}
    """Options of the data set, as `seqcls info dataset NAME` lists them."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the training split held out where the data set brings no validation split."""
    split_seed: int = Field(default=0, ge=0)
    """Seed of that choice; it is not the training seed, so that runs with several seeds share one validation split."""
    tokenizer: str = "word"
    """How texts become words: word, basic-english, character, bpe, or the path of a tokenizer.json."""
    vocab_size: Annotated[int, Field(ge=3)] = 30_000
    """Largest size of the vocabulary, including the padding and unknown tokens."""
    max_length: Positive | None = 400
    """Longest text, in tokens; longer ones are cut. Sequences of numbers never are."""
    truncating: Literal["pre", "post", "middle"] = "middle"
    """Where to cut: the beginning, the end, or the middle (head and tail are kept)."""

    @model_validator(mode="before")
    @classmethod
    def _read_path(cls, settings: object) -> object:
        """Read a path in the place of a data set's name as the data set that reads it."""
        if isinstance(settings, dict) and isinstance(path := settings.get("dataset"), str) and is_data_path(path):
            options = settings.get("dataset_options", {})
            if not isinstance(options, dict):
                return settings  # which is refused for that
            options = {**options, "path": path}
            return {**settings, "dataset": dataset_of_path(path), "dataset_options": options}
        return settings


class ModelConfig(Section):
    """The network."""

    encoder: str = "bilstm-mean-pool"
    """Registered name of the encoder."""
    encoder_options: dict[str, OptionValue] = {}
    """Options of the encoder, as `seqcls info encoder NAME` lists them."""
    embedding: str = "word"
    """Registered name of the embedding."""
    embedding_options: dict[str, OptionValue] = {}
    """Options of the embedding, as `seqcls info embedding NAME` lists them."""
    embedding_size: Positive = 64
    """Size of the vector of a word."""
    word_dropout: Probability = 0.3
    """Share of the vocabulary replaced by the unknown word in a training batch."""
    embedding_dropout: Probability = 0.5
    """Share of embedding values dropped while training."""
    output_dropout: Probability = 0.5
    """Share of values of the encoded sequence dropped while training."""


def seconds_of(duration: object) -> object:
    """Turn "90s", "30m" or "1h30m" into seconds; leave anything else as it is.

    Raises:
        ValueError: It is a text of another form.
    """
    if not isinstance(duration, str):
        return duration
    match = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", duration.strip().lower())
    if not duration.strip() or match is None:
        raise ValueError("write a duration as 90s, 30m or 1h30m")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def names_of(names: object) -> object:
    """Turn "one,two", as a flag gives it, into a list, and None into an empty one; leave anything else as it is."""
    if isinstance(names, str):
        return [name.strip() for name in names.split(",")]
    return [] if names is None else names


def numbers_of(numbers: object) -> object:
    """Turn "0.9,0.98", as a flag gives it, into a list; leave anything else as it is."""
    return [number.strip() for number in numbers.split(",")] if isinstance(numbers, str) else numbers


class FitConfig(Section):
    """The training."""

    epochs: Positive = 4
    """Passes over the training split."""
    batch_size: Positive = 64
    """Examples a forward pass."""
    eval_batch_size: Positive = 256
    """Examples a forward pass in evaluation."""
    accumulate_batches: Positive = 1
    """Batches whose gradients are averaged before each optimizer step."""
    bucket_by_length: bool = True
    """Put sequences of similar length into the same batch."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam (Kingma & Ba 2015), or with decoupled weight decay (Loshchilov & Hutter 2019)."""
    lr: Annotated[float, Field(gt=0, le=1e37)] = 2e-3
    """Learning rate; for a schedule with a peak, the peak."""
    betas: Annotated[tuple[Probability, Probability], BeforeValidator(numbers_of)] = (0.9, 0.98)
    """Adam's decay rates of the averages of gradients and of squared gradients."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay."""
    clip_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of the gradient of all parameters (Pascanu et al. 2013)."""
    schedule: Literal["constant", "linear", "cosine", "one-cycle", "plateau"] = "one-cycle"
    """Course of the learning rate over the run."""
    warmup: Probability = 0.1
    """Share of the run over which linear, cosine and one-cycle rise to the learning rate."""
    class_weights: str | None = None
    """Weights of the labels in the training loss: balanced (by inverse frequency), or a JSON file of one a label."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Evaluate and save an exponential moving average of the weights, with this decay a step."""
    patience: Positive | None = None
    """Stop after this many evaluations without a better validation score."""
    monitor: Literal["loss", "accuracy"] = "loss"
    """The validation figure that chooses the best checkpoint."""
    eval_every_steps: Positive | None = None
    """Evaluate every so many steps; at each epoch's end in any case."""
    checkpoint_every_steps: Positive | None = None
    """Save a checkpoint every so many steps."""
    checkpoint_every_minutes: Annotated[float, Field(gt=0)] | None = 10.0
    """Save a checkpoint when the last is this many minutes old."""
    max_time: Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(seconds_of)] = None
    """Stop with a checkpoint before the process has run this long, in seconds or as 90s, 30m, 1h30m."""
    on_nan: Literal["stop", "rollback"] = "stop"
    """When a loss or gradient is not finite: stop, or go back to the last checkpoint and halve the learning rate."""
    max_rollbacks: Positive = 3
    """Rollbacks after which the next loss that is not finite stops the run."""
    auto_batch: bool = False
    """When memory runs out, pass batches through the model in halves, quarters …; the gradient stays the same."""
    seed: int = Field(default=0, ge=0, lt=2**64)
    """Seed of initial weights, batch order and dropout."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """fp32, or bfloat16 autocast."""
    threads: Positive | None = None
    """CPU threads; PyTorch's choice if not given."""
    num_workers: int = Field(default=0, ge=0)
    """Processes that make batches ahead of the training; with 0 the training process makes them. The result is the same."""
    deterministic: bool = False
    """On a GPU, take only algorithms that give the same bits each time; slower. On a CPU they do in any case."""
    calibrate: bool = True
    """Fit a temperature on validation, by which logits are divided, so that a probability of 0.8 is right 8 times in 10."""
    callbacks: Annotated[list[str], BeforeValidator(names_of)] = []
    """Registered names of callbacks that follow the run, such as tensorboard; `seqcls list` shows them."""
    callback_options: dict[str, dict[str, OptionValue]] = {}
    """Options of the callbacks, a table each, as `seqcls info callback NAME` lists them."""


class Config(Section):
    """All settings of a run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    fit: FitConfig = FitConfig()

    def updated(self, changes: Mapping[str, Any], *, source: str) -> Config:
        """Return a copy with ``changes`` ({"fit": {"epochs": 3}}) merged in and checked.

        Raises:
            ConfigError: A name is unknown or a value wrong; the message names ``source``.
        """
        try:
            return Config.model_validate(merge(self.model_dump(), old_names.renamed_by_user(changes)))
        except ValidationError as error:
            raise ConfigError("; ".join(_explain(detail, source) for detail in error.errors())) from None

    def without_options(self, section: Literal["data", "model"]) -> Config:
        """Return a copy without the data set's, or the encoder's, options: `updated` would only add to them."""
        if section == "data":
            return self.model_copy(update={"data": self.data.model_copy(update={"dataset_options": {}})})
        return self.model_copy(update={"model": self.model.model_copy(update={"encoder_options": {}})})

    def to_toml(self) -> str:
        """Return the settings as a TOML document that `load_toml` and ``Config.updated`` read back."""
        return "\n".join(_toml_lines(self.model_dump(mode="json")))


def _explain(detail: Any, source: str) -> str:
    name = ".".join(str(part) for part in detail["loc"][:2])
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, all_settings_dotted(), n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        return f"{source}: unknown setting {name}{hint}"
    return f"{source}: {name} is {_shown(detail['input'])}: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _shown(value: object) -> str:
    try:
        return f"{value!r:.60}"
    except RecursionError:
        return "a table of too many levels"


def all_settings() -> dict[str, str]:
    """Return the section that each setting belongs to; setting names are unique over the sections."""
    sections: dict[str, type[Section]] = {"data": DataConfig, "model": ModelConfig, "fit": FitConfig}
    return {name: section for section, fields in sections.items() for name in fields.model_fields}


def all_settings_dotted() -> list[str]:
    """Return every setting as SECTION.NAME."""
    return [f"{section}.{name}" for name, section in all_settings().items()]


def load_toml(path: Path) -> dict[str, Any]:
    """Read a settings file.

    Raises:
        ConfigError: The file is missing or no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the settings file {path}: {error}") from None
    except (ValueError, RecursionError) as error:  # also of a number too long, or too many brackets
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def recipe_names() -> list[str]:
    """Return the names of the recipes shipped with the package."""
    files = resources.files("seqcls.config.recipes").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load_recipe(
    name: str, *, encoder: str | None = None, dataset: str | None = None, embedding: str | None = None
) -> Config:
    """Return the settings of a recipe, for the given encoder, data set and embedding, else for the recipe's own.

    A recipe is a settings file that may also hold tables [encoders.NAME], [datasets.NAME] and [embeddings.NAME]: the options
    to use with the plugin of that name.

    Raises:
        UnknownNameError: No recipe, encoder, data set or embedding has that name.
    """
    if name not in recipe_names():
        raise UnknownNameError(f"unknown recipe {name!r}; there are: {', '.join(recipe_names())}")
    text = resources.files("seqcls.config.recipes").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    settings = tomllib.loads(text)
    options = {kind: settings.pop(kind, {}) for kind in ("encoders", "datasets", "embeddings")}
    config = Config().updated(settings, source=f"recipe {name}")
    encoder = registry.encoders.resolve(encoder or config.model.encoder)
    path = dataset if dataset and is_data_path(dataset) else None
    dataset = dataset_of_path(path) if path else registry.datasets.resolve(dataset or config.data.dataset)
    embedding = registry.embeddings.resolve(embedding or config.model.embedding)
    chosen = {
        "data": {"dataset": path or dataset, "dataset_options": options["datasets"].get(dataset, {})},
        "model": {
            "encoder": encoder,
            "encoder_options": options["encoders"].get(encoder, {}),
            "embedding": embedding,
            "embedding_options": options["embeddings"].get(embedding, {}),
        },
    }
    return config.updated(chosen, source=f"recipe {name}")


def parse_settings(pairs: Iterable[str], *, flag: str) -> dict[str, Any]:
    """Turn ["fit.schedule=cosine", "clip_norm=0.5"] into {"fit": {...}}; the section may be left out.

    Raises:
        ConfigError: A pair lacks '=' or names no setting.
    """
    sections = all_settings()
    sections_of_old_names = {old: sections[new] for old, (new, _) in old_names.RENAMED.items()}
    sections_of_old_names |= dict.fromkeys(old_names.FLAGS, "fit")
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        section, _, key = name.rpartition(".")
        known = sections.get(key) or sections_of_old_names.get(key, "")
        section = section or known
        if not equals:
            raise ConfigError(f"{flag} {pair!r}: write NAME=VALUE")
        if not section or section != known:
            close = difflib.get_close_matches(name, [*all_settings(), *all_settings_dotted()], n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(close)}?" if close else "; `seqcls fit --print-config` lists them"
            raise ConfigError(f"{flag}: unknown setting {name!r}{hint}")
        settings.setdefault(section, {})[key] = text
    return old_names.renamed_by_user(settings)


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``changes`` over it, tables merged."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _toml_lines(sections: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    for section, settings in sections.items():
        tables = {name: value for name, value in settings.items() if isinstance(value, Mapping)}
        yield f"[{section}]"
        for name, value in settings.items():
            if name not in tables:
                yield f"{name} = {_toml_value(value)}"
        for name, table in tables.items():
            yield f"[{section}.{name}]"
            yield from (f"{_toml_key(key)} = {_toml_value(value)}" for key, value in table.items())
        yield ""


def _toml_key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else _toml_value(key)


def _toml_value(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_toml_key(key)} = {_toml_value(item)}' for key, item in value.items())}}}"
    # JSON's strings, numbers and booleans are TOML's too, except that TOML escapes DEL and has no surrogate pairs.
    text = json.dumps("none" if value is None else value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return text.encode(errors="backslashreplace").decode()
