"""Whom a worker trusts over TLS, and what its own port shows of itself."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from workers.errors import BadSetting

# openssl/x509_vfy.h; Python has no name for it.
NO_CHECK_TIME = ssl.VerifyFlags(0x200000)


@dataclass(frozen=True)
class Certificate:
    """The engine's own, as files for it to read."""

    certfile: Path
    keyfile: Path

    @property
    def flags(self) -> list[str]:
        """How vLLM is told of it, and our engines as well."""
        return [
            "--ssl-certfile",
            str(self.certfile),
            "--ssl-keyfile",
            str(self.keyfile),
        ]

    def check(self) -> None:
        """Raise `BadSetting` unless an engine could serve with these files."""
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                self.certfile, self.keyfile
            )
        except OSError as error:  # ssl.SSLError is one
            raise BadSetting(
                f"--ssl-certfile {self.certfile} and --ssl-keyfile {self.keyfile}"
                f" cannot be used: {error.strerror or error}."
            ) from error

    def trusted(self) -> ssl.SSLContext:
        """Trust in this certificate and in no other, whatever name we call it by.

        The agent calls its engine over loopback, for which it is not made out. Nor do
        its dates count: where the clock is wrong or it is out of date, that is for the
        controller to refuse, while an engine that is not heard would seem to load.
        """
        trust = ssl.create_default_context(cafile=self.certfile)
        trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
        trust.check_hostname = False
        return trust


def authority(file: Path) -> ssl.SSLContext:
    """Trust in the authorities of `file` alone; raises `BadSetting`."""
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:  # ssl.SSLError is one
        raise BadSetting(
            f"--controller-ca {file} cannot be used: {error.strerror or error}."
        ) from error
