"""Custody adapters: by hand through files, and a faulty simulated twin for tests."""

import os
from enum import Enum, auto
from pathlib import Path
from typing import Final

import msgspec
import trio

from engine.errors import NotFound, VenueTimeout, VenueUnreachable
from engine.ports import CustodyOutcome
from engine.units import AmountMinor

_OUTBOX: Final = "outbox"
_ANSWERS: Final = "answers"


class _Request(msgspec.Struct, frozen=True):
    key: str
    asset: str
    amount_minor: int
    destination: str


class FileCustody:
    """Withdrawals done by people: a request file appears, they put an answer file beside it.

    `outbox/KEY.json` states what to do; `answers/KEY.json` holds
    {"settled": true or false, "evidence": "..."}. Submitting twice writes the same file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = trio.Path(folder)

    async def submit(
        self, key: str, asset: str, amount_minor: AmountMinor, destination: str
    ) -> CustodyOutcome | None:
        """Put the request where people look. Never an outcome yet, unless it was answered before.

        Raises: VenueUnreachable when the file cannot be written.
        """
        request = _Request(key, asset, amount_minor, destination)
        try:
            await (self._folder / _OUTBOX).mkdir(parents=True, exist_ok=True)
            await (self._folder / _ANSWERS).mkdir(parents=True, exist_ok=True)
            path = Path(self._folder / _OUTBOX / f"{key}.json")
            await trio.to_thread.run_sync(_write_whole, path, msgspec.json.encode(request))
        except OSError as error:
            raise VenueUnreachable(f"cannot write the request for {key}: {error}") from error
        return await self._answer(key)

    async def query(self, key: str) -> CustodyOutcome | None:
        """The answer file, if there is one.

        Raises: NotFound when there is no request of that key, VenueUnreachable for a bad answer.
        """
        if not await (self._folder / _OUTBOX / f"{key}.json").exists():
            raise NotFound(f"custody has no request {key}")
        return await self._answer(key)

    async def _answer(self, key: str) -> CustodyOutcome | None:
        try:
            text = await (self._folder / _ANSWERS / f"{key}.json").read_bytes()
        except FileNotFoundError:
            return None
        try:
            return msgspec.json.decode(text, type=CustodyOutcome)
        except msgspec.DecodeError as error:
            raise VenueUnreachable(f"answer file of {key} is not readable: {error}") from error


def _write_whole(path: Path, content: bytes) -> None:
    """Put a file there durably, or none: half a request would count as sent for ever."""
    unfinished = path.with_suffix(".new")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


class CustodyFault(Enum):
    """What goes wrong with one submission."""

    NONE = auto()
    UNREACHABLE = auto()  # it never arrived
    TIMEOUT_AFTER = auto()  # it arrived and was done, the answer was lost
    TIMEOUT_BEFORE = auto()  # it never arrived, but that cannot be told from TIMEOUT_AFTER
    REFUSED = auto()
    SLOW = auto()  # accepted; done only when asked for the second time


class SimulatedCustody:
    """An outside party with a memory and planned faults, in place of a real one.

    Invariant: under one key it pays at most once, however often it is asked.
    """

    def __init__(self, faults: list[CustodyFault] | None = None) -> None:
        self._faults = list(faults or [])
        self.paid: dict[str, int] = {}
        self.requests: dict[str, int] = {}
        self._refused: set[str] = set()
        self._slow: dict[str, int] = {}  # amounts accepted, to be paid when asked for
        self._queries: dict[str, int] = {}

    async def submit(
        self, key: str, asset: str, amount_minor: AmountMinor, destination: str
    ) -> CustodyOutcome | None:
        """Do what the next planned fault allows."""
        await trio.lowlevel.checkpoint()
        fault = self._faults.pop(0) if self._faults else CustodyFault.NONE
        if fault is CustodyFault.UNREACHABLE:
            raise VenueUnreachable("simulated: connection refused")
        if fault is CustodyFault.TIMEOUT_BEFORE:
            raise VenueTimeout("simulated: no answer")
        self.requests[key] = self.requests.get(key, 0) + 1
        if fault is CustodyFault.REFUSED:
            self._refused.add(key)
            return CustodyOutcome(settled=False, evidence="simulated refusal")
        if fault is CustodyFault.SLOW:
            self._slow[key], self._queries[key] = amount_minor, 0
            return None
        self.paid[key] = amount_minor
        if fault is CustodyFault.TIMEOUT_AFTER:
            raise VenueTimeout("simulated: answer lost")
        return CustodyOutcome(settled=True, evidence=f"{asset} to {destination}")

    async def query(self, key: str) -> CustodyOutcome | None:
        """What became of a key."""
        await trio.lowlevel.checkpoint()
        if key in self._queries and key not in self.paid:
            self._queries[key] += 1
            if self._queries[key] < 2:
                return None
            self.paid[key] = self._slow[key]
        if key in self.paid:
            return CustodyOutcome(settled=True, evidence="found by key")
        if key in self._refused:
            return CustodyOutcome(settled=False, evidence="simulated refusal")
        raise NotFound(f"custody has no request {key}")
