"""Links: what they show to whom, how they end, and that nothing gives them away."""

import re
from datetime import timedelta

import pytest
from django.utils.timezone import now

from chat import library, sharing
from chat.models import SharedLink
from tests.chat.talks import Library, client_of, said
from tests.factories import make_operator, make_user


@pytest.fixture
def user(db):
    return make_user(username="ada")


@pytest.fixture
def talk(user):
    return said(user, "a question", "the **answer**").conversation_id


def shared(user, talk, **options):
    """The path of a new link."""
    status, link = Library(user).post("share", conversation=str(talk), **options)
    assert status == 200
    return re.sub(r"^http://localhost", "", link["address"])


def read(path):
    response = client_of().get(path)
    return response.status_code, response.content.decode()


def test_anybody_with_the_link_reads_title_and_messages_and_no_name(user, talk):
    status, page = read(shared(user, talk))

    assert status == 200
    assert "a question" in page
    assert "the **answer**" in page
    assert "ada" not in page


def test_the_name_is_shown_if_it_is_wanted(user, talk):
    assert "ada" in read(shared(user, talk, shows_name=True))[1]


def test_a_snapshot_stays_as_it_was_and_a_live_link_goes_on(user, talk):
    snapshot, live = shared(user, talk), shared(user, talk, is_live=True)

    said(user, "another question", "another answer", talk)

    assert "another answer" not in read(snapshot)[1]
    assert "another answer" in read(live)[1]


def test_a_link_ends_by_time_by_its_owner_and_with_the_conversation(user, talk):
    expiring, revoked, other = (shared(user, talk, days=1) for _ in range(3))
    by_age = SharedLink.objects.order_by("pk")
    past = now() - timedelta(seconds=1)
    SharedLink.objects.filter(pk=by_age[0].pk).update(expires_at=past)

    status, _ = Library(user).post("revoke", link=by_age[1].pk)

    assert status == 200
    assert [read(path)[0] for path in (expiring, revoked, other)] == [404, 404, 200]
    library.delete(user, [talk])
    assert read(other)[0] == 404
    library.restore(user, [talk])
    assert read(other)[0] == 200


def test_a_link_of_somebody_deactivated_opens_nothing(user, talk):
    path = shared(user, talk)
    user.is_active = False
    user.save()

    assert read(path)[0] == 404


def test_another_users_link_cannot_be_revoked_or_seen(user, talk):
    path = shared(user, talk)
    other = Library(make_user())

    assert other.post("revoke", link=SharedLink.objects.get().pk)[0] == 404
    assert other.client.get("/library/links/").content.count(b"a question") == 0
    assert read(path)[0] == 200


def test_the_secret_is_stored_nowhere_and_a_guess_costs_no_query(
    user, talk, django_assert_num_queries
):
    path = shared(user, talk)
    secret = path.strip("/").split("/")[1]
    row = SharedLink.objects.values().get()

    assert secret not in str(row)
    assert len(secret) > 50
    with django_assert_num_queries(0), pytest.raises(Exception, match="no such"):
        sharing.read(f"{secret[:-1]}x")


def test_the_page_is_left_by_search_engines_and_tells_nobody_its_address(user, talk):
    response = client_of().get(shared(user, talk))

    assert response["X-Robots-Tag"] == "noindex, nofollow, noarchive"
    assert response["Referrer-Policy"] == "no-referrer"
    assert "no-store" in response["Cache-Control"]
    assert "script-src 'self';" in response["Content-Security-Policy"]
    assert "unsafe" not in response["Content-Security-Policy"]
    assert "Set-Cookie" not in response
    page = response.content.decode()
    assert '<meta name="robots" content="noindex' in page
    assert not re.search(r"\son\w+=|\sstyle=|javascript:", page)


def test_markup_in_a_shared_text_is_text(user):
    talk = said(user, "<script>x</script>", "<img src=x onerror=y>").conversation_id

    page = read(shared(user, talk))[1]

    assert "<script>x" not in page
    assert "<img" not in page


def test_a_site_can_switch_sharing_off(user, talk, settings):
    path = shared(user, talk)
    settings.CHAT_SHARING = False

    status, answer = Library(user).post("share", conversation=str(talk))

    assert (status, answer["error"]["code"]) == (403, "sharing_off")
    assert read(path)[0] == 404


def test_operators_see_all_links_and_revoke_them(user, talk):
    path = shared(user, talk)
    client = client_of(make_operator())
    link = SharedLink.objects.get()
    listed = client.get("/admin/chat/sharedlink/")

    client.post(
        "/admin/chat/sharedlink/",
        {"action": "revoke", "_selected_action": [link.pk], "post": "yes"},
    )

    assert b"ada" in listed.content
    assert b"a question" not in listed.content
    assert read(path)[0] == 404


def test_reading_a_link_costs_as_many_queries_however_long_the_talk(
    user, talk, django_assert_max_num_queries
):
    live = shared(user, talk, is_live=True)
    for number in range(20):
        said(user, f"question {number}", "yes", talk)

    with django_assert_max_num_queries(4):
        read(live)
