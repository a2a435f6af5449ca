"""The waiting line alone, with a clock that tests move."""

import random

import pytest

from controller.fleet.line import Bounds, LineIsFull, Ticket, WaitingLine


class Line:
    """A waiting line, its clock, and short ways to say who comes and who is next."""

    def __init__(self, **bounds: int) -> None:
        many = {"length": 1000, "caller_length": 1000}
        plenty = {"num_bytes": 10**9, "caller_bytes": 10**9}
        self.bounds = Bounds(**(many | plenty | bounds))
        self.now = 0.0
        self.line: WaitingLine[Ticket] = WaitingLine(
            lambda: self.bounds, lambda: self.now
        )
        self.evicted: list[Ticket] = []

    def come(self, caller: str = "a", tokens: int = 100, **fields) -> Ticket:
        values = {"lane": "api", "kind": "chat", "max_tokens": 0}
        ticket = Ticket(caller=caller, prompt_tokens=tokens, **(values | fields))
        evicted = self.line.enter(ticket)
        if evicted is not None:
            self.evicted.append(evicted)
        return ticket

    def next(self) -> Ticket:
        """Take the next turn and let it end at once."""
        ticket = next(self.line.in_order())
        self.line.take(ticket)
        cost = int(ticket.cost)
        self.line.settle(ticket, work_tokens=cost, completion_tokens=0)
        return ticket

    def callers(self, count: int) -> str:
        return "".join(self.next().caller for _ in range(count))


# -- Whose turn it is ------------------------------------------------------------------


def test_one_callers_requests_keep_their_order():
    line = Line()
    tickets = [line.come(tokens=tokens) for tokens in (500, 1, 50)]

    assert [line.next() for _ in tickets] == tickets
    assert len(line.line) == 0


def test_a_newcomer_waits_for_one_of_a_floods_requests_at_most():
    line = Line()
    for _ in range(100):
        line.come("a")
    line.callers(10)

    line.come("b")

    assert "b" in line.callers(2)


def test_callers_have_equal_tokens_however_many_requests_they_are():
    line = Line()
    for _ in range(300):
        line.come("a", tokens=10)
    for _ in range(30):
        line.come("b", tokens=100)

    served = [line.next() for _ in range(110)]

    tokens = {name: sum(t.cost for t in served if t.caller == name) for name in "ab"}
    assert tokens["a"] == pytest.approx(tokens["b"], rel=0.1)


def test_a_guess_that_was_wrong_is_made_good_when_the_request_ends():
    line = Line()
    for _ in range(200):
        line.come("a", max_tokens=10_000)  # asks for thousands, takes a few
        line.come("b", tokens=90, max_tokens=10)
    taken = {"a": 0, "b": 0}

    for _ in range(100):
        ticket = next(line.line.in_order())
        line.line.take(ticket)
        taken[ticket.caller] += 100
        line.line.settle(ticket, work_tokens=100, completion_tokens=10)

    assert taken["a"] == pytest.approx(taken["b"], rel=0.1)


def test_nothing_is_owed_for_the_time_in_which_nobody_else_waited():
    line = Line()
    for _ in range(50):
        line.come("a")
    line.callers(50)

    for _ in range(5):
        line.come("a")
        line.come("b")

    assert sorted(line.callers(2)) == ["a", "b"]


def test_an_endless_row_of_newcomers_does_not_pass_by_who_was_served_once():
    line = Line()
    line.come("regular")
    line.come("regular")
    line.next()

    for number in range(5):
        line.come(f"newcomer {number}")
        if line.next().caller == "regular":
            break
    else:
        pytest.fail("the regular caller still waits")


def test_the_chat_comes_before_the_api_and_both_before_a_batch():
    line = Line()
    for lane in ("batch", "api", "chat"):
        line.come(lane, lane=lane)

    assert [line.next().lane for _ in range(3)] == ["chat", "api", "batch"]


def test_no_lane_starves_and_their_shares_are_as_their_weights():
    line = Line()
    for lane in ("batch", "api", "chat"):
        for _ in range(300):
            line.come(lane, lane=lane)

    lanes = [line.next().lane for _ in range(210)]

    counts = [lanes.count(lane) for lane in ("chat", "api", "batch")]
    assert counts == pytest.approx([160, 40, 10], abs=2)


def test_who_returns_from_a_failed_worker_goes_before_all_others():
    line = Line()
    line.come("a", lane="chat")
    returning = line.come("b", lane="batch", is_returning=True)

    assert line.line.place(returning).position == 1
    assert line.next() is returning


# -- Coming and going ------------------------------------------------------------------


def test_who_leaves_is_out_at_once_and_cannot_be_served():
    line = Line()
    first, second = line.come("a", size=10), line.come("a", size=5)

    assert line.line.leave(first)
    assert not line.line.leave(first)

    assert (len(line.line), line.line.num_bytes) == (1, 5)
    assert line.next() is second
    assert not line.line.leave(second)


def test_a_caller_with_its_share_waiting_is_refused_and_others_are_not():
    line = Line(caller_length=2)
    line.come("a")
    line.come("a")

    with pytest.raises(LineIsFull) as refused:
        line.come("a")
    line.come("b")

    assert refused.value.is_own_share
    assert len(line.line) == 3


def test_in_a_full_line_the_newest_of_who_has_most_makes_room():
    line = Line(length=4)
    [*_, newest] = [line.come("a") for _ in range(4)]

    line.come("b")
    with pytest.raises(LineIsFull) as refused:
        line.come("a")

    assert line.evicted == [newest]
    assert refused.value.is_own_share
    assert len(line.line) == 4


def test_a_line_full_of_equals_refuses_whoever_comes():
    line = Line(length=3)
    for caller in "abc":
        line.come(caller)

    with pytest.raises(LineIsFull) as refused:
        line.come("d")

    assert not refused.value.is_own_share
    assert line.evicted == []


def test_a_batch_makes_room_for_a_chat_and_not_the_other_way_round():
    line = Line(length=2)
    line.come("a", lane="chat")
    batch = line.come("b", lane="batch")

    line.come("c", lane="chat")
    with pytest.raises(LineIsFull):
        line.come("d", lane="batch")

    assert line.evicted == [batch]


def test_bytes_are_bounded_in_all_and_for_one_caller():
    line = Line(num_bytes=100, caller_bytes=60)
    line.come("a", size=50)

    with pytest.raises(LineIsFull) as own:
        line.come("a", size=20)
    line.come("b", size=50)
    with pytest.raises(LineIsFull) as whole:
        line.come("c", size=1)

    assert own.value.is_own_share
    assert not whole.value.is_own_share
    assert line.line.num_bytes == 100


def test_one_request_larger_than_a_callers_share_may_wait_alone():
    line = Line(num_bytes=100, caller_bytes=60)

    line.come("a", size=80)

    assert line.line.num_bytes == 80


def test_those_whose_deadline_has_passed_are_named_and_others_not():
    line = Line()
    late = line.come(deadline_at=10)
    line.come(deadline_at=11)
    assert line.line.overdue() == []

    line.now = 10

    assert line.line.overdue() == [late]


# -- The place -------------------------------------------------------------------------


def test_places_are_the_order_in_which_turns_come():
    line = Line()
    rng = random.Random(7)
    tickets = [
        line.come(
            rng.choice("abc"), rng.randrange(500), lane=rng.choice(("chat", "api"))
        )
        for _ in range(50)
    ]
    line.now += 2  # they are looked at once a second
    places = {line.line.place(ticket).position: ticket for ticket in tickets}

    order = [line.next() for _ in tickets]

    assert order == [places[position] for position in range(1, 51)]


def test_the_wait_is_told_by_the_turns_lately():
    line = Line()
    tickets = [line.come() for _ in range(40)]
    assert line.line.place(tickets[-1]).expected_seconds is None

    for _ in range(20):  # two a second
        line.now += 0.5
        line.next()

    place = line.line.place(tickets[-1])
    assert (place.position, place.length) == (20, 20)
    assert place.expected_seconds == pytest.approx(10, rel=0.1)


def test_no_wait_is_told_before_three_turns():
    line = Line()
    tickets = [line.come() for _ in range(4)]

    told = []
    for _ in range(3):
        line.now += 0.5
        line.next()
        told.append(line.line.place(tickets[-1]).expected_seconds)

    assert told == [None, None, pytest.approx(0.5)]


def test_a_pause_in_which_nobody_waited_does_not_slow_the_rate():
    line = Line()
    for _ in range(4):
        line.come()
    for _ in range(4):
        line.now += 0.5
        line.next()
    line.now += 3600

    ticket = line.come()

    assert line.line.place(ticket).expected_seconds == pytest.approx(0.5)


def test_the_place_expected_before_coming_is_about_the_one_there_is():
    line = Line()
    for _ in range(100):
        line.come("flood")
    line.callers(10)
    line.come("b")

    newcomer = line.come("c")

    assert newcomer.first_position <= 3
    assert line.come("flood").first_position == pytest.approx(93, abs=3)
    line.now += 2
    assert line.line.place(newcomer).position <= 3


def test_idle_callers_are_forgotten():
    line = Line()
    for number in range(10_000):
        line.come(f"caller {number}")
        line.next()

    assert len(line.line._lanes["api"].shares) <= 64
