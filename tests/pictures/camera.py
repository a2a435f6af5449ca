"""Takes pictures of pages; with SCREENSHOTS=1 those of the documentation, anew."""

import io
import os
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

KEPT = Path("docs/screenshots")
COLOURS = 256  # a page has few: a palette is a third of the size


def is_for_the_documentation() -> bool:
    return os.environ.get("SCREENSHOTS") == "1"


def take_picture(page: Page, path: Path) -> None:
    """Write what the screen shows, once its fonts are there, as a small PNG."""
    page.evaluate("document.fonts.ready")
    taken = page.screenshot(animations="disabled")
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(taken)) as image:
        few = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
