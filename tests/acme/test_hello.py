from __future__ import annotations

import ssl
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from OpenSSL import SSL

from sayci.acme.hello import HELLO_SIZE, BadHello, Hello, HelloReader, parse_hello

TLS_1_2, TLS_1_3 = 0x0303, 0x0304


def hello_of(
    name: str | None = "ci.example", protocols: list[str] | None = None, *, only: ssl.TLSVersion | None = None
):
    """What the ssl module, and so OpenSSL, says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    if only is not None:
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = only
    if protocols is not None:
        context.set_alpn_protocols(protocols)
    said = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), said, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return said.read()


def records_of(hello: bytes, size: int) -> bytes:
    """The same message in records that carry at most `size` bytes of it."""
    message = hello[5:]
    pieces = [message[begin : begin + size] for begin in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def vector(size: int, data: bytes) -> bytes:
    return len(data).to_bytes(size, "big") + data


def hand_made(*extensions: tuple[int, bytes], after: bytes = b"", version: int = TLS_1_2) -> bytes:
    """A ClientHello with these extensions, in one record."""
    body = version.to_bytes(2, "big") + bytes(32) + vector(1, b"") + vector(2, b"\x13\x01") + vector(1, b"\0")
    if extensions:
        body += vector(2, b"".join(kind.to_bytes(2, "big") + vector(2, data) for kind, data in extensions))
    return b"\x16\x03\x01" + vector(2, b"\x01" + vector(3, body + after))


def server_name(name: bytes, kind: int = 0) -> bytes:
    return bytes([kind]) + vector(2, name)


def test_the_hello_of_openssl_names_the_server_and_the_protocols():
    hello = parse_hello(hello_of("ci.example", ["h2", "http/1.1"]))
    assert hello is not None
    assert hello.server_name == "ci.example"
    assert hello.protocols == (b"h2", b"http/1.1")
    assert {TLS_1_2, TLS_1_3} <= set(hello.versions)


def test_the_hello_of_openssl_4_with_a_large_key_share_is_read():
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_alpn_protos([b"acme-tls/1"])
    client = SSL.Connection(context)
    client.set_tlsext_host_name(b"CI.Example")
    client.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    hello = parse_hello(client.bio_read(65536))
    assert hello is not None
    assert (hello.server_name, hello.protocols) == ("ci.example", (b"acme-tls/1",))


def test_a_client_may_name_neither_a_server_nor_a_protocol():
    hello = parse_hello(hello_of(None))
    assert hello is not None
    assert (hello.server_name, hello.protocols) == ("", ())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("only", "number"), ((ssl.TLSVersion.TLSv1, 0x0301), (ssl.TLSVersion.TLSv1_1, 0x0302)))
def test_an_old_client_tells_its_highest_version(only, number):
    hello = parse_hello(hello_of(only=only))
    assert hello is not None
    assert hello.versions == (number,)


def test_a_client_without_extensions_is_read():
    assert parse_hello(hand_made(version=0x0300)) == Hello("", (), (0x0300,))


def test_the_name_is_compared_in_lower_case_without_the_dot_at_its_end():
    hello = parse_hello(hand_made((0, vector(2, server_name(b"CI.Example.")))))
    assert hello is not None
    assert hello.server_name == "ci.example"


def test_names_of_other_types_are_passed_over():
    hello = parse_hello(hand_made((0, vector(2, server_name(b"\xff", 7) + server_name(b"a.example")))))
    assert hello is not None
    assert hello.server_name == "a.example"


@pytest.mark.parametrize("size", (1, 2, 3, 7, 100))
def test_a_hello_may_be_spread_over_many_records(size):
    whole = hello_of("ci.example", ["http/1.1"])
    assert parse_hello(records_of(whole, size)) == parse_hello(whole)


def test_a_hello_may_come_one_byte_at_a_time():
    whole = records_of(hello_of("ci.example", ["http/1.1"]), 50)
    reader = HelloReader()
    answers = [reader.feed(whole[at : at + 1]) for at in range(len(whole))]
    assert answers[:-1] == [None] * (len(whole) - 1)
    assert answers[-1] == parse_hello(whole)
    assert bytes(reader.received) == whole


def test_what_comes_with_the_hello_is_kept():
    whole = hello_of() + b"more"
    reader = HelloReader()
    assert reader.feed(whole) is not None
    assert bytes(reader.received) == whole


MALFORMED = {
    "plain HTTP": b"GET / HTTP/1.1\r\n",
    "SSL 2": b"\x80\x2e\x01\x03\x01",
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "version 4 of the record": b"\x16\x04",
    "an empty record": b"\x16\x03\x01\x00\x00",
    "a record that is too long": b"\x16\x03\x01\x40\x01",
    "another message": b"\x16\x03\x01\x00\x01\x02",
    "a message that is too long": b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
    "an empty message": b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
    "something after the extensions": hand_made((10, b""), after=b"\0"),
    "an extension twice": hand_made((10, b""), (10, b"")),
    "an empty list of names": hand_made((0, vector(2, b""))),
    "two names": hand_made((0, vector(2, server_name(b"a.example") + server_name(b"b.example")))),
    "a name with a NUL": hand_made((0, vector(2, server_name(b"a.example\0.b")))),
    "a name that is not ASCII": hand_made((0, vector(2, server_name(b"\xe4.example")))),
    "a list of names that is too short": hand_made((0, b"\x00\x20\x00\x00\x01a")),
    "something after the list of names": hand_made((0, vector(2, server_name(b"a.example")) + b"\0")),
    "an empty list of protocols": hand_made((16, vector(2, b""))),
    "a protocol without a name": hand_made((16, vector(2, vector(1, b"")))),
    "a protocol that ends too early": hand_made((16, vector(2, b"\x09http"))),
    "half a version": hand_made((43, vector(1, b"\x03\x04\x03"))),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_hello_is_refused(data):
    with pytest.raises(BadHello):
        parse_hello(data)


def test_a_hello_that_does_not_end_is_refused_at_the_limit():
    reader = HelloReader(limit=1000)
    reader.feed(b"\x16\x03\x01\x10\x00\x01\x00\x03\x00")
    reader.feed(bytes(991))
    with pytest.raises(BadHello):
        reader.feed(b"\0")


def test_sixty_four_kilobytes_in_records_of_one_byte_take_time_in_proportion():
    reader = HelloReader()
    pieces = records_of(b"\x16\x03\x01\x00\x00\x01\x00\xff\x00" + bytes(20_000), 1)
    with suppress(BadHello):
        for byte in pieces:
            reader.feed(bytes([byte]))
    assert len(reader.received) == HELLO_SIZE + 1


SEEDS = (hello_of("ci.example", ["h2", "http/1.1"]), records_of(hello_of("x.example", ["acme-tls/1"]), 40), hand_made())


@given(st.binary(max_size=400))
@example(b"")
def test_any_bytes_are_a_hello_or_not_yet_or_refused(data):
    with suppress(BadHello):
        assert isinstance(parse_hello(data), Hello | None)


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4), st.data())
def test_a_damaged_hello_is_a_hello_or_not_yet_or_refused(whole, damages, data):
    damaged = bytearray(whole)
    for at, value in damages:
        damaged[at % len(damaged)] = value
    cut = data.draw(st.integers(0, len(damaged)))
    with suppress(BadHello):
        assert isinstance(parse_hello(bytes(damaged[:cut])), Hello | None)


@given(st.sampled_from(SEEDS), st.lists(st.integers(1, 500), min_size=1, max_size=20))
def test_how_it_is_cut_makes_no_difference(whole, sizes):
    reader, at, answer = HelloReader(), 0, None
    while answer is None and at < len(whole):
        size = sizes[at % len(sizes)]
        answer, at = reader.feed(whole[at : at + size]), at + size
    assert answer == parse_hello(whole)


@given(
    st.from_regex(r"[a-z0-9_-]{1,20}(\.[a-z0-9_-]{1,20}){0,4}", fullmatch=True),
    st.lists(st.binary(min_size=1, max_size=255), min_size=1, max_size=5),
    st.integers(0, 0xFFFF).filter(lambda kind: kind not in (0, 16, 43)),
)
def test_what_was_said_is_what_is_read(name, protocols, unknown):
    offered = vector(2, b"".join(vector(1, protocol) for protocol in protocols))
    names = vector(2, server_name(name.encode()))
    hello = parse_hello(hand_made((unknown, b"?"), (16, offered), (0, names), (43, vector(1, b"\x03\x04\x7a\x7a"))))
    assert hello == Hello(name, tuple(protocols), (TLS_1_3, 0x7A7A))
