"""Several writers of a collection: whatever they do and however late, nobody harms it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import inline
import numpy as np
import pytest
import yaml
from held import assert_holds, config, held, some, write

from hbt_ray import storage
from hbt_ray.config import EncoderConfig, UserError
from hbt_ray.encode import collection, embeddings
from hbt_ray.encode.encode import Identity, identify, manifest_body
from hbt_ray.storage import parts


@pytest.fixture(scope="module")
def encoder(small_model: Path) -> EncoderConfig:
    return EncoderConfig(model=str(small_model), precision="fp32")


@pytest.fixture(scope="module")
def identity(encoder: EncoderConfig) -> Identity:
    return identify(encoder)


WRITER = """
import sys
import numpy as np
from hbt_ray.encode import embeddings
from hbt_ray.storage import parts

folder, name, value = sys.argv[1:]
file = f"parts/0-{name}.parquet"

def work():
    sha256 = embeddings.write_part(f"{folder}/{file}", ["de:a"], np.full((1, 4), float(value), np.float32), "float32")
    print("written", flush=True)
    sys.stdin.readline()
    return {"rows": 1, "file": file, "sha256": sha256}

print("ours" if parts.do(f"{folder}/commits", "0", work).ours else "theirs", flush=True)
"""


def test_two_writers_of_a_part_in_any_order(tmp_path: Path) -> None:
    """A writes, B writes, B commits, A commits; and a third one that comes when all is done."""
    writers = {
        name: subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), name, value],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name, value in (("a", "1"), ("b", "2"))
    }  # fmt: skip

    def says(name: str) -> str:
        output = writers[name].stdout
        assert output is not None
        return output.readline().strip()

    assert [says(name) for name in "ab"] == ["written", "written"]
    said = {}
    for name in "ba":
        pipe = writers[name].stdin
        assert pipe is not None
        pipe.write("\n")
        pipe.flush()
        said[name] = says(name)
        commit = storage.read_json(f"{tmp_path}/commits/0.json")
        _, vectors = embeddings.read_part(str(tmp_path), {"name": "0", **commit})
        assert vectors[0, 0] == 2
    assert said == {"b": "ours", "a": "theirs"}
    assert parts.do(f"{tmp_path}/commits", "0", lambda: pytest.fail("it is done already")).commit == commit
    assert [writer.wait(timeout=60) for writer in writers.values()] == [0, 0]


@pytest.mark.long
def test_drivers_started_together_encode_a_corpus_once(
    tmp_path: Path, encoder: EncoderConfig, identity: Identity
) -> None:
    """One is killed on the way; another stands still on the way, and goes on when all is done."""
    found, out = some(120), tmp_path / "out"
    settings = config(write(tmp_path, found), out, encoder)
    commits = inline.planned(settings, identity).commits
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    command = [sys.executable, str(Path(inline.__file__)), str(file)]
    drivers = [subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, text=True) for n in range(4)]
    zombie, killed, *others = drivers
    while len(storage.sizes(commits)) < 5:
        assert [driver.poll() for driver in drivers] == [None] * 4
    zombie.send_signal(signal.SIGSTOP)
    killed.kill()
    said = [driver.communicate(timeout=300)[0].split() for driver in others]
    before = held(str(out))
    assert_holds(str(out), found)
    zombie.send_signal(signal.SIGCONT)
    said.append(zombie.communicate(timeout=300)[0].split())
    assert [driver.returncode for driver in (*others, zombie)] == [0, 0, 0]
    assert {uri for _, uri in said} == {collection.version_uri(str(out), 1)}
    assert sum(int(count) for count, _ in said) <= 120
    after = held(str(out))
    assert before.keys() == after.keys()
    np.testing.assert_array_equal(list(before.values()), [after[key] for key in before])
    named = {part["file"] for part in collection.manifest_of(str(out))["parts"]}
    orphans = {f"parts/{path.name}" for path in (out / "parts").iterdir()} - named
    assert len(orphans) <= 1  # of the one that was killed


def test_a_driver_of_an_older_corpus_does_not_undo_an_update(
    tmp_path: Path, encoder: EncoderConfig, identity: Identity
) -> None:
    out = tmp_path / "out"
    late = config(write(tmp_path, some(9)), out, encoder)
    zombie = inline.planned(late, identity)
    inline.encode_here(config(write(tmp_path, some(12), "newer"), out, encoder), identity)
    inline.encode_missing(late, identity, zombie, lambda: None)
    with pytest.raises(UserError, match="out has been updated to another corpus meanwhile: start again"):
        zombie.commit(manifest_body(late, identity, zombie.corpus))
    assert_holds(str(out), some(12))
