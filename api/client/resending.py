"""When a request may be sent again, and after how long. Pure; the clients sleep and send.

What has a key (or only reads) is done once however often it is sent, so it is sent again until the
answer is definite. What has none is never sent twice, unless it is known that the door took none of
it: a clock that was wrong.
"""

from typing import Final

import msgspec

#: The answers after which nothing has happened, or it is not known whether it has.
_INDEFINITE: Final = frozenset((429, 500, 502, 503, 504))
#: Of these, those after which it is not known.
_IN_DOUBT: Final = frozenset((500, 504))
#: Codes with such a status that are the recorded answer to the key all the same.
_RECORDED: Final = frozenset(("DESK_FAULT", "DESK_HALTED"))
#: Said at the door of this attempt alone, whatever became of an earlier one.
_AT_THE_DOOR: Final = frozenset((401, 403))


class Patience(msgspec.Struct, frozen=True):
    """How often and how long to try; pauses double from `pause_s_min` to `pause_s_max`.

    A server may ask for longer pauses, up to `asked_s_max`.
    """

    attempts_max: int = 8
    pause_s_min: float = 0.05
    pause_s_max: float = 2.0
    asked_s_max: float = 30.0

    def pause_s(self, attempt: int, retry_after_s: float = 0.0, share: float = 1.0) -> float:
        """How long to wait after the given attempt, counted from 1.

        `share` of our own pause; by chance, it keeps clients from coming back all at once.

        >>> Patience().pause_s(1), Patience().pause_s(3), Patience().pause_s(1, 5.0)
        (0.05, 0.2, 5.0)
        """
        doubled = self.pause_s_min * 2.0 ** min(attempt - 1, 30)
        asked = min(max(retry_after_s, 0.0), self.asked_s_max)
        return max(asked, min(self.pause_s_max, doubled) * share)


def is_definite(status: int, code: str) -> bool:
    """Whether an answer is the last word on a request that may be repeated.

    >>> is_definite(201, ""), is_definite(503, "OVERLOADED"), is_definite(503, "DESK_FAULT")
    (True, False, True)
    """
    return status not in _INDEFINITE or code in _RECORDED


def leaves_doubt(status: int) -> bool:
    """Whether after such an answer it may have happened.

    >>> leaves_doubt(504), leaves_doubt(503)
    (True, False)
    """
    return status in _IN_DOUBT


def ends_doubt(status: int) -> bool:
    """Whether a definite answer also tells what became of an earlier attempt.

    >>> ends_doubt(422), ends_doubt(401)
    (True, False)
    """
    return status not in _AT_THE_DOOR
