"""What a person says of a limit: how much more and why, or how much for a key."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from controller.limits.teams import ceilings
from controller.models import Team


class AmountField(forms.DecimalField):
    """An amount of any kind; what the kind allows is said where it is known."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=0, max_digits=18, decimal_places=6, **kwargs)

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        """Arrows that step by ones, and any amount by hand."""
        return {"step": "any", "min": "0", "inputmode": "decimal"}


class AskForm(forms.Form):
    amount = AmountField(label=_("Wished amount"))
    reason = forms.CharField(
        label=_("What for"),
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("A sentence for the operator who decides."),
    )


class TeamKeyForm(forms.Form):
    """A limit of a team's key. Its kinds are those that the team itself has."""

    kind = forms.ChoiceField(label=_("Limits"))
    amount = AmountField(label=_("Amount"))

    def __init__(self, team: Team, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kind = self.fields["kind"]
        assert isinstance(kind, forms.ChoiceField)
        kind.choices = [
            (
                limit.kind,
                _("%(kind)s, at most %(amount)s")
                % {
                    "kind": limit.get_kind_display(),
                    "amount": limit.in_words(limit.units),
                },
            )
            for limit in ceilings(team)
        ]
