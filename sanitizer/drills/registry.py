"""Every attack that we know, by family: the word that users write, and the key of `expected_recall`."""

from __future__ import annotations

from sanitizer.drills.anomalies import anomaly
from sanitizer.drills.backdoors import backdoor_image, backdoor_tabular, backdoor_text
from sanitizer.drills.base import Attack
from sanitizer.drills.collisions import feature_collision
from sanitizer.drills.floods import duplicate_flood
from sanitizer.drills.labels import adversarial_flip, random_flip, source_compromise, targeted_flip
from sanitizer.drills.shilling import VARIANTS as SHILLING
from sanitizer.drills.shilling import shilling

_LABELLED = ("tabular", "text", "image", "embedding")
_FLIP = "AML.T0020 Poison Training Data"
_BACKDOOR = "AML.T0018.000 Poison AI Model, by AML.T0020"
_TABLE = ("combo", "combo-clean-label", "inbounds", "inbounds-clean-label", "jitter", "jitter-clean-label")
_PICTURE = ("patch", "patch-clean-label", "moving", "blend", "sig", "sig-clean-label")
_TEXT = ("token", "token-clean-label", "phrase", "phrase-clean-label")

ATTACKS: dict[str, Attack] = {
    attack.family: attack
    for attack in (
        Attack("random_flip", random_flip, _LABELLED, ("uniform", "shifted"), ("label",), 0.05, _FLIP),
        Attack("targeted_flip", targeted_flip, _LABELLED, ("pair", "similar"), ("label",), 0.03, _FLIP),
        Attack(
            "adversarial_flip", adversarial_flip, _LABELLED, ("largest-loss", "boundary"), ("label",), 0.05, f"Biggio et al. 2011; {_FLIP}"
        ),
        Attack("backdoor_tabular", backdoor_tabular, ("tabular",), _TABLE, ("label",), 0.02, f"Pleiter et al. 2023; {_BACKDOOR}"),
        Attack("backdoor_image", backdoor_image, ("image",), _PICTURE, ("label",), 0.02, f"Gu et al. 2017; {_BACKDOOR}"),
        Attack("backdoor_text", backdoor_text, ("text",), _TEXT, ("label",), 0.02, f"Dai et al. 2019; {_BACKDOOR}"),
        Attack(
            "feature_collision",
            feature_collision,
            ("tabular", "image", "embedding"),
            ("collision", "polytope"),
            ("label",),
            0.02,
            f"Shafahi et al. 2018; {_FLIP}",
        ),
        Attack("duplicate_flood", duplicate_flood, _LABELLED, ("near", "exact"), ("label",), 0.05, _FLIP),
        Attack(
            "source",
            source_compromise,
            _LABELLED,
            ("flip", "skew"),
            ("label", "source"),
            0.3,
            "AML.T0010.002 AI Supply Chain Compromise: Data",
        ),
        Attack("anomaly", anomaly, _LABELLED, ("outlier", "mixed", "noise"), (), 0.02, "AML.T0059 Erode Dataset Integrity"),
        Attack("shilling", shilling, ("ratings",), SHILLING, (), 0.05, f"Lam & Riedl 2004; {_FLIP}"),
    )
}


def families(modality: str, *, label: bool, source: bool) -> tuple[str, ...]:
    """The families that make sense for data of this modality, with or without a label and a source column.

    >>> families("tabular", label=False, source=False)
    ('anomaly',)
    """
    there = {"label": label, "source": source}
    return tuple(name for name, attack in ATTACKS.items() if modality in attack.modalities and all(there[role] for role in attack.needs))
