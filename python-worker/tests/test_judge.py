"""The judge of generated pictures: the Frechet distance against closed forms, accuracy on pictures made for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from zipar_worker.errors import WorkerError
from zipar_worker.judge.__main__ import main
from zipar_worker.judge.classifier import Classifier, load_classifier, picture_features
from zipar_worker.judge.frechet import Gaussian, fit_gaussian, frechet_distance
from zipar_worker.judge.reference_features import REFERENCE_NAME, ReferenceFeatures, load_reference, save_reference
from zipar_worker.judge.verdicts import CLASSIFIER_NAME, RESAMPLE_COUNT, first_of_each, judge, resample_within

WIDTHS = (3, 8, 16)
CLASSES = 3


def diagonal(mean: list[float], variances: list[float]) -> Gaussian:
    return Gaussian(torch.tensor(mean, dtype=torch.float64), torch.tensor(variances, dtype=torch.float64).diag())


def test_the_distance_of_independent_features_is_the_sum_of_their_closed_forms() -> None:
    first = diagonal([0.0, 1.0, -2.0], [1.0, 4.0, 0.25])
    second = diagonal([1.0, 1.0, 0.0], [9.0, 4.0, 0.0])
    # (m1 - m2)^2 + (s1 - s2)^2 per feature: 1 + 4, 0 + 0, 4 + 0.25
    assert frechet_distance(first, second) == pytest.approx(9.25)
    assert frechet_distance(second, first) == pytest.approx(9.25)


def test_the_distance_does_not_depend_on_the_axes() -> None:
    random = torch.Generator().manual_seed(1)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=random, dtype=torch.float64))

    def turned(gaussian: Gaussian) -> Gaussian:
        return Gaussian(rotation @ gaussian.mean, rotation @ gaussian.covariance @ rotation.T)

    first, second = diagonal([0.0, 1.0, -2.0], [1.0, 4.0, 0.25]), diagonal([1.0, 1.0, 0.0], [9.0, 4.0, 0.0])
    assert frechet_distance(turned(first), turned(second)) == pytest.approx(9.25)


def test_covariances_that_do_not_commute_meet_the_formula_for_two_features() -> None:
    # tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)) for a 2 x 2 matrix M = S1 S2
    s1 = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    s2 = torch.tensor([[1.0, -0.5], [-0.5, 4.0]], dtype=torch.float64)
    product = s1 @ s2
    root_trace = (product.trace() + 2 * product.det().sqrt()).sqrt()
    zero = torch.zeros(2, dtype=torch.float64)
    expected = float(s1.trace() + s2.trace() - 2 * root_trace)
    assert frechet_distance(Gaussian(zero, s1), Gaussian(zero, s2)) == pytest.approx(expected)


def test_a_set_has_no_distance_from_itself_even_with_fewer_pictures_than_features() -> None:
    features = torch.randn(5, 16, generator=torch.Generator().manual_seed(2))
    assert frechet_distance(fit_gaussian(features), fit_gaussian(features)) == pytest.approx(0, abs=1e-6)


def test_one_picture_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        fit_gaussian(torch.zeros(1, 4))


def test_resampling_stays_within_the_classes_and_is_the_same_for_the_same_labels() -> None:
    labels = torch.tensor([0, 1, 0, 1, 2, 0])
    first = resample_within(labels, torch.Generator().manual_seed(3))
    assert torch.equal(labels[first], labels)
    assert torch.equal(first, resample_within(labels, torch.Generator().manual_seed(3)))


def test_the_first_pictures_of_each_class_are_chosen() -> None:
    assert first_of_each(torch.tensor([1, 0, 1, 0, 2, 1]), [0, 1], 2).tolist() == [1, 3, 0, 2]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A classifier whose own answers define the labels of the sets below, with reference features beside it."""
    torch.manual_seed(4)
    model = Classifier(WIDTHS, CLASSES)
    save_file(model.state_dict(), tmp_path / CLASSIFIER_NAME)
    features = picture_features(load_classifier(tmp_path / CLASSIFIER_NAME), noise(1, 24))
    labels = torch.arange(24) % CLASSES
    reference = ReferenceFeatures(fit_gaussian(features), features, features + 1, labels)
    save_reference(reference, tmp_path / REFERENCE_NAME)
    return tmp_path


def noise(seed: int, count: int) -> Tensor:
    return torch.randint(256, (count, 16, 16, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def write_set(path: Path, pictures: Tensor, labels: Tensor) -> Path:
    save_file({"pictures": pictures.contiguous(), "labels": labels.int()}, path)
    return path


def test_accuracy_counts_the_pictures_whose_class_the_classifier_names(checkpoint: Path, tmp_path: Path) -> None:
    pictures = noise(5, 12)
    model = load_classifier(checkpoint / CLASSIFIER_NAME)
    answers = model.head(picture_features(model, pictures)).argmax(dim=1)
    labels = answers.clone()
    labels[:3] = (labels[:3] + 1) % CLASSES
    verdict = judge(checkpoint, [write_set(tmp_path / "a.safetensors", pictures, labels)]).sets[0]
    assert verdict.correct == [0, 0, 0] + [1] * 9
    assert len(verdict.frechet_resamples) == RESAMPLE_COUNT


def test_distances_are_those_to_the_reference(checkpoint: Path, tmp_path: Path) -> None:
    same = write_set(tmp_path / "same.safetensors", noise(1, 24), torch.arange(24) % CLASSES)
    judgement = judge(checkpoint, [same])
    assert judgement.sets[0].frechet == pytest.approx(0, abs=1e-6)
    assert judgement.drawn.frechet == pytest.approx(0, abs=1e-6)
    # moving every feature by 1 moves the mean alone
    assert judgement.reconstructed.frechet == pytest.approx(WIDTHS[-1], rel=1e-4)


def test_held_out_pictures_are_judged_in_sets_of_the_same_size(checkpoint: Path, tmp_path: Path) -> None:
    small = write_set(tmp_path / "small.safetensors", noise(6, 6), torch.arange(6) % CLASSES)
    assert len(judge(checkpoint, [small]).drawn.correct) == 6


def test_the_command_prints_one_json_object(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_set(tmp_path / "a.safetensors", noise(7, 6), torch.arange(6) % CLASSES)
    assert main(["--checkpoint", str(checkpoint), str(path), str(path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"sets", "drawn", "reconstructed"}
    assert printed["sets"][0] == printed["sets"][1]
    assert set(printed["drawn"]) == {"correct", "frechet", "frechetResamples"}


def test_the_command_says_what_is_wrong_with_a_file(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.safetensors"
    save_file({"pictures": torch.zeros(3, 4, 4), "labels": torch.zeros(3)}, wrong)
    assert main(["--checkpoint", str(checkpoint), str(wrong)]) == 1
    assert "expected pictures uint8 [N, H, W, 3]" in capsys.readouterr().err


def test_a_file_that_holds_no_classifier_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / CLASSIFIER_NAME)
    with pytest.raises(WorkerError, match="holds no classifier"):
        load_classifier(tmp_path / CLASSIFIER_NAME)


def test_reference_features_of_another_classifier_are_refused(checkpoint: Path) -> None:
    with pytest.raises(WorkerError, match="describes 16 features; the classifier beside it has 64"):
        load_reference(checkpoint / REFERENCE_NAME, 64)
