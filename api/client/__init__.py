"""A client for programs that trade, for trio and for plain threads.

    from api.client import Client, Signed, calls

    with Client("http://127.0.0.1:8080", Signed.hmac(3, secret)) as outcry:
        order = outcry.send(calls.place(calls.LimitForm(...)))

`calls` and `admin_calls` say what can be asked, `Client` and `TrioClient` ask it, and repeat what
has a key until the answer is definite; `Socket` and `TrioSocket` talk on the websockets;
`follow_account` and `keep_books` stay in step over reconnections. See docs/client.md.
"""

from api.client import admin_calls as admin_calls
from api.client import calls as calls
from api.client.book import Book as Book
from api.client.credentials import Bearer as Bearer
from api.client.credentials import Credentials as Credentials
from api.client.credentials import Signed as Signed
from api.client.environment import server_of as server_of
from api.client.errors import ClientError as ClientError
from api.client.errors import Gap as Gap
from api.client.errors import OutOfStep as OutOfStep
from api.client.errors import Refused as Refused
from api.client.errors import SocketClosed as SocketClosed
from api.client.errors import Unanswered as Unanswered
from api.client.errors import Unreachable as Unreachable
from api.client.following import follow_account as follow_account
from api.client.following import keep_books as keep_books
from api.client.http import Client as Client
from api.client.http import TrioClient as TrioClient
from api.client.resending import Patience as Patience
from api.client.socket import Socket as Socket
from api.client.trio_socket import TrioSocket as TrioSocket
from api.client.trio_socket import open_socket as open_socket
