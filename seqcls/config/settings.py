"""Every setting with its default, in one place; and how settings are changed and checked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from seqcls import registry
from seqcls.config import old_names, toml
from seqcls.config.data_paths import is_data_path, read_data_path
from seqcls.config.mistakes import did_you_mean, explain
from seqcls.config.values import (
    Auto,
    Monitor,
    OptionValue,
    Positive,
    PositiveNumber,
    Probability,
    names_of,
    numbers_of,
    seconds_of,
)
from seqcls.errors import ConfigError, UnknownNameError


class _Resumable:
    """Marks a setting that may change when a run is resumed, because it extends the run rather than altering it."""


RESUMABLE = _Resumable()


class Section(BaseModel):
    """A group of settings: frozen, without unknown names, and without conversions that lose information.

    The first sentence of a setting's docstring is the help of its flag.
    """

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
    """The data, and how they become arrays."""

    dataset: str = "reviews"
    """Name of the data set, or the path of your own files."""
    dataset_options: dict[str, OptionValue] = {}
    """Options of the data set; `seqcls info dataset NAME` lists them."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the training split to hold out if the data set has no validation split."""
    train_on: Literal["train", "all"] = "train"
    """Train on the training split, or on all labelled examples but those of test: then nothing is left for validation."""
    split_seed: int = Field(default=0, ge=0)
    """Seed of the held-out split. It is not the training seed, so that runs with different seeds share one split."""
    tokenizer: str = "auto"
    """How texts become tokens: word, basic-english, character, bpe, a tokenizer.json, or the source of static vectors.

    The default, auto, means the tokenizer of the embedding if it has one of its own, and otherwise word."""
    vocab_size: Auto | Annotated[int, Field(ge=3)] = "auto"
    """Largest size of the vocabulary, including the padding and unknown tokens."""
    max_length: Positive | None = 400
    """Longest text, in tokens; longer texts are cut. Sequences of numbers are never cut."""
    truncating: Literal["pre", "post", "middle"] = "middle"
    """Where to cut long texts: the beginning (pre), the end (post), or the middle, which keeps both ends."""

    wide: bool = False
    """Let a linear path read n-grams of words and characters beside the network (Cheng et al. 2016); texts only."""
    word_ngrams: Annotated[int, Field(ge=1, le=5)] = 3
    """Longest n-gram of words in the wide path."""
    character_ngrams: Auto | Annotated[int, Field(ge=0, le=8)] = "auto"
    """Longest n-gram of characters in the wide path, inside words; 0 for none."""

    @model_validator(mode="before")
    @classmethod
    def _read_path(cls, settings: object) -> object:
        """Replace a path given as the name of the data set by the data set that reads it."""
        if isinstance(settings, dict) and isinstance(path := settings.get("dataset"), str) and is_data_path(path):
            options = settings.get("dataset_options", {})
            if isinstance(options, Mapping):  # pydantic refuses anything else
                name, options = read_data_path(path, options)
                return {**settings, "dataset": name, "dataset_options": options}
        return settings


class ModelConfig(Section):
    """The network."""

    encoder: str = "bilstm"
    """Name of the encoder; `seqcls list` shows all encoders."""
    encoder_options: dict[str, OptionValue] = {}
    """Options of the encoder; `seqcls info encoder NAME` lists them."""
    embedding: str = "word"
    """Name of the embedding; `seqcls list` shows all embeddings."""
    embedding_options: dict[str, OptionValue] = {}
    """Options of the embedding; `seqcls info embedding NAME` lists them."""
    embedding_size: Auto | Positive = "auto"
    """Size of the vector of each token; auto is 64, or the size of static vectors."""
    ensemble: Annotated[int, Field(ge=1, le=100)] = 1
    """Networks that are trained beside each other, and whose logits are averaged (Lakshminarayanan et al. 2017)."""
    word_dropout: Auto | Probability = "auto"
    """Share of the vocabulary replaced by the unknown token in each training batch."""
    embedding_dropout: Auto | Probability = "auto"
    """Dropout probability of the values of the embedding."""
    output_dropout: Auto | Probability = "auto"
    """Dropout probability of the values of the encoder's output."""


class FitConfig(Section):
    """The training."""

    epochs: Annotated[Auto | Positive, RESUMABLE] = "auto"
    """Passes over the training split."""
    batch_size: Auto | Positive = "auto"
    """Examples per forward pass."""
    eval_batch_size: Annotated[Positive, RESUMABLE] = 256
    """Examples per forward pass in evaluation."""
    accumulate_batches: Positive = 1
    """Batches whose gradients are averaged before each optimizer step."""
    bucket_by_length: bool = True
    """Put sequences of similar length into the same batch."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam (Kingma & Ba 2015), or AdamW with decoupled weight decay (Loshchilov & Hutter 2019)."""
    lr: Auto | Annotated[float, Field(gt=0, le=1e37)] = "auto"
    """Learning rate; for a schedule with a peak, the peak."""
    betas: Annotated[tuple[Probability, Probability], BeforeValidator(numbers_of)] = (0.9, 0.98)
    """Adam's decay rates of the averages of gradients and of squared gradients."""
    max_steps: Annotated[Positive | None, RESUMABLE] = None
    """Stop after this many steps, even if epochs are left; the schedule is that of all epochs."""
    inverse_penalty: PositiveNumber | None = None
    """Inverse C of the penalty on the weights of the wide path; by default the best of 2, 8 and 32 on validation."""
    vector_scale: PositiveNumber | None = None
    """Length of the vector of a text beside n-grams in a linear model; by default the best of 0.5 to 4 on validation."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of the optimizer."""
    clip_norm: PositiveNumber | None = 1.0
    """Largest norm of the gradient of all parameters (Pascanu et al. 2013)."""
    schedule: Literal["constant", "linear", "cosine", "one-cycle", "plateau"] = "one-cycle"
    """Course of the learning rate over the run."""
    warmup: Probability = 0.1
    """Share of the run in which linear, cosine and one-cycle rise to the learning rate."""
    class_weights: str | dict[str, PositiveNumber] | None = None
    """Weights of the labels in the loss: balanced (by inverse frequency), or a table or file with one weight per label."""
    label_smoothing: Probability = 0.0
    """Share of each target that is spread evenly over all labels in the training loss (Szegedy et al. 2016)."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay per step of an exponential moving average of the weights, which is then evaluated and saved."""
    patience: Annotated[Auto | Positive | None, RESUMABLE] = "auto"
    """Evaluations without improvement after which the training stops."""
    monitor: Monitor = "loss"
    """Validation figure that selects the best checkpoint: loss, accuracy, or f1, the mean F1 of the labels (macro F1)."""
    eval_every_steps: Auto | Positive | None = "auto"
    """Evaluate every this many steps, in addition to the end of each epoch."""
    checkpoint_every_steps: Annotated[Positive | None, RESUMABLE] = None
    """Save a checkpoint every this many steps."""
    checkpoint_every_minutes: Annotated[PositiveNumber | None, RESUMABLE] = 10.0
    """Save a checkpoint when the last one is this many minutes old."""
    max_time: Annotated[Annotated[PositiveNumber | None, BeforeValidator(seconds_of)], RESUMABLE] = None
    """Stop with a checkpoint before the process has run this long, such as 90s, 30m or 1h30m."""
    on_nan: Annotated[Literal["stop", "rollback"], RESUMABLE] = "stop"
    """If a loss or gradient is not finite: stop, or roll back to the last checkpoint and halve the learning rate."""
    max_rollbacks: Annotated[Positive, RESUMABLE] = 3
    """Rollbacks after which the next loss that is not finite stops the run."""
    auto_batch: Annotated[bool, RESUMABLE] = False
    """Split batches that do not fit into memory; the gradient stays the same."""
    seed: int = Field(default=0, ge=0, lt=2**64)
    """Seed of the initial weights, the batch order and dropout."""
    device: Annotated[str, RESUMABLE] = "auto"
    """Device: auto, cpu, cuda, cuda:N or mps."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Floating-point precision: fp32, or bf16 (bfloat16 autocast)."""
    threads: Annotated[Positive | None, RESUMABLE] = None
    """CPU threads; by default one per core, or as many as the quota of a container allows."""
    num_workers: Annotated[int, Field(ge=0), RESUMABLE] = 0
    """Processes that prepare batches ahead of the training. With 0 the training process does; the result is the same."""
    deterministic: bool = False
    """On a GPU, use only algorithms that give the same bits every time, which are slower. A CPU always does."""
    calibrate: Annotated[bool, RESUMABLE] = True
    """Divide the logits by a temperature fitted on validation, so that a probability of 0.8 is right 8 times out of 10."""
    callbacks: Annotated[list[str], BeforeValidator(names_of), RESUMABLE] = []
    """Names of callbacks that follow the run, such as tensorboard; `seqcls list` shows all callbacks."""
    callback_options: Annotated[dict[str, dict[str, OptionValue]], RESUMABLE] = {}
    """Options of the callbacks, one table per callback; `seqcls info callback NAME` lists them."""


SECTIONS: dict[str, type[Section]] = {"data": DataConfig, "model": ModelConfig, "fit": FitConfig}


class Config(Section):
    """All settings of a run.

    Example:
        >>> config = Config().replace(encoder="lstm", epochs=3)
        >>> config.fit.epochs
        3
    """

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    fit: FitConfig = FitConfig()
    chosen: Annotated[tuple[str, ...], Field(exclude=True)] = ()
    """Settings, as SECTION.NAME, that were "auto" and whose values were chosen to fit the data; it is no setting itself."""

    def replace(self, **settings: Any) -> Config:
        """Return a copy with new values for the named settings.

        A value that is a table, such as ``encoder_options``, replaces the old table; `updated` merges the two. A different
        encoder, embedding or data set starts without the options of the old one.

        Raises:
            ConfigError: A name is unknown, or a value is wrong.
        """
        sections = all_settings()
        values = self.model_dump()
        settings = old_names.rename(settings, warn=True)
        for name, value in settings.items():
            if name not in sections:
                raise ConfigError(f"unknown setting {name!r}{did_you_mean(name, sections)}")
            section = values[sections[name]]
            options = f"{name}_options"
            if options in section and options not in settings and not is_same_plugin(name, section[name], value):
                section[options] = {}
            section[name] = value
        return self._still_chosen(_checked(values, source=""), {f"{sections[name]}.{name}" for name in settings})

    def updated(self, changes: Mapping[str, Any], *, source: str = "") -> Config:
        """Return a copy with ``changes``, such as {"fit": {"epochs": 3}}, merged in: tables are merged, too.

        Raises:
            ConfigError: A name is unknown, or a value is wrong; the message begins with ``source``.
        """
        changes = old_names.renamed_by_user(changes)
        changed = {
            f"{section}.{name}" for section, values in changes.items() if isinstance(values, Mapping) for name in values
        }
        return self._still_chosen(_checked(merge(self.model_dump(), changes), source=source), changed)

    def open_settings(self) -> list[str]:
        """Return the settings, as SECTION.NAME, that are "auto": their values are still to be chosen to fit the data.

        Those of a wide path that is not there stay as they are.
        """
        values = self.model_dump()
        names = [f"{section}.{name}" for section, name in _auto_settings() if values[section][name] == "auto"]
        return names if self.data.wide else [name for name in names if name != "data.character_ngrams"]

    def with_chosen(self, values: Mapping[str, Any]) -> Config:
        """Return a copy with ``values``, such as {"fit.epochs": 12}, that were chosen to fit the data."""
        return self.updated(_by_section(values), source="auto").marked((*self.chosen, *values))

    def marked(self, names: Iterable[str]) -> Config:
        """Return a copy in which the settings of these names count as chosen to fit the data; other names are ignored."""
        marked = set(names)
        known = (f"{section}.{name}" for section, name in _auto_settings())
        return self.model_copy(update={"chosen": tuple(name for name in known if name in marked)})

    def as_given(self) -> Config:
        """Return the settings as the user gave them: "auto" where a value was chosen to fit the data."""
        return self.updated(_by_section(dict.fromkeys(self.chosen, "auto")))

    def _still_chosen(self, config: Config, changed: Collection[str]) -> Config:
        """Return ``config``, made of this one by giving the settings in ``changed``, with the others that were chosen."""
        return config.marked(name for name in self.chosen if name not in changed)

    def to_toml(self) -> str:
        """Return the settings as a TOML document, which `seqcls fit --config` and `updated` read back.

        A comment marks the values that were chosen to fit the data.
        """
        return toml.to_toml(self.model_dump(mode="json"), comments=dict.fromkeys(self.chosen, "auto"))


def all_settings() -> dict[str, str]:
    """Return the section of each setting; setting names are unique across the sections."""
    return {name: section for section, fields in SECTIONS.items() for name in fields.model_fields}


def all_settings_dotted() -> list[str]:
    """Return every setting as SECTION.NAME."""
    return [f"{section}.{name}" for name, section in all_settings().items()]


def resumable_settings() -> list[str]:
    """Return the settings that may change when a run is resumed."""
    return [
        name for fields in SECTIONS.values() for name, field in fields.model_fields.items() if RESUMABLE in field.metadata
    ]


def _auto_settings() -> list[tuple[str, str]]:
    """Return the section and the name of each setting that may be "auto"."""
    fields = [(section, *item) for section, model in SECTIONS.items() for item in model.model_fields.items()]
    return [(section, name) for section, name, field in fields if Auto in get_args(field.annotation)]


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` overridden by ``changes``, with tables merged."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _by_section(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return {"fit": {"epochs": 12}} for {"fit.epochs": 12}."""
    sections: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, _, key = name.partition(".")
        sections.setdefault(section, {})[key] = value
    return sections


def _checked(values: Mapping[str, Any], *, source: str) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, source=source, known=all_settings_dotted())) from None


def is_same_plugin(kind: str, old: str, new: object) -> bool:
    """Return whether two names mean the same plugin; a name that is not registered means only itself."""
    if old == new:
        return True
    try:
        return registry.REGISTRIES[kind].resolve(old) == registry.REGISTRIES[kind].resolve(str(new))
    except UnknownNameError:
        return False
