"""Whether a run's losses can be had of its store, its strategy and its model."""

from __future__ import annotations

from collections.abc import Sequence

from hbt_ray.batches.plan import Plan
from hbt_ray.config import KLConfig, LossConfig, MarginMSEConfig, TeacherConfig, UserError
from hbt_ray.config.losses import Kinds
from hbt_ray.data.stores import PairStore
from hbt_ray.encode import collection


def needs_scores(loss: Kinds) -> bool:
    """Whether a loss is made of a reranker's scores."""
    return isinstance(loss, KLConfig | MarginMSEConfig)


def check_losses(losses: Sequence[Kinds], store: PairStore, plan: Plan) -> None:
    """Check that what the plan draws has what the losses need.

    Raises:
        UserError: a loss is for a source that the plan draws nothing of, a source has no loss, or no row of a source
            that is distilled has scores; the line names them.
    """
    drawn = sorted({store.streams[member.query].source for member in plan.members})
    for loss in losses:
        unknown = sorted(set(loss.sources) - set(drawn))
        if unknown:
            raise UserError(f"--loss.sources: the run draws nothing of {unknown[0]!r}; it draws {', '.join(drawn)}")
    without = [source for source in drawn if not any(source in (loss.sources or drawn) for loss in losses)]
    if without:
        raise UserError(f"--loss.sources: there is no loss for pairs of {without[0]!r}, which the run draws")
    for loss in filter(needs_scores, losses):
        for source in loss.sources or drawn:
            passages = {member.passage for member in plan.members if store.streams[member.query].source == source}
            if not any(store.streams[stream].column("scores") for stream in passages):
                raise UserError(
                    f"--loss.kind {loss.kind}: with --strategy {plan.config.strategy}, pairs of {source!r} have no"
                    " scores: prepare them with a column scores, or say --loss.sources"
                )


def check_dims(losses: Sequence[LossConfig], width: int) -> None:
    """Check that the model's vectors, of `width` dimensions, have those of every loss.

    Raises:
        UserError: they have fewer.
    """
    most = max((dims for loss in losses for dims in loss.matryoshka_dims), default=0)
    if most > width:
        raise UserError(f"--matryoshka-dims {most}: the model's vectors have {width} dimensions")


def check_teacher(losses: Sequence[Kinds], width: int) -> None:
    """Check that a teacher's vectors are as wide as the model's, of `width` dimensions.

    Raises:
        UserError: they are not, or there is no such collection.
    """
    for uri in (uri for loss in losses if isinstance(loss, TeacherConfig) for uri in loss.collections):
        theirs = collection.manifest_of(uri)["width"]
        if theirs != width:
            raise UserError(f"--loss.collections: {uri} has {theirs} dimensions, and the model's vectors {width}")
