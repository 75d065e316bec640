"""Values and functions as JSON that is equal when they do the same, whatever cell or file they were typed in.

A pickle would not do: it holds file names and line numbers, and an object loaded from one pickles differently.
"""

from __future__ import annotations

import types
from typing import Any

from mlspine.core.ids import digest_bytes
from mlspine.registry import pickling


def described(value: Any, _inside: frozenset[int] = frozenset()) -> Any:
    """A parameter as JSON: estimators by class and parameters, functions by what they do, the rest by pickle."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else repr(value)
    if isinstance(value, dict):
        return [[described(key, _inside), described(each, _inside)] for key, each in value.items()]
    if isinstance(value, list | tuple):
        return [described(each, _inside) for each in value]
    if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType):
        return f"{getattr(value, '__module__', '')}.{value.__name__}"
    if isinstance(value, types.FunctionType):
        return _function(value, _inside)
    if hasattr(value, "get_params"):
        own = value.get_params(deep=False)
        return {"class": _class_of(value), "parameters": {name: described(own[name], _inside) for name in sorted(own)}}
    return {"class": _class_of(value), "digest": digest_bytes(pickling.dump(value, what="parameter").data)}


def _function(value: types.FunctionType, inside: frozenset[int]) -> Any:
    """An installed function by its name; one of a notebook or script by its code and all that it reaches."""
    if pickling.is_installed(value.__module__ or ""):
        return f"{value.__module__}.{value.__qualname__}"
    if id(value) in inside:
        return value.__qualname__  # it calls itself
    inside |= {id(value)}
    reached = {name: value.__globals__[name] for name in _names(value.__code__) if name in value.__globals__}
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    return {
        "code": _code(value.__code__),
        "defaults": described([value.__defaults__, value.__kwdefaults__], inside),
        "closure": described(cells, inside),
        "globals": {name: described(reached[name], inside) for name in sorted(reached)},
    }


def _code(code: types.CodeType) -> Any:
    constants = [_constant(each) for each in code.co_consts]
    return [digest_bytes(code.co_code), list(code.co_names), list(code.co_varnames), constants]


def _constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return _code(value)
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)


def _names(code: types.CodeType) -> set[str]:
    inner = (_names(each) for each in code.co_consts if isinstance(each, types.CodeType))
    return set(code.co_names).union(*inner)


def _class_of(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
