"""What a run cannot see, said in every report: the standing limits of the field, and those of this very run."""

from __future__ import annotations

from sanitizer.verdicts import Verdicts

# each was measured or is true by construction; docs/what-it-cannot-see.md says more
_ALWAYS = (
    "Labels that are wrong between two classes which the features do not tell apart: such rows cannot be told from honest ones.",
    "Poison that was in the trusted rows from the start: what is trusted is the measure of everything else.",
)
_BY_MODALITY = {
    "tabular": (
        "Rows whose columns are each ordinary and only stand in an unusual relation within their own class.",
        "A value combination on fewer than about ten rows.",
    ),
    "image": (
        "Triggers fainter than about a tenth of the grey range, and single pixels on natural textures.",
        "Collisions planned against an encoder that is unlike any seen here.",
    ),
    "text": ("Triggers of style or syntax; phrases that honest texts of the same class use as often.",),
    "embedding": ("Anything that the encoder of these embeddings does not see.",),
    "ratings": ("Profiles made from those of honest users with one rating changed.",),
}
_WORTH_SAYING = 0.9


def limits(verdicts: Verdicts, modality: str) -> list[str]:
    """Sentences, those of this run first."""
    said = []
    if verdicts.unproven:
        said.append(
            "There was no trusted release: the delivery was judged by its part that agrees with itself; a large attack can be that part."
        )
    if verdicts.held:
        said.append("The delivery moved as a whole: no row was accused, and rows were not compared any further.")
    said += [f"The witness {name} did not speak: {why}" for name, why in sorted(verdicts.failed.items())]
    weak = [
        f"{family.replace('_', ' ')} ({recall:.0%})"
        for family, recall in sorted(verdicts.expected_recall.items())
        if recall < _WORTH_SAYING
    ]
    if weak:
        said.append(f"Of decoys planted in a copy of this delivery not all were found: {', '.join(weak)}.")
    said += [
        f"With this many trusted rows, {name} below {share:.1%} of the delivery cannot be proven."
        for name, share in sorted(verdicts.power.items())
    ]
    return [*said, *_BY_MODALITY.get(modality, ()), *_ALWAYS]
