"""Answers to GraphQL requests: first a plan that is checked as a whole, then its values. Pure but for the resolvers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from mlspine.core.errors import Invalid
from mlspine.web.mlflow.graphql import (
    DEEPEST,
    Directive,
    Document,
    Field,
    Inline,
    Kind,
    Operation,
    Schema,
    Selection,
    Variable,
    parse_document,
)

MOST_FIELDS = 1_000
MOST_ROOTS = 10  # each of them asks the store
SCALARS = ("String", "Int", "Float", "Boolean", "ID", "Long")
LARGEST = 1.7976931348623157e308

# Gives the value of a field out of what its type's resolver gave, and the arguments.
Resolver = Callable[[Any, Mapping[str, Any]], Any]


class Step(NamedTuple):
    """One field of a plan: where its value goes, and what of it is wanted."""

    key: str
    name: str
    parent: str
    kind: Kind
    arguments: dict[str, Any]
    steps: tuple[Step, ...]


def answer(
    schema: Schema,
    resolvers: Mapping[tuple[str, str], Resolver],
    *,
    query: str,
    variables: Mapping[str, Any],
    operation: str = "",
) -> dict[str, Any]:
    """The data of a request.

    schema: its types Query and Mutation are where requests begin. resolvers: (type, field) -> who gives the value;
    other fields come from the mapping around them, by their name in snake case. Kind Long leaves as text, a Float
    that is no number as null, an infinite one as the largest finite, an absent list as an empty one.
    Raises Invalid for what the schema has not, and for more than MOST_FIELDS fields.

    >>> from mlspine.web.mlflow.graphql import parse_schema
    >>> schema = parse_schema("type Query { run(id: String): Run } type Run { runId: String startTime: Long }")
    >>> run = lambda _, given: {"run_id": given["id"], "start_time": 7}
    >>> answer(schema, {("Query", "run"): run}, query='{ r: run(id: "a") { runId startTime } }', variables={})
    {'r': {'runId': 'a', 'startTime': '7'}}
    """
    document = parse_document(query)
    chosen = _chosen(document, operation)
    root = chosen.kind.title()
    plan = _Planner(schema, document, _given(chosen, variables)).plan(root, chosen.selections)
    if len(plan) > MOST_ROOTS:
        raise Invalid(f"{len(plan)} things are asked for at once", hint=f"ask for at most {MOST_ROOTS}")
    return _values(plan, {}, resolvers)


def _chosen(document: Document, name: str) -> Operation:
    fitting = [each for each in document.operations if not name or each.name == name]
    if len(fitting) != 1:
        raise Invalid(f"{len(fitting)} operations fit {name!r}", hint="name the one that is meant: operationName")
    return fitting[0]


def _given(operation: Operation, variables: Mapping[str, Any]) -> dict[str, Any]:
    missing = sorted(name for name in operation.needed if variables.get(name) is None)
    if missing:
        raise Invalid(f"variable ${missing[0]} is missing", hint="send it in `variables`")
    return {name: variables.get(name, default) for name, default in operation.defaults.items()}


class _Planner:
    def __init__(self, schema: Schema, document: Document, variables: dict[str, Any]) -> None:
        self._schema = schema
        self._fragments = document.fragments
        self._variables = variables
        self._count = 0

    def plan(self, on: str, selections: tuple[Selection, ...]) -> tuple[Step, ...]:
        """One step for each name in the answer; fields asked for twice are joined."""
        if on not in self._schema:
            raise Invalid(f"nothing here is a {on}", hint="see MLflow's schema")
        joined: dict[str, list[Field]] = {}
        for field in self._fields(on, selections, ()):
            joined.setdefault(field.key, []).append(field)
        return tuple(self._step(on, fields) for fields in joined.values())

    def _fields(self, on: str, selections: tuple[Selection, ...], within: tuple[str, ...]) -> Iterator[Field]:
        for each in selections:
            self._count += 1
            if self._count > MOST_FIELDS:
                raise Invalid("too many fields are asked for", hint=f"ask for at most {MOST_FIELDS}")
            if not self._wanted(each.directives):
                continue
            if isinstance(each, Field):
                yield each
                continue
            inside = within
            if not isinstance(each, Inline):
                if each.fragment not in self._fragments or each.fragment in within or len(within) == DEEPEST:
                    raise Invalid(f"fragment {each.fragment!r} is absent, or within itself", hint="write it out")
                inside = (*within, each.fragment)
                each = self._fragments[each.fragment]
            if each.on not in ("", on):
                raise Invalid(f"a {on} is never a {each.on}", hint=f"ask for fields of {on}")
            yield from self._fields(on, each.selections, inside)

    def _step(self, on: str, fields: list[Field]) -> Step:
        first = fields[0]
        arguments = self._filled(first.arguments)
        if any(each.name != first.name or self._filled(each.arguments) != arguments for each in fields):
            raise Invalid(f"{first.key} stands for two different fields", hint="give one of them another name")
        selections = tuple(selection for each in fields for selection in each.selections)
        if first.name == "__typename":
            return Step(first.key, first.name, on, Kind("String", is_list=False), {}, ())
        found = self._schema[on].get(first.name)
        if found is None:
            raise Invalid(f"a {on} has no {first.name}", hint=f"it has {', '.join(self._schema[on])}")
        unknown = sorted(set(arguments) - found.arguments)
        if unknown:
            raise Invalid(f"{on}.{first.name} takes no argument {unknown[0]}", hint="leave it out")
        is_scalar = found.kind.name in SCALARS
        if is_scalar == bool(selections):
            raise Invalid(
                f"{on}.{first.name} is {'a scalar' if is_scalar else 'made of fields'}",
                hint="ask for it without fields" if is_scalar else "say which of them",
            )
        steps = () if is_scalar else self.plan(found.kind.name, selections)
        return Step(first.key, first.name, on, found.kind, arguments, steps)

    def _wanted(self, directives: tuple[Directive, ...]) -> bool:
        for name, arguments in directives:
            if name not in ("include", "skip"):
                raise Invalid(f"directive @{name} is unknown here", hint="@include and @skip are known")
            if bool(self._filled(arguments).get("if")) != (name == "include"):
                return False
        return True

    def _filled(self, value: Any) -> Any:
        """A value with the variables in it filled in."""
        if isinstance(value, Variable):
            if value.name not in self._variables:
                raise Invalid(f"variable ${value.name} is not declared", hint="declare it after the operation's name")
            return self._variables[value.name]
        if isinstance(value, dict):
            return {name: self._filled(each) for name, each in value.items()}
        return [self._filled(each) for each in value] if isinstance(value, list) else value


def _values(
    steps: tuple[Step, ...], around: Mapping[str, Any], resolvers: Mapping[tuple[str, str], Resolver]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for step in steps:
        if step.name == "__typename":
            found[step.key] = step.parent
            continue
        resolver = resolvers.get((step.parent, step.name))
        value = around.get(snake(step.name)) if resolver is None else resolver(around, step.arguments)
        if step.kind.is_list:
            found[step.key] = [_value(step, each, resolvers) for each in value or ()]
        else:
            found[step.key] = _value(step, value, resolvers)
    return found


def _value(step: Step, value: Any, resolvers: Mapping[tuple[str, str], Resolver]) -> Any:
    if value is None:
        return None
    if step.steps:
        return _values(step.steps, value, resolvers)
    if step.kind.name == "Long":
        return str(value)
    return _finite(float(value)) if step.kind.name == "Float" else value


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else max(-LARGEST, min(LARGEST, value))


def snake(name: str) -> str:
    """
    >>> snake("lastUpdateTime")
    'last_update_time'
    """
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)
