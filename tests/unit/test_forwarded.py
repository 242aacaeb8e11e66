"""What is believed of forwarding headers: the rightmost address that is no trusted proxy, and nothing malformed."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeros.worker.accept.peers import Peers
from aeros.worker.lane.forwarded import MAX_HOPS, Forwarded, Told, with_host

PROXY = ("10.0.0.1", 4000)
TRUSTED = ("10.0.0.0/8", "2001:db8::/32")


def told(header: str = "x-forwarded", peer: tuple[str, int] | None = PROXY, **fields: str | list[str]) -> Told | None:
    lines = [
        (name.replace("_", "-").encode(), value.encode("latin1"))
        for name, values in fields.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    return Forwarded(TRUSTED, header).read(lines, peer)[0]


def client(value: str | list[str], peer: tuple[str, int] | None = PROXY) -> object:
    found = told(x_forwarded_for=value, peer=peer)
    return found and found.client


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("192.0.2.1", ("192.0.2.1", 0)),
        ("192.0.2.1:99", ("192.0.2.1", 99)),
        ("2001:dbf::1", ("2001:dbf::1", 0)),
        ("[2001:dbf::1]:99", ("2001:dbf::1", 99)),
        ("::ffff:192.0.2.1", ("192.0.2.1", 0)),
        ("6.6.6.6, 192.0.2.1", ("192.0.2.1", 0)),  # the client's own word stands left
        ("6.6.6.6, 192.0.2.1, 10.0.0.2", ("192.0.2.1", 0)),
        ("6.6.6.6, 192.0.2.1, 2001:db8::5, 10.0.0.2", ("192.0.2.1", 0)),
        ("10.0.0.3, 10.0.0.2", ("10.0.0.3", 0)),  # a request of a proxy's own
        (["6.6.6.6", "192.0.2.1"], ("192.0.2.1", 0)),
        ("6.6.6.6, nonsense", PROXY),
        ("6.6.6.6, nonsense, 10.0.0.2", ("10.0.0.2", 0)),
        ("6.6.6.6, 192.0.2.999, 10.0.0.2", ("10.0.0.2", 0)),
        ("6.6.6.6,", PROXY),
        ("", PROXY),
        ("192.0.2.1:99999", PROXY),
        ("[192.0.2.1]", PROXY),
        ("fe80::1%eth0", PROXY),
        ("192.0.2.1\xb2", PROXY),
    ],
)
def test_the_client_is_the_rightmost_that_is_not_trusted(value: str, wanted: object) -> None:
    assert client(value) == wanted


def test_an_untrusted_peer_tells_nothing_and_shows_nothing() -> None:
    headers = [
        (b"host", b"a"),
        (b"X-Forwarded-For", b"1.2.3.4"),
        (b"forwarded", b"for=1.2.3.4"),
        (b"x-forwarded-user", b"root"),
        (b"accept", b"*"),
    ]
    assert Forwarded(TRUSTED, "x-forwarded").read(headers, ("192.0.2.9", 1)) == (
        None,
        [(b"host", b"a"), (b"accept", b"*")],
    )


def test_headers_without_any_of_them_are_the_very_same() -> None:
    headers = [(b"host", b"a")]
    for peer in (PROXY, ("192.0.2.9", 1), None):
        found, kept = Forwarded(TRUSTED, "x-forwarded").read(headers, peer)
        assert found is None
        assert kept is headers


def test_the_family_that_was_not_chosen_is_not_believed_and_not_shown() -> None:
    headers = [(b"forwarded", b"for=6.6.6.6"), (b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-user", b"u")]
    ours, kept = Forwarded(TRUSTED, "x-forwarded").read(headers, PROXY)
    assert ours is not None
    assert (ours.client, kept) == (("192.0.2.1", 0), headers[1:])
    standard, kept = Forwarded(TRUSTED, "forwarded").read(headers, PROXY)
    assert standard is not None
    assert (standard.client, kept) == (("6.6.6.6", 0), [headers[0], headers[2]])


def test_unix_and_everybody() -> None:
    assert Forwarded(["unix"], "x-forwarded").read([(b"x-forwarded-for", b"192.0.2.1")], None)[0] is not None
    assert Forwarded(TRUSTED, "x-forwarded").read([(b"x-forwarded-for", b"192.0.2.1")], None)[0] is None
    assert Forwarded(["*"], "x-forwarded").read([(b"x-forwarded-for", b"192.0.2.1")], ("8.8.8.8", 1))[0] is not None
    assert Peers(["10.0.0.0/8"]).include("::ffff:10.1.2.3")
    assert not Peers(["10.0.0.0/8"]).include("fe80::1%eth0")


@pytest.mark.parametrize(
    ("proto", "wanted"),
    [
        ("https", "https"),
        ("HTTP", "http"),
        ("wss", "https"),
        ("javascript", None),
        ("", None),
        ("http, https", "https"),
    ],
)
def test_proto(proto: str, wanted: str | None) -> None:
    found = told(x_forwarded_proto=proto)
    assert found is not None
    assert found.scheme == wanted


def test_lists_as_long_as_the_hops_are_read_at_the_clients_place() -> None:
    found = told(x_forwarded_for="6.6.6.6, 192.0.2.1, 10.0.0.2", x_forwarded_proto="gopher, https, http")
    assert found is not None
    assert (found.client, found.scheme) == (("192.0.2.1", 0), "https")


@pytest.mark.parametrize(
    ("host", "port", "wanted"),
    [
        ("example.org", "", "example.org"),
        ("example.org:8443", "443", "example.org:8443"),
        ("example.org", "8443", "example.org:8443"),
        ("example.org", "443", "example.org"),
        ("[2001:db8::1]", "8443", "[2001:db8::1]:8443"),
        ("", "8443", ":8443"),
        ("", "99999", None),
        ("evil.org/path", "", None),
        ("evil.org\r\nset-cookie: x", "", None),
        ("user@evil.org", "", None),
    ],
)
def test_host_and_port(host: str, port: str, wanted: str | None) -> None:
    found = told(x_forwarded_host=host, x_forwarded_port=port)
    assert found is not None
    assert found.host == wanted


def test_the_host_header_is_replaced() -> None:
    headers = [(b"accept", b"*"), (b"Host", b"inner:8000"), (b"x", b"y")]
    assert with_host(headers, "example.org") == [(b"host", b"example.org"), (b"accept", b"*"), (b"x", b"y")]
    assert with_host(headers, ":8443") is headers
    assert with_host([(b"host", b"inner")], ":8443") == [(b"host", b"inner:8443")]


@pytest.mark.parametrize(
    ("prefix", "wanted"),
    [
        ("/app", "/app"),
        ("/app/", "/app"),
        ("/a/b", "/a/b"),
        ("/", ""),
        ("//evil.org", ""),
        ("/a//b", ""),
        ("app", ""),
        ("/a/../b", ""),
        ("/a?b", ""),
        ("/" + "a" * 300, ""),
    ],
)
def test_prefix(prefix: str, wanted: str) -> None:
    found = told(x_forwarded_prefix=prefix)
    assert found is not None
    assert found.prefix == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("for=192.0.2.1;proto=https;host=example.org;by=10.0.0.1", Told(("192.0.2.1", 0), "https", "example.org")),
        ('For="[2001:dbf::1]:4711"', Told(("2001:dbf::1", 4711))),
        (
            "for=6.6.6.6;host=evil.org, for=192.0.2.1;host=example.org, for=10.0.0.2;proto=http",
            Told(("192.0.2.1", 0), None, "example.org"),
        ),
        ("for=unknown", Told(PROXY)),
        ("for=_hidden, for=10.0.0.2", Told(("10.0.0.2", 0))),
        ('for="192.0.2.1', Told(PROXY)),
        ("for=192.0.2.1;for=6.6.6.6", Told(PROXY)),
        ("for=192.0.2.1 6.6.6.6", Told(PROXY)),
        (";;", Told(PROXY)),
        ("for", Told(PROXY)),
    ],
)
def test_the_standard_header(value: str, wanted: Told) -> None:
    assert told("forwarded", forwarded=value) == wanted


def test_a_quote_left_open_in_one_line_does_not_reach_into_the_next() -> None:
    found = told("forwarded", forwarded=['for=6.6.6.6, for="', "for=192.0.2.1"])
    assert found is not None
    assert found.client == ("192.0.2.1", 0)


def test_only_so_many_hops_are_walked() -> None:
    hops = ["192.0.2.1", *[f"10.1.0.{number}" for number in range(MAX_HOPS + 5)]]
    assert client(", ".join(hops)) == ("10.1.0.5", 0)


@given(
    st.sampled_from(["x-forwarded", "forwarded"]),
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    b"x-forwarded-for",
                    b"x-forwarded-proto",
                    b"x-forwarded-host",
                    b"x-forwarded-port",
                    b"x-forwarded-prefix",
                    b"forwarded",
                ]
            ),
            st.one_of(st.binary(max_size=60), st.text('0123456789.:,[] "\\=;forhstp/', max_size=60).map(str.encode)),
        ),
        max_size=6,
    ),
)
def test_whatever_comes_is_valid_or_nothing(header: str, lines: list[tuple[bytes, bytes]]) -> None:
    found, kept = Forwarded(TRUSTED, header).read(lines, PROXY)
    assert all(line in lines for line in kept)
    if found is not None:
        assert found.client is not None
        assert ipaddress.ip_address(found.client[0])
        assert 0 <= found.client[1] < 65536
        assert found.scheme in (None, "http", "https")
        assert found.host is None or found.host.isprintable()
        assert not found.prefix or (found.prefix[0] == "/" and "//" not in found.prefix and found.prefix.isprintable())


@given(st.text(max_size=100), st.sampled_from(["192.0.2.77", "2001:dbf::7"]))
def test_no_client_can_push_its_address_past_the_one_a_proxy_saw(spoof: str, seen: str) -> None:
    """A proxy appends what it saw; whatever stood there before makes no difference."""
    value = f"{spoof}, {seen}".encode("latin1", "replace").decode("latin1").replace("\n", "").replace("\r", "")
    assert client(value) == (seen, 0)
