from pathlib import Path

import pytest

from workers.errors import BadSetting
from workers.key_files import read_key


def test_a_key_is_what_the_file_holds_without_blanks_around(tmp_path: Path) -> None:
    file = tmp_path / "key"

    for content in ("sk-1\r\n", " sk-1 ", "\ufeffsk-1"):
        file.write_text(content, encoding="utf-8")
        assert read_key(file, "--api-key-file") == "sk-1"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"OPENAI_API_KEY = sk-1", "something else than a key"),
        (b"sk-1\nsk-2", "something else than a key"),
        (bytes(range(256)), "something else than a key"),
    ],
)
def test_a_file_that_holds_no_key_is_named_before_a_header_is_made_of_it(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)

    with pytest.raises(BadSetting, match=f"--api-key-file {file} .*{complaint}"):
        read_key(file, "--api-key-file")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"The key file .*: No such file"):
        read_key(tmp_path / "key", "The key file")
