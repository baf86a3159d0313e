"""The arguments of a function, or the flags of a command, are looked at before anything is done with them."""

from collections.abc import Callable, Mapping
from collections.abc import Sequence as AnySequence
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from searchspace.errors import InvalidArgument

MOST_THREADS = 1024
_WORDS: dict[Any, str] = {int: "an integer", float: "a number", str: "a text", bool: "True or False", NoneType: "None"}


def check_flag(flag: str, value: object, holds: object, rule: str, *, needed: bool = False) -> None:
    """Raises InvalidArgument for a value that breaks the rule of its flag. `needed`: the flag has no default."""
    if not holds:
        shown = f"{value:g}" if isinstance(value, float) else f"{value!r:.80}" if isinstance(value, str) else value
        step = "choose another value" + ("" if needed else f", or leave {flag} out")
        raise InvalidArgument(f"{flag} must be {rule}, got {shown}: {step}")


def check_threads(threads: int | None, flag: str = "--threads") -> None:
    """Raises InvalidArgument for fewer than 1 thread, or more than any machine has; None is for the default."""
    fits = threads is None or 1 <= threads <= MOST_THREADS
    check_flag(flag, threads, fits, f"an integer from 1 to {MOST_THREADS}")


def check_types(function: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Raises InvalidArgument for a value that is not of the type which `function` is annotated with.

    An integer is a number too, a truth value is neither. Values that are no arguments of the function are left alone.
    """
    try:
        kinds = get_type_hints(function)
    except NameError:  # one that is there for type checkers alone
        kinds = function.__annotations__
    for name, kind in kinds.items():
        if name in values and not _is(values[name], kind):
            shown = " ".join(repr(values[name]).split())
            raise InvalidArgument(f"{name} must be {_said(kind)}, got {shown:.80}; help({function.__name__}) says more")


def _is(value: Any, kind: Any) -> bool:
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_is(value, each) for each in inside)
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    if origin is AnySequence and isinstance(value, AnySequence):
        return all(_is(each, inside[0]) for each in value)
    found = origin or kind
    is_open = not isinstance(found, type) or getattr(found, "_is_protocol", False)
    return is_open or isinstance(value, found)


def _said(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        *first, last = map(_said, get_args(kind))
        return f"{', '.join(first)} or {last}"
    if get_origin(kind) is AnySequence:
        return f"a sequence of which each is {_said(get_args(kind)[0])}"
    return _WORDS.get(kind) or f"a {getattr(kind, '__name__', kind)}"
