"""The rules of the order book, one table per rule."""

from tests.orderbook.tables import check


def test_better_price_trades_first_and_equal_prices_trade_in_arrival_order() -> None:
    check("""
        place s1 sell 5 @ 101  -> rested s1 5 @ 101
        place s2 sell 5 @ 100  -> rested s2 5 @ 100
        place s3 sell 5 @ 100  -> rested s3 5 @ 100
        place b1 buy 12 @ 101  -> trade s2/b1 5 @ 100, trade s3/b1 5 @ 100, trade s1/b1 2 @ 101
        cancel s1              -> cancelled s1 3 @ 101 REQUESTED
        cancel s1              -> refused UNKNOWN_ORDER
    """)
