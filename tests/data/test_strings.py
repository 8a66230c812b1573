import pytest
import torch

from diffmem_lib.data import BlockGrammar


@pytest.fixture(scope="module")
def drawn():
    grammar = BlockGrammar(generator=torch.Generator().manual_seed(0))
    return grammar, *grammar.sample(2, 6, torch.Generator().manual_seed(1))


def test_no_string_stands_twice_in_both_sets(drawn):
    _, training, held_out = drawn
    both = torch.cat([training.letters, held_out.letters])
    assert both.shape == (96, 12)
    assert len(both.unique(dim=0)) == 96
    assert both.min() == 0
    assert both.max() == 5


def test_kinds_are_what_they_say(drawn):
    grammar, *sets = drawn
    common = [set(row[:4].tolist()) for row in grammar.order]
    for part in sets:
        assert part.rare.sum() == part.family.sum() == (part.rare & part.family).sum() * 2 == 24
        pairs = part.letters.unflatten(1, (6, 2))
        assert torch.equal(part.substrings, pairs[..., 0] * 6 + pairs[..., 1])
        for row, rare in zip(part.substrings.tolist(), part.rare.tolist(), strict=True):
            assert all((pair in allowed) is not rare for pair, allowed in zip(row, common, strict=True))


def test_members_of_a_family_differ_in_two_blocks_at_most_whichever_set_they_are_in(drawn):
    _, training, held_out = drawn
    for first in (12, 18, 36, 42):
        members = torch.cat([part.substrings[first : first + 6] for part in (training, held_out)])
        assert (members[:, None] != members).sum(2).max() <= 2
    alone = training.substrings[24:36]
    assert (alone[:, None] != alone).sum(2).double().mean() > 4  # rare substrings hardly meet


def test_common_substrings_are_frequent(drawn):
    _, training, _ = drawn
    count = (training.substrings[:, None] == training.substrings).double().sum(1).mean(1)
    assert count[~training.rare].min() > count[training.rare & ~training.family].max()


def test_one_hot_has_its_distances_and_is_spelled_back(drawn):
    _, training, held_out = drawn
    points = training.one_hot
    assert points.shape == (48, 72)
    assert points.dtype == torch.float64
    torch.testing.assert_close(points.sum(1), torch.zeros(48, dtype=torch.float64), rtol=0, atol=1e-12)
    differing = (training.letters[:, None] != training.letters).sum(2).double()
    torch.testing.assert_close(torch.cdist(points, points).square(), 2 * differing, rtol=1e-10, atol=1e-10)
    assert torch.equal(training.spelled_by(0.3 * points + 0.01), torch.eye(48, dtype=torch.bool))
    assert not training.spelled_by(held_out.one_hot).any()


def test_same_generator_same_strings():
    first, again, other = (
        BlockGrammar(4, 3, 4, torch.Generator().manual_seed(s))
        .sample(1, 2, torch.Generator().manual_seed(9))[0]
        .letters
        for s in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
