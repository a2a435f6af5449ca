from workers.transformers_engine.detokenizer import Detokenizer


class ByteTokenizer:
    """Each token is one byte; as real tokenizers do, broken characters become U+FFFD.

    Token 32 at the very start loses its space, as with SentencePiece.
    """

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool) -> str:
        text = bytes(token_ids).decode(errors="replace")
        return text[1:] if text.startswith(" ") else text


def decoded(text: str, prompt: str = "") -> list[str]:
    detokenizer = Detokenizer(ByteTokenizer(), list(prompt.encode()))
    return [detokenizer.feed(token) for token in text.encode()]


def test_an_emoji_appears_whole() -> None:
    assert decoded("a🎉b") == ["a", "", "", "", "🎉", "b"]


def test_long_text_comes_out_as_it_went_in() -> None:
    text = "Grüße, 世界! 🎉 " * 20

    assert "".join(decoded(text, prompt="x")) == text


def test_an_answer_that_goes_on_keeps_its_first_space() -> None:
    assert decoded(" is", prompt="Paris") == [" ", "i", "s"]


def test_a_character_cut_off_at_the_end_is_left_out() -> None:
    detokenizer = Detokenizer(ByteTokenizer(), [])

    texts = [detokenizer.feed(token) for token in "an é".encode()[:-1]]

    assert "".join(texts) == "an "
    assert detokenizer.rest() == ""


def test_bytes_that_never_become_a_character_do_not_wait_for_ever() -> None:
    detokenizer = Detokenizer(ByteTokenizer(), [])

    texts = [detokenizer.feed(0x80) for _ in range(40)]

    assert "".join(texts).startswith("\ufffd" * 16)
