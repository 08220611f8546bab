from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from policy.errors import BadInput, VerificationFailed
from policy.keys import load_key, new_key, parse_public_key, sign_note, verify_note

NAME = "spiritsafe.local/demo"

# The example of golang.org/x/mod/sumdb/note, made by another implementation.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_NOTE = (
    GO_TEXT + "\n\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZS"
    "NXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_a_note_signed_by_another_implementation_verifies() -> None:
    assert verify_note(GO_NOTE, "PeterNeumann", GO_KEY) == GO_TEXT


def test_a_key_is_for_the_owners_eyes_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "log.pem"
    key = new_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path).public(NAME) == key.public(NAME)
    assert repr(key) == "<SigningKey>"


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    new_key(tmp_path / "log.pem")
    with pytest.raises(BadInput, match="already there"):
        new_key(tmp_path / "log.pem")


def test_a_note_verifies_with_the_public_line_alone(tmp_path: Path) -> None:
    key = new_key(tmp_path / "log.pem")
    note = sign_note("a\n\nb\n", NAME, key)
    assert verify_note(note, NAME, key.public(NAME)) == "a\n\nb\n"


def test_a_second_signature_beside_ours_does_no_harm(tmp_path: Path) -> None:
    key, witness = new_key(tmp_path / "log.pem"), new_key(tmp_path / "witness.pem")
    ours = sign_note("a\n", NAME, key)
    theirs = sign_note("a\n", "witness", witness).rsplit("\n\n", 1)[1]
    for note in (ours + theirs, ours.replace("\n\n", "\n\n" + theirs)):
        assert verify_note(note, NAME, key.public(NAME)) == "a\n"
        assert verify_note(note, "witness", witness.public("witness")) == "a\n"


def test_every_flipped_byte_of_a_note_is_noticed(tmp_path: Path) -> None:
    key = new_key(tmp_path / "log.pem")
    note = sign_note("origin\n5\nroot\n", NAME, key)
    public = key.public(NAME)
    for place in range(len(note)):
        flipped = note[:place] + chr(ord(note[place]) ^ 1) + note[place + 1 :]
        with pytest.raises(VerificationFailed):
            verify_note(flipped, NAME, public)


def test_another_key_of_the_same_name_does_not_verify(tmp_path: Path) -> None:
    one, other = new_key(tmp_path / "one.pem"), new_key(tmp_path / "other.pem")
    with pytest.raises(VerificationFailed, match="no signature by"):
        verify_note(sign_note("a\n", NAME, one), NAME, other.public(NAME))
    with pytest.raises(VerificationFailed, match="no signature by"):
        verify_note(sign_note("a\n", NAME, one), "other", one.public(NAME))


@pytest.mark.parametrize("line", ["", "a+b", "a+00000000+AAAA", GO_KEY.replace("c74f", "c74e")])
def test_a_damaged_public_line_is_refused(line: str) -> None:
    with pytest.raises(BadInput):
        parse_public_key(line)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n"])
def test_a_name_that_would_break_the_line_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="cannot name a key"):
        sign_note("a\n", name, new_key(tmp_path / "log.pem"))


def test_a_text_without_its_last_line_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="ends with a new line"):
        sign_note("a", NAME, new_key(tmp_path / "log.pem"))


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("hello")
    elliptic = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "ec.pem").write_bytes(elliptic)
    for name, said in (("text", "no private key"), ("ec", "not an ed25519"), ("gone", "read")):
        with pytest.raises(BadInput, match=said):
            load_key(tmp_path / f"{name}.pem")
