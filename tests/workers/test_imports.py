import ast
import subprocess
import sys
from pathlib import Path

import workers

FOLDER = Path(workers.__file__).parent
APPS = {"django", "rest_framework", "channels", "celery", "config", "controller"}


def imported_by(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


def test_nothing_in_workers_imports_django_or_an_app() -> None:
    forbidden = APPS | {"openai_api", "chat", "tests"}

    for file in FOLDER.rglob("*.py"):
        assert not imported_by(file) & forbidden, file


def test_the_agent_needs_no_torch_and_no_engine() -> None:
    program = (
        "import sys, workers.agent, workers.vllm_worker, workers.model_worker\n"
        "import workers.api_worker\n"
        "heavy = {'torch', 'transformers', 'vllm', 'numpy', 'django'}\n"
        "heavy |= {'any_llm', 'anthropic', 'google', 'httpx', 'pydantic'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
