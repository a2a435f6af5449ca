"""What owners of a team may set for its keys."""

from contextlib import nullcontext
from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError

from controller.limits.teams import limit_key
from controller.models import Limit
from tests.factories import make_key, make_team, make_user

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("kind", "amount", "is_set"),
    [
        ("tokens_per_day", 400, True),
        ("tokens_per_day", 1000, True),
        ("tokens_per_day", 1001, False),
        ("tokens_per_day", Decimal("0.5"), False),
        ("tokens_per_day", -1, False),
        ("tokens_per_month", 400, False),  # the team has none
        ("concurrent", 2, False),  # a field of the key
    ],
)
def test_a_teams_key_is_held_below_the_teams_own_limit(kind, amount, is_set):
    user = make_user()
    team = make_team(user)
    Limit.put("tokens_per_day", 1000, team_id=team.pk)
    Limit.put("concurrent", 5, team_id=team.pk)
    key, _secret = make_key(user, team=team)

    with nullcontext() if is_set else pytest.raises(ValidationError):
        limit_key(key, kind, Decimal(amount))

    assert [each.units for each in key.limits.all()] == ([amount] if is_set else [])
