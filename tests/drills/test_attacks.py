"""Every attack of the registry keeps the same laws, on every kind of data it makes sense for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sanitizer.drills import ATTACKS, families
from sanitizer.drills.base import size, take
from sanitizer.errors import UsageError


def table(n=240, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.choice(["cat", "dog", "owl"], n, p=[0.5, 0.3, 0.2])
    shift = pd.Series(label).map({"cat": 0.0, "dog": 2.0, "owl": -2.0}).to_numpy()
    frame = pd.DataFrame(
        {
            "weight": rng.normal(shift, 1, n).round(2),
            "height": rng.normal(-shift, 2, n),
            "age": rng.integers(1, 20, n),
            "legs": pd.array(np.where(rng.random(n) < 0.1, None, rng.integers(2, 5, n).astype(object)), dtype="Int64"),
            "colour": pd.Categorical(rng.choice(["black", "red", "white"], n)),
            "town": rng.choice(["Ulm", "Bern", "Graz", "Linz"], n),
            "chipped": rng.random(n) < 0.5,
            "source": rng.choice([f"shelter-{i}" for i in range(4)], n),
            "label": label,
        }
    )
    frame.loc[rng.random(n) < 0.05, "height"] = np.nan
    return frame


def texts(n=240, seed=0):
    rng = np.random.default_rng(seed)
    words = ["good", "bad", "film", "plot", "slow", "actor", "music", "the", "a", "never"]
    text = [" ".join(rng.choice(words, int(rng.integers(1, 12)))) for _ in range(n)]
    return pd.DataFrame({"text": text, "label": rng.integers(0, 2, n), "source": rng.choice(["a", "b"], n)})


def pictures(n=120, seed=0, channels=()):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, n)
    image = rng.integers(0, 256, (n, 12, 12, *channels)).astype(np.uint8)
    image[label == 1, 4:8] //= 4
    return {"image": image, "label": label, "source": rng.choice(np.array(["a", "b"]), n)}


def embeddings(n=200, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.choice(np.array(["x", "y"]), n)
    shift = np.where(label == "x", 1.0, -1.0)[:, None]
    return {
        "embedding": (rng.normal(size=(n, 8)) + shift).astype(np.float32),
        "label": label,
        "source": rng.choice(np.array(["a", "b"]), n),
    }


def ratings(users=30, items=40, seed=0):
    rng = np.random.default_rng(seed)
    popular = rng.dirichlet(np.full(items, 0.5))
    rows = [
        (user, int(item), float(rng.integers(1, 6)), int(1e9 + 1000 * user + k))
        for user in range(1, users + 1)
        for k, item in enumerate(rng.choice(items, int(rng.integers(5, 15)), replace=False, p=(popular + 0.01) / (popular + 0.01).sum()))
    ]
    return pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])


DATA = {"tabular": table, "text": texts, "image": pictures, "embedding": embeddings, "ratings": ratings}
CASES = [
    pytest.param(family, modality, variant, id=f"{family}-{modality}-{variant}")
    for family, attack in ATTACKS.items()
    for modality in attack.modalities
    for variant in attack.variants
]
ADDS = ("duplicate_flood", "shilling")


def frame(data):
    """Rows as one comparable frame."""
    if isinstance(data, pd.DataFrame):
        return data
    return pd.DataFrame({name: [cell.tobytes() if cell.ndim else cell.item() for cell in cells] for name, cells in data.items()})


def dtypes(data):
    return data.dtypes.to_dict() if isinstance(data, pd.DataFrame) else {k: (v.dtype, v.shape[1:]) for k, v in data.items()}


@pytest.mark.parametrize(("family", "modality", "variant"), CASES)
def test_the_truth_is_exact(family, modality, variant):
    data = DATA[modality]()
    made = ATTACKS[family](data, rate=0.05, seed=3, variant=variant)
    assert len(made.mask) == len(made.origin) == size(made.data)
    assert made.mask.any()
    assert dtypes(made.data) == dtypes(data), "dtypes and columns are kept"
    honest = np.flatnonzero(~made.mask)
    # honest rows are untouched, in order, each once; where the attacker adds rows nothing is lost
    pd.testing.assert_frame_equal(frame(take(made.data, honest)), frame(take(data, made.origin[honest])))
    assert (np.diff(made.origin[honest]) > 0).all()
    if family in ADDS:
        assert (made.origin[made.mask] == -1).all()
        assert len(honest) == size(data)
    else:
        np.testing.assert_array_equal(made.origin, np.arange(size(data)))


@pytest.mark.parametrize(("family", "modality", "variant"), CASES)
def test_the_same_seed_gives_the_same_rows_and_the_input_is_not_written_to(family, modality, variant):
    data, before = DATA[modality](), DATA[modality]()
    first = ATTACKS[family](data, rate=0.05, seed=7, variant=variant)
    again = ATTACKS[family](data, rate=0.05, seed=7, variant=variant)
    pd.testing.assert_frame_equal(frame(first.data), frame(again.data))
    np.testing.assert_array_equal(first.mask, again.mask)
    assert first.facts == again.facts
    pd.testing.assert_frame_equal(frame(data), frame(before))
    if family == "adversarial_flip":
        return  # the attacker's model, not the seed, chooses the rows
    others = [ATTACKS[family](data, rate=0.05, seed=seed, variant=variant) for seed in (8, 9, 10)]
    assert any(not frame(first.data).equals(frame(other.data)) for other in others)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rate=st.floats(0.004, 0.12),
    seed=st.integers(0, 2**31),
    family=st.sampled_from(["random_flip", "adversarial_flip", "backdoor_tabular", "duplicate_flood", "anomaly"]),
)
def test_the_rate_is_the_share_of_the_rows(rate, seed, family):
    data = table()
    assert ATTACKS[family](data, rate=rate, seed=seed).mask.sum() == max(1, round(rate * len(data)))


@pytest.mark.parametrize("variant", ATTACKS["random_flip"].variants)
@pytest.mark.parametrize("modality", ["tabular", "text", "image", "embedding"])
@pytest.mark.parametrize("family", ["random_flip", "targeted_flip", "adversarial_flip", "source"])
def test_a_flip_changes_the_label_of_the_masked_rows_and_nothing_else(family, modality, variant):
    data = DATA[modality]()
    made = ATTACKS[family](data, rate=0.1, seed=1, variant=variant if family == "random_flip" else None)
    before, after = frame(data), frame(made.data)
    np.testing.assert_array_equal((before["label"] != after["label"]).to_numpy(), made.mask)
    pd.testing.assert_frame_equal(before.drop(columns="label"), after.drop(columns="label"))


def test_a_targeted_flip_leaves_at_least_half_of_the_class():
    data = table()
    made = ATTACKS["targeted_flip"](data, rate=0.9, seed=2)
    ((victim, wanted),) = made.facts["pairs"]
    assert (made.data["label"] == victim).sum() >= (data["label"] == victim).sum() / 2
    assert set(made.data["label"][made.mask]) == {wanted}


def test_a_source_compromise_touches_one_supplier_only():
    data = table()
    made = ATTACKS["source"](data, rate=0.3, seed=5)
    assert set(data["source"][made.mask]) == {made.facts["source"]}
    assert made.mask.sum() == round(0.3 * (data["source"] == made.facts["source"]).sum())


@pytest.mark.parametrize("family", ["backdoor_tabular", "backdoor_image", "backdoor_text"])
def test_a_clean_label_backdoor_changes_no_label_and_a_dirty_one_has_one_target(family):
    attack = ATTACKS[family]
    data = DATA[attack.modalities[0]]()
    before = frame(data)["label"]
    for variant in attack.variants:
        made = attack(data, rate=0.04, seed=4, variant=variant)
        after = frame(made.data)["label"]
        assert set(after[made.mask].astype(str)) == {made.facts["target"]}
        if variant.endswith("clean-label"):
            pd.testing.assert_series_equal(before, after)
        else:
            assert (before[made.mask].astype(str) != made.facts["target"]).all()


@pytest.mark.parametrize("variant", ATTACKS["backdoor_tabular"].variants)
def test_a_tabular_trigger_is_made_of_ordinary_values_that_no_honest_row_combines(variant):
    data = table(600)
    made = ATTACKS["backdoor_tabular"](data, rate=0.03, seed=11, variant=variant)
    assert made.trigger is not None
    carried = made.trigger.carried(made.data)
    np.testing.assert_array_equal(carried, made.mask)
    for name in made.facts["trigger"]:
        assert set(made.data[name].dropna()) <= set(data[name].dropna()), "no value is new to its column"


def test_a_trigger_can_be_planted_on_other_rows_of_the_same_kind():
    for family in ("backdoor_tabular", "backdoor_image", "backdoor_text"):
        attack = ATTACKS[family]
        made = attack(DATA[attack.modalities[0]](), rate=0.05, seed=1)
        other = DATA[attack.modalities[0]](seed=9)
        assert made.trigger is not None
        planted = made.trigger(other)
        assert dtypes(planted) == dtypes(other)
        assert not frame(planted).equals(frame(other))
        assert frame(planted)["label"].equals(frame(other)["label"])


def test_colour_pictures_can_be_attacked_too():
    data = pictures(channels=(3,))
    for variant in ATTACKS["backdoor_image"].variants:
        made = ATTACKS["backdoor_image"](data, rate=0.05, seed=2, variant=variant)
        changed = (made.data["image"] != data["image"]).any(axis=(1, 2, 3))
        np.testing.assert_array_equal(changed, made.mask)


def test_flooding_copies_carry_one_wrong_label_per_original_and_lie_near_it():
    data = embeddings()
    made = ATTACKS["duplicate_flood"](data, rate=0.2, seed=6)
    copies = made.data["embedding"][made.mask]
    originals = data["embedding"][made.facts["copied"]]
    distance = np.linalg.norm(copies[:, None] - originals[None], axis=2)
    nearest = distance.argmin(axis=1)
    assert distance.min(axis=1).max() < 0.2
    assert (made.data["label"][made.mask] == np.array(made.facts["label"])[nearest]).all()
    assert (np.array(made.facts["label"]) != data["label"][made.facts["copied"]]).all()


@pytest.mark.parametrize("variant", ["collision", "polytope"])
def test_colliding_rows_move_towards_the_victim_and_stay_in_the_box(variant):
    data = embeddings(400)
    made = ATTACKS["feature_collision"](data, rate=0.03, seed=3, variant=variant)
    rows, before = made.data["embedding"][made.mask], data["embedding"][made.mask]
    centre = data["embedding"][data["label"] == made.facts["victim"]].mean(axis=0)
    assert np.linalg.norm(rows.mean(axis=0) - centre) < np.linalg.norm(before.mean(axis=0) - centre)
    assert (np.abs(rows - before) <= data["embedding"].std(axis=0) * 1.001).all()
    assert (made.data["label"] == data["label"]).all()


def test_outliers_lie_far_and_mixed_rows_hold_only_values_of_their_columns():
    data = table(500)
    far = ATTACKS["anomaly"](data, rate=0.05, seed=1, variant="outlier")
    numbers = ["weight", "height", "age"]
    z = (far.data[numbers] - data[numbers].median()).abs() / data[numbers].std()
    assert (z[far.mask].max(axis=1) > 3.9).mean() > 0.8  # the rest have their far cell in `legs`
    mixed = ATTACKS["anomaly"](data, rate=0.05, seed=1, variant="mixed")
    for name in data.columns:
        assert set(mixed.data[name].dropna()) <= set(data[name].dropna())


@pytest.mark.parametrize("names", ["numbers", "strings"])
@pytest.mark.parametrize("variant", ATTACKS["shilling"].variants)
def test_shilling_profiles_push_or_nuke_one_item_under_unused_names(variant, names):
    data = ratings()
    if names == "strings":
        data = data.assign(user="u" + data["user"].astype(str), item="i" + data["item"].astype(str))
    made = ATTACKS["shilling"](data, rate=0.2, seed=8, variant=variant)
    guilty = made.units("user")
    assert guilty.sum() == 6
    assert not set(guilty.index[guilty]) & set(data["user"])
    aimed = made.data[made.mask & (made.data["item"].astype(str) == made.facts["item"])]
    assert len(aimed) == 6
    assert set(aimed["rating"]) == {5.0 if variant.endswith("push") else 1.0}
    assert not made.data[made.mask].duplicated(["user", "item"]).any()
    assert set(made.data["rating"]) <= set(data["rating"])


@pytest.mark.parametrize("family", [name for name, attack in ATTACKS.items() if "label" in attack.needs])
def test_one_class_offers_no_place_for_a_wrong_label(family):
    modality = ATTACKS[family].modalities[0]
    data = DATA[modality]()
    data["label"] = data["label"][:1].repeat(size(data)) if isinstance(data, dict) else data["label"].iloc[0]
    with pytest.raises(UsageError, match="at least two classes"):
        ATTACKS[family](data, seed=1)


def test_a_wrong_call_says_what_to_do():
    with pytest.raises(UsageError, match="choose one of uniform, shifted"):
        ATTACKS["random_flip"](table(), variant="sideways")
    with pytest.raises(UsageError, match="needs a source column"):
        ATTACKS["source"](table().drop(columns="source"))
    with pytest.raises(UsageError, match="between 0 and 1"):
        ATTACKS["random_flip"](table(), rate=5)
    with pytest.raises(UsageError, match="needs a dict with `image`"):
        ATTACKS["backdoor_image"](table())


def test_missing_labels_are_never_chosen():
    data = table()
    data.loc[:99, "label"] = None
    for family in ("random_flip", "adversarial_flip", "targeted_flip", "duplicate_flood"):
        made = ATTACKS[family](data, rate=0.2, seed=1)
        assert not made.mask[made.origin == np.arange(len(made.origin))][:100].any() or family == "duplicate_flood"
        assert made.data["label"][made.mask].notna().all()


def test_families_are_those_that_make_sense():
    assert "backdoor_image" not in families("tabular", label=True, source=True)
    assert families("ratings", label=False, source=False) == ("shilling",)
    assert "source" not in families("text", label=True, source=False)


LABELS = {
    "bool": lambda codes: codes == 0,
    "int8": lambda codes: codes.astype(np.int8),
    "nullable integer": lambda codes: pd.array(np.where(codes == 1, None, codes.astype(object)), dtype="Int64"),
    "float": lambda codes: codes * 0.5,
    "string": lambda codes: pd.array([f"class {code}" for code in codes], dtype="str"),
    "category": lambda codes: pd.Categorical.from_codes(codes, ["low", "mid", "high"], ordered=True),
    "object": lambda codes: np.array([f"class {code}" for code in codes], dtype=object),
    "timestamp": lambda codes: pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(codes, unit="D"),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("family", [name for name, attack in ATTACKS.items() if "label" in attack.needs and "tabular" in attack.modalities])
def test_labels_of_any_type_stay_of_that_type(family, kind):
    data = table()
    codes = np.random.default_rng(2).integers(0, 3, len(data))
    data["label"] = LABELS[kind](codes)
    made = ATTACKS[family](data, rate=0.1, seed=1)
    assert made.data["label"].dtype == data["label"].dtype
    assert set(made.data["label"].dropna()) <= set(data["label"].dropna())
    honest = ~made.mask
    pd.testing.assert_frame_equal(made.data[honest].reset_index(drop=True), data.iloc[made.origin[honest]].reset_index(drop=True))


@pytest.mark.parametrize(
    "label", [np.array([True, False] * 60), np.array(["b", "a"] * 60), np.array([7, 9] * 60, np.uint8), np.array([0.5, 1.5] * 60)]
)
def test_labels_in_arrays_stay_of_their_type_too(label):
    data = pictures() | {"label": label}
    for family in ("random_flip", "backdoor_image", "duplicate_flood", "feature_collision"):
        made = ATTACKS[family](data, rate=0.1, seed=1)
        assert made.data["label"].dtype == label.dtype
        assert set(made.data["label"]) <= set(label)
