"""The settings of every benchmark."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hbt_ray.config import Section


class EncodeBenchmark(Section):
    """Encoding of texts against SentenceTransformer.encode, in turn in one process."""

    model: str = Field("mini", description="random-weight size: nano, tiny, mini, small, base, large")
    texts: int = Field(3000, ge=100, description="passages of the built-in world facts and joins of them [texts]")
    xquad_r: str | None = Field(
        None, description="folder of XQuAD-R: as many of its candidates, of all languages, are measured too [URI]"
    )
    batch_tokens: int = Field(1024, ge=64, description="ours: texts encoded at once [tokens, padding included]")
    batch_size: int = Field(32, ge=1, description="the peer's batch; 32 is its default [texts]")
    repeats: int = Field(3, ge=1, description="measurements of each side, alternating; the median counts")
    memory_texts: tuple[int, ...] = Field(
        (), description="sizes of corpora, encoded by a tiny model on Ray, whose peak memory is compared [texts]"
    )


class ShufflerBenchmark(Section):
    """Stored pairs to torch tensors: the shuffler against mosaicml-streaming and sentence-transformers."""

    pairs: int = Field(200_000, ge=100, description="synthetic pairs in the store [pairs]")
    languages: int = Field(3, ge=2, description="that the parallel half of the pairs is in")
    strategy: Literal["x-x", "x-y", "hybrid"] = Field("hybrid", description="of the batches that are timed")
    query_tokens: int = Field(32, ge=1, le=400, description="length of each query [tokens]")
    passage_tokens: int = Field(128, ge=1, le=400, description="length of each passage [tokens]")
    batch_size: int = Field(256, ge=2, description="global batch, also the peers' [pairs]")
    consumers: int = Field(2, ge=1, description="processes that take the batches, also the peers'")
    steps: int = Field(30_000, ge=1, description="length of each measured run [global batches]")
    rounds: int = Field(3, ge=1, description="measurements of ours and the peers, in turn; the median counts")
    starts: int = Field(3, ge=0, description="measurements of each time to the first batch; the median counts")
    late_step: int = Field(1_000_000, ge=1, description="a start here is compared with one at 0, and a length [steps]")
    peer_pairs: int = Field(50_000, ge=0, description="pairs the peers are measured on, at most --pairs; 0: no peer")
    memory: bool = Field(False, description="report the peak memory of another run")
    growth_steps: int = Field(0, ge=0, description="length of a run whose memory is compared at 1/12 and at the end")


class PlanBenchmark(Section):
    """The plan of a store that is a manifest alone, against torch's random batch sampler."""

    rows: int = Field(10**9, ge=1000, description="rows of all streams together [rows]")
    streams: int = Field(200, ge=4, description="streams, each with translations into the next")
    batch_sizes: tuple[int, ...] = Field((128, 256, 1024), min_length=1, description="global batches [pairs]")
    late_step: int = Field(1_000_000, ge=1, description="a plan here is compared with one at 0 [steps]")
    repeats: int = Field(30, ge=1, description="measurements of each figure; the median counts")
    peer_rows: int = Field(2_000_000, ge=2000, description="rows the peer draws from: it holds them all [rows]")
    ranks: tuple[int, ...] = Field((8, 64, 1024), min_length=1, description="GPUs that are fed, by arithmetic")
    pairs_per_rank: int = Field(32, ge=1, description="of each global batch [pairs]")
    ranks_per_node: int = Field(8, ge=1, description="GPUs of a node")
    network: float = Field(100, gt=0, description="what a node's network carries in each direction [Gbit/s]")
    fed_pairs: int = Field(200_000, ge=1000, description="synthetic pairs in the store that is read from [pairs]")
    blocks: int = Field(2000, ge=100, description="handed out to measure the split coordinator [blocks]")


class PrepareBenchmark(Section):
    """`prepare` against one process that tokenises, shuffles in memory and writes parquet."""

    pairs: int = Field(200_000, ge=100, description="synthetic pairs of random words [pairs]")
    pieces: int = Field(2000, ge=100, description="vocabulary that is learned [pieces]")


class TrainBenchmark(Section):
    """Training with GradCache: Ray and DeepSpeed, the same steps in bare torch, and sentence-transformers' trainer."""

    model: str = Field("mini", description="random-weight size: nano, tiny, mini, small, base, large")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="arithmetic of all")
    batch_size: int = Field(128, ge=2, description="global batch of all [pairs]")
    query_tokens: int = Field(16, ge=2, description="mean length of the queries [tokens]")
    passage_tokens: int = Field(150, ge=2, description="mean length of the passages [tokens]")
    max_tokens: int = Field(384, ge=8, description="longest text [tokens]")
    steps: int = Field(5, ge=2, description="of each run; the first is not counted [global batches]")
    rounds: int = Field(1, ge=1, description="runs of each, in turn; the median counts")
    chunk_tokens: int = Field(2048, ge=64, description="ours: texts encoded at once [tokens]")
    dropout: float = Field(0.1, ge=0, lt=1, description="of all [probability]")
    attention_dropout: float | None = Field(
        None, ge=0, lt=1, description="of the weights of attention of all; unset: --dropout [probability]"
    )
    attention: Literal["auto", "varlen", "sdpa"] = Field("auto", description="ours: as for train")
    compile: bool = Field(False, description="ours: torch.compile the layers")
    workers: int = Field(1, ge=1, description="ours; of several, the speed of one is the peer's")
    zero_stage: int = Field(2, ge=0, le=3, description="ours: DeepSpeed ZeRO stage")
    peer_tokens: tuple[int, ...] = Field((1024, 2048), description="the peer's mini_batch_num_tokens to try")
    memory_batches: tuple[int, ...] = Field((), description="batches whose peak memory is compared [pairs]")
    gpus: float = Field(0, ge=0, description="GPUs of each run; 0 trains on CPU")


class SearchBenchmark(Section):
    """Exact search over an index against one FAISS IndexFlatIP in one process, in turn."""

    rows: int = Field(1_000_000, ge=100, description="random unit vectors to search in [vectors]")
    width: int = Field(384, ge=8, description="their length [numbers]")
    languages: int = Field(4, ge=1, description="partitions of them, of equal rows")
    queries: int = Field(1000, ge=1, description="random unit vectors to search for [vectors]")
    k: int = Field(10, ge=1, description="length of the lists [documents]")
    rounds: int = Field(3, ge=1, description="measurements of each, in turn; the median counts")


class ServeBenchmark(Section):
    """`serve` over HTTP, one request and several at a time, against the same model and index in one process."""

    rows: int = Field(1_000_000, ge=100, description="random unit vectors to search in, with texts [documents]")
    model: str = Field("small", description="random-weight size that encodes the queries; small is 384 wide")
    requests: int = Field(200, ge=2, description="of each measurement")
    together: int = Field(20, ge=2, description="requests under way at once")
    k: int = Field(10, ge=1, description="length of the lists [passages]")


class IndexBenchmark(Section):
    """Building an exact index: speed, and how memory grows with the rows."""

    rows: int = Field(200_000, ge=100, description="random unit vectors of the smaller index [vectors]")
    width: int = Field(384, ge=8, description="their length [numbers]")
    languages: int = Field(4, ge=1, description="partitions of them, of equal rows")
    shard_rows: int = Field(50_000, ge=1, description="largest shard [vectors]")
    times: int = Field(10, ge=2, description="how often the rows the larger index has")


class StudyBenchmark(Section):
    """Cells of a study at once against one after the other, on nodes of two CPUs each."""

    nodes: int = Field(2, ge=2, description="nodes, all on this machine, and cells at once")
    cells: int = Field(4, ge=2, description="cells that are measured")
    steps: int = Field(100, ge=1, description="length of each cell's run [global batches]")


class ImportsBenchmark(Section):
    """CPU time of what a process imports before it works, against `import torch`."""

    jobs: str = Field("jobs", description="folder of the job scripts, whose --help is measured [path]")
    rounds: int = Field(5, ge=1, description="measurements of each, in turn; the median counts")


class BenchmarkConfig(Section):
    """Settings of `benchmark`: our figures, the peers' and their ratios, measured in one run."""

    name: Literal["encode", "imports", "index", "shuffler", "plan", "prepare", "search", "serve", "study", "train"] = (
        Field("encode", description="what is measured")
    )
    out: str | None = Field(None, description="file for the JSON; unset: the last line of the output only [URI]")
    encode: EncodeBenchmark = EncodeBenchmark()
    imports: ImportsBenchmark = ImportsBenchmark()
    index: IndexBenchmark = IndexBenchmark()
    shuffler: ShufflerBenchmark = ShufflerBenchmark()
    plan: PlanBenchmark = PlanBenchmark()
    prepare: PrepareBenchmark = PrepareBenchmark()
    search: SearchBenchmark = SearchBenchmark()
    serve: ServeBenchmark = ServeBenchmark()
    study: StudyBenchmark = StudyBenchmark()
    train: TrainBenchmark = TrainBenchmark()
