"""The formats of public data sets, by name."""

from __future__ import annotations

from hbt_ray.data.sources import (
    dolly,
    flagembedding,
    miracl,
    mkqa,
    moses,
    mrtydi,
    msmarco,
    swimir,
    tevatron,
    webfaq,
    wmt,
)
from hbt_ray.data.sources.layout import Source

PUBLIC: dict[str, Source] = {
    "flagembedding": flagembedding.FLAGEMBEDDING,
    "tevatron": tevatron.TEVATRON,
    "msmarco": msmarco.MSMARCO,
    "msmarco-triples": msmarco.MSMARCO_TRIPLES,
    "miracl": miracl.MIRACL,
    "mrtydi": mrtydi.MRTYDI,
    "webfaq": webfaq.WEBFAQ,
    "webfaq-bitexts": webfaq.WEBFAQ_BITEXTS,
    "swim-ir": swimir.SWIM_IR,
    "swim-ir-monolingual": swimir.SWIM_IR_MONOLINGUAL,
    "wmt": wmt.WMT,
    "moses": moses.MOSES,
    "mkqa": mkqa.MKQA,
    "dolly": dolly.DOLLY,
}
