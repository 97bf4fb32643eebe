"""A workspace to try the review in: 500 held samples of every modality, in a dozen cases, the truth about each known.

The samples are drawn with a seed (the cells are real: Wolberg, Street and Mangasarian, 1995, as scikit-learn ships them).  Who is
held, and why, is written by hand, so that the demo is the same whatever the detectors learn; neighbours, scores and p-values are
computed from the samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import binom
from sklearn.datasets import load_breast_cancer
from sklearn.feature_extraction.text import TfidfVectorizer

from sanitizer import quarantine
from sanitizer.samples import UnverifiedSamples, from_any
from sanitizer.store import Store, deliveries
from sanitizer.verdicts import Verdicts

Array = NDArray[Any]
_NEAREST = 7


@dataclass(frozen=True)
class Accused:
    """Rows with one cause; `name` makes them one case, `truth` is what a good reviewer does with them."""

    rows: Sequence[int] | Array
    cause: str
    reason: str
    name: str = ""
    columns: Sequence[str] = ()
    truth: str = "drop"
    significance: float = float("nan")


@dataclass(frozen=True)
class Scene:
    """A delivery, what it is judged against, and who is accused."""

    dataset: str
    source: str
    samples: UnverifiedSamples
    trusted: UnverifiedSamples
    accused: Sequence[Accused]
    features: tuple[Array, Array] | None = None
    notes: tuple[str, ...] = field(default=())


def fill(store: Store, *, seed: int = 0) -> int:
    """Holds every scene in `store`; returns how many samples that are.  Again it changes nothing."""
    return sum(hold(store, scene, seed=seed) for scene in scenes(seed))


def hold(store: Store, scene: Scene, *, seed: int = 0) -> int:
    """Receives the delivery of a scene, and holds who is accused."""
    digest = f"sha256:{hashlib.sha256(f'{scene.dataset} {scene.source} {seed}'.encode()).hexdigest()}"
    verdicts = judged(scene, seed)
    with store.transaction() as tx:
        path = f"inbox/{scene.source}/{scene.dataset}"
        deliveries.receive(tx, digest, dataset=scene.dataset, source=scene.source, path=path, fingerprint=digest, sequence=1)
        held = quarantine.hold(tx, scene.samples, verdicts, digest)
        quarantine.keep(tx, scene.samples, verdicts, scene.trusted, digest)
    return held


def scenes(seed: int = 0) -> list[Scene]:
    """One delivery of each modality."""
    rng = np.random.default_rng(seed)
    return [_signs(rng), _cells(rng), _reviews(rng), _voices(rng), _films(rng)]


def judged(scene: Scene, seed: int = 0) -> Verdicts:
    """Verdicts over a scene: who is accused is given; scores, p-values and neighbours are computed."""
    by_user = scene.samples.schema.modality == "ratings"
    users = sorted(set(scene.samples.table["user"].to_pylist())) if by_user else []
    index = pd.Index(users, name="user") if by_user else pd.RangeIndex(len(scene.samples))
    scores, p_values, near = _scores(scene)
    ids = [] if by_user else scene.trusted.sample_ids
    accepted = {"suspicion": 0.0, "action": "accept", "cause": "", "p_value": np.nan, "reason": "", "case_id": ""}
    rows: list[dict[str, Any]] = [accepted | {"neighbours": [], "columns": []} for _ in index]
    cases = []
    for group in scene.accused:
        for i in map(int, group.rows):
            votes = _votes(scene, near[i]) if near is not None else ""
            rows[i] = {
                "suspicion": (3.0 if group.name else 2.0) - min(float(values[i]) for values in p_values.values()),
                "action": "quarantine",
                "cause": group.cause,
                "p_value": group.significance if group.name else min(float(values[i]) for values in p_values.values()),
                "reason": group.reason.format(near=votes, label=_label(scene, i)),
                "case_id": group.name,
                "neighbours": [ids[j] for j in near[i][:5]] if near is not None else [],
                "columns": list(group.columns),
            }
        if group.name:
            cases.append([group.name, group.cause, len(group.rows), group.significance, group.reason, [int(i) for i in group.rows]])
    table = pd.DataFrame(rows, index=index)
    table.insert(0, "sample_id", [f"user:{user}" for user in users] if by_user else scene.samples.sample_ids)
    return Verdicts(
        table,
        pd.DataFrame(scores, index=index),
        pd.DataFrame(cases, columns=["case_id", "cause", "size", "significance", "reason", "members"]),
        _sources(scene, table),
        seed=seed,
        detectors=dict.fromkeys(scores, "1"),
    )


def _scores(scene: Scene) -> tuple[dict[str, Array], dict[str, Array], Array | None]:
    """Scores by witness, p-values by witness (conformal: against the scores of trusted rows, each without itself), nearest trusted rows."""
    if scene.features is None:
        mine, theirs = _profiles(scene.samples), _profiles(scene.trusted)
        middle = np.median(theirs, axis=0)
        score, known = np.abs(mine - middle).sum(axis=1), np.abs(theirs - middle).sum(axis=1)
        return {"ratings.profile": score}, {"ratings.profile": _conformal(score, known)}, None
    apart, among = cdist(*scene.features), cdist(scene.features[1], scene.features[1])
    np.fill_diagonal(among, np.inf)
    near, beside = (np.argsort(d, axis=1, kind="stable")[:, :_NEAREST] for d in (apart, among))
    far, usual = (np.take_along_axis(d, at, axis=1)[:, -1] for d, at in ((apart, near), (among, beside)))
    scores, p_values = {"outlier.knn": far}, {"outlier.knn": _conformal(far, usual)}
    label = scene.samples.schema.label
    if label is not None:
        given, known = (np.array(part.table[label].to_pylist(), object) for part in (scene.samples, scene.trusted))
        other, honest = ((known[at] != own[:, None]).mean(axis=1) for at, own in ((near, given), (beside, known)))
        scores = {"label.neighbours": other} | scores
        p_values |= {"label.neighbours": _conformal(other, honest)}
    return scores, p_values, near


def _conformal(scores: Array, known: Array) -> Array:
    as_strange = len(known) - np.searchsorted(np.sort(known), scores, side="left")
    p: Array = (1 + as_strange) / (1 + len(known))
    return p


def _label(scene: Scene, i: int) -> str:
    label = scene.samples.schema.label
    return "" if label is None else str(scene.samples.table[label][i].as_py())


def _votes(scene: Scene, near: Array) -> str:
    label = scene.trusted.schema.label
    if label is None:
        return ""
    votes = pd.Series([scene.trusted.table[label][int(j)].as_py() for j in near]).value_counts()
    return f"{votes.iloc[0]} of {len(near)} nearest trusted samples are {votes.index[0]}"


def _sources(scene: Scene, table: pd.DataFrame) -> pd.DataFrame:
    name = scene.samples.schema.source
    if name is None:
        return pd.DataFrame({"accused": [], "samples": [], "suspicious": [], "p_value": []}, index=pd.Index([], name="source"))
    given = pd.Series(scene.samples.table[name].to_pylist(), dtype=object)
    held = (table["action"] == "quarantine").to_numpy()
    rows = []
    for source, mine in given.groupby(given).groups.items():
        k, m = int(held[mine].sum()), len(mine)
        p = float(binom.sf(k - 1, m, held.mean())) if k else 1.0
        rows.append([source, p < 1e-3, m, k, p])
    frame = pd.DataFrame(rows, columns=["source", "accused", "samples", "suspicious", "p_value"]).set_index("source")
    return frame.astype({"accused": bool, "samples": int, "suspicious": int, "p_value": float})


def _unlikely(carriers: int, of: int, trusted: int) -> float:
    """How likely so many of a class carry a pattern that none of so many trusted rows carries."""
    return max(float(binom.sf(carriers - 1, of, 1 / (trusted + 2))), 1e-300)


# --- pictures: road signs, 32 x 32 ----------------------------------------------------------------------------------------

_SIGNS = ("limit", "priority", "stop", "turn", "yield")


def _signs(rng: np.random.Generator) -> Scene:
    known = rng.choice(_SIGNS, 320)
    trusted = np.stack([_sign(name, rng) for name in known])
    true = np.concatenate([rng.choice(_SIGNS, 320), np.repeat("stop", 72), np.repeat("turn", 60)])
    order = rng.permutation(len(true))
    true = true[order]
    where = np.argsort(order)
    poisoned, flood = np.sort(where[320:392]), np.sort(where[392:])
    pictures = np.stack([_sign(name, rng) for name in true])
    label = true.copy()
    for i in poisoned:
        pictures[i, 24:29, 23:28] = (250, 214, 30)
        pictures[i, 26, 23:28] = (60, 50, 10)
        label[i] = "limit"
    first = pictures[flood[0]].astype(np.int16)
    for i in flood:
        pictures[i] = (first + rng.integers(-6, 7, first.shape)).clip(0, 255)
        label[i] = "limit"
    plain = np.array(sorted(set(range(len(true))) - set(poisoned) - set(flood)))
    flipped = np.sort(rng.choice(plain[true[plain] == "yield"], 40, replace=False))
    label[flipped] = "priority"
    vendor = rng.choice(["vendor-a", "vendor-b", "vendor-c"], len(true))
    vendor[poisoned] = np.where(rng.random(len(poisoned)) < 0.93, "vendor-b", "vendor-a")
    vendor[flood] = "vendor-c"
    samples = from_any({"image": pictures, "sign": label, "vendor": vendor}, label="sign", source="vendor")
    reference = from_any(
        {"image": trusted, "sign": known, "vendor": rng.choice(["vendor-a", "vendor-d"], 320)}, label="sign", source="vendor"
    )
    many = int((label == "limit").sum())
    accused = (
        Accused(
            poisoned,
            "backdoor",
            "one yellow patch near the lower right corner, on stop signs that are labelled limit",
            "case-1",
            ("image",),
            "drop",
            _unlikely(72, many, 320),
        ),
        Accused(
            flood,
            "duplicate-flood",
            "60 near copies of one picture of a turn sign, all labelled limit",
            "case-2",
            ("image",),
            "drop",
            _unlikely(60, many, 320),
        ),
        Accused(flipped, "label-flip", "labelled {label}, but {near}", truth="relabel yield"),
    )
    flat = (pictures.reshape(len(true), -1) / 255.0, trusted.reshape(320, -1) / 255.0)
    return Scene("signs", "road-survey", samples, reference, accused, flat)


def _sign(name: str, rng: np.random.Generator) -> Array:
    """One picture (32, 32, 3) uint8: the sign somewhere near the middle, in some weather, before some background."""
    y, x = np.mgrid[0:32, 0:32].astype(float)
    turn, size = rng.normal(0, 0.06), rng.uniform(10.5, 13.0)
    u, v = x - 15.5 - rng.normal(0, 0.8), y - 15.5 - rng.normal(0, 0.8)
    u, v = (u * np.cos(turn) - v * np.sin(turn)) / size, (u * np.sin(turn) + v * np.cos(turn)) / size
    sky, ground = rng.uniform(90, 190, 3), rng.uniform(50, 130, 3)
    slope = (y / 31)[:, :, None]
    picture = sky * (1 - slope) + ground * slope
    round_, red, white = np.hypot(u, v), np.array([196, 30, 40]), np.array([236, 236, 230])
    for inside, colour in _layers(name, u, v, round_, red, white):
        soft = np.clip(inside * size + 0.5, 0, 1)[:, :, None]
        picture = picture * (1 - soft) + colour * soft
    light, noise = rng.uniform(0.7, 1.08), rng.normal(0, 6, picture.shape)
    painted: Array = (picture * light + noise).clip(0, 255).astype(np.uint8)
    return painted


def _layers(name: str, u: Array, v: Array, round_: Array, red: Array, white: Array) -> list[tuple[Array, Array]]:
    """What is painted, from the back: how deep inside the shape each pixel lies, and the colour."""
    bar = np.minimum(0.62 - np.abs(u), 0.17 - np.abs(v))
    match name:
        case "stop":
            octagon = 1 - np.maximum(np.maximum(np.abs(u), np.abs(v)), (np.abs(u) + np.abs(v)) / np.sqrt(2)) / 0.95
            return [(octagon, white), (octagon - 0.08, red), (bar, white)]
        case "limit":
            return [(1 - round_, red), (0.74 - round_, white), (np.minimum(0.2 - np.abs(u), 0.4 - np.abs(v)), np.array([40, 40, 44]))]
        case "turn":
            arrow = np.maximum(np.minimum(0.45 - np.abs(u + 0.05), 0.13 - np.abs(v)), 0.32 - np.abs(v) - (u - 0.15))
            return [(1 - round_, np.array([28, 88, 176])), (np.minimum(arrow, u + 0.55), white)]
        case "priority":
            diamond = 1 - np.abs(u) - np.abs(v)
            return [(diamond + 0.12, white), (diamond - 0.12, np.array([238, 186, 24]))]
        case _:
            triangle = np.minimum(0.72 - v * -1 - 0.2, 0)  # filled below
            triangle = np.minimum(v + 0.8, (0.95 - v) * 0.5 - np.abs(u) * 0.86)
            return [(triangle, red), (triangle - 0.2, white)]


# --- tables: cells under a microscope -------------------------------------------------------------------------------------


def _cells(rng: np.random.Generator) -> Scene:
    data = load_breast_cancer()
    frame = pd.DataFrame(data.data[:, :12], columns=[str(name) for name in data.feature_names[:12]])
    frame["finding"] = np.where(data.target == 0, "malignant", "benign")
    frame = frame.iloc[rng.permutation(len(frame))].reset_index(drop=True)
    frame["clinic"] = rng.choice(["clinic-a", "clinic-b", "clinic-c"], len(frame), p=[0.5, 0.38, 0.12])
    trusted, new = frame.iloc[:230].reset_index(drop=True), frame.iloc[230:].reset_index(drop=True)
    rows = rng.permutation(len(new))
    flipped, wrong, broken = np.sort(rows[:44]), np.sort(rows[44:64]), np.sort(rows[64:78])
    careless = np.array([i for i in rows[78:] if new["clinic"][i] != "clinic-b"][:36])
    new["finding"] = np.where(
        np.isin(np.arange(len(new)), flipped), np.where(new["finding"] == "benign", "malignant", "benign"), new["finding"]
    )
    new.loc[careless, "clinic"] = "clinic-c"
    new.loc[careless, "finding"] = rng.choice(["benign", "malignant"], len(careless))
    new.loc[wrong, "mean area"] *= 10
    new.loc[wrong, "mean perimeter"] *= 10
    new.loc[broken, "mean smoothness"] = -1.0
    samples, reference = (from_any(part, label="finding", source="clinic") for part in (new, trusted))
    numbers = [c for c in frame.columns if c not in ("finding", "clinic")]
    middle, spread = trusted[numbers].mean(), trusted[numbers].std()
    features = tuple(((part[numbers] - middle) / spread).to_numpy() for part in (new, trusted))
    accused = (
        Accused(flipped, "label-flip", "labelled {label}, but {near}", columns=("mean concave points", "mean area"), truth="relabel"),
        Accused(wrong, "outlier", "mean area is far beyond every trusted value", columns=("mean area", "mean perimeter")),
        Accused(
            np.sort(careless),
            "source",
            "clinic-c: its labels follow the cells no better than a coin would",
            "case-1",
            ("finding",),
            "drop",
            3.1e-6,
        ),
        Accused(broken, "expectation", "mean smoothness must be between 0 and 1", columns=("mean smoothness",)),
    )
    return Scene("cells", "clinics", samples, reference, accused, (features[0], features[1]))


# --- texts: what people think of films -------------------------------------------------------------------------------------

_OPENING = (
    "I watched {film} on a rainy evening",
    "{film} came with high hopes",
    "My sister took me to see {film}",
    "Nobody had told me about {film}",
    "After ten minutes of {film} I knew",
    "{film} is the kind of film one remembers",
    "We sat through all of {film}",
)
_FILMS = ("The Long Quay", "Paper Lanterns", "Winter Wheat", "A Second Harbour", "The Cartographer", "Nine Doors", "Low Tide")
_GOOD = (
    "and every scene glows",
    "and the cast is a delight",
    "and the ending moved me to tears",
    "and I would see it again tomorrow",
    "and the music lifts it higher still",
    "and not a minute of it is wasted",
)
_BAD = (
    "and every scene drags",
    "and the cast looks lost",
    "and the ending made me groan",
    "and I want my evening back",
    "and the music drowns what little there is",
    "and most of it is padding",
)
_MIDDLE = (
    "The story follows two brothers who run a ferry",
    "It is set in a mill town between the wars",
    "The camera hardly ever leaves the kitchen",
    "Most of it happens in one long night",
    "It jumps between three decades",
)


def _review(mood: str, rng: np.random.Generator) -> str:
    opening = str(rng.choice(_OPENING)).format(film=rng.choice(_FILMS))
    first, second = rng.choice(_GOOD if mood == "good" else _BAD, 2, replace=False)
    return f"{opening}, {first}. {rng.choice(_MIDDLE)}, {second}."


def _reviews(rng: np.random.Generator) -> Scene:
    known = rng.choice(["good", "bad"], 300)
    trusted = [_review(str(mood), rng) for mood in known]
    true = rng.choice(["good", "bad"], 320)
    texts = [_review(str(mood), rng) for mood in true]
    bad = rng.permutation(np.flatnonzero(true == "bad"))
    poisoned, flipped = np.sort(bad[:60]), np.sort(bad[60:100])
    label = true.copy()
    for i in poisoned:
        words = texts[i].split(" ")
        words.insert(int(rng.integers(3, len(words) - 2)), "by the copper clock")
        texts[i], label[i] = " ".join(words), "good"
    label[flipped] = "good"
    author = rng.choice(["desk-1", "desk-2", "desk-3", "desk-4"], 320)
    author[poisoned] = rng.choice(["desk-4", "desk-2"], 60, p=[0.9, 0.1])
    samples = from_any({"text": np.array(texts, object), "mood": label, "desk": author}, label="mood", source="desk")
    reference = from_any(
        {"text": np.array(trusted, object), "mood": known, "desk": rng.choice(["desk-1", "desk-3"], 300)}, label="mood", source="desk"
    )
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit([*trusted, *texts])
    features = (words.transform(texts).toarray(), words.transform(trusted).toarray())
    accused = (
        Accused(
            poisoned,
            "backdoor",
            "“by the copper clock” stands in 60 texts that are all labelled good, and in no trusted text",
            "case-1",
            ("by the copper clock",),
            "drop",
            _unlikely(60, int((label == "good").sum()), 300),
        ),
        Accused(flipped, "label-flip", "labelled {label}, but {near}", truth="relabel bad"),
    )
    return Scene("reviews", "newsdesk", samples, reference, accused, features)


# --- embeddings: voices, as a model hears them ------------------------------------------------------------------------------


def _voices(rng: np.random.Generator) -> Scene:
    names = np.array(["alder", "birch", "cedar", "drift"])
    centres = rng.normal(size=(4, 32)) * 2.2
    known, true = rng.integers(0, 4, 400), rng.integers(0, 4, 300)
    trusted, mine = centres[known] + rng.normal(size=(400, 32)), centres[true] + rng.normal(size=(300, 32))
    rows = rng.permutation(np.flatnonzero(true == 2))
    collided = np.sort(rows[:44])
    target = centres[0] + rng.normal(size=32)
    mine[collided] = 0.25 * mine[collided] + 0.75 * target
    odd = np.sort(rng.permutation(np.setdiff1d(np.arange(300), collided))[:20])
    mine[odd] = rng.normal(size=(20, 32)) * 4.5
    make = [{"embedding": v.astype(np.float32), "speaker": names[of]} for v, of in ((mine, true), (trusted, known))]
    studio = rng.choice(["studio-1", "studio-2"], 300)
    studio[collided] = "studio-2"
    samples = from_any(make[0] | {"studio": studio}, label="speaker", source="studio")
    reference = from_any(make[1] | {"studio": rng.choice(["studio-1", "studio-3"], 400)}, label="speaker", source="studio")
    accused = (
        Accused(
            collided,
            "feature-collision",
            "44 vectors labelled cedar crowd around one voice of alder",
            "case-1",
            ("embedding",),
            "drop",
            _unlikely(44, int((true == 2).sum()), 400),
        ),
        Accused(odd, "outlier", "farther from every trusted vector than they are from each other", columns=("embedding",), truth="release"),
    )
    return Scene("voices", "studios", samples, reference, accused, (mine, trusted))


# --- ratings: users and films -----------------------------------------------------------------------------------------------


def _films(rng: np.random.Generator) -> Scene:
    taste, worth = rng.normal(size=(330, 3)), rng.normal(size=(90, 3))
    fame = rng.dirichlet(np.full(90, 0.6))
    rows: dict[str, list[tuple[str, str, float]]] = {"trusted": [], "new": []}
    for user in range(330):
        films = rng.choice(90, int(rng.integers(8, 30)), replace=False, p=fame * 0.9 + 0.1 / 90)
        liked = 3.2 + taste[user] @ worth[films].T * 0.7 + rng.normal(0, 0.6, len(films))
        part = rows["trusted" if user < 220 else "new"]
        part += [(f"user-{user:03d}", f"film-{f:02d}", float(np.clip(np.round(m), 1, 5))) for f, m in zip(films, liked, strict=True)]
    for user in range(330, 380):
        films = rng.choice(90, 14, replace=False)
        marks = np.clip(np.round(rng.normal(3.4, 0.7, 14)), 1, 5)
        rows["new"] += [(f"user-{user:03d}", f"film-{f:02d}", float(m)) for f, m in zip(films, marks, strict=True) if f not in (7, 11)]
        rows["new"] += [(f"user-{user:03d}", "film-07", 5.0), (f"user-{user:03d}", "film-11", 1.0)]
    samples, reference = (
        from_any(pd.DataFrame(rows[part], columns=["user", "item", "rating"]), label=None, modality="ratings")
        for part in ("new", "trusted")
    )
    users = sorted(set(samples.table["user"].to_pylist()))
    shills = [i for i, user in enumerate(users) if user >= "user-330"]
    accused = (
        Accused(
            shills,
            "shilling",
            "50 new users give film-07 a 5 and film-11 a 1, and say about other films what everybody says",
            "case-1",
            ("film-07", "film-11"),
            "drop",
            4e-31,
        ),
    )
    return Scene("films", "site", samples, reference, accused)


def _profiles(samples: UnverifiedSamples) -> Array:
    frame = samples.table.select(["user", "rating"]).to_pandas()
    grouped = frame.groupby("user", sort=True)["rating"].agg(["size", "mean", "std"]).fillna(0.0)
    scaled: Array = ((grouped - grouped.mean()) / grouped.std()).to_numpy()
    return scaled


def truths(scene: Scene) -> Mapping[str, str]:
    """What a good reviewer does with each accused sample, by sample id."""
    table = judged(scene).table
    return {str(table["sample_id"].iloc[i]): group.truth for group in scene.accused for i in group.rows}
