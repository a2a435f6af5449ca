"""The address of an account, in the account's row and in django-allauth's own."""

from allauth.account.models import EmailAddress

from controller.models import User


def keep_address_of(user: User) -> None:
    """Leave the account the one address that its row has, if it has one.

    django-allauth takes every address that it knows of somebody: by a former one the
    password could still be reset.
    """
    for former in EmailAddress.objects.filter(user=user).exclude(email=user.email):
        former.delete()  # one by one: the audit log has each
    if user.email:
        address, _is_new = EmailAddress.objects.get_or_create(
            user=user, email=user.email
        )
        address.set_as_primary()
