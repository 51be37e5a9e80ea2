"""cli/api.py: every way in which asking a server can fail, as one line and an exit code."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from sayci.cli import api as api_module
from sayci.cli.api import Api, path
from sayci.cli.config import Account
from sayci.cli.trouble import Busy, Shut, Trouble


@pytest.fixture
def api(server, values):
    return Api(Account(server.url, values.TOKEN))


@pytest.fixture
def raw_server():
    """A server that answers every connection with the bytes it is given."""
    listening = socket.create_server(("127.0.0.1", 0))
    answer: dict[str, Any] = {"bytes": b""}

    def serve():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    connection.recv(65536)
                    connection.sendall(answer["bytes"])
                except OSError:
                    pass

    threading.Thread(target=serve, daemon=True).start()
    answer["url"] = f"http://127.0.0.1:{listening.getsockname()[1]}"
    yield answer
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def test_parts_of_an_address_cannot_lead_elsewhere():
    assert path("projects", "../tokens?x#y", 7) == "/api/v1/projects/..%2Ftokens%3Fx%23y/7"


def test_a_request_says_who_asks_and_what_is_wanted(api, server, values):
    api.get(path("me"))
    headers = server.asked[0].headers
    assert headers["Authorization"] == f"Bearer {values.TOKEN}"
    assert headers["User-Agent"].startswith("sayci/")
    assert headers["Accept"] == "application/json"


def test_lists_are_read_to_their_end_or_to_the_limit(api, server, values):
    server.builds = {number: values.a_build(number) for number in range(30, 0, -1)}
    server.page_size = 7
    place = path("projects", "demo", "builds")
    items, whole = api.items(place)
    assert [each["number"] for each in items] == list(range(30, 0, -1))
    assert whole["next"] is None
    items, whole = api.items(place, 10)
    assert [each["number"] for each in items] == list(range(30, 20, -1))
    assert whole == {"items": items, "next": "10"}


@pytest.mark.parametrize(
    ("code", "kind", "exit_code"),
    (
        (400, Trouble, 4),
        (401, Shut, 3),
        (403, Shut, 3),
        (404, Trouble, 4),
        (409, Trouble, 4),
        (422, Trouble, 4),
        (429, Busy, 3),
        (500, Busy, 3),
        (502, Busy, 3),
        (503, Busy, 3),
    ),
)
def test_a_problem_document_becomes_its_title_and_detail(api, server, values, code, kind, exit_code):
    server.trouble("GET", "me", values.Answer.problem(code, "A Title", "and a detail"))
    with pytest.raises(Trouble) as caught:
        api.get(path("me"))
    assert type(caught.value) is kind
    assert caught.value.exit_code == exit_code
    assert str(caught.value) == "A Title: and a detail"


def test_a_problem_without_a_detail_is_its_title(api, server, values):
    server.trouble("GET", "me", values.Answer.problem(404, "Not Found", ""))
    with pytest.raises(Trouble, match=r"^Not Found$"):
        api.get(path("me"))


@pytest.mark.parametrize(("code", "kind"), ((404, Shut), (403, Shut), (502, Busy), (503, Busy)))
def test_a_page_in_place_of_an_answer_is_not_shown(api, server, values, code, kind):
    server.trouble("GET", "me", values.Answer.html(code))
    with pytest.raises(kind, match=f"answered {code}") as caught:
        api.get(path("me"))
    assert "<html>" not in str(caught.value)
    assert "proxy" in caught.value.advice


@pytest.mark.parametrize(
    "body",
    (b"<html>welcome</html>", b"", b"{", b"[1]", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"),
)
def test_what_is_no_json_object_is_not_sayci(api, server, values, body):
    server.trouble("GET", "me", values.Answer(200, body, "application/json"))
    with pytest.raises(Shut, match="not sayci"):
        api.get(path("me"))


def test_a_list_that_is_none_is_not_sayci(api, server, values):
    server.trouble("GET", "projects", values.Answer(200, {"items": 7}, "application/json"))
    with pytest.raises(Shut, match="not sayci"):
        api.items(path("projects"))


def test_a_redirect_is_not_followed(api, server, values):
    elsewhere = values.Answer(301, b"", "text/html", {"Location": "https://elsewhere.example/api/v1/me"})
    server.trouble("GET", "me", elsewhere)
    with pytest.raises(Shut, match=r"elsewhere.*https://elsewhere\.example"):
        api.get(path("me"))
    assert len(server.asked) == 1


def test_a_closed_port_is_said_with_its_address():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with pytest.raises(Busy, match=r"cannot reach the server.*refused") as caught:
        Api(Account(url, "x")).get(path("me"))
    assert url in str(caught.value)


def test_a_name_that_is_none_is_said():
    with pytest.raises(Busy, match="cannot reach the server"):
        Api(Account("http://nowhere.localhost.invalid", "x", insecure=True)).get(path("me"))


@pytest.mark.parametrize(
    "answer",
    (
        b"",
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 200 " + b"x" * 100_000,
    ),
)
def test_what_breaks_or_does_not_speak_http_is_worth_another_try(raw_server, answer):
    raw_server["bytes"] = answer
    with pytest.raises(Busy):
        Api(Account(raw_server["url"], "x")).get(path("me"))


def test_a_server_that_does_not_answer_is_left_in_time(monkeypatch):
    monkeypatch.setattr(api_module, "ANSWER_LIMIT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        api = Api(Account(f"http://127.0.0.1:{listening.getsockname()[1]}", "x"))
        with pytest.raises(Busy, match="does not answer"), api._answer("GET", path("me"), limit=0.1):
            pass


def test_plain_http_at_a_tls_address_is_said(server):
    with pytest.raises(Busy, match="cannot reach"):
        Api(Account(server.url.replace("http://", "https://"), "x")).get(path("me"))


def test_a_certificate_that_nobody_signed_ends_it(tmp_path):
    import datetime as dt
    import ssl

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    seen = []

    def serve(listening):
        connection, _ = listening.accept()
        try:
            with context.wrap_socket(connection, server_side=True) as secured:
                seen.append(secured.recv(100))
        except OSError:
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        api = Api(Account(f"https://localhost:{listening.getsockname()[1]}", "the-token"))
        with pytest.raises(Shut, match="cannot be trusted") as caught:
            api.get(path("me"))
        thread.join(10)
    assert type(caught.value) is Shut  # trying again would not help
    assert "SSL_CERT_FILE" in caught.value.advice
    assert seen in ([], [b""])


def test_a_token_that_http_cannot_carry_is_not_printed(server):
    with pytest.raises(Shut) as caught:
        Api(Account(server.url, "two\nlines")).get(path("me"))
    assert "lines" not in str(caught.value)


def test_a_token_is_not_sent_in_the_open():
    with pytest.raises(Shut, match="everybody"):
        Api(Account("http://ci.example", "x"))


def test_a_feed_that_is_none_is_not_sayci(api, server, values):
    server.trouble("GET", "me", values.Answer(200, {}, "application/json"))
    with pytest.raises(Shut, match="not sayci"), api.stream(path("me")):
        pass


def test_ranges_of_bytes_are_what_they_say(api, server):
    server.logs[12, "test"] = bytes(range(256))
    place = path("projects", "demo", "builds", 12, "steps", "test", "log")
    assert b"".join(api.read(place, 10, 20)) == bytes(range(10, 20))
    assert b"".join(api.read(place)) == bytes(range(256))
