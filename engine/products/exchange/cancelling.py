"""Many cancels at once: one chunk of a scope that its header froze, and the next to follow it."""

from typing import Final

from engine.orderbook.messages import BookEvent, CancelReason, OrderCancelled
from engine.products.decision import Decision
from engine.products.exchange.messages import (
    CancelChunk,
    CancelChunkDone,
    ReportChunks,
    Reserved,
)
from engine.products.exchange.settling import ORDERS_PER_RECORD_MAX, Draft, SettlingDesk
from engine.units import OrderId, TimeNs
from engine.units import Sequence as SequenceNumber

#: One record passes over at most so many orders of other keys.
LOOKED_AT_PER_RECORD_MAX: Final = 2_000


class CancellingDesk(SettlingDesk):
    """A desk that can do its part of a cancel-all; a parent of the one that decides."""

    def _cancel_chunk(
        self,
        sequence: SequenceNumber,
        now_ns: TimeNs,
        command: CancelChunk,
        _reserved: Reserved | None,
    ) -> Decision:
        draft = Draft(sequence, now_ns, [])
        self._cancel_some_waiting(command, draft)
        passed = command.after_order_id
        room = ORDERS_PER_RECORD_MAX - len(draft.holds)
        if not room:
            finished = False
        elif command.key_id:
            finished, passed = self._cancel_some_of_key(command, room, draft)
        else:
            events = self.book.cancel_resting(
                command.reason,
                room,
                account_id=command.account_id or None,
                before_order_id=command.before_order_id,
            )
            self._state_cancelled(events, draft)
            finished = len(events) < room
        cancelled = command.cancelled_orders + len(draft.holds)
        draft.events.append(CancelChunkDone(cancelled, finished))
        if not finished:
            draft.follow_ups.append(
                CancelChunk(
                    command.instrument_id,
                    command.account_id,
                    command.before_order_id,
                    command.reason,
                    command.header_sequence,
                    cancelled,
                    command.key_id,
                    passed,
                )
            )
        elif command.reason == CancelReason.CANCEL_ALL:
            draft.follow_ups.append(
                ReportChunks(command.header_sequence, command.instrument_id, cancelled)
            )
        return draft.decision()

    def _cancel_some_of_key(
        self, command: CancelChunk, room: int, draft: Draft
    ) -> tuple[bool, OrderId]:
        """Cancel resting orders of one key among all of its account's.

        Returns whether that was the last of them, and the newest that was passed over. What is
        looked at counts as much as what is cancelled, so that the work of a chunk has a bound.
        """
        passed, finished = command.after_order_id, True
        resting = self.book.resting_of(command.account_id, passed, command.before_order_id)
        mine: list[OrderId] = []
        for looked_at, order_id in enumerate(resting):
            if len(mine) == room or looked_at == LOOKED_AT_PER_RECORD_MAX:
                finished = False
                break
            if self._open[order_id].key_id == command.key_id:
                mine.append(order_id)
            else:
                passed = order_id
        self._state_cancelled(self.book.cancel_these(mine, command.reason), draft)
        return finished, passed

    def _state_cancelled(self, events: list[BookEvent], draft: Draft) -> None:
        draft.events.extend(events)
        draft.holds.extend(self._close(e.order_id) for e in events if type(e) is OrderCancelled)

    def _cancel_some_waiting(self, command: CancelChunk, draft: Draft) -> None:
        account_id, before, key_id = command.account_id, command.before_order_id, command.key_id
        due = [
            waiting
            for order_id, waiting in sorted(self._triggering.items())
            if order_id < before
            and account_id in (0, waiting.terms.account_id)
            and key_id in (0, waiting.terms.key_id)
        ][:ORDERS_PER_RECORD_MAX]
        room = ORDERS_PER_RECORD_MAX - len(due)
        for order_id in self.conditionals.of_account(account_id, before, room, key_id):
            waiting = self.conditionals.get(order_id)
            if waiting is not None:
                due.append(waiting)
        for waiting in due:
            self._cancel_waiting(waiting, command.reason, draft)
