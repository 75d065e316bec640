"""Objects to bytes and back: what a model needs travels with it or is named.

Classes and functions of a notebook or script, and of modules that belong to no installed package (a file
beside the notebook), travel by value; everything else by reference, recorded in the environment lock.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.machinery
import importlib.metadata
import io
import pickle
import platform
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle

from mlspine.core.errors import Invalid, MissingExtra
from mlspine.registry.canonical import canonical

PROTOCOL = 5
_NAME_OF_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Pickled(NamedTuple):
    """An object as bytes, and what loading them again showed.

    modules: those the bytes refer to; copy: the object as loaded; left_behind: local modules that could not
    travel by value, so whoever loads the bytes must have them.
    """

    data: bytes
    modules: frozenset[str]
    copy: Any
    left_behind: tuple[str, ...] = ()


def dump(value: Any, *, what: str = "model") -> Pickled:
    """Pickle an object so that it loads elsewhere; raises Invalid naming what cannot be pickled."""
    by_reference = _reloaded(_dumps(value, what), what)
    local = sorted({_top(module) for module in by_reference.modules if _is_local(_top(module))})
    if not local:
        return by_reference
    try:
        with _by_value(local):
            return _reloaded(_dumps(value, what), what)
    except Invalid:
        return by_reference._replace(left_behind=tuple(local))


def load(data: bytes, *, what: str = "model", requirements: str = "") -> Any:
    """The object back. A missing module is named with the line that installs it (MissingExtra)."""
    try:
        return pickle.loads(data)
    except ModuleNotFoundError as exc:
        raise missing_module(exc, what=what, requirements=requirements) from exc
    except Exception as exc:
        hint = f"pip install -r {requirements}" if requirements else "use the library versions that wrote it"
        raise Invalid(f"the {what} does not load: {type(exc).__name__}: {str(exc)[:300]}", hint=hint) from exc


def missing_module(exc: ModuleNotFoundError, *, what: str, requirements: str = "") -> MissingExtra:
    """The error that names the module a pickle asked for, and the line that installs it."""
    module = _top(exc.name or str(exc))
    install = f"pip install -r {requirements}" if requirements else f"pip install {_distribution(module)}"
    return MissingExtra(f"the {what} needs the module {module!r}, which is not here", hint=install)


def environment_lock(modules: Iterable[str]) -> dict[str, str]:
    """Distribution -> version for what these modules need, and "python".

    The rule: the distributions that own the modules, numpy and cloudpickle, and from there every declared
    requirement that is imported right now. What is installed but was never imported is not needed.
    """
    owners = distributions()
    imported = {name for module in list(sys.modules) for name in owners.get(_top(module), ())}
    waiting = {name for module in modules for name in owners.get(_top(module), ())} | {"numpy", "cloudpickle"}
    locked: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        if name in locked:
            continue
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            locked[name] = importlib.metadata.version(name)
            waiting |= {need for need in _requirements(name) if need in imported and need not in locked}
    return {"python": platform.python_version(), **dict(sorted(locked.items()))}


def environment_like(lock: Mapping[str, str], modules: Iterable[str]) -> dict[str, str]:
    """The distributions of an earlier lock, and those that own these modules, at the versions installed now.

    Unlike `environment_lock` it does not depend on what this process happened to import.
    """
    owners = distributions()
    names = {name for module in modules for name in owners.get(_top(module), ())} | set(lock) - {"python"}
    versions = {name: version for name in sorted(names) if (version := distribution_version(name))}
    return {"python": platform.python_version(), **versions}


def distribution_version(name: str) -> str | None:
    """The installed version of a distribution, None when it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def freeze() -> dict[str, str]:
    """Every installed distribution with its version."""
    # Each look at `metadata` parses the file again.
    read = [each.metadata for each in importlib.metadata.distributions()]
    return dict(sorted((_normal(each["Name"]), each["Version"]) for each in read if each["Name"]))


def needed_by(distribution: str, installed: Mapping[str, str]) -> dict[str, str]:
    """What a distribution requires, and what that requires in turn, of what is in `installed`."""
    found: dict[str, str] = {}
    waiting = {distribution}
    while waiting:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            needs = {name for name in _requirements(waiting.pop()) if name in installed and name not in found}
            found |= {name: installed[name] for name in needs}
            waiting |= needs
    return dict(sorted(found.items()))


@functools.cache
def distributions() -> dict[str, tuple[str, ...]]:
    """Top-level module -> the installed distributions that own it."""
    return {
        module: tuple(sorted({_normal(name) for name in names}))
        for module, names in importlib.metadata.packages_distributions().items()
    }


class _Recorder(pickle.Unpickler):
    """Notes the modules a pickle looks names up in, those used by functions it carries by value included."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.modules: set[str] = set()

    def find_class(self, module: str, name: str, /) -> Any:
        self.modules.add(module)
        found = super().find_class(module, name)
        # How cloudpickle spells "import this module" for functions it carries by value.
        return self._import if name == "subimport" and module.startswith("cloudpickle") else found

    def _import(self, name: str) -> Any:
        self.modules.add(name)
        return importlib.import_module(name)


def _reloaded(data: bytes, what: str) -> Pickled:
    reader = _Recorder(io.BytesIO(data))
    try:
        copy = reader.load()
    except Exception as exc:
        raise Invalid(
            f"the {what} does not load again once stored: {type(exc).__name__}: {str(exc)[:300]}",
            hint=f"check the __reduce__ or __setstate__ methods of the {what}",
        ) from exc
    return Pickled(data, frozenset(reader.modules), copy)


def _dumps(value: Any, what: str) -> bytes:
    try:
        data: bytes = cloudpickle.dumps(value, protocol=PROTOCOL)
    except Exception as exc:
        raise Invalid(
            f"the {what} cannot be stored: {type(exc).__name__}: {str(exc)[:300]}",
            hint=f"keep open files, locks, connections and generators out of the {what}",
        ) from exc
    return canonical(data)


@contextlib.contextmanager
def _by_value(names: list[str]) -> Iterator[None]:
    already = cloudpickle.list_registry_pickle_by_value()
    chosen = [sys.modules[name] for name in names if name in sys.modules and name not in already]
    for module in chosen:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in chosen:
            cloudpickle.unregister_pickle_by_value(module)


def is_installed(module: str) -> bool:
    """Whether a module comes with an installed package or with Python, so that its name says what it is."""
    return bool(module) and module not in ("__main__", "__mp_main__") and not _is_local(_top(module))


def _is_local(module: str) -> bool:
    if module in ("__main__", "__mp_main__", "mlspine") or module in sys.stdlib_module_names:
        return False
    if module not in distributions():
        distributions.cache_clear()  # it may have been installed since, as notebooks do
    return module not in distributions() or _hides_installed(module)


def _hides_installed(module: str) -> bool:
    """Whether what was imported under this name lies elsewhere than what a distribution installs under it.

    Some distributions install a top-level `tests` or `examples`; one's own folder of that name is found first.
    """
    origin = getattr(sys.modules.get(module), "__file__", None)
    if origin is None:
        return False
    owners = map(importlib.metadata.distribution, distributions()[module])
    installed = [place for owner in owners for place in _installed_at(owner, module)]
    # An editable distribution installs no such file: then what was imported is it.
    return bool(installed) and Path(origin).resolve() not in installed


def _installed_at(owner: importlib.metadata.Distribution, module: str) -> list[Path]:
    names = (f"{module}/__init__.py", *(f"{module}{suffix}" for suffix in importlib.machinery.all_suffixes()))
    places = (Path(str(owner.locate_file(name))) for name in names)
    return [place.resolve() for place in places if place.exists()]


def _distribution(module: str) -> str:
    # A module that is not here has no owner to look up; these are the well-known ones named otherwise.
    return {"sklearn": "scikit-learn", "PIL": "pillow", "cv2": "opencv-python", "yaml": "pyyaml"}.get(module, module)


def _requirements(name: str) -> set[str]:
    lines = importlib.metadata.requires(name) or ()
    found = (_NAME_OF_REQUIREMENT.match(line) for line in lines if "extra ==" not in line)
    return {_normal(match.group()) for match in found if match}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _top(module: str) -> str:
    return module.partition(".")[0]
