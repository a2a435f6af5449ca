"""The shape of a conversation, without a database."""

from uuid import UUID

from chat.trees import MessageTree

ROOT, FIRST, SECOND, REPLY, LATER = (UUID(int=number) for number in range(1, 6))
TREE = MessageTree(
    [(ROOT, None), (FIRST, ROOT), (SECOND, ROOT), (REPLY, FIRST), (LATER, FIRST)]
)


def test_a_path_goes_from_the_root_to_the_leaf():
    assert TREE.path_to(REPLY) == [ROOT, FIRST, REPLY]
    assert TREE.path_to(None) == []
    assert TREE.path_to(UUID(int=99)) == []


def test_versions_stand_beside_each_other_oldest_first():
    assert TREE.versions_of(SECOND) == [FIRST, SECOND]
    assert TREE.versions_of(ROOT) == [ROOT]


def test_what_followed_from_a_message_is_below_it_and_its_newest_end_is_found():
    assert set(TREE.below(FIRST)) == {FIRST, REPLY, LATER}
    assert TREE.newest_leaf_below(FIRST) == LATER
    assert TREE.newest_leaf_below(SECOND) == SECOND
