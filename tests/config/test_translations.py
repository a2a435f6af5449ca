"""What the catalogues of the product say is what its readers see."""

import gettext
from collections import defaultdict

from django.conf import settings
from django.utils import translation

OURS = ("chat", "controller", "config")


def test_no_other_package_takes_the_place_of_our_chinese():
    said = defaultdict(set)
    for folder in OURS:
        path = settings.BASE_DIR / folder / "locale/zh_Hans/LC_MESSAGES/django.mo"
        with path.open("rb") as file:
            for words, chinese in gettext.GNUTranslations(file)._catalog.items():
                # Not plurals, nor words with a context: nobody else's are the same.
                if isinstance(words, str) and words and "\x04" not in words:
                    said[words].add(chinese)

    with translation.override("zh-hans"):
        others = {
            words: (shown, chinese)
            for words, chinese in said.items()
            if (shown := translation.gettext(words)) not in chinese
        }

    assert others == {}, "put ours into config/locale, which comes before all others"
