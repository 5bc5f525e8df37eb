"""What an order's key stands for: a digest of the order as it was sent, however it travelled.

The same order may come by itself, in a batch or over a socket, as JSON or MessagePack, its fields
in any order, its account stated beside it or nowhere: it is the same order, and its key gets the
first answer. Fields that were left out stay out, so that a default may change and no old key with
it.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import msgspec

_DIGEST_BYTES: Final = 8
_PERSON: Final = b"order"  # no other body's digest is made alike
_encoder: Final = msgspec.json.Encoder(order="sorted")


def digest_of_order(order: Mapping[str, Any]) -> int:
    """What tells this order from another one under the same key.

    `order` is what was sent, decoded but not filled in. Its `account` does not count: keys are kept
    per account already.

    >>> digest_of_order({"side": "buy", "price": "1"}) == digest_of_order(
    ...     {"price": "1", "account": 100, "side": "buy"}
    ... )
    True
    """
    if "account" in order:
        order = {name: value for name, value in order.items() if name != "account"}
    digest = blake2b(_encoder.encode(order), digest_size=_DIGEST_BYTES, person=_PERSON)
    return int.from_bytes(digest.digest(), "big")
