"""What counts as one flight of a Redis conversation, whatever way the bytes are cut."""

from __future__ import annotations

import pytest

from labkit.resp import Conversation

OK = b"+OK\r\n"


def command(*words: str | bytes) -> bytes:
    """A command as a client sends it."""
    raw = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in raw)


@pytest.fixture
def conversation() -> Conversation:
    return Conversation()


def flights(conversation: Conversation, *turns: bytes | tuple[bytes, bytes]) -> int:
    """Flights of what is sent; a pair is what is sent and what is answered to it."""
    count = 0
    for turn in turns:
        sent, answered = turn if isinstance(turn, tuple) else (turn, b"")
        count += conversation.sent(sent)
        conversation.answered(answered)
    return count


def test_a_command_and_its_reply_are_one_flight(conversation):
    assert (
        flights(conversation, (command("INCR", "k"), b":1\r\n"), (command("GET", "k"), b"$1\r\n1\r\n")) == 2
    )


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (command("INCR", "k") + command("PEXPIRE", "k", "9"), b":1\r\n:1\r\n"),
        (
            command("MULTI") + command("INCR", "k") + command("EXEC"),
            OK + b"+QUEUED\r\n*1\r\n:1\r\n",
        ),
        (command("EVALSHA", "0" * 40, "1", "k"), b"*2\r\n:1\r\n$-1\r\n"),
        (command("EVALSHA", "0" * 40, "0"), b"-NOSCRIPT No matching script.\r\n"),
        (command("hgetall", "k"), b"%1\r\n+a\r\n,1.5\r\n"),
    ],
    ids=["pipeline", "transaction", "script", "error", "map of RESP3"],
)
def test_what_is_sent_at_once_is_one_flight_and_the_next_is_another(conversation, sent, answered):
    assert flights(conversation, (sent, answered), (sent, answered)) == 2


def test_a_pipeline_in_several_writes_is_one_flight_while_a_reply_is_due(conversation):
    first, second, third = (command("INCR", key) for key in "abc")

    assert flights(conversation, first, (second, b":1\r\n"), (third, b":1\r\n:1\r\n"), first) == 2


def test_a_transaction_step_by_step_costs_a_flight_for_each_step(conversation):
    steps = [
        (command("MULTI"), OK),
        (command("INCR", "k"), b"+QUEUED\r\n"),
        (command("EXEC"), b"*1\r\n:1\r\n"),
    ]

    assert flights(conversation, *steps) == 3


def test_set_up_commands_are_no_part_of_a_decision(conversation):
    words = [
        ("HELLO", "3"),
        ("AUTH", "x"),
        ("CLIENT", "SETINFO", "LIB-NAME", "x"),
        ("select", "0"),
        ("PING",),
    ]

    assert flights(conversation, *((command(*each), OK) for each in words)) == 0


def test_a_decision_sent_together_with_its_set_up_counts_once(conversation):
    sent = command("HELLO", "3") + command("INCR", "k") + command("PING")

    assert flights(conversation, (sent, b"%1\r\n+proto\r\n:3\r\n:1\r\n+PONG\r\n")) == 1


def test_a_decision_sent_while_its_set_up_is_under_way_counts(conversation):
    assert flights(conversation, command("CLIENT", "ID"), (command("INCR", "k"), b":7\r\n:1\r\n")) == 1


def test_replies_may_come_in_pieces(conversation):
    assert flights(conversation, command("GET", "k")) == 1
    for byte in b"$10\r\n0123456789\r":
        conversation.answered(bytes([byte]))
        assert conversation.sent(b"") is False

    # not yet whole, so that this is still the same flight
    assert flights(conversation, command("GET", "k")) == 0
    conversation.answered(b"\n$-1\r\n")
    assert flights(conversation, command("GET", "k")) == 1


def test_a_large_value_split_over_chunks_begins_its_flight_when_it_is_whole(conversation):
    sent = command("SET", "k", b"\r\n*1\r\n$4\r\nINCR\r\n" * 20_000)
    chunks = [sent[at : at + 65_536] for at in range(0, len(sent), 65_536)]

    assert [conversation.sent(chunk) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


def test_what_the_server_pushes_answers_nothing(conversation):
    push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"

    assert flights(conversation, (command("GET", "k"), push), command("GET", "k")) == 1
    assert flights(conversation, (b"", b"$-1\r\n$-1\r\n" + push), command("GET", "k")) == 1


def test_more_replies_than_commands_do_no_harm(conversation):
    assert flights(conversation, (command("SUBSCRIBE", "a"), OK * 5), (command("GET", "k"), OK)) == 2


@pytest.mark.parametrize("sent", [b"PING\r\n", b"GET k\r\n", b":5\r\n", b"\x00\xff\r\n", b"*1\r\n:1\r\n"])
def test_what_is_no_command_is_followed_by_turns(conversation, sent):
    """Inline commands, and noise: the bytes go on, and each turn counts."""
    assert flights(conversation, (sent, OK), (sent, OK), sent) == 3


def test_an_answer_that_is_no_redis_does_not_end_the_conversation(conversation):
    assert (
        flights(conversation, (command("GET", "k"), b"HTTP/1.1 200 OK\r\n"), (command("GET", "k"), OK)) == 2
    )
