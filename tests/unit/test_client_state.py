"""The proof in a subscription's `clientState`."""

from __future__ import annotations

import hashlib
import hmac
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.graph_notifications.client_state import MAX_LENGTH, client_state, folder_token, key_name, verify
from tests.sizes import size

OLD, NEW = "0123456789abcdef0123456789abcdef", "a newer key, of more than 32 characters"
INBOX = folder_token("support", "INBOX")
STATE = client_state(OLD, INBOX)


def test_a_client_state_names_its_folder() -> None:
    assert verify(STATE, [OLD]) == INBOX
    assert STATE.startswith(f"v1.{INBOX}.")
    assert len(INBOX) == 12
    assert int(INBOX, 16) >= 0


@given(key=st.text(st.characters(codec="utf-8"), min_size=1, max_size=300), mailbox=st.text(max_size=40))
@settings(max_examples=size(40, soak=1_000), deadline=None)
def test_a_client_state_is_proven_and_within_graphs_limit(key: str, mailbox: str) -> None:
    where = folder_token(mailbox, "INBOX/Büro 注文")
    state = client_state(key, where)
    assert len(state) <= MAX_LENGTH == 128
    assert state.isascii()
    assert verify(state, [key]) == where


def test_folder_tokens_are_unique() -> None:
    names = [("a", "b"), ("ab", ""), ("", "ab"), ("a", "B"), ("a", "b/c"), ("a/b", "c"), ("b", "a")]
    assert len({folder_token(*item) for item in names}) == len(names)


def test_a_changed_character_is_refused() -> None:
    for at in range(len(STATE)):
        for other in string.printable:
            if other != STATE[at]:
                assert verify(STATE[:at] + other + STATE[at + 1 :], [OLD]) is None


def test_a_removed_or_inserted_character_is_refused() -> None:
    for at in range(len(STATE) + 1):
        for other in string.hexdigits + ". \n\0":
            changed = STATE[:at] + other + STATE[at:]
            assert verify(changed, [OLD]) is None, changed
        if at < len(STATE):
            assert verify(STATE[:at] + STATE[at + 1 :], [OLD]) is None


@given(st.text(max_size=200) | st.from_regex(r"v1\.[0-9a-f]{12}\.[0-9a-f]{64}", fullmatch=True))
@settings(max_examples=size(80, soak=3_000), deadline=None)
def test_a_guess_is_refused(guess: str) -> None:
    assert guess == STATE or verify(guess, [OLD, NEW]) is None


def test_the_proof_of_one_folder_does_not_prove_another() -> None:
    _, _, proof = client_state(OLD, folder_token("office", "INBOX")).split(".")
    assert verify(f"v1.{INBOX}.{proof}", [OLD]) is None


def test_either_of_two_keys_proves_and_a_third_does_not() -> None:
    for keys in ([OLD, NEW], [NEW, OLD]):
        assert verify(client_state(OLD, INBOX), keys) == INBOX
        assert verify(client_state(NEW, INBOX), keys) == INBOX
        assert verify(client_state("x" * 32, INBOX), keys) is None
    assert verify(STATE, [NEW]) is None, "the key was replaced"


def test_without_a_key_nothing_is_proven() -> None:
    assert verify(STATE, []) is None
    assert verify(client_state("", INBOX), []) is None


def test_another_version_with_a_correct_proof_is_refused() -> None:
    signed = f"v2.{INBOX}"
    assert _with_proof(f"v1.{INBOX}") == STATE, "the helper signs like the module"
    assert verify(_with_proof(signed), [OLD]) is None
    assert verify(_with_proof(""), [OLD]) is None
    assert verify(_with_proof(INBOX), [OLD]) is None


@pytest.mark.parametrize(
    "state",
    [
        *(None, 0, 1.5, True, b"v1", [STATE], {"v1": STATE}, (STATE,), STATE.encode()),
        *("", ".", "..", "v1", "v1.", f"v1.{INBOX}", f"v1.{INBOX}.", f".{INBOX}.", " " + STATE, STATE + " "),
        *(STATE + "\n", STATE.upper(), STATE + "é", "é" * 64, STATE[:-1] + "\ud800", "\0" * 128, STATE + "." + STATE),
        *("x" * 129, "x" * 1_000_000, STATE.ljust(129, "0"), STATE.translate({ord("1"): "\uff11"})),
    ],
    ids=lambda item: ascii(item)[:20],
)
def test_malformed_client_states_are_refused(state: object) -> None:
    assert verify(state, [OLD, NEW]) is None


def test_a_key_name_identifies_a_key_without_revealing_it() -> None:
    names = {key_name(key) for key in (OLD, NEW)}
    assert len(names) == 2
    for key, name in ((OLD, key_name(OLD)), (NEW, key_name(NEW))):
        assert len(name) == 12
        assert name not in key
        assert name not in hashlib.sha256(key.encode()).hexdigest()
        assert name not in client_state(key, INBOX)


def _with_proof(signed: str) -> str:
    """Return a client state with a correct proof by the key OLD."""
    return f"{signed}.{hmac.new(OLD.encode(), signed.encode(), hashlib.sha256).hexdigest()}"
