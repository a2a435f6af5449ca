"""Which scopes whom may be granted by whom."""

from controller.models import ApiKey, User


def grantable_scopes(user: User) -> list[ApiKey.Scope]:
    """What this user may give to keys of their own: operators everything."""
    is_operator = user.is_staff and user.has_perm("controller.add_apikey")
    return list(ApiKey.Scope) if is_operator else [ApiKey.Scope.INFERENCE]
