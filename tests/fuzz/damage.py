"""What happens to files: flipped bits, cut ends, other encodings; in JSON wrong types, huge numbers, lost keys.

A damage is a function from a file's bytes to other bytes, drawn by hypothesis.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

Damage = Callable[[bytes], bytes]
RAW = "@@raw@@"
_WORD = re.compile(r"""[^\s,;:="'<>[\]{}]+""")
# What may stand in place of a value, as JSON text.
TOKENS = (
    *(
        "null",
        "true",
        "false",
        '""',
        '"text"',
        '"3"',
        "[]",
        "{}",
        "[[]]",
        '{"a": 1}',
        "0",
        "-1",
        "1",
        "2.5",
        "-0.0",
        "1e-300",
    ),
    *(
        "1e300",
        "1e999",
        "-1e999",
        "NaN",
        "Infinity",
        "9007199254740993",
        "18446744073709551616",
        "1" + "0" * 400,
        "1" * 5000,
    ),
    *(
        '"\\ud800"',
        '"\\u0000"',
        '"../../etc/passwd"',
        '"' + "x" * 5000 + '"',
        "[" * 3000 + "]" * 3000,
        "[" * 60 + "]" * 60,
    ),
)


def in_bytes() -> st.SearchStrategy[Damage]:
    """Damage that any file can take. Places are shares of its length."""
    share = st.floats(0, 1, exclude_max=True)
    few = st.integers(1, 64)
    return st.one_of(
        st.builds(_flip, share, st.integers(0, 7)),
        st.builds(_flip_of_all, st.lists(st.tuples(share, st.integers(0, 7)), min_size=2, max_size=5)),
        st.builds(lambda at: lambda data: data[: int(at * len(data))], share),
        st.builds(lambda at, count: lambda data: _replaced(data, at, count, b""), share, few),
        st.builds(lambda at, count: lambda data: _replaced(data, at, count, bytes(count)), share, few),
        st.builds(lambda at, new: lambda data: _replaced(data, at, 0, new), share, st.binary(min_size=1, max_size=16)),
        st.builds(lambda at, count: lambda data: _twice(data, at, count), share, few),
        st.sampled_from([_in("utf-16"), _in("utf-8-sig"), _in("utf-32-le"), lambda _: b"", lambda data: data + data]),
    )


def in_json() -> st.SearchStrategy[Damage]:
    """Damage to the content of a JSON file: the text is sound, what it says is not what was written."""
    places, tokens = st.integers(0, 2**32 - 1), st.sampled_from(TOKENS)
    return st.one_of(
        st.builds(lambda at, token: lambda data: _changed(data, at, token, "value"), places, tokens),
        st.builds(lambda at, token: lambda data: _changed(data, at, token, "twice"), places, tokens),
        st.builds(
            lambda at, how: lambda data: _changed(data, at, "0", how), places, st.sampled_from(["gone", "named"])
        ),
    )


def in_text() -> st.SearchStrategy[Damage]:
    """Damage to the words and numbers of a text that a person writes."""
    places, tokens = (
        st.integers(0, 2**32 - 1),
        st.sampled_from([*TOKENS, "inf", "1_000", "0x10", "-", "=", '"', ",,", "\n\n"]),
    )
    return st.builds(lambda at, token: lambda data: _word(data, at, token), places, tokens)


def _flip(at: float, bit: int) -> Damage:
    return _flip_of_all([(at, bit)])


def _flip_of_all(flips: list[tuple[float, int]]) -> Damage:
    def damage(data: bytes) -> bytes:
        content = bytearray(data)
        for at, bit in flips if content else ():
            content[int(at * len(content))] ^= 1 << bit
        return bytes(content)

    return damage


def _replaced(data: bytes, at: float, count: int, new: bytes) -> bytes:
    start = int(at * len(data))
    return data[:start] + new + data[start + count :]


def _twice(data: bytes, at: float, count: int) -> bytes:
    start = int(at * len(data))
    return data[: start + count] + data[start:]


def _in(encoding: str) -> Damage:
    return lambda data: data.decode("utf-8", errors="replace").encode(encoding)


def _word(data: bytes, at: int, token: str) -> bytes:
    text = data.decode("utf-8", errors="replace")
    words = [*_WORD.finditer(text)]
    start, end = words[at % len(words)].span() if words else (0, 0)
    return f"{text[:start]}{token}{text[end:]}".encode("utf-8", errors="surrogatepass")


def _changed(data: bytes, at: int, token: str, how: str) -> bytes:
    """One value of a JSON text replaced, given twice, taken out or given under another name."""
    content = json.loads(data)
    owners = [(owner, key) for owner, key in _places(content) if how == "value" or isinstance(owner, dict)]
    if not owners:
        return token.encode()
    owner, key = owners[at % len(owners)]
    if how == "gone":
        del owner[key]
    elif how == "named":
        owner[f"{key}x"] = owner.pop(key)
    elif how == "twice":
        owner[f"{RAW}{key}"] = RAW
    else:
        owner[key] = RAW
    text = json.dumps(content, indent=1)
    return text.replace(f'"{RAW}"', token).replace(f'"{RAW}', '"').encode()


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every value inside, as (what holds it, its key or index)."""
    inside = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(inside):
        yield content, key
        yield from _places(value)
