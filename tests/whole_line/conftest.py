"""One line for the folder: its engines end with its last test."""

import os
from collections.abc import Iterator

import pytest

from tests import engines
from tests.whole_line.lines import Line, running_line


@pytest.fixture(scope="package")
def line(new_var_dir, tmp_path_factory) -> Iterator[Line]:
    if not engines.has_vllm() and not os.environ.get("CI"):
        pytest.skip("needs vLLM in .venv-vllm; `ENGINE=vllm make run` puts it there")
    with running_line(new_var_dir(), tmp_path_factory.mktemp("line")) as line:
        yield line
