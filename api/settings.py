"""What an operator can set about the HTTP api; `config` fills it in."""

from ipaddress import ip_network
from typing import Annotated, Final

import msgspec

from api.rates import RateSettings

#: No list is longer than this, whatever a caller asks for.
ROWS_MAX: Final = 1_000


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules of the edge that are no limits of the server."""

    #: How far from the reference price a market order may trade unless it says so itself.
    market_slippage_ppm: Annotated[int, msgspec.Meta(ge=0, lt=1_000_000)] = 50_000
    #: Adds to `BAD_SIGNATURE` what text was to be signed; for those who try out their client.
    explain_signatures: bool = False
    #: For how long a new key lives that states neither an end nor networks; 0: for ever.
    key_lifetime_days: Annotated[int, msgspec.Meta(ge=0, le=36_500)] = 90
    #: Whether a key that may move money out must say from which networks.
    transfer_needs_networks: bool = True
    #: A secret. Empty: that of the file.
    master_secret: str = ""
    #: Empty: `master-secret` in the data folder.
    master_secret_file: str = ""
    #: Signed requests of one key that may be fresh at once.
    replays_per_key_max: Annotated[int, msgspec.Meta(ge=1)] = 50_000
    #: Those of all keys; about 250 bytes each.
    replays_max: Annotated[int, msgspec.Meta(ge=1)] = 200_000
    #: Networks of proxies of our own, whose `X-Forwarded-For` is believed.
    proxies: tuple[str, ...] = ()
    #: Channels of instruments that one websocket of the feed may subscribe to.
    feed_subscriptions_max: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 200
    #: Those of one address, by all its websockets; 0: no limit.
    feed_subscriptions_per_address_max: Annotated[int, msgspec.Meta(ge=0)] = 10_000
    #: Networks whose clients read `/metrics` without a key.
    metrics_networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    rates: RateSettings = RateSettings()

    def __post_init__(self) -> None:
        """Raises: ValueError for what is no network."""
        for network in (*self.proxies, *self.metrics_networks):
            ip_network(network)
