"""docs/security.md promises nothing that is not there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs" / "security.md").read_text()
NAMED = set(re.findall(r"`(\w[\w/.-]*/[\w.-]+\.\w+)(?:::(\w+))?`", DOC))


@pytest.mark.parametrize(("path", "test"), sorted(NAMED))
def test_what_it_names_exists(path, test):
    text = (ROOT / path).read_text()

    assert not test or re.search(rf"def {test}\(", text)


def test_each_threat_names_its_code_and_its_tests():
    threats = re.split(r"^### ", DOC, flags=re.MULTILINE)[1:]

    lacking = [
        threat.partition("\n")[0]
        for threat in threats
        if "\n- Code: `" not in threat or "\n- Tests: `" not in threat
    ]
    assert threats
    assert not lacking
