"""Alerts about budgets: when they are raised, to whom they go, and that they arrive."""

import base64
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from smtplib import SMTPServerDisconnected

import pytest
from django.core.mail import EmailMessage
from django.db import connection
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from config.celery import app
from controller import tasks
from controller.limits import alerts, announcements
from controller.limits.periods import Period
from controller.models import BudgetAlert, Lease, Limit, Membership, Spending
from controller.models.alerts import MAX_ATTEMPTS
from tests.factories import make_key, make_operator, make_team, make_user

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()


class Clock:
    moment = datetime(2026, 5, 12, 10, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def forward(self, **by: int) -> None:
        self.moment += timedelta(**by)


class Receiver(HTTPServer):
    """Keeps (headers, body) of what is posted to it, and answers with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 204
        self.received: list[tuple[dict[str, str], str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/alerts"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.server.received.append((dict(self.headers), body))
        self.send_response(self.server.status)
        self.send_header("location", "/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815  # a redirect that is followed becomes one

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("controller.limits.alerts.now", clock.now)
    monkeypatch.setattr("controller.models.alerts.now", clock.now)
    return clock


@pytest.fixture
def receiver(settings) -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        thread.start()
        settings.ALERT_WEBHOOK_URL = server.url
        settings.ALERT_WEBHOOK_SECRET = SECRET
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def budget(db):
    """1,000 tokens a day of Ann."""
    user = make_user(username="ann", email="ann@example.org")
    return Limit.put("tokens_per_day", 1000, user_id=user.pk)


def spend(limit: Limit, spent: int) -> Spending:
    """So much is spent of the present period."""
    start = Period.of(limit.kind, Clock.moment).starts_on
    spending, _is_new = Spending.objects.update_or_create(
        limit=limit, period_start=start, defaults={"spent": spent}
    )
    return spending


def thresholds() -> list[int]:
    rows = BudgetAlert.objects.order_by("created_at", "threshold")
    return list(rows.values_list("threshold", flat=True))


def minute() -> None:
    """What the task worker does each minute."""
    tasks.alert_of_budgets.delay()


# -- when ------------------------------------------------------------------------------


def test_each_threshold_is_told_of_once_as_it_is_reached(budget, clock, mailoutbox):
    told = []
    for spent in (499, 500, 799, 800, 801, 990, 1000, 1001):
        spend(budget, spent)
        minute()
        told.append(len(mailoutbox))
        clock.forward(minutes=1)

    assert told == [0, 1, 1, 2, 2, 2, 3, 3]
    assert thresholds() == [50, 80, 100]
    assert [letter.subject for letter in mailoutbox] == [
        "[Switchyard] 50 % used: tokens per day of user 'ann'",
        "[Switchyard] 80 % used: tokens per day of user 'ann'",
        "[Switchyard] 100 % used: tokens per day of user 'ann'",
    ]


def test_of_thresholds_passed_at_once_only_the_highest_is_sent(
    budget, mailoutbox, receiver
):
    spend(budget, 850)

    minute()

    assert thresholds() == [50, 80]
    assert [letter.subject[:21] for letter in mailoutbox] == ["[Switchyard] 85 % use"]
    ((_headers, body),) = receiver.received
    assert json.loads(body)["data"]["threshold_percent"] == 80


def test_what_is_leased_and_not_used_does_not_count(budget):
    spending = spend(budget, 510)
    Lease.objects.create(spending=spending, holder="a", unspent=6)
    Lease.objects.create(spending=spending, holder="b", unspent=5)

    minute()
    assert thresholds() == []

    Lease.objects.filter(holder="b").update(unspent=4)
    minute()
    assert thresholds() == [50]


def test_a_rest_that_no_request_can_use_is_used_up(budget):
    spend(budget, 996)

    minute()

    assert thresholds() == [50, 80, 100]


def test_a_budget_that_began_anew_alerts_again(budget, clock, mailoutbox):
    spend(budget, 600)
    minute()
    clock.forward(days=1)
    spend(budget, 900)  # of the day before; nothing is spent of the new one
    minute()
    assert len(mailoutbox) == 1

    Spending.objects.create(limit=budget, period_start=clock.moment.date(), spent=700)
    minute()

    assert thresholds() == [50, 50]
    assert len(mailoutbox) == 2
    assert "Resets: 2026-05-14 00:00 UTC" in mailoutbox[1].body


def test_a_raised_budget_alerts_again_when_it_runs_out_too(budget, clock, mailoutbox):
    spend(budget, 1000)
    minute()
    Limit.put("tokens_per_day", 4000, user_id=budget.user_id)
    minute()
    assert len(mailoutbox) == 1

    spend(budget, 3300)
    minute()

    assert "3,300 of 4,000" in mailoutbox[1].body


def test_the_month_and_the_thresholds_are_the_settings_and_the_kinds(db, settings):
    settings.BUDGET_ALERT_THRESHOLDS = [10]
    spend(Limit.put("money_per_month", 5), 600_000_000)
    spend(Limit.put("tokens_per_month", 0), 7)  # refuses everything, always
    spend(Limit.put("tokens_per_day", 100), 9)

    minute()

    alert = BudgetAlert.objects.get()
    assert (alert.limit.kind, alert.threshold) == ("money_per_month", 10)
    assert str(alert.period_start) == "2026-05-01"


@pytest.mark.django_db(transaction=True)
def test_two_task_workers_at_once_make_one_alert_and_send_it_once(
    budget, mailoutbox, receiver, monkeypatch
):
    spend(budget, 600)
    both_have_read, both_see_it_due = threading.Barrier(2), threading.Barrier(2)
    new_alerts, claim = alerts._new_alerts, BudgetAlert.claim

    def read_then_wait(*args):
        both_have_read.wait(timeout=30)
        return new_alerts(*args)

    def wait_then_claim(alert):
        both_see_it_due.wait(timeout=30)
        return claim(alert)

    def work():
        app.set_current()  # of each thread, as Celery's workers do
        try:
            minute()
        finally:
            connection.close()

    monkeypatch.setattr(alerts, "_new_alerts", read_then_wait)
    monkeypatch.setattr(BudgetAlert, "claim", wait_then_claim)
    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert thresholds() == [50]
    assert len(mailoutbox) == len(receiver.received) == 1


@pytest.mark.parametrize("num_budgets", [1, 20])
def test_the_look_costs_as_many_queries_for_many_budgets(
    db, django_assert_num_queries, num_budgets
):
    for _ in range(num_budgets):
        spending = spend(Limit.put("tokens_per_day", 100, user_id=make_user().pk), 90)
        Lease.objects.create(spending=spending, holder="a", unspent=1)

    with django_assert_num_queries(4):
        alerts.raise_alerts()
        assert len(alerts.due_alerts()) == num_budgets
    assert BudgetAlert.objects.count() == 2 * num_budgets


# -- to whom ---------------------------------------------------------------------------


def test_a_letter_says_whose_budget_how_much_and_until_when(db, mailoutbox):
    user = make_user(username="ann", email="ann@example.org")
    key, _secret = make_key(user, name="ci\nBcc: eve@example.org")
    spend(Limit.put("money_per_month", 10, key_id=key.pk), 8_250_000_000)

    minute()

    (letter,) = mailoutbox
    assert letter.to == ["ann@example.org"]
    assert letter.subject.startswith("[Switchyard] 82 % used: money per month of key")
    assert "of user 'ann' is 82 % used." in letter.body
    assert "Used:   8.25 of 10.00 USD" in letter.body
    assert "Left:   1.75 USD" in letter.body
    assert "Resets: 2026-06-01 00:00 UTC" in letter.body


def test_a_team_is_its_owners_and_everyone_is_the_superusers(db, mailoutbox):
    owner, member = make_user(email="owner@example.org"), make_user(email="m@x.org")
    gone = make_user(email="gone@example.org", is_active=False)
    team = make_team(member)
    for user in (owner, gone):
        Membership.objects.create(team=team, user=user, role=Membership.Role.OWNER)
    Membership.objects.create(team=make_team(), user=member, role="owner")
    make_operator(email="root@example.org")
    make_operator(email="")
    spend(Limit.put("tokens_per_day", 10, team_id=team.pk), 5)
    spend(Limit.put("tokens_per_day", 10), 5)

    minute()

    assert sorted(letter.to for letter in mailoutbox) == [
        ["owner@example.org"],
        ["root@example.org"],
    ]


def test_each_is_written_to_in_their_language(db, mailoutbox):
    make_operator(email="en@example.org")
    make_operator(email="zh@example.org", language="zh-hans")
    spend(Limit.put("tokens_per_day", 10), 10)

    minute()

    english, chinese = sorted(mailoutbox, key=lambda letter: letter.to)
    assert (english.to, chinese.to) == (["en@example.org"], ["zh@example.org"])
    assert english.subject == "[Switchyard] 100 % used: tokens per day of everyone"
    assert "Requests that need more" in english.body
    assert chinese.subject == "[Switchyard] 已用 100%：所有人的每天词元数"
    assert "剩余：0 词元" in chinese.body
    assert BudgetAlert.objects.get(is_covered=False).num_mailed == 2


def test_nobody_is_written_to_without_an_address(db, mailoutbox):
    spend(Limit.put("tokens_per_day", 10, user_id=make_user().pk), 5)

    minute()

    alert = BudgetAlert.objects.get()
    assert not mailoutbox
    assert (alert.num_mailed, alert.next_attempt_at) == (0, None)


# -- that they arrive ------------------------------------------------------------------


def test_a_receiver_can_verify_who_calls_and_what(budget, receiver):
    spend(budget, 800)

    minute()

    ((headers, body),) = receiver.received
    Webhook(SECRET).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace("800", "801"), headers)
    alert = BudgetAlert.objects.get(is_covered=False)
    assert headers["webhook-id"] == str(alert.pk)
    assert alert.webhook_delivered_at is not None
    assert json.loads(body) == {
        "type": "budget.threshold_reached",
        "timestamp": "2026-05-12T10:00:00+00:00",
        "data": {
            "limit_id": budget.pk,
            "kind": "tokens_per_day",
            "owner": "user 'ann'",
            "threshold_percent": 80,
            "used": 800,
            "left": 200,
            "total": 1000,
            "unit": "tokens",
            "period_start": "2026-05-12",
            "resets_at": "2026-05-13T00:00:00+00:00",
        },
    }


@pytest.mark.parametrize("status", [500, 307, 302])
def test_a_receiver_that_recovers_gets_the_same_alert_and_nobody_a_second_letter(
    budget, receiver, clock, mailoutbox, status
):
    spend(budget, 600)
    receiver.status = status
    minute()
    minute()  # not due yet
    alert = BudgetAlert.objects.get()
    assert alert.webhook_error == f"The receiver answered {status}, not 2xx."
    assert len(receiver.received) == 1

    receiver.status = 200
    clock.forward(minutes=1)
    minute()
    clock.forward(hours=1)
    minute()

    alert.refresh_from_db()
    ids = [headers["webhook-id"] for headers, _body in receiver.received]
    assert ids == [str(alert.pk)] * 2
    assert (alert.webhook_error, alert.next_attempt_at) == ("", None)
    assert len(mailoutbox) == 1


def test_a_receiver_that_is_away_is_called_ever_less_often_then_no_more(
    budget, settings, clock
):
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:1/"
    settings.ALERT_WEBHOOK_SECRET = SECRET
    spend(budget, 600)
    waits = []
    for _ in range(MAX_ATTEMPTS):
        minute()
        alert = BudgetAlert.objects.get()
        if alert.next_attempt_at is not None:
            waits.append((alert.next_attempt_at - clock.moment).seconds // 60)
            clock.moment = alert.next_attempt_at

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    assert (alert.next_attempt_at, alert.num_attempts) == (None, MAX_ATTEMPTS)
    assert "Cannot connect" in alert.webhook_error


def test_a_receiver_that_says_nothing_is_not_waited_for(budget, settings):
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent:  # listens only
        settings.ALERT_WEBHOOK_URL = f"http://127.0.0.1:{silent.server_port}/"
        settings.ALERT_WEBHOOK_SECRET = SECRET
        settings.ALERT_WEBHOOK_TIMEOUT = timedelta(seconds=0.05)
        spend(budget, 600)

        minute()

    error = BudgetAlert.objects.get().webhook_error
    assert error == "No answer within 0.05 seconds."


@pytest.mark.parametrize("secret", ["", "short", "no base64 at all, but so long"])
def test_nothing_is_posted_unsigned(budget, receiver, settings, secret):
    settings.ALERT_WEBHOOK_SECRET = secret
    spend(budget, 600)

    minute()

    assert receiver.received == []
    assert "ALERT_WEBHOOK_SECRET" in BudgetAlert.objects.get().webhook_error


def test_a_mail_server_that_fails_stops_no_webhook_and_is_tried_again(
    budget, receiver, clock, mailoutbox, monkeypatch
):
    def fail(letter):
        raise SMTPServerDisconnected("Connection unexpectedly closed")

    spend(budget, 600)
    with monkeypatch.context() as patch:
        patch.setattr(EmailMessage, "send", fail)
        minute()
    alert = BudgetAlert.objects.get()
    assert alert.mail_error == "Connection unexpectedly closed"
    assert len(receiver.received) == 1

    clock.forward(minutes=1)
    minute()

    alert.refresh_from_db()
    assert (alert.mail_error, alert.num_mailed) == ("", 1)
    assert len(mailoutbox) == len(receiver.received) == 1


def test_an_alert_whose_sender_died_is_sent_after_all(budget, clock, mailoutbox):
    spend(budget, 600)
    alerts.raise_alerts()
    assert BudgetAlert.objects.get().claim()  # and then it was killed

    minute()
    assert not mailoutbox
    clock.forward(minutes=1)
    minute()

    assert len(mailoutbox) == 1


def test_a_repeated_task_sends_nothing_twice(budget, mailoutbox):
    spend(budget, 600)
    minute()

    announcements.send(str(BudgetAlert.objects.get().pk))

    assert len(mailoutbox) == 1


def test_alerts_of_long_ago_are_deleted(budget, clock):
    spend(budget, 600)
    minute()
    clock.forward(days=62)
    assert alerts.prune_alerts() == 0

    clock.forward(days=1)

    assert alerts.prune_alerts() == 1
