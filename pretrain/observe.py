"""Observers of a training that do not change it: online k-NN, TensorBoard, the plot at the end."""

from __future__ import annotations

from pathlib import Path

import torch

from mec_transfer.common.errors import one_line
from mec_transfer.common.interrupt import StopRequest
from mec_transfer.common.progress import is_main_process, say, warn
from pretrain.config import PretrainConfig
from pretrain.model import MecModel
from pretrain.online_knn import OnlineKnn
from pretrain.plot import PLOT, plot_runs
from pretrain.tensorboard import FOLDER, TensorBoard


class Observers:
    """Shown every logged step, every end of an epoch and the end of the run, on every process."""

    def __init__(self, config: PretrainConfig, out: Path, board: TensorBoard | None, knn: OnlineKnn | None) -> None:
        self.config, self.out, self.board, self.knn = config, out, board, knn

    @classmethod
    def open(
        cls,
        config: PretrainConfig,
        out: Path,
        labelled: Path | None,
        tensorboard: bool,
        device: torch.device,
        workers: int,
    ) -> Observers:
        """Open the observers, and find out before the training whether everything that they need is there.

        Args:
            config: of the run; `online_knn` says how the k-NN is taken.
            out: the run's folder.
            labelled: an imagefolder data set to take the k-NN on; None for no k-NN.
            tensorboard: whether to write for TensorBoard too.
            device: where the k-NN is computed.
            workers: processes that decode labelled images.

        Raises:
            UserError: TensorBoard is not installed, `online_knn` does not fit the data set (ConfigError), or that
                is unusable (DataError).
        """
        if config.online_knn and not labelled:
            warn("online_knn is set, but there are no labelled images to take it on; give --labelled DIR")
        board = TensorBoard(out / FOLDER) if tensorboard and is_main_process() else None
        return cls(config, out, board, OnlineKnn.open(config, labelled, device, workers) if labelled else None)

    def step(self, figures: dict[str, float]) -> None:
        """Take the line of a logged step that goes into log.jsonl."""
        if self.board:
            shown = {name: value for name, value in figures.items() if name not in ("step", "epoch")}
            self.board.write(int(figures["step"]), shown)

    def epoch_end(self, epoch: int, step: int, model: MecModel, stop: StopRequest | None = None) -> dict[str, float]:
        """Return what is measured at the end of an epoch, {"knn_top1": percent} where that is due; else {}.

        Args:
            epoch: its number, from 0.
            step: steps done.
            model: as it is now; every process must call, with the same model.
            stop: the measurement is given up where a signal comes.
        """
        last = epoch + 1 == self.config.epochs or step == self.config.max_steps
        if self.knn is None or not (last or (epoch + 1) % self.knn.knn.every_epochs == 0):
            return {}
        top1 = self.knn.measure(model.encoder, stop)
        if top1 is None:
            return {}
        say(f"epoch {epoch + 1}, step {step}: k-NN top-1 {top1:.2f} % of {len(self.knn.splits['val'])} val images")
        if self.board:
            self.board.write(step, {"knn_top1": top1})
        return {"knn_top1": top1}

    def close(self, log: Path, draw: bool = True) -> None:
        """Draw the run as `training.png` beside its log. A failure does not undo a finished run.

        Drawing takes seconds, which a run that was asked to stop may not have: then `draw` is false.
        """
        if not is_main_process():
            return
        if self.board:
            self.board.close()
        try:
            if draw and log.is_file() and log.stat().st_size:  # otherwise the run has not reached its first step
                plot_runs([log], self.out / PLOT)
        except Exception as error:
            warn(f"{self.out / PLOT}: not drawn ({one_line(error)})")
