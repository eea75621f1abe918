"""Training: the loop over stages, learning-rate schedules, seeds, checkpoints and weights on disk."""

from benchmark.training.checkpoints import load_weights, read_weights, save_weights
from benchmark.training.determinism import deterministic, seed_everything, seed_for, seed_initialisation
from benchmark.training.folder import WorkFolder, check_trained
from benchmark.training.log import step_losses
from benchmark.training.loop import TrainingResult, first_losses, train
from benchmark.training.stages import StagePlan, plan_stages
from benchmark.training.trainer import TrainingDivergedError

__all__ = [
    "StagePlan",
    "TrainingDivergedError",
    "TrainingResult",
    "WorkFolder",
    "check_trained",
    "deterministic",
    "first_losses",
    "load_weights",
    "plan_stages",
    "read_weights",
    "save_weights",
    "seed_everything",
    "seed_for",
    "seed_initialisation",
    "step_losses",
    "train",
]
