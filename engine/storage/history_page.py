"""One page of a table as SQL: conditions, their arguments, the order, and how many rows."""

from typing import Any, Final

from engine.errors import InvariantViolated
from engine.storage.history_tables import SCHEMA

#: More than any page has; who wants more reads on.
ROWS_PER_READ_MAX: Final = 100_000


class Page:
    """A question for one page: conditions, their arguments, the order, and how many rows."""

    def __init__(self, order: str, rows_max: int, *, newest_first: bool = False) -> None:
        if not 0 <= rows_max <= ROWS_PER_READ_MAX:
            raise InvariantViolated(f"a page of {rows_max} rows, at most {ROWS_PER_READ_MAX} fit")
        self.arguments: list[Any] = []
        self._conditions: list[str] = []
        self._limit = self.argument(rows_max)
        self._direction, self._beyond = ("DESC", "<") if newest_first else ("ASC", ">")
        self._order = order

    def where(self, column: str, value: Any, operator: str = "=") -> "Page":
        """Only rows with this value; None asks for nothing."""
        if value is not None:
            self._conditions.append(f"{column} {operator} {self.argument(value)}")
        return self

    def after(self, *place: int | None) -> "Page":
        """Only rows beyond a place in the order of the page; None asks for nothing."""
        if None not in place:
            places = ", ".join(self.argument(number) for number in place)
            self._conditions.append(f"({self._order}) {self._beyond} ({places})")
        return self

    def sql(self, columns: str, table: str, condition: str = "true") -> str:
        """The statement, with one more condition."""
        conditions = " AND ".join([condition, *self._conditions])
        return f"SELECT {columns} FROM {SCHEMA}.{table} WHERE {conditions} {self._tail}"

    def either(self, columns: str, table: str, condition: str, other: str) -> str:
        """The statement for rows that meet one of two conditions, each through its own index."""
        one, two = self.sql(columns, table, condition), self.sql(columns, table, other)
        return f"SELECT * FROM (({one}) UNION ALL ({two})) AS found {self._tail}"

    @property
    def _tail(self) -> str:
        keys = ", ".join(f"{name} {self._direction}" for name in self._order.split(", "))
        return f"ORDER BY {keys} LIMIT {self._limit}"

    def argument(self, value: Any) -> str:
        """The name of one more argument."""
        self.arguments.append(value)
        return f"${len(self.arguments)}"
