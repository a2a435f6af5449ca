"""Links that have browsers fetch at once what a page's script imports.

A browser learns of an import when it has read the module that has it: without these
links each step of the chain takes another turn of the network.
"""

import posixpath
import re
from functools import cache
from pathlib import Path

from django import template
from django.contrib.staticfiles import finders
from django.templatetags.static import static
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

register = template.Library()

# `import "./a.js"` and `import { a, b } from "./a.js"`, over several lines too; what is
# imported when it is first needed is a call, and not preloaded.
IMPORT = re.compile(r'^import\s(?:[^"\'();]*?\sfrom\s)?\s*"(\.[^"]+)";$', re.MULTILINE)


@register.simple_tag
def preloaded_modules(*entries: str) -> SafeString:
    """A link for each module that these scripts import, or those import."""
    links = ((static(name),) for name in imported_by(*entries))
    return format_html_join("\n  ", '<link rel="modulepreload" href="{}">', links)


@cache  # the files change with the code
def imported_by(*entries: str) -> tuple[str, ...]:
    """The names of all modules below these, nearest first; each file is read once."""
    names = list(entries)
    for name in names:  # grows meanwhile
        names += [each for each in _imports_of(name) if each not in names]
    return tuple(names[len(entries) :])


def _imports_of(name: str) -> list[str]:
    folder = posixpath.dirname(name)
    found = IMPORT.findall(_source_of(name))
    return [posixpath.normpath(posixpath.join(folder, each)) for each in found]


def _source_of(name: str) -> str:
    """What is not there, as a check says, has no page fail: it imports nothing."""
    path = finders.find(name)
    return Path(path).read_text() if path else ""
