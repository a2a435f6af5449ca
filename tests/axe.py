"""axe-core, as the pages' tests run it: what WCAG 2.2 AA asks."""

from collections.abc import Sequence

from playwright.sync_api import Page

from deploy.frontend import PACKAGES

AXE = PACKAGES / "axe-core" / "axe.min.js"
RUN = """async ([rules, known]) => {
    const standard = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
    const runOnly = rules ?? { type: "tag", values: standard };
    for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
    const looked = { include: [document], exclude: known };
    const options = { runOnly, iframes: false, resultTypes: ["violations"] };
    const { violations } = await axe.run(looked, options);
    return violations.map(({ id, nodes }) => {
      const [first] = nodes;
      const facts = [...first.any, ...first.all].map((check) => check.message);
      return `${id}: ${first.html.slice(0, 160)} (${facts.join("; ").slice(0, 200)})`;
    });
}"""


def complaints_of(
    page: Page, rules: list[str] | None = None, known: Sequence[str] = ()
) -> list[str]:
    """What axe finds on the page as it stands, by these rules or by all; the page has
    AXE among its scripts. What is `known`, by selectors, is left out."""
    found: list[str] = page.evaluate(RUN, [rules, list(known)])
    return found
