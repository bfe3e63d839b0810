"""A small blocking client of Synod's binary protocol: standard library only, written from
docs/wire-format.md alone.

    client = Client(["127.0.0.1:6379"])
    client.set(b"color", b"blue")
    sums = client.pipeline([increment(b"hits") for _ in range(100)])

It sends each request to the core that leads the key's group, stamps writes with a session of that group, and
tries again as the document's section "Retry" says. An operation ends with its reply or with one of three
errors: `Refused`, `NotExecuted`, `Unknown`. A client belongs to one thread.
"""

import select
import socket
import time

from binary_frames import *  # the frames, and the names of all numbers

DEADLINE = 10.0
ATTEMPT_TIMEOUT = 5.0
PAUSE, PAUSE_MAX = 0.005, 0.5
TOPOLOGY_REFRESH = 10.0
CONNECT_TIMEOUT = 1.0
# Stays below what the server reads, so that one connection's requests never wait unread for long.
OPEN_MAX = 512


class ClientError(Exception):
    """An operation without a reply."""


class Refused(ClientError):
    """The final answer of the server: nothing was changed."""

    def __init__(self, code, text):
        super().__init__(f"{CODES[code]} {text}".strip())
        self.code = code


class NotExecuted(ClientError):
    """Certainly not executed, and never will be."""


class Unknown(ClientError):
    """The write may or may not have taken effect, now or later."""


class Lost(Exception):
    """The connection is gone, or can no longer be used."""


class Connection:
    """One connection: bytes out, replies in, and what each open request is for."""

    def __init__(self, address, password=None, preamble=PREAMBLE):
        self.address = address
        try:
            self.socket = socket.create_connection(address, CONNECT_TIMEOUT)
        except OSError as error:
            raise Lost(f"{address}: {error}") from None
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.outgoing = bytearray(preamble)
        self.incoming = bytearray()
        self.ended = None
        self.open = {}
        self.next_id = 1
        if password is not None:
            self.send(auth(password), purpose="auth")

    def send(self, request, stamp=None, purpose=None):
        """Adds a request to what is to be sent. Returns its id."""
        request_id = self.next_id
        self.next_id += 1
        self.outgoing += request.encode(request_id, stamp)
        self.open[request_id] = (purpose, time.monotonic())
        return request_id

    def oldest(self):
        """When the oldest open request was sent."""
        return min((sent for _, sent in self.open.values()), default=None)

    def flush(self):
        """Sends what the socket takes now."""
        try:
            while self.outgoing:
                sent = self.socket.send(memoryview(self.outgoing)[: 1 << 20])
                del self.outgoing[:sent]
        except BlockingIOError:
            pass
        except OSError as error:
            raise Lost(str(error)) from None

    def receive(self):
        """The replies that have come. Afterwards `ended` says why no more will come, if so."""
        try:
            while True:
                data = self.socket.recv(1 << 20)
                if not data:
                    self.ended = Lost("the server has closed the connection")
                    break
                self.incoming += data
        except BlockingIOError:
            pass
        except OSError as error:
            self.ended = Lost(str(error))
        replies = []
        try:
            while (length := split(self.incoming)) is not None:
                replies.append(decode(bytes(self.incoming[:length])))
                del self.incoming[:length]
        except BrokenFrame as error:
            self.ended = Lost(f"a broken frame: {error}")
        return replies

    def close(self):
        self.socket.close()

    # For those who talk to a server request by request.

    def wait(self, timeout=10.0):
        """Sends all that is to be sent, and waits for some replies."""
        end = time.monotonic() + timeout
        while True:
            self.flush()
            writing = [self.socket] if self.outgoing else []
            left = end - time.monotonic()
            readable, _, _ = select.select([self.socket], writing, [], max(left, 0))
            if readable:
                replies = self.receive()
                for reply in replies:
                    self.open.pop(reply.request_id, None)
                if replies:
                    return replies
                if self.ended:
                    raise self.ended
            if left <= 0:
                raise Lost("no answer in time")

    def call_all(self, requests):
        """The replies to requests, in their order. Each is a request, or one with its stamp."""
        pairs = [request if isinstance(request, tuple) else (request, None) for request in requests]
        ids = [self.send(request, stamp) for request, stamp in pairs]
        found = {}
        while not all(request_id in found for request_id in ids):
            found.update((reply.request_id, reply) for reply in self.wait())
            if 0 in found:
                raise Lost(f"{CODES[found[0].code]}: {found[0].text}")
        return [found[request_id] for request_id in ids]

    def call(self, request, stamp=None):
        """The reply to one request."""
        return self.call_all([(request, stamp)])[0]


class Session:
    """A session with one group: the sequences that are open."""

    def __init__(self, session_id):
        self.id = session_id
        self.next = 1
        self.open = set()

    def lowest(self):
        return min(self.open, default=self.next)

    def take(self):
        """A sequence for a new command; `None` while the window is full."""
        if self.next - self.lowest() >= SESSION_REPLIES_MAX:
            return None
        sequence = self.next
        self.next += 1
        self.open.add(sequence)
        return sequence

    def stamp(self, sequence):
        return self.id, sequence, self.lowest()


class Operation:
    """One command until it has ended, with what is known about its sends."""

    def __init__(self, request, deadline):
        self.request = request
        self.deadline = deadline
        self.not_before = 0.0
        self.attempts = 0
        self.is_uncertain = False
        self.is_sent = False
        self.session = None
        self.sequence = None
        self.last = "no server could be reached"
        self.result = None


class Client:
    """A client that is given some addresses ("host:port") of a cluster."""

    def __init__(self, addresses, password=None, deadline=DEADLINE, sessions=True):
        self.seeds = [(host.strip("[]"), int(port)) for host, port in (a.rsplit(":", 1) for a in addresses)]
        self.password = password
        self.deadline = deadline
        self.uses_sessions = sessions
        self.connections = {}
        self.barred = {}
        self.failures = {}
        self.turn = 0
        self.known = None
        self.topology_due = 0.0
        self.topology_asked = False
        self.sessions = {}
        self.opening = set()
        self.operations = []
        # What has happened so far, for tests and for the curious.
        self.counts = {"sent": 0, "uncertain": 0, "lost": 0, "sessions": 0, "topologies": 0}

    # Commands. Each returns what its reply holds.

    def get(self, key, quorum=False):
        return self._one(get(key, quorum)).value

    def exists(self, key):
        return self._one(exists(key)).number == 1

    def ttl(self, key):
        return self._one(ttl(key)).number

    def set(self, key, value, **options):
        """The new version, or `None` if the condition did not hold; with `return_old` the old value."""
        reply = self._one(set_(key, value, **options))
        return reply.value if options.get("return_old") else reply.version

    def delete(self, key):
        return self._one(delete(key)).number == 1

    def increment(self, key, delta=1):
        return self._one(increment(key, delta)).number

    def set_expiry(self, key, expiry):
        return self._one(set_expiry(key, expiry)).number == 1

    def if_equal(self, key, expected, then=THEN_DELETE, milliseconds=0):
        return self._one(if_equal(key, expected, then, milliseconds)).number == 1

    def delete_if(self, key, version):
        return self._one(delete_if(key, version)).number == 1

    def topology(self):
        """The topology, asked for now."""
        self.known, self.topology_due = None, 0.0
        end = time.monotonic() + self.deadline
        while self.known is None:
            now = time.monotonic()
            if now >= end:
                raise NotExecuted("no server could be reached")
            self._refresh(now)
            self._wait(now, end)
        return self.known

    def pipeline(self, requests):
        """Sends requests together. Returns for each its reply, or the error that it ended with."""
        deadline = time.monotonic() + self.deadline
        self.operations = [Operation(request, deadline) for request in requests]
        mine = self.operations
        while self.operations:
            now = time.monotonic()
            self._expire(now)
            self._refresh(now)
            for operation in self.operations:
                if operation.result is None and not operation.is_sent and operation.not_before <= now:
                    self._send(operation, now)
            self.operations = [operation for operation in self.operations if operation.result is None]
            if self.operations:
                self._wait(now, min(operation.deadline for operation in self.operations))
        return [operation.result for operation in mine]

    def close(self):
        for connection in self.connections.values():
            connection.close()
        self.connections.clear()

    def _one(self, request):
        (result,) = self.pipeline([request])
        if isinstance(result, ClientError):
            raise result
        return result

    # Routing.

    def _connection(self, now, wanted):
        """The wanted connection if it can be had, else any that has room."""
        others = list(self.seeds)
        if self.known:
            others += [(node["host"], node["port"]) for node in self.known["nodes"].values()]
        if wanted:
            connection = self.connections.get(wanted) or self._connect(now, wanted)
            if connection:
                return connection
        count = len(others)
        order = [others[(self.turn + step) % count] for step in range(count)]
        for address in order:
            if address in self.connections:
                return self.connections[address]
        for step, address in enumerate(order):
            connection = self._connect(now, address)
            if connection:
                self.turn = (self.turn + step) % count
                return connection
        return None

    def _connect(self, now, address):
        if self.barred.get(address, 0.0) > now:
            return None
        try:
            connection = Connection(address, self.password)
        except Lost:
            self._bar(time.monotonic(), address)
            return None
        self.connections[address] = connection
        return connection

    def _bar(self, now, address, span=None):
        """An address that failed is left alone for a time that grows."""
        failures = self.failures[address] = self.failures.get(address, 0) + 1
        self.barred[address] = now + (span or _pause(failures))
        self.topology_due = min(self.topology_due, now)

    def _refresh(self, now):
        if self.topology_asked or self.topology_due > now:
            return
        connection = self._connection(now, None)
        if connection:
            connection.send(topology(), purpose="topology")
            self.topology_asked = True

    def _learn(self, now, known):
        self.counts["topologies"] += 1
        if known["group_count"] == 0:
            self.topology_due = now + PAUSE_MAX
            return
        self.known = known
        groups = range(1, known["group_count"] + 1)
        is_whole = all(address_of(known, group) for group in groups)
        self.topology_due = now + (TOPOLOGY_REFRESH if is_whole else PAUSE_MAX)

    # One send.

    def _send(self, operation, now):
        if self.known is None:
            return
        request = operation.request
        group = group_of(request.key, self.known["group_count"])
        connection = self._connection(now, address_of(self.known, group))
        if connection is None or len(connection.open) >= OPEN_MAX:
            return
        stamp = None
        if request.is_write and self.uses_sessions:
            stamp = self._stamp(operation, group, connection)
            if stamp is None:
                return
        connection.send(request, stamp, purpose=operation)
        operation.is_sent = True
        operation.attempts += 1
        self.counts["sent"] += 1

    def _stamp(self, operation, group, connection):
        """The stamp of a write, the same sequence at each send; `None` if it cannot be sent yet."""
        session = self.sessions.get(group)
        if operation.session is not None and operation.session is not session:
            # Another operation has found that session evicted.
            if operation.is_uncertain:
                self._end(operation, Unknown("its session was evicted"))
                return None
            operation.session = operation.sequence = None
        if session is None:
            if group not in self.opening:
                self.opening.add(group)
                connection.send(open_session(group), purpose=("session", group))
            return None
        if operation.sequence is None:
            operation.sequence = session.take()
            if operation.sequence is None:
                return None
            operation.session = session
        return session.stamp(operation.sequence)

    # What comes back.

    def _wait(self, now, until):
        """Sends, and waits until something comes or is due."""
        for connection in list(self.connections.values()):
            try:
                connection.flush()
            except Lost:
                self._lost(connection)
        due = [until, self.topology_due if not self.topology_asked else until]
        due += [operation.not_before for operation in self.operations if not operation.is_sent]
        due += [connection.oldest() + ATTEMPT_TIMEOUT for connection in self.connections.values() if connection.open]
        due += list(self.barred.values())
        left = min((at for at in due if at > now), default=now + PAUSE) - time.monotonic()
        sockets = {connection.socket: connection for connection in self.connections.values()}
        writing = [socket_ for socket_, connection in sockets.items() if connection.outgoing]
        if sockets:
            readable, _, _ = select.select(list(sockets), writing, [], max(left, 0))
        else:
            time.sleep(max(left, 0))
            readable = []
        for socket_ in readable:
            connection = sockets[socket_]
            for reply in connection.receive():
                self._on_reply(connection, reply)
            if connection.ended:
                self._lost(connection)
        overdue = time.monotonic() - ATTEMPT_TIMEOUT
        for connection in list(self.connections.values()):
            if connection.open and connection.oldest() <= overdue:
                self._lost(connection)

    def _on_reply(self, connection, reply):
        now = time.monotonic()
        self.failures.pop(connection.address, None)
        purpose, _ = connection.open.pop(reply.request_id, (None, None))
        if reply.request_id == 0 and reply.kind == ERROR:
            # The server says why it is about to close; nothing sent to a protected node was executed.
            if reply.code == PROTECTED:
                for operation, _ in connection.open.values():
                    if isinstance(operation, Operation):
                        operation.is_sent = False
                connection.open = {
                    number: item for number, item in connection.open.items() if not isinstance(item[0], Operation)
                }
            if reply.code == VERSION:
                self._end_all(f"{CODES[reply.code]}: {reply.text}")
            self._lost(connection, TOPOLOGY_REFRESH if reply.code == PROTECTED else None)
        elif reply.kind == ERROR and reply.code in (AUTH_REQUIRED, AUTH_FAILED):
            if isinstance(purpose, Operation):
                purpose.is_sent = False
            self._end_all(f"{CODES[reply.code]}: {reply.text}")
            self._lost(connection)
        elif purpose == "topology":
            self.topology_asked = False
            if reply.kind == TOPOLOGY_ANSWER:
                self._learn(now, reply.info)
            else:
                self.topology_due = now + PAUSE_MAX
        elif isinstance(purpose, tuple):
            self._on_session(now, purpose[1], reply)
        elif isinstance(purpose, Operation) and purpose.result is None:
            self._on_answer(now, purpose, reply)

    def _on_session(self, now, group, reply):
        self.opening.discard(group)
        if reply.kind == SESSION:
            self.counts["sessions"] += 1
            self.sessions[group] = Session(reply.number)
            return
        self.topology_due = now
        for operation in self.operations:
            if not operation.is_sent:
                operation.last = CODES.get(reply.code, operation.last)
                operation.not_before = max(operation.not_before, now + PAUSE)

    def _on_answer(self, now, operation, reply):
        operation.is_sent = False
        if reply.kind != ERROR:
            return self._end(operation, reply)
        code = reply.code
        operation.last = CODES[code]
        if code in (NOT_AN_INTEGER, OVERFLOW, READ_FAILED):
            self._end(operation, Refused(code, reply.text))
        elif code in (BAD_EXPIRY, MALFORMED):
            is_open = operation.is_uncertain
            self._end(operation, Unknown(CODES[code]) if is_open else Refused(code, reply.text))
        elif code in (NO_LEADER, BUSY, UNAVAILABLE):
            if code == NO_LEADER:
                self.topology_due = now
            operation.not_before = now + _pause(operation.attempts)
        elif code == UNKNOWN:
            self.topology_due = now
            self._on_uncertain(now, operation)
        elif code == SESSION_EXPIRED:
            self._on_evicted(now, operation)
        else:
            self._end(operation, Unknown(CODES[code]))

    def _on_uncertain(self, now, operation):
        """This send may have been executed."""
        operation.is_sent = False
        if operation.request.is_write:
            operation.is_uncertain = True
            self.counts["uncertain"] += 1
            if operation.session is None:
                return self._end(operation, Unknown("the outcome is not known, and there is no session"))
        operation.not_before = now + _pause(operation.attempts)

    def _on_evicted(self, now, operation):
        for group, session in list(self.sessions.items()):
            if session is operation.session:
                del self.sessions[group]
        if operation.is_uncertain or operation.session is None:
            return self._end(operation, Unknown("its session was evicted"))
        operation.session = operation.sequence = None
        operation.not_before = now

    def _lost(self, connection, span=None):
        """The connection is gone, and with it the answers to what is open on it."""
        if self.connections.pop(connection.address, None) is None:
            return
        self.counts["lost"] += 1
        connection.close()
        now = time.monotonic()
        self._bar(now, connection.address, span)
        for purpose, _ in connection.open.values():
            if purpose == "topology":
                self.topology_asked = False
            elif isinstance(purpose, tuple):
                self.opening.discard(purpose[1])
            elif isinstance(purpose, Operation) and purpose.result is None:
                self._on_uncertain(now, purpose)

    # Ends.

    def _end(self, operation, result):
        operation.result = result
        if operation.session is not None:
            operation.session.open.discard(operation.sequence)

    def _end_all(self, why):
        for operation in self.operations:
            if operation.result is None:
                is_open = operation.is_uncertain or (operation.is_sent and operation.request.is_write)
                self._end(operation, Unknown(why) if is_open else NotExecuted(why))

    def _expire(self, now):
        for operation in self.operations:
            if operation.result is None and operation.deadline <= now:
                is_open = operation.is_uncertain or (operation.is_sent and operation.request.is_write)
                why = f"{operation.last} until the deadline"
                self._end(operation, Unknown(why) if is_open else NotExecuted(why))


def _pause(attempts):
    """The pause after so many attempts."""
    return min(PAUSE * 2 ** min(max(attempts - 1, 0), 20), PAUSE_MAX)
