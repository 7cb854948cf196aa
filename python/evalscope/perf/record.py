"""Owns dicts whose items are attributes as well, for what is read from files of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from evalscope.errors import did_you_mean

R = TypeVar("R", bound="Record")


def field(
    default: Any = None, key: str | None = None, of: Callable[[Any], Any] | None = None
) -> Any:
    """An attribute of a `Record`; `key` is its name in JSON, where that is another.

    `of` makes its value of what JSON holds. A default that is a list or a dict is copied.
    """
    return _Field(default, key, of)


class _Field:
    def __init__(self, default: Any, key: str | None, of: Callable[[Any], Any] | None) -> None:
        self.default = default
        self.key = key or ""
        self._of = of

    def __set_name__(self, owner: type[Record], name: str) -> None:
        self.key = self.key or name
        owner._FIELDS = {**owner._FIELDS, name: self}

    def __get__(self, record: Record | None, _owner: type) -> Any:
        if record is None:
            return self
        value = record.get(self.key)
        return self.default if value is None else value

    def __set__(self, record: Record, value: Any) -> None:
        record[self.key] = value

    def taken(self, value: Any) -> Any:
        """The value to keep of one that was given."""
        return value if value is None or self._of is None else self._of(value)


class Record(dict[str, Any]):
    """A dict with the keys of a JSON file, and an attribute for each of those that are known.

    A key that a file lacks has its default as an attribute, and no item. Keys that are not known
    are items only: a newer tool writes more.
    """

    _FIELDS: ClassVar[dict[str, _Field]] = {}

    def __init__(self, given: Mapping[str, Any] | None = None, /, **values: Any) -> None:
        super().__init__()
        for name, value in {**(given or {}), **values}.items():
            of = self._FIELDS.get(name) or self._field_of_key(name)
            self[of.key if of else name] = of.taken(value) if of else value
        for of in self._FIELDS.values():
            if isinstance(of.default, (list, dict)) and of.key not in self:
                self[of.key] = type(of.default)()

    @classmethod
    def _field_of_key(cls, key: str) -> _Field | None:
        return next((of for of in cls._FIELDS.values() if of.key == key), None)

    @classmethod
    def from_dict(cls: type[R], values: Mapping[str, Any]) -> R:
        """Make one of a dict with the keys of JSON, or with the names of attributes."""
        return cls(values)

    model_validate = from_dict

    def to_dict(self) -> dict[str, Any]:
        """A plain dict with the keys of JSON, without those that have no value."""
        return self.model_dump(by_alias=True, exclude_none=True)

    def model_dump(self, *, by_alias: bool = False, exclude_none: bool = False) -> dict[str, Any]:
        """A plain dict of all attributes, defaults included; by name, or by key in JSON."""
        dumped = {
            of.key if by_alias else name: _plain(getattr(self, name), by_alias)
            for name, of in self._FIELDS.items()
        }
        return {k: v for k, v in dumped.items() if not (exclude_none and v is None)}

    def __missing__(self, key: str) -> Any:
        """A key that there is not: its default, or an error with the nearest one."""
        of = self._field_of_key(key)
        if of is not None:
            return of.default
        raise KeyError(f"no `{key}`{did_you_mean(key, self)}")

    def __repr__(self) -> str:
        """The name of the class, and the items."""
        return f"{type(self).__name__}({super().__repr__()})"

    def __dir__(self) -> list[str]:
        """What completion shows."""
        return sorted({*super().__dir__(), *self._FIELDS})


def _plain(value: Any, by_alias: bool) -> Any:
    if isinstance(value, Record):
        return value.model_dump(by_alias=by_alias)
    if isinstance(value, list):
        return [_plain(item, by_alias) for item in value]
    return value
