"""One use of the API as a value: what to send, what type the answer has, where the list goes on."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec

T = TypeVar("T")
R = TypeVar("R")
_JSON = {"Content-Type": "application/json"}
#: Rows of a page unless a caller says otherwise; no server gives more.
ROWS_MAX = 1_000


def _always(_: Any) -> bool:
    return True


class Call(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One request. `is_repeatable`: it reads, or has a key, so that to repeat it does no harm.

    `not_yet` is the type of an answer that only says: ask again, and what is not `is_settled` says
    so too. `also` are further statuses with which a good answer may come.
    """

    method: str
    path: str
    answer: Any  # the type T
    query: dict[str, Any] = {}
    body: bytes = b""
    headers: dict[str, str] = {}
    is_repeatable: bool = True
    not_yet: Any = None
    is_settled: Callable[[Any], bool] = _always
    also: tuple[int, ...] = ()

    @property
    def target(self) -> str:
        """Path and query as they are sent, and signed."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path

    def because(self, reason: str) -> "Call[T]":
        """The same, with an operator's reason for the audit; of commands by admin keys."""
        return self._with({"Outcry-Reason": quote(reason, safe=" ")})

    def _with(self, headers: dict[str, str]) -> "Call[T]":
        return msgspec.structs.replace(self, headers={**self.headers, **headers})


class PagedCall(Call[T], Generic[T, R], frozen=True, kw_only=True):
    """One page of a list, and how to ask for the next one.

    `rows` names the answer's field with the rows, `row_id` a row's field to go on from.
    """

    rows: str
    row_id: str

    def rows_of(self, answer: T) -> list[R]:
        """The rows of a page."""
        found: list[R] = getattr(answer, self.rows)
        return found

    def behind(self, answer: T) -> "PagedCall[T, R] | None":
        """The call for the page behind an answer; None if that was the last one."""
        rows = self.rows_of(answer)
        if len(rows) < self.query["limit"]:
            return None
        cursor = "after" if "after" in self.query else "before"
        query = {**self.query, cursor: getattr(rows[-1], self.row_id)}
        return msgspec.structs.replace(self, query=query)


def reading(path: str, answer: type[T], **query: Any) -> Call[T]:
    """A GET; parameters that are None are left out."""
    return Call(method="GET", path=path, answer=answer, query=_stated(query))


def paging(
    path: str, answer: type[T], row: type[R], rows: str, row_id: str, **query: Any
) -> PagedCall[T, R]:
    """A GET of a page whose rows, of the type `row`, are the answer's field `rows`."""
    stated = _stated(query)
    return PagedCall(method="GET", path=path, answer=answer, query=stated, rows=rows, row_id=row_id)


def sending(
    method: str, path: str, form: Any, answer: type[T], key: str = "", *, repeatable: bool = False
) -> Call[T]:
    """A request with a JSON body; repeatable under a key, or if it is stated to be so."""
    return Call(
        method=method,
        path=path,
        answer=answer,
        body=msgspec.json.encode(form),
        headers={**_JSON, **_keyed(key)},
        is_repeatable=repeatable or bool(key),
    )


def deleting(path: str, answer: type[T], key: str = "", **query: Any) -> Call[T]:
    """A DELETE. What ends something is repeatable: a second time it ends nothing else."""
    return Call(
        method="DELETE", path=path, answer=answer, query=_stated(query), headers=_keyed(key)
    )


def segment(text: object) -> str:
    """Text as one part of a path.

    >>> segment("BTC/USD"), segment("..")
    ('BTC%2FUSD', '%2E%2E')
    """
    quoted = quote(str(text), safe="")
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted


def _stated(query: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}


def _keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key} if key else {}
