"""The laws accept families that keep them, and each broken family is caught by the law made for it and by no other."""

from __future__ import annotations

from functools import cache

import pytest

from conformance import breakers_of_asking as asking
from conformance import breakers_of_form as form
from conformance import breakers_of_learning as learning
from conformance import breakers_of_representation as parts
from conformance.imports_torch import Heavy
from conformance.remembering import Remembering, RememberingClasses, RememberingMaps
from hemaloop.errors import PluginError
from hemaloop.plugin import Plugin
from hemaloop.testing import LAWS, Subject, Verdict, check_plugin, parametrize_with_laws
from hemaloop.testing.laws import Law

BREAKERS: dict[str, tuple[type[Plugin], ...]] = {
    "check_is_described": (learning.Nameless,),
    "check_import_is_light": (Heavy,),
    "check_constructor_is_cheap": (learning.Reader, learning.Builder),
    "check_options_are_validated": (learning.Loose,),
    "check_options_may_be_text": (learning.Untyped, learning.Strict),
    "check_labels_are_validated": (learning.AnyNames,),
    "check_presets_are_valid": (learning.LostStarter,),
    "check_unfitted_is_refused": (learning.Guesser,),
    "check_no_image_gives_no_prediction": (form.Talkative,),
    "check_the_declared_variant_comes_back": (form.OtherVariant,),
    "check_arrays_have_their_shape_and_type": (
        form.DoublePrecision,
        form.ExtraClass,
        form.SmallMap,
        form.DoubleCentres,
    ),
    "check_numbers_are_finite": (form.Dividing,),
    "check_boxes_lie_inside": (form.OutsideBox, form.InvertedBox),
    "check_centres_lie_inside": (form.CentresOfTheNetwork,),
    "check_labels_are_known": (form.BackgroundCounted, form.MeaninglessValue),
    "check_scores_are_probabilities": (form.Logits, form.Unsorted, form.HalfSum),
    "check_odd_images_are_answered": (form.Stumbling, form.TinyBox),
    "check_shown_is_part_of_what_is_found": (form.Hider,),
    "check_score_contains_the_prediction": (form.TwoMinded,),
    "check_relevance_is_a_number": (form.Negative, form.Boundless),
    "check_marks_point_at_objects": (form.WrongMark,),
    "check_only_the_image_matters": (form.Crowded, form.Queued, form.Moody),
    "check_features_are_comparable": (
        form.BatchFeatures,
        form.RowFeatures,
        form.DoubleFeatures,
        form.BlankFeatures,
    ),
    "check_images_are_untouched": (form.Scribbler,),
    "check_predicting_leaves_random_state": (form.Gambler,),
    "check_predict_is_thread_safe": (form.Crosstalk,),
    "check_explanations_lie_on_the_image": (form.Glaring,),
    "check_answers_lie_in_what_was_drawn": (asking.Rambling,),
    "check_points_ask_and_take_away": (asking.Stubborn,),
    "check_questions_repeat": (asking.Tiring,),
    "check_label_studio_gives_it_back": (form.ReasonAsBytes,),
    "check_fitting_leaves_random_state": (learning.Seeder,),
    "check_examples_are_untouched": (learning.Augmenter,),
    "check_fit_reports": (learning.Diverging,),
    "check_no_example_is_an_error": (learning.Nothing,),
    "check_one_label_is_enough": (learning.PairsOnly,),
    "check_a_smear_without_cells_is_learned": (learning.NeedsCells,),
    "check_pixels_that_nobody_looked_at_are_left_out": (learning.Literal,),
    "check_it_learns_four_smears": (learning.Shifted, learning.OffByOne, learning.Swapped),
    "check_same_seed_same_model": (learning.Unseeded,),
    "check_refit_forgets": (learning.Continuing,),
    "check_cancel_leaves_it_usable": (learning.Deaf, learning.HalfDone),
    "check_saved_model_predicts_the_same": (learning.Forgetful,),
    "check_saved_files_are_harmless": (learning.Pickler, learning.Disguised),
    "check_foreign_labels_are_refused": (learning.AnyLabels,),
    "check_missing_files_are_named": (learning.NoFiles,),
    "check_unload_forgets": (learning.Keeper, learning.OneWay),
    "check_unload_frees_memory": (learning.Hoarder,),
    "check_vectors_are_alone": (parts.DoubleVectors,),
    "check_vectors_say_what_images_say": (parts.OtherAnswer,),
    "check_a_head_leaves_the_representation": (parts.Drifting,),
    "check_a_cancelled_head_leaves_the_old_one": (parts.HeadLost,),
    "check_a_head_needs_examples": (parts.HeadOfNothing,),
    "check_a_representation_needs_no_label": (parts.OneName,),
    "check_a_representation_outlives_labels": (parts.OwnLabelsOnly,),
}
PAIRS = [
    pytest.param(law, breaker, id=f"{breaker.__name__}-{law}")
    for law, breakers in BREAKERS.items()
    for breaker in breakers
]


@cache
def verdicts(breaker: type[Plugin]) -> list[Verdict]:
    """What is broken, found once for the tests that look at it."""
    return check_plugin(breaker)


@parametrize_with_laws(Remembering, RememberingMaps, RememberingClasses, parts.Parts)
def test_a_family_that_keeps_the_law_passes(subject: Subject, law: Law) -> None:
    law(subject)


@pytest.mark.parametrize(("law", "breaker"), PAIRS)
def test_exactly_the_law_made_for_it_catches_a_broken_family(law: str, breaker: type[Plugin]) -> None:
    broken = {verdict.law: verdict.fault for verdict in verdicts(breaker)}
    assert broken.keys() == {law}, broken
    assert not broken[law].startswith("raised "), "a broken law must be told by its own message"


@pytest.mark.parametrize(("law", "breaker"), PAIRS)
def test_its_message_says_what_to_do(law: str, breaker: type[Plugin]) -> None:
    verdict = next(verdict for verdict in verdicts(breaker) if verdict.law == law)
    assert len(verdict.fault) > 40
    assert any(sign in verdict.fault for sign in (":", ";", "must")), verdict.fault


def test_every_law_has_a_breaker() -> None:
    assert list(BREAKERS) == [law.__name__ for law in LAWS]


def test_every_law_is_a_sentence() -> None:
    assert all(law.__doc__ and law.__doc__.strip().endswith((".", ".)")) for law in LAWS)


def test_a_subject_shares_one_fitted_model() -> None:
    examined = Subject(Remembering)
    assert examined.fitted is examined.fitted


def test_a_known_failure_needs_a_reason_and_a_law() -> None:
    with pytest.raises(PluginError, match="no reason"):
        check_plugin(learning.Continuing, known_failures={"refit_forgets": " "})
    with pytest.raises(PluginError, match="expected names of laws"):
        parametrize_with_laws(Remembering, known_failures={"remembering": {"no_such_law": "because"}})
    with pytest.raises(PluginError, match="found families"):
        parametrize_with_laws(Remembering, known_failures={"other": {}})


def test_a_known_failure_is_no_fault_until_it_is_mended() -> None:
    known = {"check_refit_forgets": "goes on from the last fit"}
    assert check_plugin(learning.Continuing, known_failures=known) == []
    (mended,) = check_plugin(Remembering, known_failures=known)
    assert "take it off the list" in str(mended)


def test_a_known_failure_is_a_strict_expected_failure_of_pytest() -> None:
    mark = parametrize_with_laws(
        Remembering, known_failures={"remembering": {"refit_forgets": "goes on from the last fit"}}
    ).mark
    assert len(mark.args[1]) == len(LAWS)
    (case,) = [one for one in mark.args[1] if one.marks]
    assert case.id == "remembering-refit_forgets"
    (expected,) = case.marks
    assert expected.kwargs["strict"]
    assert expected.kwargs["reason"] == "goes on from the last fit"


def test_what_a_family_raises_is_its_verdict() -> None:
    class Exploding(Remembering):
        def score(self, images: object) -> object:
            raise MemoryError("no room")

    faults = [verdict.fault for verdict in check_plugin(Exploding)]
    assert any("raised MemoryError: no room" in fault for fault in faults)
