"""Checksums of the rows of a study's file, kept by SQLite's triggers in the transaction that writes the row.

SQLite notices a damaged page, not a changed digit in it. Connections of this program have triggers of their own that
keep the CRC-32 of every row in the table CHECKSUMS. Triggers in the file take a checksum away when anybody changes its
row, so what another program writes through Optuna has none and counts as sound, as do files of before.
"""

import sqlite3
import zlib
from collections.abc import Iterator
from typing import NamedTuple

CHECKSUMS = "phinas_checksums"
_COLUMNS = "name TEXT, key INTEGER, crc32 INTEGER"
_FUNCTION = "phinas_crc32"
_LEFT_OUT = {CHECKSUMS, "alembic_version", "version_info"}


class _Table(NamedTuple):
    name: str
    key: str
    columns: tuple[str, ...]

    def checksum(self, row: str) -> str:
        """As SQL, of a row that goes by this name."""
        return f"{_FUNCTION}({', '.join(f'{row}.{column}' for column in self.columns)})"


def add_to(connection: sqlite3.Connection) -> None:
    """Make the table of checksums and the triggers of the file, where they are missing."""
    connection.execute(f"CREATE TABLE IF NOT EXISTS {CHECKSUMS} ({_COLUMNS}, PRIMARY KEY (name, key)) WITHOUT ROWID")
    for table in _tables(connection):
        for event in ("BEFORE UPDATE", "AFTER DELETE"):
            connection.execute(
                f"CREATE TRIGGER IF NOT EXISTS phinas_{event[-6:].lower()}_{table.name} {event} ON {table.name} BEGIN "
                f"DELETE FROM {CHECKSUMS} WHERE name = '{table.name}' AND key = OLD.{table.key}; END"
            )
    connection.commit()


def keep(connection: sqlite3.Connection) -> None:
    """From now on, what this connection writes gets a checksum, if the file has the table for them."""
    if not _is_there(connection):
        return
    _add_function(connection)
    for table in _tables(connection):
        for event in ("INSERT", "UPDATE"):
            connection.execute(
                f"CREATE TEMP TRIGGER phinas_keep_{event.lower()}_{table.name} AFTER {event} ON main.{table.name} "
                f"BEGIN INSERT OR REPLACE INTO {CHECKSUMS} "
                f"VALUES ('{table.name}', NEW.{table.key}, {table.checksum('NEW')}); END"
            )
    connection.commit()


def wrong_row(connection: sqlite3.Connection) -> str | None:
    """A row that is not what was written, or that is gone, in a few words; None where all are sound."""
    if not _is_there(connection):
        lost = connection.execute(f"SELECT name FROM sqlite_master WHERE sql LIKE '%{_COLUMNS}%'").fetchone()
        return None if lost is None else f"its checksums stand in the table {lost[0]}"
    _add_function(connection)
    for table in _tables(connection):
        found = connection.execute(
            f"SELECT c.key FROM {CHECKSUMS} c LEFT JOIN {table.name} t ON t.{table.key} = c.key "
            f"WHERE c.name = '{table.name}' AND (t.{table.key} IS NULL OR {table.checksum('t')} IS NOT c.crc32) LIMIT 1"
        ).fetchone()
        if found:
            return f"row {found[0]} of {table.name} is not what was written"
    return None


def _is_there(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (CHECKSUMS,))
    return found.fetchone() is not None


def _add_function(connection: sqlite3.Connection) -> None:
    connection.create_function(_FUNCTION, -1, _crc32, deterministic=True)


def _crc32(*values: int | float | str | bytes | None) -> int:
    return zlib.crc32(repr(values).encode(errors="backslashreplace"))


def _tables(connection: sqlite3.Connection) -> Iterator[_Table]:
    """The tables whose rows go by one whole number."""
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    for name in sorted({str(name) for (name,) in rows} - _LEFT_OUT):
        columns = connection.execute("SELECT name, type, pk FROM pragma_table_info(?)", (name,)).fetchall()
        keys = [(column, kind) for column, kind, place in columns if place]
        if name.isidentifier() and len(keys) == 1 and keys[0][1] == "INTEGER":
            yield _Table(name, keys[0][0], tuple(column for column, _, _ in columns))
