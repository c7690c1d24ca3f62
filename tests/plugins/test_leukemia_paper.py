"""Steps of the paper, each on numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cells_pictures import on_black, on_smear
from hemaloop.errors import OptionError
from hemaloop_leukemia_ensemble import LeukemiaEnsemble, LeukemiaOptions
from hemaloop_leukemia_ensemble.augment import OPERATIONS, augmented, chosen, placed_anew, turn
from hemaloop_leukemia_ensemble.bagging import bagging_sets, halves, majority, whole_set
from hemaloop_leukemia_ensemble.decision import calibrated, fit_temperature, winner, winning_logits
from hemaloop_leukemia_ensemble.preparation import find_cell, prepare
from hemaloop_leukemia_ensemble.relevance import disagreement, expected_cost, review_marks
from hemaloop_leukemia_ensemble.stain import Look, look_of, normalised
from hemaloop_leukemia_ensemble.training import Plateau, weighted_loss

# section 2.2, preparation


@pytest.mark.parametrize("label", [0, 1])
def test_a_dark_cell_among_red_cells_is_found_by_its_hull(label: int) -> None:
    found = find_cell(on_smear(label, 3))
    assert not isinstance(found, str)
    x1, y1, x2, y2 = found.box
    radius = (x2 - x1) / 2
    assert 0.8 * (19, 14)[label] < radius < 1.25 * (19, 14)[label]
    assert abs((x1 + x2) / 2 - 48) < 6
    assert abs((y1 + y2) / 2 - 48) < 6


def test_a_bright_cell_on_black_is_found_by_its_hull() -> None:
    found = find_cell(on_black(20, (40, 55)))
    assert not isinstance(found, str)
    assert found.box == pytest.approx((20, 35, 61, 76), abs=2)
    assert found.notes == ()


def test_the_same_cell_is_found_on_a_negative_of_the_picture() -> None:
    image = on_smear(0, 5)
    image[(image > 200).all(axis=2)] = (250, 235, 215)
    bright, dark = on_black(), 255 - on_black()
    one, other = find_cell(bright), find_cell(dark)
    assert not isinstance(one, str)
    assert not isinstance(other, str)
    assert one.box == pytest.approx(other.box, abs=1.5)


def test_the_crop_is_square_and_has_the_margin() -> None:
    prepared = prepare(on_black(20, (48, 48)), 64, margin=0.5)
    assert prepared.pixels.shape == (64, 64, 3)
    x1, y1, x2, y2 = prepared.box
    assert x2 - x1 == pytest.approx(y2 - y1)
    assert x2 - x1 == pytest.approx(2 * 41, rel=0.06)


def test_of_a_crop_of_the_hull_alone_the_rest_is_black() -> None:
    whole, inside = (prepare(on_smear(0, 1), 64, margin=0.3, inside_only=only).pixels for only in (False, True))
    assert (inside[0] == 0).all()
    assert whole[0].mean() > 100
    np.testing.assert_array_equal(whole[32, 32], inside[32, 32])


@pytest.mark.parametrize(("height", "width"), [(96, 96), (40, 200), (200, 40), (1, 1), (1, 60)])
@pytest.mark.parametrize("value", [0, 130, 255])
def test_an_image_without_a_cell_is_taken_whole_with_the_reason(height: int, width: int, value: int) -> None:
    prepared = prepare(np.full((height, width, 3), value, np.uint8), 48)
    assert prepared.pixels.shape == (48, 48, 3)
    assert "colour" in prepared.reason
    assert (prepared.pixels == value).all()


def test_of_two_cells_the_one_near_the_middle_counts_and_it_is_said() -> None:
    image = np.maximum(on_black(17, (48, 48)), on_black(17, (14, 14)))
    prepared = prepare(image, 64)
    x1, y1, x2, y2 = prepared.box
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((48, 48), abs=3)
    assert any("2 cells" in note for note in prepared.notes)


def test_a_cell_that_the_border_cuts_is_said_to_be() -> None:
    assert any("border" in note for note in prepare(on_black(22, (4, 48)), 64).notes)


def test_size_of_the_picture_does_not_change_what_is_cut_out() -> None:
    small = on_black(20, (48, 48))
    large = np.repeat(np.repeat(small, 5, axis=0), 5, axis=1)
    one, other = prepare(small, 64).box, prepare(large, 64).box
    assert np.array(other) / 5 == pytest.approx(np.array(one), abs=3)


# section 2.1, stain


def test_a_normalised_cell_has_the_look_that_was_asked_for() -> None:
    target = Look((60.0, 20.0, -15.0), (8.0, 5.0, 4.0))
    found = look_of(normalised(on_smear(0, 2), target))
    assert found is not None
    assert found.mean == pytest.approx(target.mean, abs=2.5)


def test_black_around_a_cell_stays_black() -> None:
    image = on_black()
    assert (normalised(image, Look((60.0, 20.0, -15.0), (8.0, 5.0, 4.0)))[0, 0] == 0).all()


# section 2.3, bagging

SEVEN = np.array([1, 0, 1, 1, 0, 1, 1])


def test_the_majority_is_counted_not_named() -> None:
    assert majority(SEVEN) == 1
    assert majority(1 - SEVEN) == 0


def test_halves_share_nothing_and_are_the_majority_together() -> None:
    a, b = halves(SEVEN, seed=4)
    assert (len(a), len(b)) == (3, 2)
    assert sorted([*a, *b]) == [0, 2, 3, 5, 6]


def test_set_a_is_figure_2_and_set_b_its_mirror() -> None:
    half_a, half_b = (set(half.tolist()) for half in halves(SEVEN, seed=4))
    a, b = bagging_sets(SEVEN, seed=4)
    minority = {1, 4}
    for chosen_set, own, other in ((a, half_a, half_b), (b, half_b, half_a)):
        assert set(chosen_set.indices[~chosen_set.copies].tolist()) == own | minority
        assert set(chosen_set.indices[chosen_set.copies].tolist()) == other | minority


def test_of_three_classes_all_but_the_largest_are_in_both_sets() -> None:
    labels = np.array([2, 2, 2, 2, 0, 1, 1])
    for one in bagging_sets(labels, seed=0):
        assert {4, 5, 6} <= set(one.indices[~one.copies].tolist())
        assert {4, 5, 6} <= set(one.indices[one.copies].tolist())


def test_the_second_stage_sees_every_image_and_a_copy_of_each() -> None:
    everything = whole_set(3)
    assert everything.indices.tolist() == [0, 1, 2, 0, 1, 2]
    assert everything.copies.tolist() == [False] * 3 + [True] * 3


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def test_each_copy_gets_one_operation_at_least_and_all_of_them_occur() -> None:
    which = chosen(300, generator())
    assert which.shape == (300, len(OPERATIONS))
    assert which.any(dim=1).all()
    assert (which.float().mean(dim=0) > 0.3).all()


def test_augmented_copies_differ_from_their_originals_and_stay_in_range() -> None:
    pixels = torch.rand(16, 3, 24, 24, generator=generator())
    copies = augmented(pixels, generator())
    assert copies.shape == pixels.shape
    assert float(copies.min()) >= 0
    assert float(copies.max()) <= 1
    assert (copies != pixels).flatten(1).any(dim=1).all()


def test_quarter_turns_and_mirrors_move_pixels_without_changing_one() -> None:
    pixels = torch.rand(8, 3, 5, 5, generator=generator())
    moved = placed_anew(pixels, generator())
    assert torch.equal(moved.flatten(2).sort().values, pixels.flatten(2).sort().values)


def test_half_a_turn_is_both_mirrors() -> None:
    pixels = torch.rand(1, 3, 6, 6, generator=generator())
    no, yes = torch.tensor([False]), torch.tensor([True])
    turned = turn(pixels, torch.tensor([math.pi]), no, no)
    mirrored = turn(pixels, torch.tensor([0.0]), yes, yes)
    torch.testing.assert_close(turned, pixels.flip((2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(mirrored, pixels.flip((2, 3)), atol=1e-4, rtol=0)


# section 2.5, training


def test_equation_1_weighs_the_disease() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    loss = weighted_loss(logits, torch.tensor([0, 1]), torch.tensor([2.5, 1.0]))
    assert float(loss) == pytest.approx(math.log(2) * 3.5 / 2)


@pytest.mark.parametrize("labels", [("ALL", "HEM"), ("HEM", "ALL")])
def test_the_weight_is_tied_to_the_disease_wherever_it_stands(labels: tuple[str, str]) -> None:
    weights = dict(zip(labels, LeukemiaOptions().class_weights(labels), strict=True))
    assert weights == {"ALL": 2.5, "HEM": 1.0}


def test_labels_without_a_disease_weigh_alike() -> None:
    assert LeukemiaOptions().class_weights(("many", "few", "none")) == (1.0, 1.0, 1.0)


def test_a_disease_that_is_no_label_is_refused() -> None:
    with pytest.raises(OptionError, match="disease: found 'AML', expected auto, none, or one of"):
        LeukemiaEnsemble(("ALL", "HEM"), {"disease": "AML"})


def test_the_rate_is_cut_after_6_stagnant_epochs_and_training_ends_after_12() -> None:
    plateau = Plateau(reduce_after=6, stop_after=12)
    told = [plateau.told(error) for error in [1.0, 0.9, *[0.95] * 12]]
    assert told == ["better", "better", *["on"] * 5, "cut", *["on"] * 5, "stop"]


def test_an_improvement_starts_the_count_anew() -> None:
    plateau = Plateau(reduce_after=2, stop_after=4)
    assert [plateau.told(error) for error in (1, 2, 0.5, 1, 1)] == ["better", "on", "better", "on", "cut"]


# section 2.6, inference


def test_the_largest_of_all_probabilities_decides() -> None:
    assert winner(np.array([[0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])) == (1, 1)
    assert winner(np.array([[0.6, 0.4], [0.2, 0.8], [0.9, 0.1]])) == (2, 0)


def test_the_winner_is_the_member_of_the_largest_probability_not_of_the_largest_logit() -> None:
    logits = np.array([[9.0, 8.0], [0.0, 3.0], [1.0, 1.0]])
    assert winning_logits(logits).tolist() == [0.0, 3.0]


@pytest.mark.parametrize("temperature", [0.1, 1.0, 7.0])
def test_a_temperature_never_changes_the_label(temperature: float) -> None:
    logits = np.random.default_rng(0).normal(0, 5, (50, 3))
    shares = calibrated(logits, temperature)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_array_equal(shares.argmax(axis=1), logits.argmax(axis=1))


def test_the_fitted_temperature_undoes_the_overconfidence_that_was_put_in() -> None:
    rng = np.random.default_rng(1)
    honest = rng.normal(0, 1.5, (20_000, 2))
    truths = np.array([rng.choice(2, p=row) for row in calibrated(honest, 1.0)])
    assert fit_temperature(honest * 4, truths) == pytest.approx(4, rel=0.05)


def test_a_temperature_only_softens() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 2.0]])
    assert fit_temperature(logits, np.array([0, 1])) == 1.0
    assert fit_temperature(logits, np.array([1, 0])) > 50


# relevance

AGREE = np.array([[0.9, 0.1]] * 3)
SPLIT = np.array([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1]])


def test_the_expected_cost_is_worked_by_hand() -> None:
    assert expected_cost(SPLIT, 0, (2.5, 1.0)) == pytest.approx((0.1 + 0.8 + 0.1) / 3)
    assert expected_cost(SPLIT, 1, (2.5, 1.0)) == pytest.approx(2.5 * (0.9 + 0.2 + 0.9) / 3)


def test_an_overlooked_disease_costs_two_and_a_half_times_as_much() -> None:
    as_healthy = expected_cost(AGREE[:, ::-1], 1, (2.5, 1.0))
    as_ill = expected_cost(AGREE, 0, (2.5, 1.0))
    assert as_healthy == pytest.approx(2.5 * as_ill)


def test_disagreement_and_uncertainty_both_raise_the_relevance() -> None:
    unsure = np.array([[0.6, 0.4]] * 3)
    costs = [expected_cost(one, 0, (2.5, 1.0)) for one in (AGREE, SPLIT, unsure)]
    assert costs[0] < costs[1]
    assert costs[0] < costs[2]


def test_disagreement_is_0_where_all_say_the_same_and_1_where_each_says_another() -> None:
    assert disagreement(AGREE) == pytest.approx(0, abs=1e-12)
    assert disagreement(np.eye(3)) == pytest.approx(1)


def test_a_cell_is_marked_where_members_disagree_or_the_probability_is_low() -> None:
    (mark,) = review_marks(SPLIT, 0, 0.9, ("ALL", "HEM"), 0.8)
    assert mark.index == 0
    assert mark.reason == "members disagree (A ALL 90%, B HEM 80%, combined ALL 90%)"
    assert review_marks(AGREE, 0, 0.7, ("ALL", "HEM"), 0.8)[0].reason == "unsure (70%)"
    assert review_marks(AGREE, 0, 0.9, ("ALL", "HEM"), 0.8) == ()
