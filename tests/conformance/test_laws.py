"""The laws accept a family that keeps them, and each law catches a family that breaks it."""

from __future__ import annotations

import pytest

from conformance import whole_image
from conformance.whole_image import WholeImage
from hemaloop.plugin import Plugin
from hemaloop.testing import LAWS, LawBroken, Subject, check_plugin

BREAKERS = {
    "check_is_described": whole_image.Nameless,
    "check_options_are_validated": whole_image.Loose,
    "check_unfitted_is_refused": whole_image.Guesser,
    "check_relevance_is_a_number": whole_image.Negative,
    "check_batch_does_not_matter": whole_image.Moody,
    "check_features_are_comparable": whole_image.Crowded,
    "check_inputs_are_untouched": whole_image.Scribbler,
    "check_global_random_state_is_untouched": whole_image.Gambler,
    "check_no_example_is_an_error": whole_image.Nothing,
    "check_cancel_leaves_it_usable": whole_image.HalfDone,
    "check_same_seed_same_model": whole_image.Learner,
    "check_saved_model_predicts_the_same": whole_image.Pickler,
    "check_foreign_labels_are_refused": whole_image.AnyLabels,
    "check_missing_files_are_named": whole_image.NoFiles,
    "check_unload_frees": whole_image.Keeper,
    "check_import_is_light": whole_image.Heavy,
    "check_labels_are_validated": whole_image.AnyNames,
    "check_presets_are_valid": whole_image.LostStarter,
    "check_no_image_gives_no_prediction": whole_image.Talkative,
    "check_shown_is_part_of_what_is_found": whole_image.Hider,
    "check_score_contains_the_prediction": whole_image.TwoMinded,
    "check_predict_is_thread_safe": whole_image.Crosstalk,
    "check_explanations_lie_on_the_image": whole_image.Glaring,
}
MORE_BREAKERS = [
    ("check_features_are_comparable", whole_image.Sized),
    ("check_features_are_comparable", whole_image.Halved),
    ("check_features_are_comparable", whole_image.Dark),
    ("check_predictions_are_well_formed", whole_image.OutsideBox),
    ("check_predictions_are_well_formed", whole_image.DoubleBox),
    ("check_relevance_is_a_number", whole_image.WrongMark),
    ("check_saved_model_predicts_the_same", whole_image.Forgetful),
    ("check_cancel_leaves_it_usable", whole_image.Deaf),
]


def test_a_family_that_keeps_every_law_passes() -> None:
    assert check_plugin(WholeImage) == []


@pytest.mark.parametrize(("law", "breaker"), [*BREAKERS.items(), *MORE_BREAKERS])
def test_the_law_catches_a_family_that_breaks_it(law: str, breaker: type[Plugin]) -> None:
    check = {one.__name__: one for one in LAWS}[law]
    with pytest.raises(LawBroken):
        check(Subject(breaker))


def test_every_law_has_a_breaker() -> None:
    assert {law.__name__ for law in LAWS} == {name for name, _ in [*BREAKERS.items(), *MORE_BREAKERS]}


def test_a_subject_shares_one_fitted_model() -> None:
    examined = Subject(WholeImage)
    assert examined.fitted is examined.fitted
