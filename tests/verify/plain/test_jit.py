"""Where compiled kernels are kept: never in the package, and nowhere is good enough too."""

from __future__ import annotations

import importlib.util
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numba
import pytest

import provenet
from provenet.verify.plain.engines import jit

SOURCE = """
from provenet.verify.plain.engines.jit import inlined, kernel

@inlined
def twice(n):
    return 2 * n

@kernel("int64", "int64")
def more(n):
    return twice(n) + 1
"""


def module_of(file: Path) -> ModuleType:
    """A module of kernels in a folder of its own."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(SOURCE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kept(folder: Path) -> list[Path]:
    return sorted([*folder.rglob("*.nbi"), *folder.rglob("*.nbc")])


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_kernels_are_kept_in_a_folder_of_the_user_by_version(tmp_path: Path) -> None:
    assert module_of(tmp_path / "code" / "one.py").more(4) == 9
    assert jit.cache_folder() == tmp_path / "cache" / "provenet" / provenet.__version__
    assert kept(jit.cache_folder())
    assert not kept(tmp_path / "code")
    assert vars(numba.config)["CACHE_DIR"] == ""  # what others compile in this process is their affair
    again = module_of(tmp_path / "code" / "one.py")
    assert again.more(4) == 9
    assert again.more.stats.cache_hits


def test_threads_that_load_kernels_at_once_leave_the_setting_as_it_was(tmp_path: Path) -> None:
    def one(number: int) -> ModuleType:
        time.sleep(0.02 * number)  # while the one before compiles
        return module_of(tmp_path / "code" / f"at_once_{number}.py")

    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(one, range(4)))
    assert [m.more(4) for m in made] == [9] * 4
    assert vars(numba.config)["CACHE_DIR"] == ""


def test_numbas_own_setting_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "mine"))
    assert module_of(tmp_path / "code" / "two.py").more(4) == 9
    assert kept(tmp_path / "mine")
    assert not kept(tmp_path / "cache")


@pytest.mark.parametrize("base", ["relative", ""])
def test_a_cache_folder_that_is_no_absolute_path_is_ignored(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", base)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert jit.cache_folder() == tmp_path / ".cache" / "provenet" / provenet.__version__


def test_a_folder_that_cannot_be_written_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert module_of(tmp_path / "code" / "three.py").more(4) == 9
    assert not kept(tmp_path)


def test_a_broken_file_in_it_breaks_nothing(tmp_path: Path) -> None:
    module_of(tmp_path / "code" / "four.py")
    for file in kept(tmp_path):
        file.write_bytes(b"broken")
    assert module_of(tmp_path / "code" / "four.py").more(4) == 9
