"""Owns classes of options that are checked when they are made, for `--dataset-args`."""

from __future__ import annotations

import typing
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

from evalscope.errors import InvalidOption, UnknownOption, did_you_mean


class Schema:
    """Options by annotated attributes; those without a value have to be given.

        class Mine(Schema):
            language: str
            longest: int = 512

    Unknown names and values of another type are refused. A subclass may override `validate`.
    """

    model_fields_set: set[str]
    """The names of options that were given."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse what only pydantic reads: it would have no effect."""
        super().__init_subclass__(**options)
        for name, value in vars(cls).items():
            if type(value).__module__.partition(".")[0] == "pydantic":
                raise TypeError(
                    f"`{cls.__name__}.{name}` is pydantic's, and {cls.__name__} is no class of "
                    "pydantic's here; let it inherit from `pydantic.BaseModel` with "
                    '`model_config = ConfigDict(extra="forbid")`: `args_schema` takes any class'
                )

    def __init__(self, **given: Any) -> None:
        hints = self._hints()
        for name in given:
            if name not in hints:
                raise UnknownOption(
                    f"there is no dataset option `{name}`{did_you_mean(name, hints)}"
                    + ("" if hints else "; this dataset has none")
                )
        self.model_fields_set = set(given)
        for name, hint in hints.items():
            if name not in given and not hasattr(type(self), name):
                raise InvalidOption(f"the dataset option `{name}` is missing")
            value = given.get(name, getattr(type(self), name, None))
            if name in given and not _fits(value, hint):
                raise InvalidOption(
                    f"the dataset option `{name}` is {_wanted(hint)}, not {value!r}"
                )
            setattr(self, name, value)
        self.validate()

    def validate(self) -> None:
        """Check options together; raise a `ValueError` that says what to do."""

    @classmethod
    def _hints(cls) -> dict[str, Any]:
        try:
            hints = typing.get_type_hints(cls)
        except (NameError, TypeError):
            # an annotation that only a newer Python reads
            hints = {
                n: Any for of in reversed(cls.__mro__) for n in getattr(of, "__annotations__", {})
            }
        return {
            name: hint
            for name, hint in hints.items()
            if name != "model_fields_set" and get_origin(hint) is not ClassVar
        }

    def model_dump(self, *, exclude_unset: bool = False) -> dict[str, Any]:
        """All options as a dict; with `exclude_unset`, those that were given."""
        names = self.model_fields_set if exclude_unset else self._hints()
        return {name: getattr(self, name) for name in self._hints() if name in names}

    def __eq__(self, other: object) -> bool:
        """Whether all options are equal."""
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """All options."""
        shown = ", ".join(f"{name}={value!r}" for name, value in self.model_dump().items())
        return f"{type(self).__name__}({shown})"


def _fits(value: Any, hint: Any) -> bool:
    origin, of = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in of
    if origin is Union or type(hint).__name__ == "UnionType":
        return any(_fits(value, one) for one in of)
    if origin is list:
        return isinstance(value, list) and (not of or all(_fits(item, of[0]) for item in value))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, bool, dict, list):
        return isinstance(value, hint)
    return value is None if hint is type(None) else True


def _wanted(hint: Any) -> str:
    origin, of = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(map(repr, of))
    if origin is Union or type(hint).__name__ == "UnionType":
        return " or ".join(map(_wanted, of))
    if origin is list:
        return f"a list, each of it {_wanted(of[0])}" if of else "a list"
    names = {str: "a text", int: "a whole number", float: "a number", bool: "True or False"}
    return "None" if hint is type(None) else names.get(hint, getattr(hint, "__name__", str(hint)))
