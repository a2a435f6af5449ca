import errno
import socket

import pytest

from workers import addresses
from workers.errors import BadAddress, PortTaken


def test_an_address_without_a_scheme_means_http() -> None:
    assert addresses.with_scheme("gpu1:8000/") == "http://gpu1:8000"


def test_an_https_address_stays_https() -> None:
    assert addresses.with_scheme("https://gpu1") == "https://gpu1"


@pytest.mark.parametrize("address", ["ftp://gpu1", "http://", "gpu1:99999", ""])
def test_an_address_that_cannot_be_called_is_refused(address: str) -> None:
    with pytest.raises(BadAddress):
        addresses.with_scheme(address)


def test_a_worker_of_a_loopback_controller_stays_on_loopback() -> None:
    controller = "http://localhost:8000"

    assert addresses.default_host(controller) == "127.0.0.1"
    assert (
        addresses.worker_address(None, "127.0.0.1", 21002, controller)
        == "http://127.0.0.1:21002"
    )


def test_a_worker_bound_to_all_is_reached_by_its_route_to_the_controller() -> None:
    address = addresses.worker_address(None, "0.0.0.0", 21002, "http://127.0.0.1:1")

    assert address == "http://127.0.0.1:21002"


def test_a_worker_name_without_a_port_gets_the_engines_port() -> None:
    given = addresses.worker_address("gpu1.lan", "0.0.0.0", 21005, "http://c")

    assert given == "http://gpu1.lan:21005"


def test_a_worker_url_is_taken_as_it_is() -> None:
    given = addresses.worker_address("https://gpu1.lan", "0.0.0.0", 21005, "http://c")

    assert given == "https://gpu1.lan"


def test_an_ipv6_host_is_put_in_brackets() -> None:
    assert addresses.local_url("::", 21002) == "http://[::1]:21002"


def test_a_controller_whose_name_does_not_resolve_is_named() -> None:
    with pytest.raises(BadAddress, match=r"nowhere\.invalid"):
        addresses.default_host("http://nowhere.invalid:8000")


def test_two_workers_reserve_different_ports() -> None:
    first = addresses.reserve_port("127.0.0.1", None)
    second = addresses.reserve_port("127.0.0.1", None)

    assert first.number != second.number
    first.release()
    second.release()


def test_a_host_that_is_not_this_machine_is_refused_by_name() -> None:
    with pytest.raises(BadAddress, match=r"192\.0\.2\.1"):
        addresses.reserve_port("192.0.2.1", None)


def test_a_wished_port_in_use_is_refused_by_number() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        with pytest.raises(PortTaken, match=str(port)):
            addresses.reserve_port("127.0.0.1", port)


def test_a_port_that_only_root_may_use_is_not_said_to_be_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)

    with pytest.raises(PortTaken, match="Port 80 is not for this user"):
        addresses.reserve_port("127.0.0.1", 80)


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("http://gpu1:21002/v1", "goes on after the port"),
        ("gpu1?x", "goes on after the port"),
        ("0.0.0.0", "not where to be called"),
        ("http://[::]:21002", "not where to be called"),
        ("ftp://gpu1", "not an address"),
    ],
)
def test_a_worker_address_that_no_controller_takes_is_refused_at_the_start(
    address: str, complaint: str
) -> None:
    addresses.check_worker_address("https://gpu1.lan:21002/")
    with pytest.raises(BadAddress, match=complaint):
        addresses.check_worker_address(address)


def test_an_engine_on_loopback_is_out_of_a_distant_controllers_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not addresses.is_out_of_reach("127.0.0.1", "http://127.0.0.1:8000")
    monkeypatch.setattr(addresses, "local_address_towards", lambda _: "10.0.0.7")

    assert addresses.is_out_of_reach("localhost", "http://10.0.0.2:8000")
    assert not addresses.is_out_of_reach("0.0.0.0", "http://10.0.0.2:8000")
