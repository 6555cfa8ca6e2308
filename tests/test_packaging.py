"""The package is what the tree says: packages, checker links, version, front door, wheel."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import json
import shutil
import socket
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import provenet

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
ROOTS: dict[str, str] = SETUPTOOLS["package-dir"]


def packages_in_tree() -> dict[str, Path]:
    """Every folder under the roots that holds Python files, by the name it is imported under."""
    found: dict[str, Path] = {}
    for package, folder in ROOTS.items():
        for file in (ROOT / folder).rglob("*.py"):
            inner = file.parent.relative_to(ROOT / folder).parts
            found[".".join((package, *inner))] = file.parent
    return found


def test_packages_are_listed() -> None:
    listed = SETUPTOOLS["packages"]
    tree = packages_in_tree()
    missing = sorted(tree.keys() - set(listed))
    gone = sorted(set(listed) - tree.keys())
    add = "\n".join(f'    "{name}",' for name in missing)
    remove = "\n".join(f'    "{name}",' for name in gone)
    assert not missing, f"add to `packages` in [tool.setuptools] of pyproject.toml:\n{add}"
    assert not gone, f"take out of `packages` in [tool.setuptools] of pyproject.toml:\n{remove}"
    assert listed == sorted(listed), "sort `packages` in [tool.setuptools] of pyproject.toml"


def test_packages_have_an_init_file() -> None:
    bare = sorted(
        f"{folder.relative_to(ROOT)}/__init__.py"
        for folder in packages_in_tree().values()
        if not (folder / "__init__.py").exists()
    )
    assert not bare, f"create, with a one-line docstring: {', '.join(bare)}"


def test_checker_links_match_the_tree() -> None:
    links = ROOT / ".dev" / "provenet"
    expected = {
        entry.name: f"../../provenet/{entry.name}"
        for entry in (ROOT / "provenet").iterdir()
        if entry.name != "__pycache__"
    }
    for package, folder in ROOTS.items():
        if package != "provenet":
            expected[package.removeprefix("provenet.")] = f"../../{folder}"
    actual = {
        link.name: link.readlink().as_posix() if link.is_symlink() else "(not a link)"
        for link in links.iterdir()
        if link.name != "__pycache__"
    }
    commands = [
        f"ln -sfn {target} .dev/provenet/{name}"
        for name, target in expected.items()
        if actual.get(name) != target
    ]
    commands += [f"git rm .dev/provenet/{name}" for name in actual.keys() - expected.keys()]
    assert actual == expected, "run in the repository's root:\n" + "\n".join(commands)
    assert all((links / name).exists() for name in actual)


def test_version_has_one_source() -> None:
    assert "version" not in PYPROJECT["project"]
    assert SETUPTOOLS["dynamic"]["version"] == {"attr": "provenet.__version__"}
    installed = importlib.metadata.version("provenet")
    assert provenet.__version__ == installed, "the version changed: run `pip install -e '.[dev]'` again"


def test_front_door_says_the_same_three_times() -> None:
    tree = ast.parse((ROOT / "provenet" / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    checked = {
        alias.asname or alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert checked == provenet._EXPORTS
    assert set(provenet.__all__) == {"__version__", *provenet._EXPORTS}
    assert len(provenet.__all__) == len(set(provenet.__all__))


@pytest.mark.parametrize("name", sorted(provenet._EXPORTS))
def test_public_name_loads(name: str) -> None:
    assert getattr(provenet, name) is getattr(importlib.import_module(provenet._EXPORTS[name]), name)
    assert name in dir(provenet)


def test_unknown_public_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'; it has: "):
        _ = provenet.nonesuch


def test_import_loads_only_the_standard_library() -> None:
    program = (
        "import sys, json; before = set(sys.modules); import provenet;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    loaded = json.loads(_python("-c", program))
    foreign = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names - {"provenet"}
    assert "provenet" in loaded
    assert not foreign, (
        f"`import provenet` loads {sorted(foreign)}; load them in the function that needs them"
    )
    assert not [name for name in loaded if name.startswith("provenet.")]


def test_tests_cannot_leave_the_machine() -> None:
    with socket.socket() as leaving, pytest.raises(RuntimeError, match="loopback only"):
        leaving.connect(("192.0.2.1", 80))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tree so that nothing is written into the repository."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(
        ROOT,
        copy,
        dirs_exist_ok=True,
        symlinks=True,
        ignore=shutil.ignore_patterns(
            ".git", ".venv", "__pycache__", "build", "dist", "out", "*.egg-info", ".*_cache", "*.db*"
        ),
    )
    _python("-c", "from setuptools import build_meta; build_meta.build_wheel('dist')", cwd=copy)
    (built,) = (copy / "dist").glob("*.whl")
    return built


def test_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"provenet-{provenet.__version__}.dist-info/"
    expected = {
        "/".join((*package.split("."), *file.relative_to(ROOT / folder).parts))
        for package, folder in ROOTS.items()
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    actual = {name for name in names if not name.startswith(info)}
    left_out = sorted(expected - actual)
    assert {"provenet/py.typed", "provenet/examples/__init__.py"} <= actual
    assert not left_out, f"name in `packages` or [tool.setuptools.package-data] of pyproject.toml: {left_out}"
    assert not actual - expected
    assert f"{info}licenses/LICENSE" in names


def test_wheel_imports_without_the_repository(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import provenet, provenet.examples, provenet.nets;"
        "print(provenet.__file__); print(provenet.nets.__file__)"
    )
    files = _python("-I", "-c", program, str(tmp_path), cwd=tmp_path).split()
    assert [Path(file) for file in files] == [
        tmp_path / "provenet" / "__init__.py",
        tmp_path / "provenet" / "nets" / "__init__.py",
    ]


def _python(*arguments: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
