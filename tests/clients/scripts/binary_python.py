"""The binary protocol as a client in Python finds it: `binary_frames` and `binary_client`, which were written
from docs/wire-format.md alone, against that page and against a cluster.

    binary_python.py document DOCUMENT                the examples of the page
    binary_python.py requests TARGET [TARGET ...]     every request, limit and error, against a cluster
    binary_python.py count TARGET [TARGET ...]        increments until a line comes in; reports them as JSON

`count` numbers an acknowledged increment `sum * COUNTERS + counter`: an increment that was executed twice, or
lost, leaves a hole in the numbers of its counter.
"""

import json
import re
import socket
import struct
import sys
import threading
import time

from binary_client import *  # and with it all of binary_frames

COUNTERS = 4
CLIENTS = 6
DEPTH = 8


def expect(found, wanted, what=""):
    if found != wanted:
        raise AssertionError(f"{what}: {found!r} instead of {wanted!r}")


def shape(reply):
    """A reply without its id."""
    named = {
        DONE: "done",
        SKIPPED: "skipped",
        VALUE: ("value", reply.value),
        NIL: "nil",
        INT: reply.number,
        SESSION: "session",
        ERROR: ("error", CODES.get(reply.code)),
        OK: "ok",
        PONG: "pong",
    }
    return named.get(reply.kind, reply.info)


# The page.


def blocks(text):
    """The blocks of bytes of a document, by name."""
    found = {}
    for name, block in re.findall(r"```hex (\S+)\n(.*?)```", text, re.DOTALL):
        digits = " ".join(line.split(";")[0] for line in block.splitlines())
        assert name not in found, name
        found[name] = bytes.fromhex(digits)
    return found


def requests_of_the_document():
    """What the document says in words above its blocks of requests."""
    key = b"color"
    stamp = lambda sequence: (1234, sequence, sequence)
    if_version = set_(key, b"red", version=(42, 0), expiry=(KEEP, 0), return_old=True)
    return {
        "get": get(key, quorum=True).encode(3),
        "exists": exists(key).encode(4),
        "ttl": ttl(key).encode(5),
        "set": set_(key, b"blue", IF_ABSENT, expiry=(AFTER, 60_000)).encode(2, stamp(1)),
        "set-if-version": if_version.encode(6, stamp(2)),
        "delete": delete(key).encode(7),
        "increment": increment(b"hits", -2).encode(8, stamp(3)),
        "set-expiry": set_expiry(key, (AT, 1_800_000_000_000)).encode(9),
        "if-equal": if_equal(key, b"blue").encode(10, stamp(4)),
        "delete-if": delete_if(key, (42, 0)).encode(11),
        "open-session": open_session(1).encode(1),
        "hello": hello(b"tool").encode(12),
        "auth": auth(b"secret").encode(13),
        "topology-request": topology().encode(14),
        "status-request": status().encode(15),
        "ping": ping().encode(16),
    }


def check_replies(found):
    """What the document says in words above its blocks of replies. Returns the topology."""
    replies = {
        "done": (2, "done"),
        "skipped": (11, "skipped"),
        "value": (3, ("value", b"blue")),
        "nil": (3, "nil"),
        "int": (5, -2),
        "session": (1, "session"),
        "error": (4, ("error", "Busy")),
        "error-id-0": (0, ("error", "Protocol")),
        "ok": (13, "ok"),
        "pong": (16, "pong"),
    }
    for name, (request_id, wanted) in replies.items():
        reply = decode(found.pop(name))
        expect((reply.request_id, shape(reply)), (request_id, wanted), name)
    server = decode(found.pop("hello-answer")).info
    expect(server, {"cluster": 0xC1, "node": 1, "group_count": 2, "version": "0.1.0"}, "hello")
    told = decode(found.pop("status")).info
    expect((told["node"], told["uptime_ms"], told["counters"]), (1, 61_000, {"turns": 9}), "status")
    (replica,) = told["groups"]
    expect((replica["group"], replica["role"], replica["keys"], replica["promised_round"]), (1, 2, 1, 3), "status")
    known = decode(found.pop("topology")).info
    expect((known["epoch"], known["group_count"], known["placements"]), (3, 2, {1: (1, 0), 2: (2, 1)}), "topology")
    return known


def check_document(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    found = blocks(text)
    expect(crc32c(b"123456789"), 0xE3069283, "crc32c")
    expect(crc16(b"123456789"), 0x31C3, "crc16")
    expect(found.pop("preamble"), PREAMBLE, "preamble")
    for name, data in requests_of_the_document().items():
        expect(data.hex(" "), found.pop(name).hex(" "), name)
    known = check_replies(found)
    found.pop("peer-handshake")
    expect(found, {}, "blocks that nobody checks")
    row = r"\| `(\S+)` \| `(\S+)` \| `0x([0-9A-F]{4})` \| (\d+) \| (\d+) \| (\S+):(\d+) \|"
    keys = re.findall(row, text)
    assert len(keys) >= 6, keys
    for key, part, crc, bucket, group, host, port in keys:
        key = key.encode()
        placed = (hashed(key), crc16(hashed(key)), bucket_of(key), group_of(key, 2))
        expect(placed, (part.encode(), int(crc, 16), int(bucket), int(group)), key)
        expect(address_of(known, int(group)), (host, int(port)), key)
    codes = re.findall(r"^\| (\d+) \| `(\w+)` \| (?:no|yes)(?:[,;]| \|)", text, re.MULTILINE)
    expect({int(code): name for code, name in codes}, CODES, "codes")


# Requests, limits and errors, one by one.


class Cluster:
    """What the checks below need to know: addresses, groups, connections."""

    def __init__(self, targets):
        self.targets = targets
        self.client = Client(targets, deadline=60.0)
        self.known = self.client.topology()
        self.group_count = self.known["group_count"]
        # The first write goes through once the group has a leader; later ones do not wait for it.
        for group in range(1, self.group_count + 1):
            self.client.set(self.key(group, b"warm"), b"")

    def key(self, group, name):
        """A key of this group."""
        number = 0
        while True:
            key = b"%s:{%d}" % (name, number)
            if group_of(key, self.group_count) == group:
                return key
            number += 1

    def connect(self, index=0, **options):
        host, port = self.targets[index].rsplit(":", 1)
        return Connection((host, int(port)), **options)

    def session(self, connection, group):
        """A new session: its id."""
        reply = connection.call(open_session(group))
        expect(reply.kind, SESSION, reply)
        return reply.number


def check_values(cluster):
    to = cluster.connect()
    call = lambda request: shape(to.call(request))
    key = b"values"
    expect(call(get(key)), "nil")
    expect(call(exists(key)), 0)
    expect(call(ttl(key)), -2)
    expect(call(set_(key, b"one", IF_PRESENT)), "skipped")
    first = to.call(set_(key, b"one", IF_ABSENT)).version
    expect(call(set_(key, b"two", IF_ABSENT)), "skipped")
    expect(call(get(key, quorum=True)), ("value", b"one"))
    expect(to.call(get(key)).version, first)
    expect(call(exists(key)), 1)
    expect(call(ttl(key)), -1)
    second = to.call(set_(key, b"two", version=first)).version
    assert second > first, (first, second)
    expect(call(set_(key, b"three", version=first)), "skipped")
    expect(call(set_(key, b"three", return_old=True)), ("value", b"two"))
    expect(call(set_(key, b"four", IF_ABSENT, return_old=True)), ("value", b"three"), "though it is not done")
    expect(call(get(key)), ("value", b"three"))
    expect(call(delete_if(key, second)), "skipped")
    expect(call(delete_if(key, to.call(get(key)).version)), 1)
    expect(call(delete_if(key, second)), 0)
    expect(call(set_(key, b"", return_old=True)), "nil")
    expect(call(get(key)), ("value", b""), "an empty value")
    expect(call(delete(key)), 1)
    expect(call(delete(key)), 0)
    expect(call(set_(key, b"elsewhere", namespace=7)), "done")
    expect((call(get(key)), call(get(key, namespace=7))), ("nil", ("value", b"elsewhere")), "namespaces are apart")
    expect(call(delete(key, namespace=7)), 1)


def check_numbers_and_times(cluster):
    to = cluster.connect()
    call = lambda request: shape(to.call(request))
    error = lambda code: ("error", CODES[code])
    expect([call(increment(b"n", delta)) for delta in (5, -7, 0)], [5, -2, -2])
    expect(call(set_(b"n", str(TIME_MAX).encode())), "done")
    expect(call(increment(b"n")), error(OVERFLOW))
    for value in (b"", b"1 ", b"+1", b"01", b"one", b"1" * 30):
        to.call(set_(b"n", value))
        expect(call(increment(b"n")), error(NOT_AN_INTEGER), value)
    expect(call(set_expiry(b"t", (AFTER, 1000))), 0)
    before = to.call(set_(b"t", b"x", expiry=(AFTER, 60_000))).version
    assert 0 < call(ttl(b"t")) <= 60_000
    expect(call(set_(b"t", b"y", expiry=(KEEP, 0))), "done")
    assert 0 < call(ttl(b"t")) <= 60_000
    expect((call(set_expiry(b"t", (NO_EXPIRY, 0))), call(set_expiry(b"t", (NO_EXPIRY, 0)))), (1, 0))
    expect(call(ttl(b"t")), -1)
    assert to.call(get(b"t")).version > before, "an expiry changes the version"
    later = int(time.time() * 1000) + 3_600_000
    expect(call(set_expiry(b"t", (AT, later))), 1)
    # The cluster's clock may be some milliseconds behind this machine's.
    left = call(ttl(b"t"))
    assert 0 < left <= 3_600_000 + 1_000, left
    expect((call(set_expiry(b"t", (AT, 1))), call(get(b"t"))), (1, "nil"), "a time that has passed")
    to.call(set_(b"t", b"x"))
    for expiry in ((AFTER, 0), (AT, 0), (AFTER, TIME_MAX + 1), (AFTER, TIME_MAX)):
        expect(call(set_expiry(b"t", expiry)), error(BAD_EXPIRY), expiry)
        expect(call(set_(b"t", b"z", expiry=expiry)), error(BAD_EXPIRY), expiry)
    expect(call(set_expiry(b"t", (KEEP, 0))), error(MALFORMED))
    expect((call(get(b"t")), call(ttl(b"t"))), (("value", b"x"), -1))


def check_if_equal(cluster):
    to = cluster.connect()
    call = lambda request: shape(to.call(request))
    lock = lambda then, milliseconds, holder=b"me": call(if_equal(b"lock", holder, then, milliseconds))
    expect(lock(THEN_DELETE, 0), 0, "no key")
    to.call(set_(b"lock", b"me"))
    expect([lock(THEN_RENEW, 1000), lock(THEN_EXTEND, 1000)], [0, 0], "it does not expire")
    expect(lock(THEN_EXPIRE, 60_000), 1)
    assert 50_000 < call(ttl(b"lock")) <= 60_000
    expect(lock(THEN_EXTEND, 60_000), 1)
    assert 110_000 < call(ttl(b"lock")) <= 120_000
    expect(lock(THEN_RENEW, 30_000), 1)
    assert 20_000 < call(ttl(b"lock")) <= 30_000
    expect(lock(THEN_EXPIRE, 0), ("error", "BadExpiry"))
    expect(lock(THEN_DELETE, 0, b"you"), 0)
    expect((lock(THEN_DELETE, 0), call(get(b"lock"))), (1, "nil"))


def check_limits(cluster):
    to = cluster.connect()
    call = lambda request: shape(to.call(request))
    malformed = ("error", "Malformed")
    key, value = b"k" * KEY_BYTES_MAX, b"v" * VALUE_BYTES_MAX
    expect((call(set_(key, value)), call(get(key))), ("done", ("value", value)), "the longest")
    expect(call(if_equal(key, value)), 1)
    expect(call(set_(b"long", value + b"v")), malformed)
    expect(call(if_equal(b"long", value + b"v")), malformed)
    for key in (b"", key + b"k"):
        for request in (get(key), exists(key), ttl(key), set_(key, b""), delete(key), increment(key)):
            expect(call(request), malformed)
    expect(call(get(b"long")), "nil")
    groups = (0, cluster.group_count + 1, 65_536, 0xFFFFFFFF)
    expect([call(open_session(group)) for group in groups], [malformed] * 4)
    expect(call(hello(b"\xff")), malformed)
    expect(call(hello(b"n" * (TEXT_BYTES_MAX + 1))), malformed)
    expect(call(auth(b"p" * (TEXT_BYTES_MAX + 1))), malformed)
    expect(call(ping()), "pong", "the connection is still good")
    many = to.call_all([ping() for _ in range(3000)])
    assert all(reply.kind == PONG for reply in many)
    to.call(set_(b"wide", value))
    # More bytes than a server keeps for a connection that does not read.
    replies = to.call_all([get(b"wide") for _ in range(12)])
    assert all(reply.value == value for reply in replies)


def check_order(cluster):
    """A connection's requests on one key, all sent at once."""
    to = cluster.connect()
    requests = []
    for number in range(50):
        requests += [set_(b"order", b"%d" % number), get(b"order")]
    replies = to.call_all(requests)
    expect([reply.value for reply in replies[1::2]], [b"%d" % number for number in range(50)])


def check_server(cluster):
    for index in range(len(cluster.targets)):
        to = cluster.connect(index)
        server = to.call(hello(b"binary_python.py")).info
        expect(server["group_count"], cluster.group_count)
        known = to.call(topology()).info
        expect((known["cluster"], known["group_count"]), (server["cluster"], cluster.group_count))
        assert server["node"] in known["nodes"], known
        expect(sorted(known["placements"]), list(range(1, cluster.group_count + 1)))
        again = to.call(topology()).info
        assert again["epoch"] >= known["epoch"]
        told = to.call(status()).info
        expect((told["node"], told["version"]), (server["node"], server["version"]))
        assert told["counters"] and {group["group"] for group in told["groups"]} >= set(known["placements"])
        expect(shape(to.call(auth(b"whatever"))), "ok", "there is no password")
        for group in range(1, cluster.group_count + 1):
            # A node that does not lead forwards.
            key = cluster.key(group, b"any")
            expect(shape(to.call(set_(key, b"%d" % index))), "done")
            expect(shape(to.call(get(key))), ("value", b"%d" % index))
            expect(shape(to.call(open_session(group))), "session")
    by_port = address_of(cluster.client.topology(), 1)
    to = Connection(by_port)
    expect(shape(to.call(get(cluster.key(1, b"any")))), ("value", b"%d" % index), "at the leader's own port")


def check_sessions(cluster):
    to, other = cluster.connect(), cluster.connect(1)
    key = cluster.key(1, b"counted")
    session = cluster.session(to, 1)
    call = lambda request, *stamp, at=to: shape(at.call(request, stamp))
    malformed = ("error", "Malformed")
    expect([call(increment(key), session, 1, 1) for _ in range(3)], [1, 1, 1], "a retry is executed once")
    expect(call(increment(key), session, 1, 1, at=other), 1, "also over another connection")
    expect(call(increment(key, 2), session, 1, 1), malformed, "another command under a used sequence")
    expect(call(increment(key), session, 5, 1), 2, "sequences come in any order")
    expect(call(increment(key), session, 3, 2), 3)
    expect(call(increment(key), session, 1, 1), ("error", "SequenceClosed"))
    to.call(set_(b"{%s}text" % hashed(key), b"text"))
    text = b"{%s}text" % hashed(key)
    expect(call(increment(text), session, 6, 2), ("error", "NotAnInteger"))
    to.call(set_(text, b"7"))
    expect(call(increment(text), session, 6, 2), ("error", "NotAnInteger"), "an error is recorded, too")
    old = set_(text, b"8", return_old=True)
    expect([call(old, session, 7, 2) for _ in range(2)], [("value", b"7")] * 2)
    expect(call(set_expiry(text, (AFTER, TIME_MAX)), session, 8, 2), ("error", "BadExpiry"))
    for stamp in ((0, 1, 1), (session, 0, 0), (session, 8, 9), (0, 0, 0)):
        expect(call(increment(key), *stamp), malformed, stamp)
        expect(call(get(key), *stamp), malformed, stamp)
    expect(call(get(key), session, 1, 1), ("value", b"3"), "a read does not use its stamp")
    expired = ("error", "SessionExpired")
    expect(call(increment(key), session + (1 << 40), 1, 1), expired)
    expect(call(increment(key), session | 1 << 63, 1, 1), expired)
    if cluster.group_count > 1:
        expect(call(increment(cluster.key(2, b"counted")), session, 9, 9), expired, "sessions belong to a group")


def check_window(cluster):
    to = cluster.connect()
    key = cluster.key(1, b"window")
    session = cluster.session(to, 1)
    full = SESSION_REPLIES_MAX
    first = to.call_all([(increment(key), (session, sequence, 1)) for sequence in range(1, full + 1)])
    expect([reply.number for reply in first], list(range(1, full + 1)))
    past = lambda lowest: shape(to.call(increment(key), (session, full + 1, lowest)))
    expect([past(1), past(1), past(2), past(2)], [("error", "Busy")] * 2 + [full + 1] * 2)


def check_eviction(cluster):
    to = cluster.connect()
    key = cluster.key(1, b"evicted")
    client = Client(cluster.targets)
    client.increment(key)
    used, unused = cluster.session(to, 1), cluster.session(to, 1)
    opened = 0
    while opened < SESSIONS_PER_GROUP_MAX:
        opened += len(to.call_all([open_session(1) for _ in range(512)]))
        expect(shape(to.call(increment(key), (used, 1, 1))), 2, "one in use stays")
    expect(shape(to.call(increment(key), (unused, 1, 1))), ("error", "SessionExpired"))
    before = client.counts["sessions"]
    expect(client.increment(key), 3, "a client opens another one")
    expect(client.counts["sessions"], before + 1)


def refusal(to, wanted, what):
    """The failure with id 0 that ends a connection."""
    reply = to.wait()[-1]
    expect((reply.request_id, reply.code), (0, wanted), what)
    try:
        more = to.wait()
    except Lost as lost:
        assert str(lost) != "no answer in time", what
    else:
        raise AssertionError(f"{what}: {more} after the refusal")


def check_broken_frames(cluster):
    sound = get(b"k").encode(1)
    change = lambda data, at, byte: data[:at] + bytes([byte]) + data[at + 1 :]
    set_value = set_(b"k", b"value").encode(1)
    reserved = Request(SET_EXPIRY, b"k", struct.pack("<BB6xQ", NO_EXPIRY, 1, 0)).encode(1)
    wrong = {
        "too short a length": struct.pack("<I", HEADER_BYTES - 1),
        "too long a length": struct.pack("<I", FRAME_BYTES_MAX + 1),
        "a wrong checksum": change(sound, 4, sound[4] ^ 1),
        "a damaged key": change(sound, 24, sound[24] ^ 1),
        "a damaged value": change(set_value, len(set_value) - 1, 0),
        "an unknown kind": Request(0x7F, b"k").encode(1),
        "a response": Request(PONG).encode(1),
        "an unknown flag": frame(GET, 1, b"k", flags=0x04, argument=1),
        "a flag on PING": frame(PING, 1, flags=QUORUM),
        "an argument of PING": frame(PING, 1, argument=1),
        "a key that is longer than the body": frame(GET, 1, b"k", argument=2),
        "a body that is longer than the key": frame(GET, 1, b"kk", argument=1),
        "a stamp that is cut": frame(GET, 1, b"k", flags=STAMP, argument=1),
        "an unknown condition": set_(b"k", b"", condition=4).encode(1),
        "an unknown expiry kind": set_(b"k", b"", expiry=(4, 0)).encode(1),
        "an expiry beside 'none'": set_(b"k", b"", expiry=(NO_EXPIRY, 5)).encode(1),
        "an unknown then": if_equal(b"k", b"", then=4).encode(1),
        "milliseconds of a delete": if_equal(b"k", b"", THEN_DELETE, 5).encode(1),
        "a reserved byte": reserved,
        "a body of PING": frame(PING, 1, b"x"),
    }
    for what, data in wrong.items():
        to = cluster.connect()
        expect(shape(to.call(ping())), "pong")
        to.outgoing += data
        refusal(to, PROTOCOL, what)
    refusal(cluster.connect(preamble=b"\xf5SYNOX\x01\x00"), PROTOCOL, "another magic")
    refusal(cluster.connect(preamble=b"\xf5SYNOD\x02\x00"), VERSION, "another version")


def inline(target, command):
    """Sends one line over RESP, and returns the first line of the answer."""
    host, port = target.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as line:
        line.sendall(command + b"\r\n")
        return line.makefile("rb").readline().strip()


def check_password(cluster):
    target = cluster.targets[0]
    expect(inline(target, b"CONFIG SET requirepass sesame"), b"+OK")
    to = cluster.connect()
    required = ("error", "AuthRequired")
    for request in (get(b"k"), increment(b"k"), open_session(1), hello(), topology(), status(), ping()):
        expect(shape(to.call(request)), required)
    expect(shape(to.call(get(b""))), ("error", "Malformed"))
    to.send(auth(b"sesame"))  # and at once a request, without waiting
    expect(shape(to.call(ping())), "pong")
    wrong = cluster.connect()
    expect(shape(wrong.call(auth(b"sesam"))), ("error", "AuthFailed"))
    try:
        raise AssertionError(f"{wrong.call(ping())} after a wrong password")
    except Lost:
        pass
    lone = Client([target], password=b"sesame")
    expect(lone.topology()["group_count"], cluster.group_count)
    for password, said in ((None, "AuthRequired"), (b"sesam", "AuthFailed")):
        try:
            raise AssertionError(Client([target], password=password, deadline=2.0).get(b"k"))
        except NotExecuted as error:
            assert said in str(error), error
    expect(shape(to.call(auth(b"sesame"))), "ok")
    to.close()
    open_line = cluster.connect(password=b"sesame")
    expect(shape(open_line.call(ping())), "pong")
    with socket.create_connection(open_line.address, 10) as line:
        line.sendall(b'AUTH sesame\r\nCONFIG SET requirepass ""\r\n')
        answers = line.makefile("rb")
        expect([answers.readline().strip() for _ in range(2)], [b"+OK"] * 2)
    expect(shape(open_line.call(ping())), "pong", "who was let in stays")


def check_client(cluster):
    """The small client itself: what it returns, and how it ends operations."""
    client = cluster.client
    expect(client.set(b"lib", b"1", condition=IF_PRESENT), None)
    version = client.set(b"lib", b"1")
    expect((client.get(b"lib"), client.exists(b"lib"), client.ttl(b"lib")), (b"1", True, -1))
    expect(client.increment(b"lib", 41), 42)
    expect(client.delete_if(b"lib", version), False)
    expect(client.set_expiry(b"lib", (AFTER, 60_000)), True)
    expect(client.if_equal(b"lib", b"42"), True)
    expect((client.get(b"lib"), client.delete(b"lib")), (None, False))
    client.set(b"lib", b"text")
    try:
        raise AssertionError(client.increment(b"lib"))
    except Refused as error:
        expect(error.code, NOT_AN_INTEGER)
    results = client.pipeline([increment(b"piped") for _ in range(3000)])
    expect(sorted(result.number for result in results), list(range(1, 3001)), "more than a window of writes")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        silent = Client(["127.0.0.1:%d" % nobody.getsockname()[1]], deadline=0.5)
        try:
            raise AssertionError(silent.increment(b"k"))
        except NotExecuted:
            pass


CHECKS = [
    check_values,
    check_numbers_and_times,
    check_if_equal,
    check_limits,
    check_order,
    check_server,
    check_sessions,
    check_window,
    check_eviction,
    check_broken_frames,
    check_client,
    check_password,
]


def check_requests(targets):
    cluster = Cluster(targets)
    for check in CHECKS:
        began = time.monotonic()
        check(cluster)
        print(f"{check.__name__}: {time.monotonic() - began:.2f} s", flush=True)


# Increments under a killed leader.

SAYING = threading.Lock()


def say(**told):
    with SAYING:
        print(json.dumps(told), flush=True)


class Counting(threading.Thread):
    """One client with sessions of its own. It increments a key of its own, and keys that all share."""

    def __init__(self, number, targets, shared, stop):
        super().__init__(daemon=True)
        self.number = number
        self.shared = shared
        self.own = b"own:%d" % number
        self.stop = stop
        self.client = Client(targets[number % len(targets) :] + targets[: number % len(targets)], deadline=60.0)
        self.own_count = 0
        self.acknowledged = [0] * len(shared)
        self.error = None

    def run(self):
        try:
            while not self.stop.is_set():
                self.step()
        except Exception as error:  # told to the test, which fails
            self.error = f"client {self.number}: {type(error).__name__}: {error}"

    def step(self):
        """A few increments of each key, all under way at once."""
        keys = self.shared + [self.own]
        batch = [increment(key) for _ in range(DEPTH // 2) for key in keys]
        results = self.client.pipeline(batch)
        own = []
        for request, result in zip(batch, results):
            if isinstance(result, ClientError):
                raise result
            if request.key == self.own:
                own.append(result.number)
            else:
                counter = self.shared.index(request.key)
                self.acknowledged[counter] += 1
                say(ack=result.number * COUNTERS + counter)
        # Nobody else counts here: the sums are the next ones, each once.
        expect(sorted(own), list(range(self.own_count + 1, self.own_count + len(own) + 1)), self.own)
        self.own_count += len(own)


def count(targets):
    shared = [b"shared:%d" % counter for counter in range(COUNTERS)]
    stop = threading.Event()
    workers = [Counting(number, targets, shared, stop) for number in range(CLIENTS)]
    for worker in workers:
        worker.start()
    sys.stdin.readline()
    stop.set()
    for worker in workers:
        worker.join()
    errors = [worker.error for worker in workers if worker.error]
    reader = Client(targets, deadline=60.0)
    for counter, key in enumerate(shared):
        found, wanted = int(reader.get(key) or 0), sum(worker.acknowledged[counter] for worker in workers)
        if found != wanted:
            errors.append(f"{key!r} is {found} after {wanted} acknowledged increments")
    for worker in workers:
        found = int(reader.get(worker.own) or 0)
        if found != worker.own_count:
            errors.append(f"{worker.own!r} is {found} after {worker.own_count} acknowledged increments")
    totals = {name: sum(worker.client.counts[name] for worker in workers) for name in reader.counts}
    print(f"binary_python.py: {totals}", file=sys.stderr, flush=True)
    # Sends that may have been executed and were sent again: without them the test has tested nothing.
    say(read=0, value=str(totals["uncertain"]))
    for error in errors:
        say(error=error)
    say(done=True)


def main():
    mode, *arguments = sys.argv[1:]
    if mode == "document":
        check_document(*arguments)
        print("the document is understood")
    elif mode == "requests":
        check_requests(arguments)
        print("all requests are answered as the document says")
    elif mode == "count":
        count(arguments)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
