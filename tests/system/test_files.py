from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from seqcls.system import files
from seqcls.system.files import new_directory, place_copy, replace_file, write_file


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_a_file_holds_its_old_content_if_any_step_of_replacing_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "settings"
    replace_file(path, b"old")
    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace"), "open": (Path, "open")}[call], fail)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == ["settings"]


def test_a_file_is_flushed_before_it_gets_its_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        calls.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def noted_replace(path: Path, target: Path) -> Path:
        calls.append(f"rename to {target.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    replace_file(tmp_path / "settings", b"new")
    assert calls == [f"fsync .settings.{os.getpid()}.tmp", "rename to settings", f"fsync {tmp_path.name}"]


def test_each_new_folder_is_flushed_where_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr(files, "sync_directory", flushed.append)
    files.make_directory(tmp_path / "a" / "b")
    files.make_directory(tmp_path / "a" / "b" / "c")
    files.make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert flushed == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]


def test_what_a_killed_process_of_the_same_number_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / f".settings.{os.getpid()}.tmp").write_bytes(b"half")
    (tmp_path / f".run.{os.getpid()}.tmp").mkdir()
    replace_file(tmp_path / "settings", b"new")
    with new_directory(tmp_path / "run", replace=False) as folder:
        write_file(folder / "weights", b"1")
    assert _names(tmp_path) == ["run", "settings"]
    assert _names(tmp_path / "run") == ["weights"]


def test_a_file_is_never_written_over_another(tmp_path: Path) -> None:
    write_file(tmp_path / "weights", b"1")
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "weights", b"2")
    assert (tmp_path / "weights").read_bytes() == b"1"


@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt()])
@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_that_fails_to_fill_leaves_what_was_there(tmp_path: Path, error: BaseException, exists: bool) -> None:
    if exists:
        (tmp_path / "run").mkdir()
        write_file(tmp_path / "run" / "weights", b"old")

    def fill() -> None:
        with new_directory(tmp_path / "run", replace=True) as folder:
            write_file(folder / "weights", b"new")
            raise error

    with pytest.raises(type(error)):
        fill()
    assert _names(tmp_path) == (["run"] if exists else [])
    assert not exists or (tmp_path / "run" / "weights").read_bytes() == b"old"


def test_a_folder_whose_last_rename_fails_gets_its_old_content_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    write_file(tmp_path / "run" / "weights", b"old")
    rename = Path.rename

    def fail_for_the_new(path: Path, target: Path) -> Path:
        if path.suffix == ".tmp":
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new)
    with pytest.raises(OSError, match="Input/output"), new_directory(tmp_path / "run", replace=True) as folder:
        write_file(folder / "weights", b"new")
    assert _names(tmp_path) == ["run"]
    assert (tmp_path / "run" / "weights").read_bytes() == b"old"


def test_a_folder_is_not_replaced_unless_told(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    write_file(tmp_path / "run" / "weights", b"old")
    with pytest.raises(OSError), new_directory(tmp_path / "run", replace=False) as folder:
        write_file(folder / "weights", b"new")
    with new_directory(tmp_path / "run", replace=True) as folder:
        write_file(folder / "other", b"new")
    assert _names(tmp_path) == ["run"]
    assert _names(tmp_path / "run") == ["other"]


def test_a_link_to_a_folder_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    write_file(tmp_path / "target" / "weights", b"old")
    (tmp_path / "run").symlink_to(tmp_path / "target")
    with new_directory(tmp_path / "run", replace=True) as folder:
        write_file(folder / "weights", b"new")
    assert not (tmp_path / "run").is_symlink()
    assert (tmp_path / "target" / "weights").read_bytes() == b"old"


def test_windows_folders_are_not_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        raise PermissionError("a folder cannot be opened here")

    monkeypatch.setattr(files.os, "name", "nt")
    monkeypatch.setattr(files.os, "open", refuse)
    files.sync_directory(tmp_path)


def test_a_copy_takes_the_place_of_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    for number, link in enumerate((os.link, refuse)):
        monkeypatch.setattr(os, "link", link)
        source, target = tmp_path / f"source{number}", tmp_path / f"target{number}"
        for folder, content in ((source, "new"), (target, "old")):
            (folder / "inner").mkdir(parents=True)
            (folder / "inner" / "file").write_text(content)
        (target / "stale").write_text("old")
        place_copy(source, target)
        assert [child.name for child in target.iterdir()] == ["inner"]
        assert (target / "inner" / "file").read_text() == (source / "inner" / "file").read_text() == "new"
        place_copy(source / "inner" / "file", target / "inner" / "other")
        assert (target / "inner" / "other").read_text() == "new"
