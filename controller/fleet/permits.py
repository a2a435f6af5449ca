"""By what right a worker joins: an operator's join token, or its own credential."""

import hmac
from dataclasses import dataclass
from uuid import UUID

from django.utils.timezone import now

from controller.fleet.errors import WorkerRefused, worker_unknown
from controller.identity import secrets
from controller.models import JoinToken, Worker
from workers.protocol import RefusalCode

MAKE_ONE = "Make a new one with `python manage.py join_token`."


@dataclass(frozen=True, slots=True)
class Permit:
    """A token for a first join, or the worker that comes back with its credential."""

    token: JoinToken | None
    worker: Worker | None = None

    @property
    def is_keyless(self) -> bool:
        if self.worker is not None:
            return self.worker.is_keyless
        return self.token is not None and self.token.is_keyless

    def check_network(self, ip: str) -> None:
        """Raise unless the token, where it is bound to networks, allows this address.

        The binding holds for later joins too, as long as the token's row exists.
        """
        if self.token is not None and not self.token.allows(ip):
            raise WorkerRefused(
                RefusalCode.ADDRESS_NOT_ALLOWED,
                f"The worker's address {ip} lies outside of the networks that its join"
                f" token is bound to ({', '.join(self.token.networks)}).",
            )


def check_bearer(bearer: str) -> None:
    """Raise unless this could be a join token or a credential of ours; no query."""
    if not bearer:
        raise WorkerRefused(
            RefusalCode.TOKEN_MISSING,
            "The call has no join token: send it as Authorization: Bearer TOKEN."
            f" {MAKE_ONE}",
        )
    prefixes = (secrets.JOIN_TOKEN, secrets.WORKER_CREDENTIAL)
    if not any(secrets.has_right_checksum(bearer, prefix) for prefix in prefixes):
        raise _token_invalid()


def find_permit(worker_id: str | None, bearer: str) -> Permit:
    """The permit to join, unspent. One query; none for a bearer that is not ours.

    Raises `WorkerRefused` with a `join_token_` code, or `worker_unknown`.
    """
    check_bearer(bearer)
    if worker_id is not None:
        worker = find_worker(worker_id, bearer)
        return Permit(worker.join_token, worker)
    token = JoinToken.objects.filter(digest=secrets.digest(bearer)).first()
    if token is None:
        raise _token_invalid()
    if refusal := token_refusal(token):
        raise refusal
    return Permit(token)


def find_worker(worker_id: str | UUID, credential: str) -> Worker:
    """The worker with this id and credential, its join token loaded too.

    One that left may come back; of one that was removed no credential is good any
    more. Raises `worker_unknown`, the same for every reason.
    """
    try:
        known_id = worker_id if isinstance(worker_id, UUID) else UUID(worker_id)
    except ValueError:
        raise worker_unknown() from None
    known = Worker.objects.select_related("join_token")
    worker = known.filter(pk=known_id).first()
    if worker is None or not is_credential_of(worker.credential_digest, credential):
        raise worker_unknown()
    return worker


def is_credential_of(credential_digest: str, credential: str) -> bool:
    """Whether the secret is the one whose digest was stored, in constant time."""
    return hmac.compare_digest(credential_digest, secrets.digest(credential))


def token_refusal(token: JoinToken) -> WorkerRefused | None:
    """Why the token can be used no more; None if it can."""
    if token.revoked_at is not None:
        return _token_invalid()
    if token.expires_at is not None and token.expires_at <= now():
        return WorkerRefused(
            RefusalCode.TOKEN_EXPIRED,
            f"The join token {token} expired at {token.expires_at:%Y-%m-%d %H:%M} UTC."
            f" {MAKE_ONE}",
        )
    if token.used_at is not None and not token.is_reusable:
        return token_used(token)
    return None


def token_used(token: JoinToken) -> WorkerRefused:
    return WorkerRefused(
        RefusalCode.TOKEN_USED,
        f"The join token {token} is for one worker and was used already. {MAKE_ONE}",
    )


def _token_invalid() -> WorkerRefused:
    return WorkerRefused(
        RefusalCode.TOKEN_INVALID, f"This is no valid join token. {MAKE_ONE}"
    )
