"""Whether a model sees, as its configuration says."""

import json

import pytest

from workers.modalities import modalities_of


@pytest.mark.parametrize(
    ("file", "configured", "sees"),
    [
        ("config.json", {"model_type": "qwen2_5_vl", "vision_config": {"depth": 1}}, 1),
        ("config.json", {"model_type": "llama", "vision_config": None}, 0),
        ("config.json", {"model_type": "llama"}, 0),
        ("params.json", {"vision_encoder": {"hidden_size": 1}}, 1),
    ],
)
def test_a_model_sees_if_its_configuration_has_a_part_for_it(
    tmp_path, file, configured, sees
):
    (tmp_path / file).write_text(json.dumps(configured))

    assert ("image" in modalities_of(str(tmp_path))) is bool(sees)


def test_a_downloaded_model_is_found_in_the_hubs_cache(tmp_path):
    snapshot = tmp_path / "models--acme--seer" / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text('{"vision_config": {"depth": 1}}')

    environment = {"HF_HUB_CACHE": str(tmp_path)}
    assert modalities_of("acme/seer", environment) == ("text", "image")
    assert modalities_of("acme/other", environment) == ("text",)


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_a_configuration_that_cannot_be_read_says_text(tmp_path, text):
    (tmp_path / "config.json").write_text(text)

    assert modalities_of(str(tmp_path)) == ("text",)
