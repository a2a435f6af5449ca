"""Guest links: whom they let in, what they open, and how they end."""

from datetime import timedelta
from functools import partial

import pytest
from allauth.usersessions.models import UserSession
from auditlog.models import LogEntry
from channels.db import database_sync_to_async
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils.timezone import now

from chat.models import Conversation
from controller import retention
from controller.accounts import second_factor
from controller.accounts.teams import add_member
from controller.errors import GuestLinkEnded
from controller.fleet.snapshot import load_snapshot
from controller.guests import links
from controller.guests.watch import read_guest_book
from controller.identity.caller import chat_caller
from controller.identity.memberships import caller_of, read_caller
from controller.ledger.queue import write_batch
from controller.limits.book import load_book
from controller.management.share import write_share
from controller.models import (
    ApiKey,
    GuestLink,
    LedgerEntry,
    Limit,
    Revision,
    Team,
    User,
)
from controller.operators import operator_of
from controller.serving.options import ServeOptions
from tests.chat.talks import client_of
from tests.controller.test_ledger_queue import finished
from tests.factories import (
    make_guest,
    make_guest_link,
    make_ledger_entry,
    make_operator,
    make_served_model,
    make_team,
    make_user,
    make_worker,
)

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def over(link, ago=timedelta(seconds=1)):
    """Let the link's time have passed so long ago."""
    GuestLink.objects.filter(pk=link.pk).update(expires_at=now() - ago)


# -- making them ----------------------------------------------------------------------


def test_a_link_is_open_for_the_hours_of_the_setting_and_its_secret_is_nowhere(
    settings,
):
    settings.GUEST_LINK_HOURS = 5

    link, secret = make_guest_link()

    stored = str(GuestLink.objects.values().get()) + str(LogEntry.objects.values())
    assert timedelta(hours=4.9) < link.expires_at - now() <= timedelta(hours=5)
    assert secret.removeprefix("sy-guest-") not in stored
    assert links.find(secret) == link
    assert GuestLink.objects.get().digest not in str(LogEntry.objects.values())


def test_no_link_is_open_for_longer_than_the_setting(settings):
    settings.GUEST_LINK_MAX_HOURS = 10

    with pytest.raises(ValidationError, match="10 hours"):
        make_guest_link(expires_at=now() + timedelta(hours=11))
    with pytest.raises(ValidationError, match="has passed"):
        make_guest_link(expires_at=now())

    assert not GuestLink.objects.exists()
    assert not Team.objects.exists()


def test_a_guess_costs_no_query(django_assert_num_queries):
    _link, secret = make_guest_link()

    with django_assert_num_queries(0):
        assert links.find(secret[:-1] + "x") is None


def test_what_has_ended_or_was_revoked_is_found_no_more():
    (ended, of_ended), (revoked, of_revoked) = make_guest_link(), make_guest_link()

    over(ended)
    links.revoke(revoked)

    assert links.find(of_ended) is None
    assert links.find(of_revoked) is None


def test_of_two_guests_at_once_for_the_last_place_one_gets_it():
    link, _secret = make_guest_link(max_guests=1)
    same = GuestLink.objects.get()

    assert [link.take_place(), same.take_place()] == [True, False]
    assert GuestLink.objects.get().num_guests == 1


def test_the_command_prints_a_link_with_limits_and_ends_it(capsys):
    call_command("guest_link", "--hours=2", "--guests=3", "--models=a,b", "--rpm=7")
    address = capsys.readouterr().out.split()[-1]
    link = links.find(address.split("link=")[1])

    assert address.startswith("http://localhost:8000/guest/?link=")
    assert (link.max_guests, link.allowed_models) == (3, ["a", "b"])
    limits = dict(Limit.objects.values_list("kind", "amount"))
    assert limits == {"requests_per_minute": 7, "tokens_per_day": 1_000_000}

    call_command("guest_link", f"--revoke={link.prefix}")
    assert links.find(address.split("link=")[1]) is None
    with pytest.raises(CommandError, match="No guest link begins"):
        call_command("guest_link", f"--revoke={link.prefix}")
    for hours in (721, 10**12):  # no calendar goes so far
        with pytest.raises(CommandError, match="--hours: At most 720 hours"):
            call_command("guest_link", f"--hours={hours}")
    with pytest.raises(CommandError, match=r"--tokens-per-day: .* at most 999,999,999"):
        call_command("guest_link", f"--tokens-per-day={10**16}")
    with pytest.raises(CommandError, match=r"--note: .* at most 100 characters"):
        call_command("guest_link", f"--note={'x' * 101}")


def test_serve_prints_one_link_and_makes_no_other_while_it_is_open(settings):
    said = []
    share = partial(write_share, {"share": 5}, ServeOptions(port=8123), said.append)

    share()
    share()

    link = GuestLink.objects.get()
    address = said[0].split()[-1]
    assert address.startswith("http://127.0.0.1:8123/guest/?link=sy-guest-")
    assert links.find(address.split("link=")[1]) == link
    assert timedelta(hours=4.9) < link.expires_at - now() <= timedelta(hours=5)
    assert link.team.limits.count() == 2
    assert "on this machine only" in said[1]
    assert f"({link.prefix}…) is open until" in said[2]

    links.revoke(link)
    settings.PUBLIC_URL, settings.ROOT_PATH = "https://chat.example.org", "/llm"
    share()
    assert said[-1].split()[-1].startswith("https://chat.example.org/llm/guest/?link=")


def test_serve_refuses_to_share_what_cannot_be():
    options, say = ServeOptions(), print
    with pytest.raises(CommandError, match="--share: At most 720 hours"):
        write_share({"share": 721}, options, say)
    write_share({"share": None}, options, say)
    assert not GuestLink.objects.exists()


def test_serve_shares_no_chat_that_it_does_not_serve(settings):
    settings.SERVED_ROLES = ["api", "controller"]

    with pytest.raises(CommandError, match="leaves the chat out"):
        write_share({"share": 1}, ServeOptions(), print)


# -- what guests are below the edge ----------------------------------------------------


def test_a_guest_speaks_for_the_links_team_and_is_bound_by_its_limits():
    link, _secret = make_guest_link(limits={"requests_per_minute": 5})
    guest = make_guest(link)

    caller = read_caller(guest.pk)

    assert caller == caller_of(guest)
    assert (caller.face, caller.team_id) == ("chat", link.team_id)
    assert caller.teams == {link.team_id}
    [limit] = load_book().binding(caller)
    assert (limit.kind, limit.amount) == ("requests_per_minute", 5)


def test_a_person_costs_one_query_and_speaks_for_all_their_teams(
    django_assert_num_queries,
):
    user = make_user()
    teams = {make_team(user).pk, make_team(user).pk}

    with django_assert_num_queries(1):
        caller = read_caller(user.pk)

    assert caller == chat_caller(user.pk, frozenset(teams))
    assert read_caller(make_user().pk).teams == frozenset()


def test_a_link_opens_what_is_for_everybody_or_exactly_the_models_it_names():
    make_worker("open", "other", "secret")
    hidden = make_served_model("hidden")
    make_worker(hidden)
    hidden.teams.add(make_team())
    wide = make_guest(make_guest_link()[0])
    narrow = make_guest(make_guest_link(allowed_models=["open", "hidden"])[0])

    models = load_snapshot().listed

    def seen(guest):
        return {each.name for each in models if each.is_for(read_caller(guest.pk))}

    assert seen(wide) == {"open", "other", "secret"}
    assert seen(narrow) == {"open", "hidden"}


def test_a_guest_may_ask_nothing_once_the_link_is_over(monkeypatch):
    link, _secret = make_guest_link()
    other, _secret = make_guest_link()
    caller, stays = (caller_of(make_guest(each)) for each in (link, other))
    before = Revision.current()
    read_guest_book().check(caller)

    links.revoke(link)

    assert Revision.current().keys == before.keys + 1
    with pytest.raises(GuestLinkEnded, match="Ask whoever gave it to you"):
        read_guest_book().check(caller)
    read_guest_book().check(stays)
    monkeypatch.setattr("controller.guests.watch.now", lambda: other.expires_at)
    with pytest.raises(GuestLinkEnded):
        read_guest_book().check(stays)


def test_a_guest_needs_no_second_factor_and_joins_no_team(settings):
    settings.REQUIRE_SECOND_FACTOR = "everyone"
    guest = make_guest(make_guest_link()[0], username="guest-1-abc")

    assert not second_factor.is_missing(guest)
    with pytest.raises(ValidationError, match="No account here"):
        add_member(make_team(), "guest-1-abc", "member")


@pytest.mark.django_db(transaction=True)
async def test_a_guest_whom_somebody_made_staff_is_no_operator_all_the_same():
    def sign_in():
        powers = {"is_staff": True, "is_superuser": True}
        users = make_user(**powers), make_guest(make_guest_link()[0], **powers)
        return [client_of(user).session.session_key for user in users]

    operators, guests = await database_sync_to_async(sign_in)()

    assert await operator_of(operators, "controller.view_worker") is not None
    assert await operator_of(guests, "controller.view_worker") is None


def test_nobody_gives_a_guest_a_key():
    guest = make_guest(make_guest_link()[0], username="guest-1-abc")
    form = {"user": guest.pk, "name": "k", "scopes": ["inference"]}

    with pytest.raises(CommandError, match="A guest has no keys"):
        call_command("create_key", "--user=guest-1-abc", "--name=k")
    page = client_of(make_operator()).post(reverse("admin:controller_apikey_add"), form)

    assert page.context["adminform"].form.errors.keys() == {"user"}
    assert not ApiKey.objects.exists()


# -- how they go -----------------------------------------------------------------------


def test_guests_go_with_their_conversations_a_while_after_the_end(settings):
    settings.GUEST_RETENTION_DAYS = 2
    lately, long_ago, revoked = (make_guest_link()[0] for _ in range(3))
    stays = make_guest(lately)
    goes = [make_guest(long_ago), make_guest(revoked)]
    for user in (stays, *goes, make_user()):
        Conversation.objects.create(user=user, title="t", model="m")
    make_ledger_entry(user=goes[0], team=long_ago.team)
    over(lately, DAY)
    over(long_ago, 3 * DAY)
    GuestLink.objects.filter(pk=revoked.pk).update(revoked_at=now() - 3 * DAY)

    [kind] = [each for each in retention.kinds() if each.name == "guests"]
    assert (retention.preview(kind).num_due, retention.preview(kind).num_rows) == (2, 3)
    assert retention.purge("guests") == 2

    assert not User.objects.filter(pk__in=[each.pk for each in goes]).exists()
    assert User.objects.filter(pk=stays.pk).exists()
    assert Conversation.objects.count() == 2
    entry = LedgerEntry.objects.get()
    assert (entry.user_id, entry.team_id) == (None, long_ago.team_id)


def test_the_audit_log_forgets_who_a_deleted_guest_was():
    link, secret = make_guest_link()
    client_of().post("/guest/", {"link": secret}, REMOTE_ADDR="203.0.113.7")
    guest = User.objects.get()
    about = LogEntry.objects.get_for_object(guest)
    assert set(about.values_list("object_repr", flat=True)) == {guest.username}
    assert about.filter(remote_addr="203.0.113.7").exists()
    over(link, 30 * DAY)

    assert retention.purge("guests") == 1

    told = set(about.values_list("object_repr", "remote_addr"))
    assert told == {(f"account {guest.pk}", None)}
    assert not LogEntry.objects.filter(remote_addr="203.0.113.7").exists()


def test_a_link_goes_after_its_guests_and_its_team_unless_that_is_used(settings):
    settings.ENDED_RETENTION_DAYS = 10
    empty, used, has_guests, young = (make_guest_link()[0] for _ in range(4))
    ApiKey.issue(make_user(), "bound by the team's limits", team=used.team)
    make_guest(has_guests)
    for link in (empty, used, has_guests):
        over(link, 11 * DAY)
    over(young, DAY)

    assert retention.purge("guest links") == 2

    assert set(GuestLink.objects.all()) == {has_guests, young}
    teams = set(Team.objects.all())
    assert teams == {used.team, has_guests.team, young.team}


# -- the console -----------------------------------------------------------------------


def test_an_operator_makes_a_link_that_is_shown_once():
    make_served_model("llama")
    client = client_of(make_operator())
    page = reverse("admin:controller_guestlink_add")
    assert b"1000000" in client.get(page).content
    ends_at = now() + DAY
    form = {
        "note": "Open day",
        "expires_at_0": f"{ends_at:%Y-%m-%d}",
        "expires_at_1": f"{ends_at:%H:%M:%S}",
        "max_guests": "30",
        "models": ["llama"],
        "requests_per_minute": "12",
        "tokens_per_day": "",
    }

    answer = client.post(page, form)

    link = GuestLink.objects.get()
    assert link.allowed_models == ["llama"]
    assert dict(Limit.objects.values_list("kind", "team")) == {
        "requests_per_minute": link.team_id
    }
    [address] = [
        word
        for word in answer.content.decode().replace('"', " ").replace("<", " ").split()
        if "/guest/?link=sy-guest-" in word
    ][:1]
    assert links.find(address.split("link=")[1]) == link
    assert "no-store" in answer["Cache-Control"]
    again = client.get(reverse("admin:controller_guestlink_change", args=[link.pk]))
    assert address.split("link=")[1].encode() not in again.content


def test_the_console_refuses_an_end_too_far_off(settings):
    settings.GUEST_LINK_MAX_HOURS = 24
    ends_at = now() + 3 * DAY
    form = {
        "expires_at_0": f"{ends_at:%Y-%m-%d}",
        "expires_at_1": f"{ends_at:%H:%M:%S}",
    }

    answer = client_of(make_operator()).post(
        reverse("admin:controller_guestlink_add"), form
    )

    assert b"At most 24 hours from now" in answer.content
    assert not GuestLink.objects.exists()


@pytest.mark.parametrize("field", ["requests_per_minute", "tokens_per_day"])
def test_the_console_refuses_a_limit_that_no_process_could_read(field):
    ends_at = now() + DAY
    form = {
        "expires_at_0": f"{ends_at:%Y-%m-%d}",
        "expires_at_1": f"{ends_at:%H:%M:%S}",
        field: str(10**16),
    }

    answer = client_of(make_operator()).post(
        reverse("admin:controller_guestlink_add"), form
    )

    assert b"less than or equal to 999999999999" in answer.content
    assert not GuestLink.objects.exists()


def test_the_list_tells_how_many_came_what_they_used_and_revokes(
    django_capture_on_commit_callbacks,
):
    (link, _secret), (other, _secret) = make_guest_link(max_guests=5), make_guest_link()
    guest = make_guest(link)
    use = {"user_id": guest.pk, "team_id": link.team_id}
    write_batch([finished(**use), finished(**use)])
    tokens = 2 * (finished().prompt_tokens + finished().completion_tokens)
    UserSession.objects.create(user=guest, ip="127.0.0.1", session_key="k")
    client = client_of(make_operator())
    where = reverse("admin:controller_guestlink_changelist")

    listed = client.get(where).content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        chosen = {"action": "revoke", "_selected_action": [link.pk], "post": "yes"}
        client.post(where, chosen)

    assert "1 of 5" in listed
    assert f"{tokens} tokens, 2 requests" in listed
    link.refresh_from_db()
    other.refresh_from_db()
    assert not link.is_open
    assert other.is_open
    assert not UserSession.objects.filter(user=guest).exists()
    events = LogEntry.objects.filter(object_pk=link.pk).values_list("additional_data")
    assert ({"event": "Revoked."},) in events


def test_operators_find_the_guests_of_a_link_and_the_people_without_them():
    link, _secret = make_guest_link()
    make_guest(link, username="guest-of-it")
    make_guest(make_guest_link()[0], username="guest-of-another")
    client = client_of(make_operator(username="the-operator"))
    users = reverse("admin:controller_user_changelist")

    def listed(query):
        found = client.get(f"{users}?{query}").context["cl"].result_list
        return {user.username for user in found}

    assert listed(f"guest_link={link.pk}") == {"guest-of-it"}
    assert listed("guests=no") == {"the-operator"}
    assert listed("guests=yes") == {"guest-of-it", "guest-of-another"}
