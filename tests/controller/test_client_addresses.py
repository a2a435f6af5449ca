from ipaddress import ip_network

import pytest

from controller.addresses import client_ip, parse_networks

PROXIES = [ip_network("10.0.0.0/8"), ip_network("::1/128")]


def test_a_stranger_cannot_choose_an_address_by_sending_the_header():
    assert client_ip("203.0.113.9", "198.51.100.1", PROXIES) == "203.0.113.9"


def test_a_trusted_proxy_says_whom_it_speaks_for():
    assert client_ip("10.0.0.2", "198.51.100.1", PROXIES) == "198.51.100.1"


def test_what_a_client_wrote_before_the_proxy_is_not_believed():
    forged = "127.0.0.1, 192.0.2.7, 198.51.100.1"

    assert client_ip("10.0.0.2", forged, PROXIES) == "198.51.100.1"


def test_a_chain_of_trusted_proxies_is_followed_to_the_client():
    assert client_ip("::1", "198.51.100.1, 10.0.0.2", PROXIES) == "198.51.100.1"


def test_what_is_no_address_ends_the_walk():
    assert client_ip("10.0.0.2", "198.51.100.1, unknown", PROXIES) == "10.0.0.2"


def test_an_ipv4_peer_mapped_into_ipv6_is_the_same_peer():
    assert client_ip("::ffff:10.0.0.2", "198.51.100.1", PROXIES) == "198.51.100.1"


def test_a_unix_socket_counts_as_this_machine():
    assert client_ip("", "198.51.100.1", []) == "127.0.0.1"


def test_networks_are_read_with_commas_or_spaces():
    assert parse_networks("10.0.0.0/8, 192.168.1.5\n::1") == [
        "10.0.0.0/8",
        "192.168.1.5/32",
        "::1/128",
    ]


@pytest.mark.parametrize("wrong", ["10.0.0.0/33", "10.0.0.1/8", "localhost"])
def test_what_is_no_network_is_named(wrong):
    with pytest.raises(ValueError, match=wrong):
        parse_networks(f"10.0.0.0/8,{wrong}")
