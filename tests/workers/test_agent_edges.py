"""What surrounds the agent: TLS on both sides, its own port, its log."""

import json
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from tests.servers import free_port
from tests.workers.agents import StartWorker, call
from tests.workers.stub_controller import StubController
from workers.errors import BadSetting
from workers.protocol import HeartbeatAnswer, Task, WorkerState
from workers.tls import Certificate, authority


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Signed by itself, for 127.0.0.1 under another common name."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=gpu-1.lan"
        " -addext subjectAltName=DNS:gpu-1.lan,IP:127.0.0.1"
        f" -keyout {folder}/key.pem -out {folder}/cert.pem"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return Certificate(folder / "cert.pem", folder / "key.pem")


def page(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_an_engine_behind_tls_is_offered_as_https(
    controller: StubController, start_worker: StartWorker, certificate: Certificate
) -> None:
    """And its agent trusts that certificate, whatever name stands in it."""
    await start_worker(*certificate.flags)

    await controller.until(lambda: bool(controller.heartbeats))

    _, joined = controller.joins[0]
    assert joined.address.startswith("https://127.0.0.1:")
    port = int(joined.address.rsplit(":", 1)[1])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as link,
        certificate.trusted().wrap_socket(link) as secured,
    ):
        assert secured.version()


async def test_an_engine_whose_certificate_is_out_of_date_is_left_to_the_controller(
    controller: StubController, start_worker: StartWorker, certificate: Certificate
) -> None:
    """Its agent hears it all the same, as where the machine's clock is wrong."""
    days_ago = [datetime.now(UTC) - timedelta(days=days) for days in (3, 2)]
    old = signed_anew(certificate, *days_ago)

    await start_worker(*old.flags)

    await controller.until(lambda: bool(controller.joins))


def signed_anew(
    certificate: Certificate, start: datetime, end: datetime
) -> Certificate:
    """The same certificate for another time."""
    now = x509.load_pem_x509_certificate(certificate.certfile.read_bytes())
    key = load_pem_private_key(certificate.keyfile.read_bytes(), password=None)
    builder = x509.CertificateBuilder(
        issuer_name=now.issuer,
        subject_name=now.subject,
        public_key=now.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=start,
        not_valid_after=end,
    )
    file = certificate.certfile.with_name("old.pem")
    file.write_bytes(builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
    return Certificate(file, certificate.keyfile)


async def test_a_controllers_own_authority_is_trusted_if_named(
    start_worker: StartWorker, certificate: Certificate
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate.certfile, certificate.keyfile)
    controller = StubController(tls=tls)
    async with controller.running():
        address = ["--controller-address", controller.url]
        stranger = await start_worker(*address, "--state-dir", "other")
        await stranger.says("its certificate or TLS is not accepted")
        assert not controller.joins

        await start_worker(*address, "--controller-ca", str(certificate.certfile))

        await controller.until(lambda: bool(controller.heartbeats))


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_files_that_are_no_certificates_are_one_line(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "file.pem"
    if content:
        file.write_text(content)

    with pytest.raises(BadSetting, match=f"--controller-ca {file} cannot be used: ."):
        authority(file)
    with pytest.raises(BadSetting, match=f"--ssl-certfile {file} and .* cannot be"):
        Certificate(file, file).check()


async def test_the_controller_is_told_of_all_models_of_one_process(
    controller: StubController, start_worker: StartWorker
) -> None:
    await start_worker("--other-models", "second,deuxieme", "--other-models", "third")
    await controller.until(lambda: bool(controller.joins))

    _, joined = controller.joins[-1]
    offers = {offer.name: offer for offer in joined.models}
    assert list(offers) == ["tiny", "second", "third"]
    assert offers["second"].aliases == ["deuxieme"]
    assert offers["third"].tasks == [Task.COMPLETIONS]
    assert offers["third"].context_length == 512


async def test_a_new_key_is_joined_with_and_the_old_one_ends_later(
    controller: StubController,
    start_worker: StartWorker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OVERLAP_SECONDS", "0.5")
    worker = await start_worker()
    await controller.until(lambda: bool(controller.heartbeats))

    controller.wishes = HeartbeatAnswer(rotate_key=True)
    await controller.until(lambda: len(controller.joins) == 2)
    controller.wishes = HeartbeatAnswer()
    old, new = (joined for _, joined in controller.joins)
    for joined in (old, new):
        assert call(new.address, "/version", joined.engine_key)
    await worker.says("The engine's former key opens it no more")

    assert old.engine_key != new.engine_key
    assert old.start_id == new.start_id
    assert call(new.address, "/version", new.engine_key)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        call(new.address, "/version", old.engine_key)
    assert {beat.state for beat in controller.heartbeats} == {WorkerState.READY}
    assert (tmp_path / "state/engine_keys").stat().st_mode & 0o777 == 0o600


async def test_the_agents_port_says_how_it_fares(
    controller: StubController, start_worker: StartWorker, tmp_path: Path
) -> None:
    port = free_port()
    (tmp_path / "loading").write_text("Loading weights:  43%|####\n")
    worker = await start_worker("--agent-port", str(port))
    await worker.says("Loading weights")
    status, state = page(port, "/readyz")
    assert (status, json.loads(state)["loading_progress"]) == (503, 0.43)
    assert page(port, "/healthz")[0] == 200

    (tmp_path / "loading").unlink()
    await controller.until(lambda: bool(controller.heartbeats))

    status, state = page(port, "/readyz")
    assert (status, json.loads(state)["state"]) == (200, "ready")
    _, metrics = page(port, "/metrics")
    assert 'switchyard_worker_state{state="ready"} 1.0' in metrics
    assert "switchyard_worker_registered 1.0" in metrics
    assert "switchyard_worker_engine_restarts_total 0.0" in metrics


async def test_an_agents_port_in_use_is_one_line(start_worker: StartWorker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])

        worker = await start_worker("--agent-port", port)

        assert await worker.ended() == 2
    assert worker.log.splitlines()[-1].startswith(f"--agent-port {port} cannot be used")


async def test_a_log_can_be_json(
    controller: StubController, start_worker: StartWorker
) -> None:
    worker = await start_worker("--log-format", "json")

    await worker.says("Joined ")

    line = json.loads(worker.log.splitlines()[-1])
    assert line["level"] == "INFO"
    assert line["message"].startswith(f"Joined {controller.url}")
