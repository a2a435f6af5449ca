"""Which modules a page has its browser fetch at once."""

from chat.templatetags import modules
from chat.templatetags.modules import imported_by


def test_what_is_imported_by_imports_is_named_once_and_what_is_loaded_later_is_not():
    names = imported_by("chat/js/page.js")

    assert "chat/js/library/rows.js" in names  # four steps below the page
    assert len(names) == len(set(names))
    assert not {"chat/js/page.js", "chat/js/markdown.js"} & set(names)


WRITTEN = """
import "./two.js";
import {
  x,
  y,
} from "../b/three.js";
/** @import { X } from "./types.js" */
const late = import("./late.js");
"""


def test_imports_are_found_however_they_are_written(monkeypatch):
    three = 'import * as two from "../a/two.js";\nimport z from "./four.js";'
    sources = {"a/one.js": WRITTEN, "b/three.js": three}
    monkeypatch.setattr(modules, "_source_of", lambda name: sources.get(name, ""))

    found = imported_by.__wrapped__("a/one.js")

    assert found == ("a/two.js", "b/three.js", "b/four.js")
