"""Why a websocket is closed: the codes that the server sends."""

from enum import IntEnum


class CloseCode(IntEnum):
    """One meaning per code; a client decides by it whether and how to come back."""

    #: Either side is done.
    NORMAL = 1000
    #: The server is stopping: connect again shortly. Announced by a `closing` message.
    SERVER_STOPPING = 1001
    #: Broken framing, an unmasked frame, reserved bits.
    PROTOCOL_ERROR = 1002
    #: Text where the subprotocol is binary.
    UNSUPPORTED_DATA = 1003
    #: A text message that is not UTF-8.
    INVALID_TEXT = 1007
    #: A message over the limit.
    MESSAGE_TOO_LARGE = 1009
    #: Our own bug; the log has it.
    INTERNAL_ERROR = 1011
    #: Not a message of this socket, and no way to answer it.
    BAD_MESSAGE = 4000
    #: No valid key, or none in time.
    UNAUTHORIZED = 4001
    #: A valid key without the right to be here.
    FORBIDDEN = 4003
    #: The client reads more slowly than it is sent to: connect again and resume.
    SLOW_CONSUMER = 4008
    #: Too many messages, or too many sockets.
    TOO_MANY_REQUESTS = 4009
    #: The socket's lifetime is over: connect again. Announced by a `closing` message.
    SESSION_EXPIRED = 4010
    #: Silent without having subscribed to anything, or pings unanswered.
    IDLE = 4011
