"""The names of encoders, embeddings, data sets and callbacks: built in, installed, or registered in this session.

Listing reads metadata and imports no plugin; `Registry.get` imports exactly one. Built-in plugins are strings, so that
this module imports nothing that stands above it.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

from seqcls.errors import PluginError, Terminated, UnknownNameError
from seqcls.system.paths import switched_on

T = TypeVar("T")
Kind = Literal["encoder", "embedding", "dataset", "callback"]

NO_PLUGINS_VARIABLE = "SEQCLS_NO_PLUGINS"
SESSION = "this session"
"""The provider of a plugin that was registered with `Registry.register`."""


class Builtin(NamedTuple):
    """A plugin that comes with seqcls."""

    target: str
    description: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class PluginInfo:
    """What is known about a plugin without importing it.

    Attributes:
        name: The registered name.
        kind: "encoder", "embedding", "dataset" or "callback".
        target: Where the class is, "module:attribute".
        provider: The distribution that it comes from, or `SESSION`.
        version: The version of that distribution; None for a plugin of this session.
        description: One line; for an installed plugin, the summary of its distribution.
        aliases: Other names for it.
        shadowed: Whether a built-in plugin, or one of this session, has the same name and is used instead.
        problem: Why it cannot be used; None if nothing is known to be wrong.
    """

    name: str
    kind: Kind
    target: str
    provider: str
    version: str | None = None
    description: str = ""
    aliases: tuple[str, ...] = ()
    shadowed: bool = False
    problem: str | None = None

    @property
    def origin(self) -> str:
        """The provider and its version, such as "foo 1.0"."""
        return f"{self.provider} {self.version}" if self.version else self.provider


@dataclass
class Registry(Generic[T]):
    """The plugins of one kind, by name.

    Attributes:
        kind: "encoder", "embedding", "dataset" or "callback".
        group: The entry-point group in which distributions announce plugins.
        base: The class that a plugin must derive from, "module:attribute"; imported with the first plugin.
        builtins: The plugins that come with seqcls; nothing else can take their names.
        home: The package that the targets of built-in plugins are relative to.
    """

    kind: Kind
    group: str
    base: str
    builtins: Mapping[str, Builtin]
    home: str = ""
    _session: dict[str, tuple[PluginInfo, type[T]]] = field(default_factory=dict, init=False, repr=False)

    def plugins(self) -> list[PluginInfo]:
        """Describe every plugin, sorted by name, including those that cannot be used; imports none of them."""
        return sorted(self._local() + self._installed(), key=lambda info: (info.name, info.shadowed, info.provider))

    def info(self, name: str) -> PluginInfo:
        """Describe the plugin that has ``name`` as its name or an alias; imports nothing.

        Raises:
            UnknownNameError: There is no such plugin.
        """
        # Built-in plugins and those of this session are found without reading the metadata of what is installed.
        for plugins in (self._local, self._installed):
            for info in plugins():
                if not info.shadowed and name in (info.name, *info.aliases):
                    return info
        raise UnknownNameError(self._unknown_name(name))

    def resolve(self, name: str) -> str:
        """Return the registered name for ``name``, which may be an alias.

        Raises:
            UnknownNameError: There is no such plugin.
        """
        return self.info(name).name

    def get(self, name: str) -> type[T]:
        """Import and return the class that has ``name`` as its name or an alias.

        Raises:
            UnknownNameError: There is no such plugin.
            PluginError: It cannot be imported, is not a class of the right kind, or two distributions claim the name.
        """
        info = self.info(name)
        if info.name in self._session:
            return self._session[info.name][1]
        if info.problem:
            raise PluginError(f"the {self.kind} {info.name!r} cannot be used: {info.problem}")
        return self._checked(self._import(info), what=f"{info.target} of {info.origin}")

    def register(self, name: str, *, aliases: tuple[str, ...] = ()) -> Callable[[type[T]], type[T]]:
        """Return a class decorator that registers a plugin for this session.

        Registering a name again replaces the older class. In a test, register inside `isolated`.

        Example:
            >>> @registry.encoders.register("my-encoder")
            ... class MyEncoder(Encoder): ...

        Raises:
            PluginError: The name or an alias is taken by a built-in plugin or another one of this session, or what is
                decorated is not a class of the right kind.
        """
        for info in self._local():
            is_replaced = info.name == name and name in self._session
            taken = {info.name, *info.aliases} & {name, *aliases}
            if taken and not is_replaced:
                raise PluginError(
                    f"the name {min(taken)!r} belongs to the {self.kind} {info.name!r} of {info.provider}; choose another"
                )

        def decorate(plugin: type[T]) -> type[T]:
            self._checked(plugin, what=repr(plugin))
            target = f"{plugin.__module__}:{plugin.__qualname__}"
            info = PluginInfo(name, self.kind, target, SESSION, description=_first_line(plugin.__doc__), aliases=aliases)
            self._session[name] = (info, plugin)
            return plugin

        return decorate

    if not TYPE_CHECKING:  # a type checker would take `list` in the annotations of this class for this method

        def list(self) -> list[PluginInfo]:
            """Describe every plugin: the old name of `plugins`."""
            warnings.warn("Registry.list() is now Registry.plugins()", DeprecationWarning, stacklevel=2)
            return self.plugins()

    def _local(self) -> list[PluginInfo]:
        """Describe the built-in plugins and those of this session."""
        version = _seqcls_version()
        built_in = [
            PluginInfo(name, self.kind, self._target(plugin), "seqcls", version, plugin.description, plugin.aliases)
            for name, plugin in self.builtins.items()
        ]
        return built_in + [info for info, _ in self._session.values()]

    def _target(self, builtin: Builtin) -> str:
        return f"{self.home}.{builtin.target}" if self.home else builtin.target

    def _installed(self) -> list[PluginInfo]:
        """Describe the plugins of installed distributions; marks those that are shadowed or claimed twice."""
        if _plugins_are_off():
            return []
        claims: dict[str, list[PluginInfo]] = {}
        for distribution in _distributions(self.group):
            for info in self._plugins_of(distribution):
                claims.setdefault(info.name, []).append(info)
        owners = {name: info for info in self._local() for name in (info.name, *info.aliases)}
        marked = []
        for name, infos in claims.items():
            for info in infos:
                if name in owners:
                    problem = f"shadowed by the {self.kind} {owners[name].name!r} of {owners[name].provider}"
                    info = replace(info, shadowed=True, problem=problem)
                elif len(infos) > 1:
                    origins = " and ".join(sorted(claim.origin for claim in infos))
                    info = replace(info, problem=f"{origins} both provide it; uninstall all but one")
                marked.append(info)
        return marked

    def _plugins_of(self, distribution: metadata.Distribution) -> list[PluginInfo]:
        try:
            entry_points = [point for point in distribution.entry_points if point.group == self.group]
            summary = _first_line(distribution.metadata["Summary"]) if "Summary" in distribution.metadata else ""
        except Exception:  # malformed entry points, which `_unknown_name` reports
            return []
        plugins = {}
        for point in entry_points:
            target = point.value.split("[")[0].strip()  # "module:attribute [extra]" is an old form
            problem = None if all(target.partition(":")) else f"its entry point {point.value!r} is not module:attribute"
            info = PluginInfo(
                point.name, self.kind, target, distribution.name, distribution.version, summary, problem=problem
            )
            plugins[point.name] = info
        return list(plugins.values())

    def _import(self, info: PluginInfo) -> object:
        try:
            return _load(info.target)
        except Terminated:
            raise
        except (Exception, SystemExit) as error:
            remedy = f"; upgrade or uninstall {info.provider}" if info.name not in self.builtins else ""
            raise PluginError(
                f"the {self.kind} {info.name!r} (entry point {info.target} of {info.origin}) cannot be imported: "
                f"{type(error).__name__}: {error}{remedy}"
            ) from error

    def _checked(self, plugin: object, *, what: str) -> type[T]:
        base = _load(self.base)
        if not (isinstance(plugin, type) and issubclass(plugin, base)):
            raise PluginError(
                f"{what} is not {_with_article(self.kind)}: it is not a class derived from {_public_name(base)}"
            )
        return plugin

    def _unknown_name(self, name: str) -> str:
        names = [known for info in self.plugins() for known in (info.name, *info.aliases)]
        close = difflib.get_close_matches(name.lower(), names)
        hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else "."
        message = f"no {self.kind} is named {name!r}{hint} `seqcls list` shows all names"
        if _plugins_are_off():
            return f"{message} ({NO_PLUGINS_VARIABLE} is set, which hides installed plugins)"
        broken = [distribution.name for distribution in _distributions(self.group) if _is_malformed(distribution)]
        return message + (f" (the entry points of {', '.join(broken)} cannot be read)" if broken else "")


def _public_name(base: type) -> str:
    """Return the name under which plugins import a base class: those of seqcls are public names of the package."""
    return f"seqcls.{base.__name__}" if base.__module__.startswith("seqcls.") else f"{base.__module__}.{base.__qualname__}"


def _load(target: str) -> Any:
    module, _, attributes = target.partition(":")
    value: Any = import_module(module)
    for attribute in attributes.split("."):
        value = getattr(value, attribute)
    return value


def _distributions(group: str) -> list[metadata.Distribution]:
    """Return the distributions that mention ``group``, each once: the first on the path, as an import would find it."""
    by_name = {}
    for distribution in metadata.distributions():
        with suppress(Exception):  # metadata so broken that it has no name: not worth failing for
            if group in (distribution.read_text("entry_points.txt") or ""):
                by_name[_canonical(distribution.name)] = distribution
    for name in by_name:
        with suppress(metadata.PackageNotFoundError):  # its folder has another name: keep this distribution
            by_name[name] = metadata.distribution(name)
    return [by_name[name] for name in sorted(by_name)]


def _canonical(name: str) -> str:
    """Normalize a distribution name as the packaging specification says (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_malformed(distribution: metadata.Distribution) -> bool:
    try:
        list(distribution.entry_points)
    except Exception:
        return True
    return False


def _plugins_are_off() -> bool:
    return switched_on(NO_PLUGINS_VARIABLE)


def _seqcls_version() -> str | None:
    try:
        return metadata.version("seqcls")
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return None


def _with_article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


encoders: Registry[Any] = Registry(
    "encoder",
    group="seqcls.encoders",
    base="seqcls.model.encoders.base:Encoder",
    home="seqcls.model.encoders",
    builtins={
        "linear": Builtin("linear:Linear", "The wide path alone: logistic regression on n-grams of words and characters"),
        "numpy-simple-rnn": Builtin(
            "numpy_simple_rnn:NumpySimpleRNN", "The tutorial's loop in NumPy, with gradients (CPU only)"
        ),
        "torch-rnn": Builtin("torch_rnn:TorchRNN", "The plain recurrent network of torch.nn (Elman 1990)"),
        "lstm": Builtin("lstm:LSTM", "Long short-term memory, one or both directions, any pooling"),
        "gru": Builtin("gru:GRU", "Gated recurrent units, with the options of lstm (Cho et al. 2014)"),
        "min-gru": Builtin("min_gru:MinGRU", "A gated recurrence computed by a scan (Feng et al. 2024)"),
        "mean-pool": Builtin(
            "mean_pool:MeanPool", "The mean of the embeddings: with n-grams, fastText (Joulin et al. 2017)"
        ),
        "cnn": Builtin("cnn:CNN", "Convolutions, then the maximum over time (Kim 2014)"),
        "transformer": Builtin("transformer:Transformer", "A small pre-norm transformer (Vaswani et al. 2017)"),
        "bilstm": Builtin("bilstm:BiLSTM", "Bidirectional LSTM, whose steps are projected and then pooled"),
        "bilstm-mean-pool": Builtin(
            "bilstm:BiLSTMMeanPool", "The tutorial's bidirectional LSTM, whose steps are projected and then averaged"
        ),
    },
)
embeddings: Registry[Any] = Registry(
    "embedding",
    group="seqcls.embeddings",
    base="seqcls.model.embeddings.base:Embedding",
    home="seqcls.model.embeddings",
    builtins={
        "word": Builtin("word:WordEmbedding", "One learned vector per word"),
        "ngram-hash": Builtin("ngram_hash:NgramHashEmbedding", "Vectors of words and hashed n-grams (Joulin et al. 2017)"),
        "pretrained": Builtin("pretrained:PretrainedEmbedding", "Word vectors from a GloVe, word2vec or fastText file"),
        "static": Builtin(
            "static:StaticEmbedding", "Pretrained vectors of subwords: WordLlama's, Model2Vec's (extra static)"
        ),
        "features": Builtin("features:FeatureEmbedding", "A linear map, for sequences of numbers"),
    },
)
datasets: Registry[Any] = Registry(
    "dataset",
    group="seqcls.datasets",
    base="seqcls.data.datasets.base:Dataset",
    home="seqcls.data.datasets",
    builtins={
        "arrays": Builtin("arrays:ArraysDataset", "Sequences of numbers, from .npz and .ts files"),
        "files": Builtin("files:FilesDataset", "Your own CSV, JSON Lines, Parquet, ... files; --dataset PATH means it"),
        "imdb": Builtin("imdb:ImdbDataset", "50,000 film reviews, positive or negative (Maas et al. 2011)"),
        "reviews": Builtin("reviews:ReviewsDataset", "A small set of reviews that comes with seqcls"),
        "tasks": Builtin("tasks:TasksDataset", "Generated problems that need memory (Hochreiter & Schmidhuber 1997)"),
        "torchtext": Builtin("torchtext:TorchtextDataset", "A data set of torchtext 0.18, by name; needs torch 2.3"),
    },
)
callbacks: Registry[Any] = Registry(
    "callback",
    group="seqcls.callbacks",
    base="seqcls.training.callbacks.base:Callback",
    home="seqcls.training.callbacks",
    builtins={
        "tensorboard": Builtin("tensorboard:TensorBoard", "Curves and settings for TensorBoard, in the run directory"),
    },
)
REGISTRIES: dict[str, Registry[Any]] = {known.kind: known for known in (encoders, embeddings, datasets, callbacks)}
"""All registries by the kind of their plugins."""


@contextmanager
def isolated() -> Iterator[None]:
    """Forget, when the ``with`` block ends, what was registered in it, in all four registries: for tests.

    What was registered before remains visible in the block.

    Example:
        >>> with registry.isolated():
        ...     registry.encoders.register("mine")(MyEncoder)
        ...     Trainer(data, encoder="mine").fit()
    """
    before = {kind: dict(plugins._session) for kind, plugins in REGISTRIES.items()}
    try:
        yield
    finally:
        for kind, plugins in REGISTRIES.items():
            plugins._session = before[kind]
