"""Files that go along with prompts: what is read of them, and who sees them."""

import base64
import json
import uuid
from datetime import timedelta

import pytest
from channels.db import database_sync_to_async
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils.timezone import now

from chat.composing.attachments import attach, clean_name
from chat.composing.pdf_text import Limits, extracted
from chat.composing.reading import read, sniffed
from chat.conversations import begin_edit, begin_retry, begin_turn
from chat.errors import AttachmentNotFound, AttachmentRefused, EmptyPrompt
from chat.models import Attachment, Conversation, Message
from chat.prompting import Document, Said
from controller import retention
from controller.gateway import gateway
from controller.models import ModerationRule, Placement
from tests.chat.pages import Page
from tests.chat.pdfs import make_pdf
from tests.factories import make_moderation_rule, make_user

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)


@pytest.fixture
def user(db):
    return make_user()


def client_of(user):
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    return client


def bring(client, raw, name="notes.txt", claimed="text/html"):
    file = SimpleUploadedFile(name, raw, content_type=claimed)
    return client.post("/attachments/", {"file": file})


# -- what is read of a file ------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (b"GIF89arest", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPrest", "image/webp"),
        (b"RIFF\x00\x00\x00\x00WAVErest", None),
        (b"<svg onload='alert(1)'/>", None),
        (b"%PDF-1.4", "application/pdf"),
    ],
)
def test_a_file_is_what_its_bytes_say(raw, media_type):
    assert sniffed(raw) == media_type


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain", "plain"),
        ("\ufeffmit Ümlaut".encode(), "mit Ümlaut"),
        ("宽 text".encode("utf-16"), "宽 text"),
        (b"<script>alert(1)</script>", "<script>alert(1)</script>"),
    ],
)
def test_text_is_read_in_unicode_and_as_text_whatever_it_says(raw, text):
    contents = read(raw)

    assert (contents.media_type, contents.text) == ("text/plain", text)


@pytest.mark.parametrize(
    "raw", [b"\x7fELF\x00\x01", b"caf\xe9", b"PK\x03\x04zip", b" \n", make_pdf("")]
)
def test_what_holds_no_text_is_refused(raw):
    with pytest.raises(AttachmentRefused):
        read(raw)


def test_a_pdf_is_read_page_by_page():
    contents = read(make_pdf("first page", "second page"))

    assert contents.media_type == "application/pdf"
    assert contents.text.split() == ["first", "page", "second", "page"]
    assert not contents.is_cut


def test_a_pdf_is_read_as_far_as_its_limits_go(settings):
    pdf = make_pdf(*(f"page {number}" for number in range(9)))

    settings.CHAT_MAX_PDF_PAGES = 2
    by_pages = read(pdf)
    settings.CHAT_MAX_DOCUMENT_CHARS = 3
    by_chars = read(pdf)

    assert (by_pages.text, by_pages.is_cut) == ("page 0\npage 1", True)
    assert (by_chars.text, by_chars.is_cut) == ("pag", True)
    stopped = extracted(pdf, Limits(pages=9, chars=99, seconds=-1))
    assert (stopped.text, stopped.is_cut) == ("", True)


def test_a_damaged_pdf_is_refused_in_words():
    with pytest.raises(AttachmentRefused, match="damaged"):
        read(b"%PDF-1.7\n" + bytes(range(256)) * 40)


def test_a_pdf_that_takes_too_long_is_given_up(settings, monkeypatch, tmp_path):
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr("chat.composing.reading.sys.executable", str(slow))
    settings.CHAT_ATTACHMENT_TIMEOUT = timedelta(seconds=-1)

    with pytest.raises(AttachmentRefused, match="too long"):
        read(make_pdf("hello"))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("C:\\secret\\a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        ("a\u202etxt.exe\n", "atxt.exe"),
        ("", "file"),
        ("x" * 300 + ".py", "x" * 197 + ".py"),
    ],
)
def test_a_name_is_without_path_and_tricks(given, name):
    assert clean_name(given) == name


# -- over HTTP -------------------------------------------------------------------------


def test_a_file_is_kept_for_its_owner_and_comes_back_as_a_download(user):
    client = client_of(user)

    answer = bring(client, b"<script>alert(1)</script>", name='no"tes.html')

    assert answer.status_code == 201
    kept = answer.json()
    assert (kept["name"], kept["num_tokens"]) == ('no"tes.html', 9)
    got = client.get(f"/attachments/{kept['id']}/")
    assert got.content == b"<script>alert(1)</script>"
    assert got["Content-Type"] == "text/plain; charset=utf-8"
    assert got["Content-Disposition"].startswith("attachment;")
    assert got["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in got["Content-Security-Policy"]


def test_another_users_attachment_is_404_by_any_way(user):
    kept = bring(client_of(user), b"mine").json()
    other = make_user()
    address = f"/attachments/{kept['id']}/"

    assert client_of(other).get(address).status_code == 404
    assert client_of(other).delete(address).status_code == 404
    with pytest.raises(AttachmentNotFound):
        begin_turn(other, None, "mock-1", "see", attachments=[uuid.UUID(kept["id"])])
    assert Client(headers={"host": "localhost"}).get(address).status_code == 401
    assert Attachment.objects.count() == 1
    assert not Conversation.objects.exists()


def test_too_much_is_refused_in_words(user, settings):
    client = client_of(user)
    settings.CHAT_MAX_ATTACHMENT_BYTES = 10
    large = bring(client, b"x" * 11)
    settings.CHAT_ATTACHMENT_QUOTA_BYTES = 15
    bring(client, b"x" * 10)
    more = bring(client, b"x" * 6)

    assert (large.status_code, more.status_code) == (400, 400)
    assert "larger than 10" in large.json()["error"]["message"]
    assert "15" in more.json()["error"]["message"]
    assert Attachment.objects.count() == 1


def test_it_can_be_taken_back_until_it_is_sent(user):
    client = client_of(user)
    first, second = (bring(client, b"text").json()["id"] for _ in range(2))
    begin_turn(user, None, "mock-1", "see", attachments=[uuid.UUID(second)])

    assert client.delete(f"/attachments/{first}/").status_code == 204
    assert client.delete(f"/attachments/{second}/").status_code == 404
    assert [str(row.pk) for row in Attachment.objects.all()] == [second]


# -- with messages ---------------------------------------------------------------------


def test_what_was_attached_is_read_with_every_later_turn(user):
    kept = attach(user, "a.txt", b"The text.")

    first = begin_turn(user, None, "mock-1", "see", attachments=[kept.pk])
    Message.objects.update(state="complete")
    again = begin_retry(user, first.message_id, "")

    for turn in (first, again):
        assert [each.text for each in turn.history[0].documents] == ["The text."]
    prompt = Message.objects.get(role="user")
    assert prompt.attached == [kept.fields]


def test_a_prompt_that_is_edited_keeps_what_is_attached(user):
    kept = attach(user, "a.txt", b"The text.")
    begin_turn(user, None, "mock-1", "see", attachments=[kept.pk])
    Message.objects.update(state="complete")
    prompt = Message.objects.get(role="user")

    edited = begin_edit(user, prompt.pk, "mock-1", "look")

    assert edited.history == [Said("user", "look", (Document("a.txt", "The text."),))]


def test_without_a_word_a_file_is_a_prompt_and_names_the_conversation(user):
    kept = attach(user, "report.txt", b"The text.")

    begin_turn(user, None, "mock-1", " ", attachments=[kept.pk])

    assert Conversation.objects.get().title == "report.txt"
    with pytest.raises(EmptyPrompt):
        begin_turn(user, None, "mock-1", " ")


def test_a_file_is_sent_once_and_only_so_many_at_a_time(user, settings):
    settings.CHAT_MAX_ATTACHMENTS = 1
    one, two = (attach(user, "a.txt", b"text").pk for _ in range(2))
    with pytest.raises(AttachmentRefused):
        begin_turn(user, None, "mock-1", "see", attachments=[one, two])
    begin_turn(user, None, "mock-1", "see", attachments=[one])

    with pytest.raises(AttachmentNotFound):
        begin_turn(user, None, "mock-1", "see", attachments=[one])


def test_attachments_go_with_their_conversation_and_unsent_ones_with_time(user):
    attach(user, "left.txt", b"text")
    sent = attach(user, "sent.txt", b"text")
    begin_turn(user, None, "mock-1", "see", attachments=[sent.pk])
    Attachment.objects.update(created_at=now() - timedelta(days=7, hours=1))

    retention.purge("unsent attachments")
    assert [row.pk for row in Attachment.objects.all()] == [sent.pk]
    Conversation.objects.all().delete()
    assert not Attachment.objects.exists()


# -- to the engine ---------------------------------------------------------------------


@database_sync_to_async
def attached(user, name, raw):
    return str(attach(user, name, raw).pk)


@pytest.mark.django_db(transaction=True)
async def test_the_engine_gets_documents_as_text_and_pictures_as_parts(site, engine):
    user = await database_sync_to_async(make_user)()
    await Placement.objects.aupdate(modalities=["text", "image"])
    await gateway().reload()
    files = [
        await attached(user, "cat.png", PNG),
        await attached(user, "a.pdf", make_pdf("About cats.")),
    ]

    async with Page(user) as page:
        shown = await page.ask("Which?", attachments=files)
        await page.read_answer()

    names = [each["name"] for each in shown["messages"][0]["attached"]]
    assert names == ["cat.png", "a.pdf"]
    [picture, text] = engine.requests()[-1].body["messages"][0]["content"]
    encoded = base64.b64encode(PNG).decode()
    assert picture["image_url"]["url"] == f"data:image/png;base64,{encoded}"
    assert "About cats." in text["text"]
    assert text["text"].endswith("Which?")


@pytest.mark.django_db(transaction=True)
async def test_a_model_that_does_not_see_gets_no_picture(site, engine):
    user = await database_sync_to_async(make_user)()
    file = await attached(user, "cat.png", PNG)

    async with Page(user) as page:
        await page.ask("Which?", attachments=[file])
        await page.read_answer()

    [message] = engine.requests()[-1].body["messages"]
    assert "not shown" in message["content"]
    assert "base64" not in json.dumps(message)


@pytest.mark.django_db(transaction=True)
async def test_a_blocked_word_in_a_document_is_never_sent(site, engine):
    user = await database_sync_to_async(make_user)()
    make = database_sync_to_async(make_moderation_rule)
    await make(action=ModerationRule.Action.BLOCK, terms="forbidden fruit")
    await gateway()._look_for_changes()
    await Placement.objects.aupdate(modalities=["text", "image"])
    await gateway().reload()
    files = [
        await attached(user, "a.txt", b"Eat the forbidden fruit."),
        await attached(user, "cat.png", PNG),
    ]
    asked = len(engine.requests("/v1/chat/completions"))

    async with Page(user) as page:
        await page.ask("Go on.", attachments=files)
        _, answer = await page.read_answer()

    assert (answer["state"], answer["error_code"]) == (
        "failed",
        "content_policy_violation",
    )
    assert len(engine.requests("/v1/chat/completions")) == asked
