"""Which networks the study of laws asks for."""

from collections import Counter

import pytest

from implicit_geometry import InputError
from implicit_geometry.nn.networks import check_network
from implicit_geometry.studies.laws.plan import MAIN_LOSSES, bench_of, data_title, study_specs


@pytest.mark.parametrize("data", ["digits", "mnist"])
def test_main_losses_have_five_seeds_at_three_ratios_and_the_others_three_at_one(data):
    runs = Counter(
        (spec.rule, *spec.hyperparameters.values(), spec.class_counts().imbalance_ratio) for spec in study_specs(data)
    )
    networks_and_labels = 3 * 2
    for rule, given in MAIN_LOSSES:
        for ratio in (2, 10, 100):
            assert runs.pop((rule, *given.values(), ratio)) == 5 * networks_and_labels
    assert set(runs.values()) == {3 * networks_and_labels}
    assert {key[-1] for key in runs} == {10}
    assert {key[0] for key in runs} == {"ldt", "cdt", "logit_adjusted", "weighted", "vs"}


def test_every_run_is_another_and_every_seed_orders_the_classes_anew():
    specs = study_specs("digits")
    assert len({spec.key for spec in specs}) == len(specs)
    assert all(spec.data.class_order == "seed" for spec in specs)


def test_images_are_learnt_by_a_residual_network_and_a_transformer():
    specs = study_specs("folder:some/pictures")
    assert {spec.data.name for spec in specs} == {"folder:some/pictures"}
    assert Counter(spec.network.name for spec in specs) == {"resnet18": 16, "timm:vit_tiny_patch16_224": 16}
    check_network("resnet18", specs[0].network.options)


def test_features_are_nonnegative_where_a_relu_is_last():
    features = {(each.network.name, each.features) for each in bench_of("folder:x").networks}
    assert features == {("resnet18", "nonnegative"), ("timm:vit_tiny_patch16_224", "free")}


def test_another_data_set_is_refused():
    with pytest.raises(InputError, match=r"^data must be one of digits, mnist or folder:PATH, got 'imagenet'"):
        study_specs("imagenet")


def test_a_folder_is_called_by_its_last_name():
    assert data_title("folder:a/b/cifar10-12k") == "cifar10-12k"
