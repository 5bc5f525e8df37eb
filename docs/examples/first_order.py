"""Place an order, look at it, cancel it.

Set OUTCRY_URL, and OUTCRY_KEY; or OUTCRY_KEY_ID and OUTCRY_SECRET for a key that signs.
"""

import time

from api.client import Client, Refused, calls, server_of

SYMBOL = "BTC-USD"


def main() -> None:
    server = server_of()
    with Client(server.url, server.credentials) as outcry:
        terms = outcry.send(calls.instrument(SYMBOL))
        order = calls.LimitForm(
            # The order's name for ever: sent again, it is the same order, not a second one.
            client_order_id=f"first-{time.time_ns()}",
            instrument=SYMBOL,
            side="buy",
            price=terms.tick_size,  # as far from the market as can be: it will rest
            quantity=terms.minimum_quantity,
            post_only=True,
        )
        try:
            placed = outcry.send(calls.place(order))
        except Refused as refusal:  # for good: mend the order, and give it another name
            print(f"refused: {refusal.code}, {refusal}")
            return
        print(f"order {placed.order_id} is {placed.status}")
        again = outcry.send(calls.place(order))
        print(f"sent again, it is still order {again.order_id}")
        for balance in outcry.send(calls.balances()).balances:
            print(f"{balance.asset}: {balance.available} available, {balance.held} held")
        ended = outcry.send(calls.cancel(order.client_order_id))
        print(f"order {ended.order_id} is {ended.status}")


if __name__ == "__main__":
    main()
