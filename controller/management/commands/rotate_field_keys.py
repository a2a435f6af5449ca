"""`manage.py rotate_field_keys`: encrypt stored secrets anew with the first key."""

from typing import Any

from allauth.mfa.models import Authenticator
from cryptography.fernet import InvalidToken
from django.core.management.base import BaseCommand, CommandError

from controller.identity import encryption
from controller.models import Classifier, ModerationFlag, Worker

# What django-allauth encrypts of an authenticator app and of recovery codes.
SECRETS = ("secret", "seed")


class Command(BaseCommand):
    help = (
        "Encrypt keys of engines and classifiers, excerpts of flags and second factors"
        " anew with the first of FIELD_KEYS; afterwards the other keys may be dropped."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        num_rotated = 0
        unreadable = []
        workers = Worker.objects.exclude(encrypted_engine_key="")
        for worker in workers.only("address", "encrypted_engine_key").iterator():
            old = worker.encrypted_engine_key
            try:
                new = encryption.rotate(old)
            except InvalidToken:
                unreadable.append(str(worker))
                continue
            # A worker that rejoined meanwhile has a newer key, written with the first.
            num_rotated += Worker.objects.filter(
                pk=worker.pk, encrypted_engine_key=old
            ).update(encrypted_engine_key=new)
        self.stdout.write(f"Encrypted anew: {num_rotated} engine key(s).")
        num_excerpts, num_unreadable = rotate_excerpts()
        self.stdout.write(f"Encrypted anew: {num_excerpts} excerpt(s) of flags.")
        if num_unreadable:
            self.stdout.write(
                f"None of FIELD_KEYS reads {num_unreadable} excerpt(s), which stay as"
                " they are."
            )
        num_factors, num_lost = rotate_second_factors()
        self.stdout.write(f"Encrypted anew: {num_factors} second factor(s).")
        if num_lost:
            self.stdout.write(
                f"None of FIELD_KEYS reads {num_lost} second factor(s): their owners"
                " need their recovery codes, or an operator who deletes the factor."
            )
        self.stdout.write(f"Encrypted anew: {rotate_classifiers()} classifier key(s).")
        if unreadable:
            raise CommandError(
                f"None of FIELD_KEYS reads the engine key of {', '.join(unreadable)}."
                " Bring back the key it was written with, or let the worker join again."
            )


def rotate_classifiers() -> int:
    """How many classifiers' keys are encrypted anew. Raises `CommandError` naming one
    that cannot be read."""
    classifiers = Classifier.objects.exclude(encrypted_key="")
    for classifier in classifiers:
        try:
            classifier.encrypted_key = encryption.rotate(classifier.encrypted_key)
        except InvalidToken as exc:
            raise CommandError(
                f"None of FIELD_KEYS reads the key of the classifier {classifier}."
                " Write it anew in the console."
            ) from exc
        classifier.save(update_fields=["encrypted_key"])
    return len(classifiers)


def rotate_excerpts() -> tuple[int, int]:
    """(how many excerpts of moderation flags are encrypted anew, how many cannot be
    read). One query for each."""
    num_rotated = num_unreadable = 0
    flags = ModerationFlag.objects.exclude(encrypted_excerpt="")
    for flag in flags.only("encrypted_excerpt").iterator():
        try:
            flag.encrypted_excerpt = encryption.rotate(flag.encrypted_excerpt)
        except InvalidToken:
            num_unreadable += 1
            continue
        flag.save(update_fields=["encrypted_excerpt"])
        num_rotated += 1
    return num_rotated, num_unreadable


def rotate_second_factors() -> tuple[int, int]:
    """(how many apps and sets of recovery codes are encrypted anew, how many cannot be
    read). Public keys of passkeys are no secrets. One query for each."""
    num_rotated = num_unreadable = 0
    factors = Authenticator.objects.exclude(type=Authenticator.Type.WEBAUTHN)
    for factor in factors.iterator():
        secrets = {name: factor.data[name] for name in SECRETS if name in factor.data}
        try:
            rotated = {name: encryption.rotate(old) for name, old in secrets.items()}
        except InvalidToken:
            num_unreadable += 1
            continue
        factor.data |= rotated
        factor.save(update_fields=["data"])
        num_rotated += 1
    return num_rotated, num_unreadable
