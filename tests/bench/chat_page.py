"""What a reader of a long conversation sees: the first paint, frames as it grows."""

import re

from msgspec import Struct

from tests.chromium import DESKTOP, running_chromium, sign_in
from tests.product import Product, manage

NUM_MESSAGES = 2000
WRITE = """
from controller.models import User
from tests.chat.long_conversations import make_long_conversation
user = User.objects.get(username="admin")
print("written", make_long_conversation(user, {num_messages}, model="{model}").id)
"""
WATCH = """() => {
    window.frames_ = [];
    window.shifts = 0;
    window.longest = 0;
    let last = performance.now();
    const frame = (now) => {
      window.frames_.push(now - last);
      last = now;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    const watch = (type, take) => {
      const seen = (list) => list.getEntries().forEach(take);
      new PerformanceObserver(seen).observe({ type });
    };
    watch("layout-shift", (entry) => {
      if (!entry.hadRecentInput) window.shifts += entry.value;
    });
    watch("longtask", (entry) => {
      window.longest = Math.max(window.longest, entry.duration);
    });
}"""


class PageCost(Struct, kw_only=True):
    """In a headless Chromium, while an answer of Markdown grows by 100 tokens/s."""

    num_messages: int
    first_paint_ms: float
    frame_p50_ms: float
    frame_p99_ms: float
    longest_task_ms: float
    layout_shift: float


def page_cost(product: Product, model: str, seconds: float) -> PageCost:
    """Open a long conversation and ask one more question in it."""
    code = WRITE.format(num_messages=NUM_MESSAGES, model=model)
    said = manage(product.var_dir, "shell", "-c", code).stdout
    found = re.search(r"written (\S+)", said)
    if found is None:
        raise RuntimeError(f"no conversation was written: {said}")
    tokens = round(100 * seconds)
    with running_chromium() as browser:
        state = sign_in(browser, product)
        context = browser.new_context(
            storage_state=state, base_url=product.url, **DESKTOP
        )
        page = context.new_page()
        page.goto(f"/c/{found[1]}/")
        page.wait_for_load_state("networkidle")
        paint = page.evaluate(
            "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        )
        page.get_by_label("Message", exact=True).fill(
            f"go on [[tokens={tokens} interval_ms=10]]"
        )
        page.get_by_role("button", name="Send").click()
        page.locator(".is-streaming .answer p").wait_for(timeout=60_000)
        page.evaluate(WATCH)
        page.wait_for_timeout(1000 * seconds * 0.8)
        frames = sorted(page.evaluate("window.frames_"))
        cost = PageCost(
            num_messages=NUM_MESSAGES,
            first_paint_ms=paint,
            frame_p50_ms=frames[len(frames) // 2],
            frame_p99_ms=frames[int(len(frames) * 0.99)],
            longest_task_ms=page.evaluate("window.longest"),
            layout_shift=page.evaluate("window.shifts"),
        )
        context.close()
    return cost
