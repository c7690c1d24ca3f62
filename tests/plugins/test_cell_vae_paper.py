"""The equations of the paper on numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hemaloop_cell_vae import losses, relevance, suppression
from hemaloop_cell_vae.experiment.grid import GRID, QUICK
from hemaloop_cell_vae.experiment.measures import cell_mask, l1_inside, ssim_inside
from hemaloop_cell_vae.head import usual_distance
from hemaloop_cell_vae.network import Architecture, AutoEncoder, sampled
from hemaloop_cell_vae.options import CellVAEOptions
from hemaloop_cell_vae.representation import suppressed
from hemaloop_cell_vae.views import turned


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_distances_are_measured_from_the_middle_of_the_patch() -> None:
    found = suppression.distance(3)
    assert found[1, 1] == 0
    assert found[1, 2] == 1
    assert found[0, 0] == pytest.approx(math.sqrt(2))
    assert suppression.distance(4)[1, 1] == pytest.approx(math.sqrt(0.5))


def test_noise_grows_with_the_distance_up_to_r_max_and_no_further() -> None:
    deviation = suppression.noise_deviation(torch.tensor([0.0, 32.0, 64.0, 90.0]), sigma=100, largest=64)
    assert deviation.tolist() == [0, 50, 100, 100]


def test_noise_has_the_deviation_of_equation_2() -> None:
    images = torch.zeros(200, 3, 2, 2)
    noisy = suppression.with_noise(images, torch.tensor([[0.0, 0.1], [0.2, 0.4]]), generator())
    np.testing.assert_allclose(noisy.std(dim=(0, 1)), [[0, 0.1], [0.2, 0.4]], rtol=0.1, atol=1e-9)


def test_the_mask_of_equation_3_has_a_square_root_and_the_linear_one_has_none() -> None:
    distances = torch.tensor([0.0, 4.0, 9.0, 16.0, 25.0])
    np.testing.assert_allclose(suppression.mask(distances, 16.0), [1, 0.5, 0.25, 0, 0], atol=2e-3)
    np.testing.assert_allclose(suppression.linear_mask(distances, 16.0), [1, 0.75, 7 / 16, 0, 0], atol=1e-6)


def test_a_drawn_radius_is_drawn_again_until_it_is_above_0() -> None:
    drawn = [suppression.drawn_radius(1.0, 20.0, generator(seed)) for seed in range(200)]
    assert min(drawn) > 0
    usual = np.array([suppression.drawn_radius(50.0, 20.0, generator(seed)) for seed in range(500)])
    assert usual.mean() == pytest.approx(50, abs=3)
    assert usual.std() == pytest.approx(20, abs=3)


def test_gradients_flow_through_a_learned_radius_and_its_penalty_falls_as_it_grows() -> None:
    mean, deviation = torch.tensor([20.0], requires_grad=True), torch.tensor([2.0], requires_grad=True)
    radius = suppression.learned_radius(mean, deviation, generator())
    suppression.mask(suppression.distance(8), radius[:, None, None]).sum().backward()
    assert mean.grad is not None
    assert deviation.grad is not None
    assert mean.grad.item() > 0
    assert suppression.radius_penalty(torch.tensor([0.0]), 64).item() == 1
    assert suppression.radius_penalty(torch.tensor([64.0]), 64).item() == 0.5
    assert suppression.learned_radius(torch.tensor([-50.0]), torch.tensor([0.0]), generator()).item() == 1


def test_offsets_have_a_folded_gaussian_length_and_every_direction() -> None:
    offsets = suppression.crop_offset(4000, 5.0, generator()).numpy()
    lengths = np.hypot(*offsets.T)
    assert lengths.mean() == pytest.approx(5 * math.sqrt(2 / math.pi), rel=0.05)
    assert np.abs(offsets.mean(axis=0)).max() < 0.3
    assert not suppression.crop_offset(3, 0.0, generator()).any()


def test_a_crop_shows_the_middle_and_stays_inside() -> None:
    images = torch.zeros(1, 3, 8, 8)
    images[..., 2:6, 2:6] = 1
    assert suppression.cropped(images, 4, 4).min() == pytest.approx(1)
    moved = suppression.cropped(images, 4, 4, torch.tensor([[2.0, 0.0]]))
    np.testing.assert_allclose(moved[0, 0, 0], [1, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(suppression.cropped(images, 4, 4, torch.tensor([[99.0, 0.0]])), moved, atol=1e-6)
    with pytest.raises(ValueError, match="crop: found 9 px, expected at most the patch's 8 px"):
        suppression.cropped(images, 9, 4)


def test_a_masked_loss_is_a_mean_over_pixels_or_over_weights() -> None:
    pixel, weights = torch.tensor([[[4.0, 8.0]]]), torch.tensor([[0.5, 0.0]])
    assert losses.reconstruction(pixel, None, "weights").item() == 6
    assert losses.reconstruction(pixel, weights, "pixels").item() == 1
    assert losses.reconstruction(pixel, weights, "weights").item() == 4


def test_the_divergence_is_that_of_two_gaussians() -> None:
    mean, log_variance = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, math.log(4.0)]])
    each = [0.5, 0.5 * (4 - 1 - math.log(4))]
    assert losses.divergence(mean, log_variance, "sum").item() == pytest.approx(sum(each))
    assert losses.divergence(mean, log_variance, "mean").item() == pytest.approx(sum(each) / 2)


def test_a_sample_has_the_mean_and_deviation_of_the_latent_and_an_rae_has_none() -> None:
    mean = torch.full((4000, 1), 3.0)
    z = sampled(mean, torch.full((4000, 1), math.log(0.25)), generator())
    assert z.mean().item() == pytest.approx(3, abs=0.05)
    assert z.std().item() == pytest.approx(0.5, abs=0.05)
    assert sampled(mean, None, generator()) is mean


def test_lengths_are_for_256_px_and_scale_with_the_patch() -> None:
    options = CellVAEOptions(image_size=128)
    assert options.scaled(options.radius) == 25
    assert CellVAEOptions(image_size=128, suppression="crop", crop=172).seen_side == 80
    assert CellVAEOptions(image_size=256, suppression="crop", crop=88).seen_side == 96
    assert CellVAEOptions(image_size=64).seen_side == 64


@pytest.mark.parametrize(("target", "clean"), [("noisy", False), ("clean", True)])
def test_the_noisy_image_is_also_what_is_reconstructed_unless_asked_otherwise(target: str, clean: bool) -> None:
    images = torch.full((2, 3, 32, 32), 0.5)
    options = CellVAEOptions(image_size=32, suppression="noise", noise_target=target)  # type: ignore[arg-type]
    batch = suppressed(images, options, generator())
    assert torch.equal(batch.wanted, images) == clean
    assert not torch.equal(batch.shown, images)


def test_the_radius_is_drawn_once_a_batch() -> None:
    options = CellVAEOptions(image_size=32)
    first, second = (suppressed(torch.zeros(5, 3, 32, 32), options, generator(seed)).weights for seed in (1, 2))
    assert first is not None
    assert second is not None
    assert first.shape == (32, 32)
    assert not torch.equal(first, second)


def test_an_auto_encoder_gives_back_images_of_the_size_it_was_shown() -> None:
    from hemaloop.networks.arithmetic import arithmetic_for

    arithmetic = arithmetic_for("cpu", "float32")
    for side in (32, 48):
        network = AutoEncoder(Architecture(side, 7, variational=True, learns_radius=True)).eval()
        mean, log_variance = network.encode(torch.rand(2, 3, side, side), arithmetic)
        assert mean.shape == (2, 7)
        assert log_variance is not None
        made = network.decode(mean, arithmetic)
        assert made.shape == (2, 3, side, side)
        assert made.min() >= 0
        assert made.max() <= 1
        assert network.radius is not None
        radius, deviation = network.radius(mean)
        assert radius.shape == deviation.shape == (2,)
        assert (radius > 0).all()


def test_turning_an_image_changes_where_its_pixels_are_and_not_what_they_are() -> None:
    images = torch.rand(40, 3, 4, 4)
    found = turned(images, generator())
    assert not torch.equal(found, images)
    torch.testing.assert_close(found.flatten(1).sort(dim=1).values, images.flatten(1).sort(dim=1).values)


def test_uncertainty_and_novelty_reach_from_0_to_1() -> None:
    found = relevance.uncertainty(np.array([[1.0, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0]]))
    np.testing.assert_allclose(found, [0, 1, math.log(2) / math.log(3)])
    known = np.array([[0.0, 0], [3, 4]], np.float32)
    latents = np.array([[0, 1], [0, 5], [0, -10], [0, -1000]], np.float32)
    np.testing.assert_allclose(relevance.novelty(latents, known, 5.0), [0, 0, 0.5, 0.995], atol=1e-6)
    assert relevance.novelty(latents, np.zeros((0, 2), np.float32), 1.0).tolist() == [1, 1, 1, 1]
    np.testing.assert_allclose(relevance.relevance(np.array([0.5]), np.array([0.25]), 2.0), [1.0])


def test_the_usual_distance_is_the_median_to_the_nearest_other_cell() -> None:
    assert usual_distance(np.array([[0.0], [1], [3], [7]], np.float32)) == pytest.approx(1.0)
    assert usual_distance(np.array([[2.0]], np.float32)) == 1


def test_the_experiment_has_nineteen_configurations() -> None:
    """Three of noise, three fixed, three sampled, two learned, six smaller: 17, and VAE-256 and RAE-1024 make 19."""
    assert len(GRID) == 19
    assert set(QUICK) - set(GRID) == {"sampled 50 agreement"}


def test_reconstruction_is_measured_inside_the_cell_alone() -> None:
    from cells_pictures import on_smear

    image = on_smear(0, 3)
    mask = cell_mask(image)
    rows, columns = np.mgrid[:96, :96]
    disc = np.hypot(rows - 48, columns - 48) <= 19
    assert (mask & disc).sum() / (mask | disc).sum() > 0.75
    worse = image.copy()
    worse[~mask] = 0
    assert l1_inside(image, worse, mask) == 0
    assert l1_inside(image, 255 - image, mask) > 0.1
    assert ssim_inside(image, image, mask) == pytest.approx(1)
    assert cell_mask(np.full((40, 40, 3), 9, np.uint8)).any(), "a flat patch gets a disc"
