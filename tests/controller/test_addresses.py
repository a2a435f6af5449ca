"""Which addresses may be a worker's, however they are written."""

import socket
from ipaddress import ip_network

import pytest

from controller.fleet.addresses import resolve
from controller.fleet.errors import WorkerRefused
from workers.protocol import RefusalCode

PRIVATE = [ip_network(net) for net in ("127.0.0.0/8", "::1/128", "10.0.0.0/8")]
EVERYWHERE = [ip_network("0.0.0.0/0"), ip_network("::/0")]


@pytest.fixture
def names(monkeypatch):
    """What names resolve to, in place of the network's DNS; others do not resolve."""
    known: dict[str, list[str]] = {}

    def getaddrinfo(host, port, *args, **kwargs):
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return [
            (socket.AF_INET6 if ":" in ip else socket.AF_INET, 1, 6, "", (ip, port))
            for ip in known[host]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


async def refusal(address, allowed=PRIVATE) -> WorkerRefused:
    with pytest.raises(WorkerRefused) as refused:
        await resolve(address, allowed)
    return refused.value


@pytest.mark.parametrize(
    ("address", "url", "ip", "host_header"),
    [
        ("http://10.1.2.3:8000", "http://10.1.2.3:8000", "10.1.2.3", "10.1.2.3:8000"),
        ("http://10.1.2.3", "http://10.1.2.3:80", "10.1.2.3", "10.1.2.3"),
        ("https://10.1.2.3/", "https://10.1.2.3:443", "10.1.2.3", "10.1.2.3"),
        ("HTTP://[0:0::1]:8000", "http://[::1]:8000", "::1", "[::1]:8000"),
        (
            "http://[::ffff:10.1.2.3]:80",
            "http://[::ffff:a01:203]:80",
            "10.1.2.3",
            "[::ffff:a01:203]",
        ),
    ],
)
async def test_a_literal_address_is_itself(address, url, ip, host_header):
    resolved = await resolve(address, PRIVATE)

    assert (resolved.url, resolved.ip) == (url, ip)
    assert resolved.host_header == host_header


async def test_a_name_keeps_its_name_and_is_connected_to_by_ipv4_first(names):
    names["gpu-1.lan"] = ["::1", "10.0.0.7"]

    resolved = await resolve("http://GPU-1.lan.:8000", PRIVATE)

    assert resolved.url == "http://gpu-1.lan:8000"
    assert resolved.host_header == "gpu-1.lan:8000"
    assert resolved.ip == "10.0.0.7"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "10.0.0.1:80",
        "ftp://10.0.0.1",
        "http://",
        "http://:80",
        "http://user@10.0.0.1",
        "http://10.0.0.1@8.8.8.8",
        "http://10.0.0.1/v1",
        "http://10.0.0.1?a=b",
        "http://10.0.0.1#x",
        "http://10.0.0.1:0",
        "http://10.0.0.1:99999",
        "http://10.0.0.1:eighty",
        "http://10.0.0.1 .example",
        "http://10.0.0.1\n.example",
        "http://10.0.0.1\\@8.8.8.8",
        "http://10.0.0.1%00.example",
        "http://１０.0.0.1",
        "http://bücher.example",
        "http://0x7f.1",
        "http://0x7f000001",
        "http://2130706433",
        "http://0177.0.0.1",
        "http://127.1",
        "http://127.0.0.1.0x1",
        "http://[::1%25eth0]",
        "http://[::1%eth0]",
        "http://[::1",
        "http://[::1]evil:80",
        "http://evil[::1]:80",
        "http://::1",
        "http://-bad.example",
        "http://a..b",
    ],
)
async def test_an_ambiguous_address_is_refused_with_its_repair(address, names):
    refused = await refusal(address, EVERYWHERE)

    assert refused.code == RefusalCode.BAD_REQUEST
    assert repr(address) in refused.message
    assert "http://host:port" in refused.message


@pytest.mark.parametrize(
    "ip",
    [
        "8.8.8.8",
        "2001:4860::1",
        "::ffff:8.8.8.8",
        "::8.8.8.8",
        "2002:0808:0808::1",
        "64:ff9b::8.8.8.8",
        # What these carry is allowed, but the tunnel's own address is not.
        "2002:0a00:0001::1",
        "64:ff9b::10.0.0.1",
        "2001:0:0a00:0001:0:0:f5ff:fffe",
    ],
)
async def test_an_address_outside_the_allowed_networks_is_refused(ip, names):
    names["worker.example"] = [ip]
    literal = f"[{ip}]" if ":" in ip else ip

    by_name = await refusal("http://worker.example:80")
    by_literal = await refusal(f"http://{literal}:80")

    assert by_name.code == by_literal.code == RefusalCode.ADDRESS_NOT_ALLOWED
    assert "ALLOWED_WORKER_NETWORKS" in by_name.message


@pytest.mark.parametrize(
    "ip",
    [
        "169.254.169.254",
        "169.254.1.1",
        "fe80::1",
        "100.100.100.200",
        "168.63.129.16",
        "fd00:ec2::254",
        "fd20:ce::254",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "255.255.255.255",
        "ff02::1",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "2001:0:0a00:0001:0:0:5601:5601",  # Teredo, the client's address inverted
    ],
)
async def test_some_addresses_are_refused_even_if_listed(ip, names):
    names["worker.example"] = [ip]
    literal = f"[{ip}]" if ":" in ip else ip

    by_name = await refusal("http://worker.example:80", EVERYWHERE)
    by_literal = await refusal(f"http://{literal}:80", EVERYWHERE)

    assert by_name.code == by_literal.code == RefusalCode.ADDRESS_NOT_ALLOWED
    assert "No worker may be there" in by_name.message


async def test_one_address_outside_is_enough_to_refuse_a_name(names):
    names["worker.example"] = ["10.0.0.1", "8.8.8.8"]

    refused = await refusal("http://worker.example")

    assert refused.code == RefusalCode.ADDRESS_NOT_ALLOWED
    assert "8.8.8.8" in refused.message


async def test_an_unknown_name_is_unresolvable(names):
    refused = await refusal("http://nowhere.example")

    assert refused.code == RefusalCode.ADDRESS_UNRESOLVABLE
    assert "'nowhere.example'" in refused.message
