"""A loss in words, for the model's card and the dry run."""

from __future__ import annotations

from hbt_ray.config.losses import InfoNCEConfig, Kinds, KLConfig, MarginMSEConfig, OwnLossConfig, TeacherConfig

SCORES = "the scores of each pair's passage and hard negatives"


def describe(loss: Kinds) -> str:
    """What the loss is and what its settings are, those left out that change nothing."""
    parts = [_kind(loss)] if isinstance(loss, TeacherConfig) else [_kind(loss), _temperature(loss)]
    if loss.matryoshka_dims:
        weights = loss.matryoshka_weights or (1.0,) * len(loss.matryoshka_dims)
        both = zip(loss.matryoshka_dims, weights, strict=True)
        parts.append(f"Matryoshka over {' + '.join(f'{weight:g} * {dims}' for dims, weight in both)} dimensions")
    if loss.weight != 1:
        parts.append(f"weight {loss.weight:g}")
    if loss.sources:
        parts.append(f"for pairs of {', '.join(loss.sources)}")
    return ", ".join(parts)


def _kind(loss: Kinds) -> str:
    match loss:
        case InfoNCEConfig():
            said = "InfoNCE over the global batch"
            if loss.directions != ("query-passage",):
                said += f" ({', '.join(loss.directions)}; {loss.partition})"
            if loss.margin is not None:
                said += f", without negatives that score above the positive by more than {loss.margin:g}"
            if loss.hardness:
                said += f", negatives ({loss.hardness_of}) weighted by e^({loss.hardness:g} * cosine)"
            return said
        case KLConfig():
            return f"KL divergence from {SCORES}, teacher temperature {loss.teacher_temperature:g}"
        case MarginMSEConfig():
            return f"MarginMSE on {SCORES}"
        case TeacherConfig():
            distance = "1 - cosine" if loss.measure == "cosine" else "mean squared difference"
            return f"{distance} from a teacher's vectors of the same texts ({', '.join(loss.collections)})"
        case OwnLossConfig():
            return f"`{loss.path}`" + (f" with {loss.options}" if loss.options else "")


def _temperature(loss: Kinds) -> str:
    said = f"temperature {loss.temperature:g}"
    if loss.learn_temperature:
        return f"{said} at first, then trained"
    return said if loss.last_temperature is None else f"{said} to {loss.last_temperature:g} in a straight line"
