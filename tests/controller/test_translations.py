"""Nothing of the console is left in English on a Chinese page."""

import ast
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext_lazy
from django.utils.translation.template import templatize

from controller.admin.fleet_words import fleet_words
from tests.chat.test_translations import is_chinese
from tests.controller.console import addresses, make_everything
from tests.factories import make_operator

ROOT = Path(__file__).resolve().parents[2]
CONSOLE = (
    ROOT / "config",
    ROOT / "controller",
    ROOT / "chat/console.py",
    ROOT / "chat/retention.py",
    ROOT / "chat/shared_links_console.py",
    ROOT / "chat/apps.py",
)
MARKS = {
    "_",
    "gettext",
    "gettext_lazy",
    "gettext_noop",
    "ngettext",
    "ngettext_lazy",
}
MARKS_WITH_CONTEXT = {"pgettext", "pgettext_lazy"}
# Words that are the same in Chinese, or not for reading.
SAME = {"ID", "id", "sha256"}
# In the database for the system's own use: no page shows them.
UNSEEN = re.compile(r"(ttft|duration) count \d+")

Message = tuple[str, str]  # the context, "" for none, and the English text


def chinese(message: Message) -> str:
    context, text = message
    with translation.override("zh-hans"):
        if context:
            return translation.pgettext(context, text)
        return translation.gettext(text)


def untranslated(messages: set[Message]) -> list[Message]:
    """Those with words of their own, beside placeholders, that have no Chinese."""
    return sorted(
        message
        for message in messages
        if re.search("[A-Za-z]", re.sub(r"%(\(\w+\))?[sd]|\{\w*\}", "", message[1]))
        and message[1] not in SAME
        and not is_chinese(chinese(message))
    )


def marked(source: str) -> Iterator[Message]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
        if name in MARKS_WITH_CONTEXT and len(texts) >= 2:
            yield texts[0], texts[1]
        elif name in MARKS and texts:
            yield "", texts[0]


def in_template(source: str) -> Iterator[Message]:
    """As `makemessages` finds them: Django turns a template into calls of gettext."""
    python = templatize(source)
    for context, text in re.findall(
        r"""pgettext\((u?'(?:[^'\\]|\\.)*'|u?"(?:[^"\\]|\\.)*"), """
        r"""(u?'(?:[^'\\]|\\.)*'|u?"(?:[^"\\]|\\.)*")""",
        python,
    ):
        yield ast.literal_eval(context), ast.literal_eval(text)
    for text in re.findall(
        r"""(?<!p)gettext\((u?'(?:[^'\\]|\\.)*'|u?"(?:[^"\\]|\\.)*")""", python
    ):
        yield "", ast.literal_eval(text)


def test_every_marked_string_of_the_console_is_translated():
    files = [
        file
        for place in CONSOLE
        for file in (place.rglob("*.py") if place.is_dir() else [place])
        if "migrations" not in file.parts
    ]

    found = {message for file in files for message in marked(file.read_text())}

    assert len(found) > 400
    assert untranslated(found) == []


def test_every_string_of_the_consoles_templates_is_translated():
    templates = list((ROOT / "controller/templates").rglob("*.html"))

    found = {each for file in templates for each in in_template(file.read_text())}

    assert len(found) > 150
    assert untranslated(found) == []


def test_every_name_of_a_model_and_its_fields_is_translated():
    names = set()
    with translation.override(None):  # as they are written
        for model in apps.get_models():
            if model in admin.site._registry or model._meta.app_label == "controller":
                opts = model._meta
                fields = (*opts.local_fields, *opts.local_many_to_many)
                named = [opts.verbose_name, opts.verbose_name_plural]
                named += [field.verbose_name for field in fields]
                names |= {("", str(name)) for name in named}

    left = [each for each in untranslated(names) if not UNSEEN.fullmatch(each[1])]

    assert left == []


def test_names_of_models_are_strings_to_translate_and_no_plain_text():
    from controller.models import JoinToken, Worker

    assert isinstance(JoinToken._meta.verbose_name, type(gettext_lazy("")))
    with translation.override("zh-hans"):
        assert str(JoinToken._meta.verbose_name_plural) == "加入令牌"
        assert str(Worker._meta.get_field("kv_cache_usage").verbose_name) == (
            "KV 缓存占用"
        )


def test_every_word_of_the_fleets_scripts_is_chinese_in_chinese():
    with translation.override("zh-hans"):
        texts = list(leaves(fleet_words() | {"colours": ""}))

    assert [text for text in texts if text and not is_chinese(text)] == []


def leaves(words: object) -> Iterator[str]:
    if isinstance(words, str):
        yield words
    elif isinstance(words, dict):
        for each in words.values():
            yield from leaves(each)
    elif isinstance(words, list):
        for each in words:
            yield from leaves(each)


class Reader(HTMLParser):
    """What a page shows or reads out: its texts, and those of a few attributes."""

    SILENT = ("script", "style", "svg", "pre", "code", "textarea")
    SPOKEN = ("title", "placeholder", "aria-label", "data-copied", "alt")
    VOID = ("input", "img", "br", "hr", "meta", "link", "source", "col", "wbr")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, bool]] = []
        self.texts: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.texts |= {given[name] or "" for name in self.SPOKEN if name in given}
        is_icon = "material-symbols" in (given.get("class") or "")
        if tag not in self.VOID:
            self.open.append((tag, is_icon or tag in self.SILENT))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not any(is_silent for _tag, is_silent in self.open):
            self.texts.add(" ".join(data.split()))


# What stands on pages and is no word of ours: names of the samples' rows, identifiers
# of the API and of programs, keys on the keyboard.
NO_WORDS = re.compile(
    r"""
    (row|adapter|rule|team|key)[- ]\d+ .* | .* \brow-\d+ .*   # rows of the samples
    | somebody .* | operator | llama.* | mock.* | forbidden | secrets | stop
    | https?:// .* | / .* | sy-.* | [0-9a-f]{32} | [0-9a-f-]{36}
    | \d+\ %\ of .*                       # a budget alert, by its key
    | GET | POST | PUT | PATCH | DELETE | HEAD
    | inference | (chat|completions)(,\ \w+)*
    | Operators | Auditors                # groups, which operators may rename
    | Switchyard | API | USD | TTFT .* | WebAuthn | sha256 | esc
    | You\ judge .*                       # a prompt to models
    """,
    re.VERBOSE | re.IGNORECASE,
)
# These list names of rules, or of rows, that are written into the database.
NAMES_ONLY = ("install_starters", "auditlog", "_delete", "_history")


@pytest.mark.django_db
def test_pages_of_the_console_show_no_english_in_chinese():
    make_everything()
    client = Client()
    client.force_login(make_operator(username="operator"))
    client.cookies["django_language"] = "zh-hans"

    english: dict[str, set[str]] = {}
    num_pages = 0
    for name, address in addresses():
        if any(each in name for each in NAMES_ONLY):
            continue
        page = client.get(address)
        if page.status_code != 200 or "html" not in page.headers["Content-Type"]:
            continue
        num_pages += 1
        reader = Reader()
        reader.feed(page.content.decode())
        english[name] = {
            text
            for text in reader.texts
            if re.search("[A-Za-z]{3}", text)
            and not is_chinese(text)
            and not NO_WORDS.fullmatch(text)
        }

    assert num_pages > 60
    assert {name: texts for name, texts in english.items() if texts} == {}


# Where permissions and groups are chosen, a script writes the words.
CHOOSER = "admin/js/SelectFilter2.js"


@pytest.mark.django_db
def test_what_djangos_own_script_says_in_the_console_is_chinese(client):
    client.force_login(make_operator())
    client.cookies["django_language"] = "zh-hans"
    catalog = client.get(reverse("admin:jsi18n")).content.decode()
    script = Path(finders.find(CHOOSER)).read_text()

    sentences = re.findall(r"""[ (]gettext\(('[^']*'|"[^"]*")\)""", script)
    known = json.loads(re.search(r"newcatalog = (\{.*?\n  \});", catalog, re.S)[1])

    assert len(sentences) > 8
    said = [ast.literal_eval(each) for each in sentences]
    assert [each for each in said if not is_chinese(known.get(each, ""))] == []


@pytest.mark.django_db
def test_the_console_speaks_the_language_of_the_cookie():
    client = Client()
    client.force_login(make_operator())

    assert ">Overview<" in client.get(reverse("admin:index")).content.decode()

    client.cookies["django_language"] = "zh-hans"
    page = client.get(reverse("admin:index"))
    assert page.headers["Content-Language"] == "zh-hans"
    assert 'lang="zh-hans"' in page.content.decode()
