"""The settings of every component: one frozen pydantic model each, which checks itself when it is built."""

from hbt_ray.config.base import Section, UserError
from hbt_ray.config.cost import CostConfig
from hbt_ray.config.data import Excluded, Input, InputConfig, PrepareConfig
from hbt_ray.config.encoding import Duplicates, EncodingConfig
from hbt_ray.config.evaluation import BM25, CheckConfig, CompareConfig, EvaluateConfig, EvaluatedEncoder, Setting
from hbt_ray.config.grid import Answer, Budget, EarlyEnd, Grid, Mined, Sample, StudyConfig, TaskSettings
from hbt_ray.config.index import EncodeConfig, IndexConfig, MineConfig, Recall, SearchConfig
from hbt_ray.config.losses import InfoNCEConfig, KLConfig, LossConfig, MarginMSEConfig, OwnLossConfig, TeacherConfig
from hbt_ray.config.serve import ServeConfig
from hbt_ray.config.soup import SoupConfig
from hbt_ray.config.stores import WeightedStore
from hbt_ray.config.study import DemoConfig, ReportConfig
from hbt_ray.config.submission import RoadConfig, SubmitConfig
from hbt_ray.config.train import (
    CheckpointEvaluation,
    EncoderConfig,
    EngineConfig,
    Logger,
    LoraConfig,
    OptimizerConfig,
    PlanConfig,
    TrainConfig,
)

__all__ = [
    "BM25",
    "Answer",
    "Budget",
    "CheckConfig",
    "CheckpointEvaluation",
    "CompareConfig",
    "CostConfig",
    "DemoConfig",
    "Duplicates",
    "EarlyEnd",
    "EncodeConfig",
    "EncoderConfig",
    "EncodingConfig",
    "EngineConfig",
    "EvaluateConfig",
    "EvaluatedEncoder",
    "Excluded",
    "Grid",
    "IndexConfig",
    "InfoNCEConfig",
    "Input",
    "InputConfig",
    "KLConfig",
    "Logger",
    "LoraConfig",
    "LossConfig",
    "MarginMSEConfig",
    "MineConfig",
    "Mined",
    "OptimizerConfig",
    "OwnLossConfig",
    "PlanConfig",
    "PrepareConfig",
    "Recall",
    "ReportConfig",
    "RoadConfig",
    "Sample",
    "SearchConfig",
    "Section",
    "ServeConfig",
    "Setting",
    "SoupConfig",
    "StudyConfig",
    "SubmitConfig",
    "TaskSettings",
    "TeacherConfig",
    "TrainConfig",
    "UserError",
    "WeightedStore",
]
