"""Items and tiers: a table, spelled as rows or as columns.

    rows      [{"item_price_id": "plan", "quantity": 1}, {"item_price_id": "addon"}]
    columns   {"item_price_id": ["plan", "addon"], "quantity": [1, null]}

Both mean the same. The spelling given is kept, because the order of the request's pairs follows
it (row by row, or column by column); `rows_form` turns either into rows, for comparing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from marshmallow import ValidationError

from schemas.base import JobSchema
from schemas.fields import JobField


class Table(JobField[Any]):
    """A list of rows or an object of columns, checked row by row.

    A None among the cells of a column, and a None or empty row, is a gap: it keeps its place, for
    the place is the index on the wire. Gaps at the end are dropped. Errors name the row, then the
    field (`subscription_items.2.quantity`), in either spelling.

    Args:
        row: schema of one row.
    """

    def __init__(self, row: JobSchema) -> None:
        super().__init__()
        self.row = row

    def checked(self, value: object) -> Any:
        """Return the table in its own spelling, or say what is wrong where."""
        if isinstance(value, list | tuple):
            return self._loaded(value)
        if isinstance(value, Mapping):
            rows = self._loaded(self._turned(value))
            return {name: column for name in value if (column := _column(rows, name))}
        raise ValidationError("Neither a list of rows nor an object of columns.")

    def _turned(self, columns: Mapping[Any, Any]) -> list[dict[str, Any]]:
        problems: dict[str | int, Any] = {}
        for name, column in columns.items():
            if name not in self.row.fields:
                problems[name] = [self.row.unknown_text(name)]
            elif column is not None and not isinstance(column, list | tuple):
                problems[name] = ["Not a list: a column is one."]
        if problems:
            raise ValidationError(problems)
        return to_rows(columns)

    def _loaded(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        given = [{} if row is None else row for row in rows]
        loaded: list[dict[str, Any]] = self.row.load(given, many=True)
        while loaded and not loaded[-1]:
            loaded.pop()
        return loaded


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    column = [row.get(name) for row in rows]
    while column and column[-1] is None:
        column.pop()
    return column


def to_rows(columns: Mapping[str, Sequence[Any] | None]) -> list[dict[str, Any]]:
    """Turn columns into rows; a None or a missing cell leaves its field out of the row.

    Args:
        columns: field name to a list of cells; lists may differ in length.

    Returns:
        As many rows as the longest column has cells.
    """
    height = max((len(column) for column in columns.values() if column), default=0)
    rows: list[dict[str, Any]] = [{} for _ in range(height)]
    for name, column in columns.items():
        for row, cell in zip(rows, column or (), strict=False):
            if cell is not None:
                row[name] = cell
    return rows
