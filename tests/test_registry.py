"""Names become plugins: built-in ones, fake installed distributions, and those of a session."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import seqcls
from seqcls import registry
from seqcls.errors import PluginError, UnknownNameError
from seqcls.registry import SESSION, Builtin, Registry

GROUP = "seqcls.tests"
CORE = "class Base: pass\nclass Core(Base):\n    'The built-in one.'\n"
Install = Callable[..., Path]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, with the base class and the built-in plugin in it; forgets what tests imported from it."""
    modules = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv(registry.NO_PLUGINS_VARIABLE, raising=False)
    (tmp_path / "core_module.py").write_text(CORE)
    yield tmp_path
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def install(site: Path) -> Install:
    """Return a function that writes a fake distribution: its metadata, and a module with the given code."""

    def install(
        name: str, code: str = "", *, entry_points: str | None = None, version: str = "1.0", folder: Path = site
    ) -> Path:
        module = f"{name}_module"
        (folder / f"{module}.py").write_text(f"from core_module import Base\n{code}\n")
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: About {name}\n")
        lines = entry_points or f"{name} = {module}:Plugin"
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}\n")
        return info

    return install


@pytest.fixture
def plugins(site: Path) -> Registry[object]:
    built_in = {"core": Builtin("core_module:Core", "The built-in one", aliases=("heart",))}
    return Registry("encoder", group=GROUP, base="core_module:Base", builtins=built_in)


GOOD = "class Plugin(Base): pass"


def test_a_built_in_is_found_by_its_name_and_its_alias(plugins: Registry[object]) -> None:
    assert plugins.get("core") is plugins.get("heart")
    assert plugins.resolve("heart") == "core"
    assert plugins.info("heart").aliases == ("heart",)


def test_an_installed_plugin_is_described_from_its_metadata_and_imported_when_named(
    plugins: Registry[object], install: Install
) -> None:
    install("foo", GOOD)

    info = plugins.info("foo")

    assert (info.provider, info.version, info.description) == ("foo", "1.0", "About foo")
    assert (info.target, info.kind, info.problem) == ("foo_module:Plugin", "encoder", None)
    assert plugins.get("foo").__module__ == "foo_module"


def test_listing_is_sorted_and_imports_nothing(plugins: Registry[object], install: Install) -> None:
    install("slow", f"raise RuntimeError('expensive')\n{GOOD}")
    install("broken", "raise SystemExit(3)")

    names = [info.name for info in plugins.plugins()]

    assert names == ["broken", "core", "slow"]
    assert not {"slow_module", "broken_module", "core_module"} & set(sys.modules)


def test_getting_one_plugin_imports_no_other(plugins: Registry[object], install: Install) -> None:
    install("foo", GOOD)
    install("bar", GOOD)

    plugins.get("foo")

    assert "bar_module" not in sys.modules


def test_sigterm_during_an_import_is_no_fault_of_the_plugin(plugins: Registry[object], install: Install) -> None:
    install("slow", "from seqcls.errors import Terminated\nraise Terminated(143)")
    with pytest.raises(SystemExit, match="143"):
        plugins.get("slow")


@pytest.mark.parametrize(
    ("code", "reported"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("1 / 0", "ZeroDivisionError"),
        ("def (", "SyntaxError"),
        ("", "AttributeError"),
    ],
)
def test_a_plugin_that_fails_to_import_is_named_and_breaks_no_other(
    plugins: Registry[object], install: Install, code: str, reported: str
) -> None:
    install("bad", code, version="2.5")
    install("good", GOOD)

    with pytest.raises(PluginError) as caught:
        plugins.get("bad")

    message = str(caught.value)
    assert all(part in message for part in ("bad 2.5", "bad_module:Plugin", reported))
    assert caught.value.__cause__ is not None
    assert plugins.get("good").__name__ == "Plugin"


def test_ctrl_c_during_an_import_is_no_plugin_error(plugins: Registry[object], install: Install) -> None:
    install("bad", "raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        plugins.get("bad")


@pytest.mark.parametrize("code", ["class Plugin: pass", "def Plugin(): pass", "Plugin = 3"])
def test_a_target_of_another_kind_is_refused(plugins: Registry[object], install: Install, code: str) -> None:
    install("odd", code)

    with pytest.raises(PluginError, match=r"odd_module:Plugin of odd 1\.0 is not an encoder.*core_module\.Base"):
        plugins.get("odd")


def test_two_distributions_with_one_name_are_both_named_and_only_when_it_is_used(
    plugins: Registry[object], install: Install
) -> None:
    install("foo", GOOD, entry_points="same = foo_module:Plugin\nfine = foo_module:Plugin")
    install("bar", GOOD, entry_points="same = bar_module:Plugin", version="2.0")

    assert [info.provider for info in plugins.plugins() if info.name == "same"] == ["bar", "foo"]
    assert plugins.get("fine").__module__ == "foo_module"
    with pytest.raises(PluginError, match=r"bar 2\.0 and foo 1\.0"):
        plugins.get("same")


@pytest.mark.parametrize("name", ["core", "heart"])
def test_a_built_in_wins_over_an_installed_plugin_which_is_marked(
    plugins: Registry[object], install: Install, name: str
) -> None:
    install("foo", GOOD, entry_points=f"{name} = foo_module:Plugin")

    assert plugins.get(name).__module__ == "core_module"
    [shadowed] = [info for info in plugins.plugins() if info.shadowed]
    assert (shadowed.name, shadowed.provider) == (name, "foo")
    assert shadowed.problem == "shadowed by the encoder 'core' of seqcls"


def test_a_distribution_found_twice_on_the_path_counts_once(
    plugins: Registry[object], install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("foo", GOOD, version="1.0")
    first = tmp_path / "first"
    first.mkdir()
    monkeypatch.syspath_prepend(first)
    install("foo", GOOD, version="2.0", folder=first)
    egg = tmp_path / "foo.egg-info"
    egg.mkdir()
    (egg / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: foo\nVersion: 0.9\n")
    (egg / "entry_points.txt").write_text(f"[{GROUP}]\nfoo = foo_module:Plugin\n")

    [info] = [info for info in plugins.plugins() if info.name == "foo"]

    assert (info.version, info.problem) == ("2.0", None)


def test_the_first_version_on_the_path_speaks_even_if_only_an_older_one_has_the_plugin(
    plugins: Registry[object], install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("foo", GOOD, version="1.0")
    first = tmp_path / "first"
    first.mkdir()
    monkeypatch.syspath_prepend(first)
    (install("foo", GOOD, version="2.0", folder=first) / "entry_points.txt").unlink()

    assert [info.name for info in plugins.plugins()] == ["core"]


def test_a_malformed_entry_point_file_hides_only_itself_and_is_reported(plugins: Registry[object], install: Install) -> None:
    install("foo", GOOD)
    install("mess", GOOD, entry_points="this line has no equals sign")

    assert [info.name for info in plugins.plugins()] == ["core", "foo"]
    with pytest.raises(UnknownNameError, match=r"entry points of mess cannot be read"):
        plugins.get("mess")


def test_unreadable_metadata_breaks_no_other_plugin(plugins: Registry[object], install: Install) -> None:
    install("foo", GOOD)
    (install("garbled", GOOD) / "entry_points.txt").write_bytes(b"[seqcls.tests]\n\xff\xfe = x:y\n")
    (install("nameless", GOOD) / "METADATA").unlink()

    assert [info.name for info in plugins.plugins()] == ["core", "foo"]


def test_a_missing_summary_is_an_empty_description(plugins: Registry[object], install: Install) -> None:
    (install("foo", GOOD) / "METADATA").write_text("Metadata-Version: 2.1\nName: foo\nVersion: 1.0\n")

    assert plugins.info("foo").description == ""


@pytest.mark.parametrize("target", ["foo_module", "foo_module:", ":Plugin", "???"])
def test_an_entry_point_that_is_not_module_and_attribute_is_listed_with_its_problem(
    plugins: Registry[object], install: Install, target: str
) -> None:
    install("foo", GOOD, entry_points=f"foo = {target}")

    assert "not module:attribute" in (plugins.info("foo").problem or "")
    with pytest.raises(PluginError, match="not module:attribute"):
        plugins.get("foo")


def test_an_unknown_name_gets_close_matches_and_the_command_that_lists_names(plugins: Registry[object]) -> None:
    with pytest.raises(UnknownNameError, match=r"no encoder is named 'Cores'; did you mean 'core'.*`seqcls list`"):
        plugins.get("Cores")


def test_a_name_like_no_other_gets_no_guess(plugins: Registry[object]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        plugins.resolve("zzz")
    assert str(caught.value) == "no encoder is named 'zzz'. `seqcls list` shows all names"


def test_installed_plugins_can_be_turned_off(
    plugins: Registry[object], install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("foo", GOOD)
    monkeypatch.setenv("SEQCLS_NO_PLUGINS", "1")

    assert [info.name for info in plugins.plugins()] == ["core"]
    with pytest.raises(UnknownNameError, match="SEQCLS_NO_PLUGINS is set"):
        plugins.get("foo")


def test_a_class_registered_in_a_session_is_found_and_replaced_when_registered_again(plugins: Registry[object]) -> None:
    base = plugins.get("core")
    for text in ("first", "second"):
        mine = type("Mine", (base,), {"__doc__": text})
        plugins.register("mine", aliases=("m",))(mine)

    assert plugins.get("m") is mine
    info = plugins.info("mine")
    assert (info.provider, info.version, info.description) == (SESSION, None, "second")


@pytest.mark.parametrize("name", ["core", "heart"])
def test_a_session_cannot_take_the_name_of_a_built_in(plugins: Registry[object], name: str) -> None:
    with pytest.raises(PluginError, match=f"'{name}' belongs to the encoder 'core'"):
        plugins.register(name)
    with pytest.raises(PluginError, match=f"'{name}' belongs"):
        plugins.register("mine", aliases=(name,))


def test_a_session_can_only_register_classes_of_the_kind(plugins: Registry[object]) -> None:
    with pytest.raises(PluginError, match="is not an encoder"):
        plugins.register("mine")(int)


def test_a_class_of_this_session_wins_over_an_installed_plugin(plugins: Registry[object], install: Install) -> None:
    install("foo", GOOD)
    mine = type("Mine", (plugins.get("core"),), {})

    plugins.register("foo")(mine)

    assert plugins.get("foo") is mine


def test_isolation_forgets_what_was_registered_in_it_and_nothing_else() -> None:
    first, second = type("First", (seqcls.Callback,), {}), type("Second", (seqcls.Callback,), {})
    toy = type("Toy", (seqcls.Dataset,), {})
    registry.callbacks.register("first")(first)

    with registry.isolated():
        assert registry.callbacks.get("first") is first
        registry.callbacks.register("first")(second)
        registry.callbacks.register("second")(second)
        registry.datasets.register("toy")(toy)
        assert registry.datasets.get("toy") is toy

    assert registry.callbacks.get("first") is first
    for plugins, name in ((registry.callbacks, "second"), (registry.datasets, "toy")):
        with pytest.raises(UnknownNameError):
            plugins.info(name)


def test_isolation_ends_with_an_error_too() -> None:
    def fail() -> None:
        with registry.isolated():
            registry.callbacks.register("mine")(type("Mine", (seqcls.Callback,), {}))
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    with pytest.raises(UnknownNameError):
        registry.callbacks.info("mine")


def test_the_old_name_of_plugins_warns(plugins: Registry[object]) -> None:
    with pytest.warns(DeprecationWarning, match=r"Registry\.plugins\(\)"):
        assert plugins.list() == plugins.plugins()  # type: ignore[operator]


def test_the_table_of_built_ins_has_no_name_twice() -> None:
    for table in registry.REGISTRIES.values():
        names = [name for known, plugin in table.builtins.items() for name in (known, *plugin.aliases)]
        assert len(names) == len(set(names))
