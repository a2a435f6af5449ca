"""For whom models are: teams, and who is in them."""

from dataclasses import dataclass

from controller.identity.caller import Caller
from controller.models import LedgerEntry, Membership, ServedModel


@dataclass(frozen=True, slots=True)
class Audience:
    """The teams that may use a model, and the people in them."""

    teams: frozenset[int]
    users: frozenset[int]

    def includes(self, caller: Caller) -> bool:
        """Whether the caller is of one of the teams. A team's key speaks for that team
        alone; all else for every team that its user is in. The site itself may ask
        every model."""
        if caller.face == LedgerEntry.Face.PROBE:
            return True
        if caller.team_id is not None:
            return caller.team_id in self.teams
        return caller.user_id in self.users


def load_audiences() -> dict[int, Audience]:
    """Of each model that is not for everybody, by its id. Two queries."""
    teams: dict[int, set[int]] = {}
    links = ServedModel.teams.through.objects.values_list("servedmodel_id", "team_id")
    for model_id, team_id in links:
        teams.setdefault(model_id, set()).add(team_id)
    members: dict[int, set[int]] = {}
    rows = Membership.objects.filter(team__in=set().union(*teams.values()))
    for team_id, user_id in rows.values_list("team_id", "user_id"):
        members.setdefault(team_id, set()).add(user_id)
    return {
        model_id: Audience(
            teams=frozenset(ids),
            users=frozenset().union(*(members.get(each, set()) for each in ids)),
        )
        for model_id, ids in teams.items()
    }
