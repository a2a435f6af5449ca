"""Nothing is left in English on a Chinese page."""

import re
from pathlib import Path

from django.utils import translation

from chat.words import page_words

ROOT = Path(__file__).resolve().parents[2]


def is_chinese(text: str) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def test_every_word_of_the_script_is_chinese_in_chinese():
    with translation.override("zh-hans"):
        words = page_words()

    assert [key for key, text in words.items() if not is_chinese(text)] == []


def test_every_string_of_the_templates_is_translated():
    """Reads the templates themselves: a string that nobody extracted counts too."""
    used = set()
    for template in (ROOT / "chat/templates").rglob("*.html"):
        text = template.read_text()
        used |= {found[1] for found in re.findall(r'{% translate ("|\')(.*?)\1', text)}

    with translation.override("zh-hans"):
        left = [each for each in used if not is_chinese(translation.gettext(each))]

    assert used
    assert left == []
