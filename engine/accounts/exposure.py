"""What an account already has and has asked for, in-flight orders included, for its limits."""

from engine.accounts.directory import Directory
from engine.accounts.set_aside import SetAside
from engine.ledger.ledger import Ledger
from engine.products.exchange.orders import Orders
from engine.units import AccountId, AmountMinor, AssetId, Side


class InFlightExposure:
    """One account's exposure, computed when a limit asks for it.

    Complexity: O(open orders of the account) for `open_buys_minor`, O(in flight) for the rest.
    """

    def __init__(
        self,
        account_id: AccountId,
        ledger: Ledger,
        orders: Orders,
        set_aside: SetAside,
        directory: Directory,
    ) -> None:
        self._account_id = account_id
        self._ledger = ledger
        self._open = orders.open_of(account_id)
        self._in_flight = set_aside.orders_of(account_id)
        self._directory = directory

    @property
    def open_orders(self) -> int:
        """Open orders and those on their way."""
        return len(self._open) + len(self._in_flight)

    def holdings_minor(self, asset_id: AssetId) -> AmountMinor:
        """What the account owns of an asset."""
        balance = self._ledger.balance(self._account_id, asset_id)
        return AmountMinor(0) if balance is None else balance.posted_minor

    def open_buys_minor(self, asset_id: AssetId) -> AmountMinor:
        """What the account would receive of an asset if all its buys filled."""
        instruments = self._directory.instruments
        total = 0
        for order in self._open.values():
            instrument = instruments[order.instrument_id]
            if order.side == Side.BUY and instrument.base_asset_id == asset_id:
                total += order.remaining_lots * instrument.lot_minor
        for terms in self._in_flight:
            instrument = instruments[terms.instrument_id]
            if terms.side == Side.BUY and instrument.base_asset_id == asset_id:
                total += terms.quantity_lots * instrument.lot_minor
        return AmountMinor(total)
