"""Dataclasses as JSON, and back from it, each value checked against its field's type."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from headstart.errors import HeadstartError

T = TypeVar("T")


class NotThatError(Exception):
    """A value that is not what its field holds; the message says where and what."""


def written(value: Any) -> str:
    """A dataclass as JSON, lists of numbers on one line each."""
    text = json.dumps(asdict(value), indent=2, ensure_ascii=False, allow_nan=False)
    # No string is touched: a line break in one is written as \\n.
    return re.sub(r"\[\n\s*([-+.\deE,\s]+?)\s*\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def parsed(kind: type[T], text: str, version: int) -> T:
    """The `kind` that `written` gave, if its field ``format`` is this version.

    Raises:
        HeadstartError: of another format, no benchmark's result, or damaged.
    """
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HeadstartError(f"no benchmark's results.json ({error}): name one") from None
    found = told.get("format") if isinstance(told, dict) else None
    if found != version:
        raise HeadstartError(
            f"a results.json of format {str(found)[:20]!r}; this headstart reads format {version}: "
            "run the benchmark again"
        )
    try:
        return restored(kind, told)
    except NotThatError as error:
        raise HeadstartError(f"a damaged results.json: {str(error)[:150]!r}; run the benchmark again") from None


def restored(kind: type[T], value: Any, where: str = "") -> T:
    """What `dataclasses.asdict` made of a `kind`, by way of JSON, as a `kind` again.

    Args:
        kind: a dataclass of plain values, `tuple`, `dict[str, …]`, unions with None, and dataclasses of these.
        value: of dicts, lists, strings, numbers, booleans and None.
        where: its name in what it was read from.

    Raises:
        NotThatError: a field is missing, unknown or of another type.
    """
    return _Reader().read(kind, value, where)


class _Reader:
    """Looks a dataclass's hints up once; a report has thousands of intervals."""

    def __init__(self) -> None:
        self._hints: dict[Any, dict[str, Any]] = {}

    def read(self, kind: Any, value: Any, where: str) -> Any:
        if is_dataclass(kind):
            return self._dataclass(kind, value, where)
        origin, inner = get_origin(kind), get_args(kind)
        if origin is UnionType:
            if value is None and NoneType in inner:
                return None
            return self.read(next(each for each in inner if each is not NoneType), value, where)
        if origin is tuple:
            return self._tuple(inner, _checked(value, list, where), where)
        if origin is dict:
            items = _checked(value, dict, where).items()
            return {key: self.read(inner[1], each, f"{where}.{key}") for key, each in items}
        if kind is Any:
            return value
        if kind is float and type(value) is int:
            return float(value)
        return _checked(value, kind, where)

    def _dataclass(self, kind: Any, value: Any, where: str) -> Any:
        given: Mapping[str, Any] = _checked(value, dict, where)
        hints = self._hints.get(kind) or self._hints.setdefault(kind, get_type_hints(kind))
        names = [field.name for field in fields(kind)]
        before = f"{where}." if where else ""
        if given.keys() != set(names):
            odd = sorted(given.keys() ^ set(names))[0]
            raise NotThatError(f"{before}{odd} is {'missing' if odd in names else 'not known'}")
        return kind(**{name: self.read(hints[name], given[name], before + name) for name in names})

    def _tuple(self, inner: tuple[Any, ...], values: list[Any], where: str) -> tuple[Any, ...]:
        if inner[-1] is Ellipsis:
            return tuple(self.read(inner[0], each, f"{where}[{place}]") for place, each in enumerate(values))
        if len(values) != len(inner):
            raise NotThatError(f"{where} has {len(values)} values, not {len(inner)}")
        pairs = enumerate(zip(inner, values, strict=True))
        return tuple(self.read(kind, each, f"{where}[{place}]") for place, (kind, each) in pairs)


def _checked(value: Any, kind: Any, where: str) -> Any:
    if type(value) is not kind:  # not isinstance: True is no number
        raise NotThatError(f"{where or 'the whole'} is no {kind.__name__}")
    return value
