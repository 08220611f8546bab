import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.digest import canonical
from policy.errors import BadInput, VerificationFailed
from policy.log import (
    EMPTY_ROOT,
    Frontier,
    checkpoint_text,
    consistency_proof,
    inclusion_proof,
    leaf_body,
    leaf_hash,
    parse_checkpoint,
    root_of,
    subtrees_of,
    verify_consistency,
    verify_inclusion,
)

# The reference tree of Certificate Transparency (google/certificate-transparency,
# merkletree/merkle_tree_test.cc): eight leaves, and the root after each.
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def leaves_of(size: int) -> list[bytes]:
    return [leaf_hash(str(index).encode()) for index in range(size)]


@pytest.mark.parametrize("size", range(1, 9))
def test_the_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert root_of(map(leaf_hash, CT_LEAVES[:size])).hex() == CT_ROOTS[size - 1]


def test_the_empty_log_has_the_hash_of_nothing() -> None:
    assert Frontier().root() == EMPTY_ROOT
    assert EMPTY_ROOT.hex().startswith("e3b0c44298fc1c14")


def test_every_leaf_is_proved_to_be_in_and_no_other() -> None:
    for size in range(1, 40):
        leaves = leaves_of(size)
        root = root_of(leaves)
        for index, leaf in enumerate(leaves):
            proof = inclusion_proof(index, len(leaves), subtrees_of(leaves))
            assert verify_inclusion(leaf, index, size, proof, root)
            assert not verify_inclusion(leaf_hash(b"other"), index, size, proof, root)
            assert not verify_inclusion(leaf, index + 1, size, proof, root)
            assert not verify_inclusion(leaf, index, size, [*proof, leaf], root)


def test_every_log_is_proved_to_grow_out_of_its_beginnings() -> None:
    leaves = leaves_of(40)
    roots = [root_of(leaves[:size]) for size in range(41)]
    for new in range(1, 41):
        for old in range(1, new + 1):
            proof = consistency_proof(old, new, subtrees_of(leaves))
            assert verify_consistency(old, new, proof, roots[old], roots[new])
            assert not verify_consistency(old, new, proof, roots[0], roots[new])
            assert not verify_consistency(old, new, [*proof, roots[0]], roots[old], roots[new])


@given(st.integers(2, 60), st.data())
def test_a_changed_beginning_is_not_consistent(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size - 1))
    leaves = leaves_of(size)
    changed = leaves.copy()
    changed[data.draw(st.integers(0, old - 1))] = leaf_hash(b"changed")
    proof = consistency_proof(old, size, subtrees_of(changed))
    assert not verify_consistency(old, size, proof, root_of(leaves[:old]), root_of(changed))


@given(st.integers(0, 300), st.data())
def test_a_subtree_has_the_edge_that_the_whole_has_there(size: int, data: st.DataObject) -> None:
    start = data.draw(st.sampled_from([size & ~((1 << bits) - 1) for bits in range(10)]))
    whole = Frontier()
    for leaf in leaves_of(size):
        whole.append(leaf)
    assert whole.since(start).root() == root_of(leaves_of(size)[start:])


def test_an_edge_parts_only_where_a_subtree_begins() -> None:
    whole = Frontier()
    for leaf in leaves_of(8):
        whole.append(leaf)
    for start in (3, 4, 6, 9):
        with pytest.raises(BadInput):
            whole.since(start)


@given(st.integers(0, 300))
def test_a_frontier_goes_on_where_it_was_written_down(size: int) -> None:
    whole = Frontier()
    for leaf in leaves_of(size):
        whole.append(leaf)
    again = Frontier.from_bytes(whole.to_bytes())
    assert (again.size, again.root()) == (size, root_of(leaves_of(size)))
    again.append(leaf_hash(b"next"))
    assert again.root() == root_of([*leaves_of(size), leaf_hash(b"next")])
    assert len(whole.to_bytes()) <= 8 + 32 * 9


@pytest.mark.parametrize("data", [b"", b"\0" * 7, b"\0" * 7 + b"\1", b"\0" * 41])
def test_a_damaged_frontier_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match="no frontier"):
        Frontier.from_bytes(data)


def test_there_is_no_proof_for_what_is_not_there() -> None:
    with pytest.raises(BadInput):
        inclusion_proof(3, 3, subtrees_of(leaves_of(3)))
    with pytest.raises(BadInput):
        consistency_proof(0, 3, subtrees_of(leaves_of(3)))


def test_a_leaf_is_canonical_json_with_its_kind_and_place() -> None:
    body = leaf_body("row", 7, {"ref": "ä", "tokens": 3, "flags": ["x", True, None]})
    assert body == canonical(
        {"v": 1, "kind": "row", "seq": 7, "ref": "ä", "tokens": 3, "flags": ["x", True, None]}
    )


@pytest.mark.parametrize("value", [0.5, [1, 2.5], {"a": {"b": 1.0}}])
def test_a_leaf_holds_no_fraction(value: object) -> None:
    with pytest.raises(BadInput, match="fraction"):
        leaf_body("row", 0, {"cost": value})


@pytest.mark.parametrize("name", ["v", "kind", "seq"])
def test_a_field_cannot_take_the_place_of_the_frame(name: str) -> None:
    with pytest.raises(BadInput, match=f"cannot be called {name}"):
        leaf_body("row", 0, {name: "x"})


def test_a_checkpoint_is_three_lines_and_reads_back() -> None:
    root = root_of(leaves_of(5))
    text = checkpoint_text("spiritsafe.local/demo", 5, root)
    assert text == f"spiritsafe.local/demo\n5\n{base64.b64encode(root).decode()}\n"
    assert parse_checkpoint(text) == ("spiritsafe.local/demo", 5, root)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        "a\nx\nAAAA\n",
        "a\n05\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "a\n5\n" + base64.b64encode(bytes(31)).decode() + "\n",
        "a\n5\n" + base64.b64encode(bytes(32)).decode() + "\nmore\n",
    ],
)
def test_anything_but_the_one_written_form_is_no_checkpoint(text: str) -> None:
    with pytest.raises(VerificationFailed):
        parse_checkpoint(text)
