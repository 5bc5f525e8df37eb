"""What one account's private stream has told, judged message by message. Pure.

Every event must say that it follows the one before it, none may come twice, and numbers only grow.
What the events add up to can then be compared with what the server answers when asked.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from tests.crash.history import TERMINAL

Number = tuple[int, int]
Message = Mapping[str, Any]

#: Fields of an order that tell of the answer, not of the order.
_OF_THE_ANSWER: Final = frozenset({"sequence", "trades"})


class ToldFill(NamedTuple):
    """One half of a trade, as told to its account."""

    trade: str
    order_id: str
    side: str
    price: str
    quantity: str
    liquidity: str


class StreamLog:
    """An account's events, folded. Feed: `hear`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.last: Number | None = None
        self.fills: list[ToldFill] = []
        #: Fees of `fills`, each with its asset.
        self.fees: list[tuple[str, str]] = []
        self.orders: dict[str, dict[str, Any]] = {}
        self.balances: dict[str, tuple[Decimal, Decimal, Decimal]] = {}
        self.events = 0
        #: What a later snapshot has skipped: behind the first number, up to the second.
        self.skipped: list[tuple[Number, Number]] = []
        self.contradictions: list[str] = []
        self._parts: list[dict[str, Any]] = []

    def hear(self, message: Message) -> None:
        """Take in the next message of the stream, whole snapshots or parts of them."""
        if "number" not in message:
            return  # a farewell
        sequence, index = message["number"]
        number = (int(sequence), int(index))
        if message["type"] == "snapshot":
            self._hear_snapshot(message, number)
            return
        self.events += 1
        previous = tuple(message["previous"])
        if self.last is None or previous != self.last or number <= self.last:
            self._note(f"{number} came after {self.last}, and says it follows {previous}")
        self.last = number
        match message["type"]:
            case "order":
                order = message["order"]
                self.orders[order["order_id"]] = about(order)
            case "fill":
                self._hear_fill(message)
            case "balance":
                self.balances[message["asset"]] = amounts(message)

    def open_orders(self) -> dict[str, dict[str, Any]]:
        """The orders that have not ended, by id."""
        return {
            number: order
            for number, order in self.orders.items()
            if order["status"] not in TERMINAL
        }

    def has_skipped(self, sequence: int) -> bool:
        """Whether a snapshot has passed over what this record did."""
        return any(first[0] <= sequence <= last[0] for first, last in self.skipped)

    def _hear_snapshot(self, message: Message, number: Number) -> None:
        self._parts += message["orders"]
        if not message["complete"]:
            return
        orders, self._parts = self._parts, []
        if self.last is not None:
            self.skipped.append((self.last, number))
            if number <= self.last:
                self._note(f"the snapshot {number} is older than {self.last}")
        self.last = number
        self.orders = {order["order_id"]: about(order) for order in orders}
        self.balances = {row["asset"]: amounts(row) for row in message["balances"]}

    def _hear_fill(self, message: Message) -> None:
        fields = ("trade", "order_id", "side", "price", "quantity", "liquidity")
        self.fills.append(ToldFill(*(message[name] for name in fields)))
        self.fees.append((message["fee"], message["fee_asset"]))

    def _note(self, text: str) -> None:
        self.contradictions.append(f"stream of {self.name}: {text}")


def about(order: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of the order itself."""
    return {name: said for name, said in order.items() if name not in _OF_THE_ANSWER}


def amounts(row: Mapping[str, Any]) -> tuple[Decimal, Decimal, Decimal]:
    """Total, held and available."""
    return Decimal(row["total"]), Decimal(row["held"]), Decimal(row["available"])
