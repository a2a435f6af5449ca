"""How numbers are written in the languages of the site."""

import pytest
from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils import translation


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_large_numbers_are_grouped_by_three(language):
    with translation.override(language):
        assert intcomma(718627) == "718,627"
        assert intcomma(0.28) == "0.28"
