"""TARGET: `module:attr`, `file.py[:attr]`, `net.json` or `net.pnml`, to an agent.

A Python target may be a `Net`, a `NetBuilder`, an `Agent`, or a function without arguments that returns
one. Mistakes in the user's file are told with the file's line, never with a traceback of ours.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenet.cli.printing import Unusable
from provenet.nets.errors import NetError, ProvenetError, did_you_mean
from provenet.nets.quick import dataclass

if TYPE_CHECKING:
    from provenet.nets.net import Net
    from provenet.sdb.handlers import Agent

USUAL = ("agent", "net", "build")
"""Names that are looked for where a target names none."""

Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="module:attr, file.py[:attr], net.json or net.pnml.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a target names.

    Attributes:
        target: As the user wrote it.
        agent: The net with its handlers; a net from a file has none.
        module: The module that it came from.
    """

    target: str
    agent: Agent
    module: ModuleType | None = None

    @property
    def net(self) -> Net:
        """The net."""
        return self.agent.net


def load(target: str) -> Loaded:
    """What a target names.

    Raises:
        Unusable: There is no such thing, or its code fails.
        NetError: The net has mistakes.
        FormatError: The file is no well-formed net.
    """
    path, attr = _split(target)
    if path.suffix in {".json", ".pnml", ".xml"}:
        return Loaded(target, _from_file(path))
    module = _load_file(path) if path.suffix == ".py" or path.exists() else _load_module(target, str(path))
    value = _attribute(module, attr, target)
    return Loaded(target, _agent(value, target, module), module)


def _split(target: str) -> tuple[Path, str]:
    head, colon, attr = target.rpartition(":")
    # The colon of C:\nets\a.json is no separator.
    if colon and attr.isidentifier() and len(head) > 1:
        return Path(head), attr
    return Path(target), ""


def _from_file(path: Path) -> Agent:
    from provenet.sdb.handlers import Agent

    if not path.exists():
        raise Unusable("there is no such file", where=str(path), hint=_nearby(path))
    if path.suffix == ".json":
        from provenet.nets.formats.canonical import read_net

        return Agent(read_net(path))
    from provenet.nets.formats.pnml import read_pnml

    return Agent(read_pnml(path))


def _load_file(path: Path) -> ModuleType:
    if not path.exists():
        raise Unusable("there is no such file", where=str(path), hint=_nearby(path))
    if path.is_dir() or path.suffix != ".py":
        raise Unusable(
            "this is no target",
            where=str(path),
            hint="name module:attr, a .py file, or a net in a .json or .pnml file",
        )
    name = (
        path.stem
        if path.stem.isidentifier() and path.stem not in sys.modules
        else f"_target_{abs(hash(path))}"
    )
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Token models look their annotations up in the module by its name.
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        with _user_code(str(path)):
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _load_module(target: str, name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise Unusable(
            f"{target!r} is no target",
            hint="name module:attr, a .py file, or a net in a .json or .pnml file",
        )
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        with _user_code(name):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            near = Path(f"{name}.py")
            hint = (
                f"did you mean {near}?"
                if near.exists()
                else "check the name, and run it where the module can be imported"
            )
            raise Unusable(f"there is no module {error.name!r}", where=target, hint=hint) from None
        raise


def _attribute(module: ModuleType, attr: str, target: str) -> Any:
    public = [n for n in dir(module) if not n.startswith("_")]
    if attr:
        try:
            return getattr(module, attr)
        except AttributeError:
            raise Unusable(
                f"module {module.__name__!r} has no {attr!r}", where=target, hint=did_you_mean(attr, public)
            ) from None
    for name in USUAL:
        if hasattr(module, name):
            return getattr(module, name)
    raise Unusable(
        f"there is no {', '.join(USUAL[:-1])} or {USUAL[-1]} in it",
        where=target,
        hint=f"name the attribute: {target}:NAME",
    )


def _agent(value: Any, target: str, module: ModuleType) -> Agent:
    from provenet.nets.build import NetBuilder
    from provenet.nets.net import Net
    from provenet.sdb.handlers import Agent

    if callable(value) and not isinstance(value, Agent | Net | NetBuilder):
        name = getattr(value, "__name__", str(value))
        if _needs_arguments(value):
            raise Unusable(
                f"{name!r} takes arguments",
                where=target,
                hint="a target is a net, an agent, or a function without arguments that returns one",
            )
        with _user_code(module.__file__ or target):
            value = value()
        if inspect.iscoroutine(value) or inspect.isasyncgen(value):
            if inspect.iscoroutine(value):
                value.close()  # or Python warns at some later time that nobody awaited it
            raise Unusable(
                f"{name!r} is an async function", where=target, hint="a target's function is a plain `def`"
            )
    match value:
        case Agent():
            return value
        case NetBuilder():
            with _user_code(module.__file__ or target):
                return Agent.of(value)
        case Net():
            return Agent(value)
    raise Unusable(
        f"this is a {type(value).__name__}, expected a Net, a NetBuilder or an Agent",
        where=target,
        hint="name another attribute of the module",
    )


def _needs_arguments(value: Any) -> bool:
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        for p in parameters
    )


@contextlib.contextmanager
def _user_code(source: str) -> Iterator[None]:
    """Run the user's code: what it prints goes to stderr, what it raises is told with its line."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (NetError, KeyboardInterrupt):
        raise
    except ModuleNotFoundError as error:
        place = _place(error)
        if not place:
            raise
        raise Unusable(
            f"there is no module {error.name!r}", where=place, hint="install it, or mend the import"
        ) from error
    except SyntaxError as error:
        raise Unusable(
            f"this is no Python: {error.msg}",
            where=f"{error.filename or source}:{error.lineno or 1}",
            hint=(error.text or "").strip(),
        ) from error
    except ProvenetError as error:
        if not error.where:
            error.where = _place(error) or source
        raise
    except SystemExit as error:
        raise Unusable(
            "the file ends the program while it is loaded",
            where=_place(error) or source,
            hint='move that under `if __name__ == "__main__":`',
        ) from error
    except BaseException as error:  # the user's file may raise anything
        raise Unusable(
            f"{type(error).__name__}: {error}",
            where=_place(error) or source,
            hint="this comes from the code that defines the net; PROVENET_DEBUG=1 shows the whole traceback",
        ) from error


def _place(error: BaseException) -> str:
    """File and line of the innermost frame that is the user's: not ours, not a library's."""
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        name = frame.filename
        if name.startswith("<") or "site-packages" in name or _is_ours(name) or _is_stdlib(name):
            continue
        found = f"{_relative(name)}:{frame.lineno}"
    return found


_OURS = Path(__file__).resolve().parent.parent
_STDLIB = Path(inspect.__file__).resolve().parent


def _is_ours(name: str) -> bool:
    path = Path(name).resolve()
    homes = [
        _OURS,
        *(
            Path(p)
            for m in ("nets", "sdb", "verify", "engine", "visualize")
            for p in getattr(sys.modules.get(f"provenet.{m}"), "__path__", ())
        ),
    ]
    return any(path.is_relative_to(home.resolve()) for home in homes)


def _is_stdlib(name: str) -> bool:
    return Path(name).resolve().is_relative_to(_STDLIB)


def _relative(name: str) -> str:
    path = Path(name)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else name


def _nearby(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder}"
    return did_you_mean(
        path.name, [p.name for p in folder.iterdir() if p.suffix in {".py", ".json", ".pnml"}]
    )
