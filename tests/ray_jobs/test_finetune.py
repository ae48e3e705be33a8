"""`python -m ray_jobs.finetune`: workers in step, killed and resumed, the base where it is best."""

import csv
import json
import os
import signal

import numpy as np
import pandas as pd
import pytest

import kronos
from kronos.errors import TrainingError
from kronos.training.dataset import EpochLoader, EpochOrder, validation_loader
from kronos.training.fit import TrainingRun, fit
from kronos.training.objectives import predictor_objective
from ray_jobs.finetune import main
from ray_jobs.options import Period, TrainingOptions
from ray_jobs.worker import VALIDATION_BATCH, LossLog, train_worker, windows_of
from sandbox.checkpoints.series import series_before
from sandbox.errors import ConfigError, WorkerError
from tests.conftest import make_frame
from tests.kronos.training.cases import save_tiny_checkpoint
from tests.ray_jobs.trainings import (
    SMALL,
    TRAIN,
    VALIDATE,
    a_tuning,
    files_of,
    some_candles,
    work_here,
)

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("two_cpus"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # of Ray's own settings
]
PERIODS = ["--train", "2023-02-01:2023-06-01", "--validate", "2023-06-01:2023-08-01"]
OPTIONS = [
    "--stages", "predictor", "--epochs", "2", "--steps-per-epoch", "10", "--batch-size", "8",
    "--lookback", "8", "--horizon", "3", "--learning-rate", "1e-3", "--seed", "3",
]  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Random weights, without dropout: one worker and two then take the same steps."""
    folder = tmp_path_factory.mktemp("base")
    return save_tiny_checkpoint(folder, seen_until="2022-12-31", dropout=0.0)


@pytest.fixture(scope="module")
def by_two(base, tmp_path_factory):
    """The folder of a fine-tuning by two workers, from the command line."""
    folder = tmp_path_factory.mktemp("by two")
    for symbol, frame in some_candles().frames.items():
        frame.to_parquet(folder / f"{symbol}.parquet")
    data = ["--data", f"parquet:{folder}/*.parquet", "--stamps", "close"]
    out = folder / "out"
    status = main([*data, "--from", str(base), *PERIODS, *OPTIONS, "--workers", "2",
                   "--out", str(out)])  # fmt: skip
    assert status == 0
    return out


def losses(folder):
    with (folder / "losses.csv").open() as file:
        return list(csv.DictReader(file))


def test_two_workers_take_the_steps_of_one_with_the_whole_batch(by_two, base):
    options = TrainingOptions(**SMALL)
    series = series_before(some_candles().frames, VALIDATE.end)
    train, check = windows_of(series, options, TRAIN, VALIDATE)
    checkpoint, config = kronos.find(str(base)), options.config_of("predictor", 1)
    objective = predictor_objective("sandbox", checkpoint.model, checkpoint.tokenizer, 8)
    order = EpochOrder(len(train), config.batch_size, config.seed, config.batches_per_epoch)
    run = TrainingRun(objective, config, len(order), beat_base=True)
    alone = []
    fit(
        run, EpochLoader(train, order), validation_loader(check, VALIDATION_BATCH),
        on_step=lambda _, loss: alone.append(loss),
    )  # fmt: skip
    rows = losses(by_two)
    assert [int(row["step"]) for row in rows] == list(range(1, 21))
    np.testing.assert_allclose([float(row["loss"]) for row in rows], alone, atol=1e-4)
    stage = json.loads((by_two / "card.json").read_text())["stages"]["predictor"]
    assert stage["base_loss"] == pytest.approx(run.progress.base_loss, abs=1e-9)
    assert stage["best_loss"] == pytest.approx(run.progress.best_loss, abs=1e-4)
    assert stage["best_epoch"] == run.progress.best_epoch + 1 > 0


def test_what_comes_back_is_a_model_with_a_card(by_two, base):
    card = json.loads((by_two / "card.json").read_text())
    assert card["train"] == ["2023-02-01", "2023-06-01"]
    assert card["base"]["seen_until"] == "2022-12-31"
    assert not card["is_base"]
    checkpoint = kronos.load(str(by_two))
    assert str(checkpoint.seen_until) == "2023-07-31"
    assert checkpoint.max_context == 128
    theirs, ours = files_of(base), files_of(by_two)
    assert ours["model/model.safetensors"] != theirs["model/model.safetensors"]
    del ours["model/model.safetensors"], theirs["model/model.safetensors"]
    ours["model/config.json"] = theirs["model/config.json"] = b""  # written anew, with equal values
    assert ours == theirs
    read = kronos.Kronos.from_pretrained(str(by_two / "model"))
    assert {name: tensor.tolist() for name, tensor in read.state_dict().items()} == {
        name: tensor.tolist() for name, tensor in checkpoint.model.state_dict().items()
    }
    page = (by_two / "README.md").read_text()
    assert "| predictor |" in page
    assert "from 2023-02-01 until before 2023-06-01" in page
    assert list((by_two / "tensorboard" / "predictor").iterdir())
    assert sorted(path.name for path in by_two.parent.iterdir() if path.is_dir()) == ["out"]


def test_a_killed_worker_costs_no_step(by_two, base, tmp_path):
    """The second worker dies after step 13 of 20; the model's file is that of `by_two`."""
    mark = tmp_path / "died"

    def dying(config):
        from ray_jobs.worker import Stage

        on_step = Stage._on_step

        def and_die(self, at, loss):
            on_step(self, at, loss)
            if self.worker.rank == 1 and at.epoch == 1 and at.batch == 3 and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)

        Stage._on_step = and_die
        return train_worker(config)

    tuning = a_tuning(base, tmp_path / "out", workers={"workers": 2})
    tuning.run("dying", loop=dying)
    assert mark.exists()
    assert files_of(tmp_path / "out") == files_of(by_two)
    assert [row["step"] for row in losses(tmp_path / "out")] == [str(n) for n in range(1, 21)]


def test_the_same_command_again_trains_nothing(base, tmp_path, monkeypatch):
    work_here(monkeypatch)
    first = a_tuning(base, tmp_path / "out")
    card = first.run("once")
    again = a_tuning(base, tmp_path / "out")
    assert again.finished() == card
    with pytest.raises(ConfigError, match=r"holds a checkpoint of another base, other candles"):
        a_tuning(base, tmp_path / "out", epochs=1).finished()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(ConfigError, match=r"exists and is no fine-tuned checkpoint"):
        a_tuning(base, tmp_path / "other").finished()


def test_nothing_after_validation_matters(base, tmp_path, monkeypatch):
    """Other candles from the end of validation on, or none, give the same bytes."""
    work_here(monkeypatch)
    whole = some_candles()
    altered = {}
    for nth, (symbol, frame) in enumerate(whole.frames.items()):
        later = frame.index >= "2023-08-01"
        assert later.any()
        changed = frame.copy()
        changed.loc[later] *= 3.0 + nth
        altered[symbol] = changed if nth else frame[~later]
    tunings = {
        "whole": a_tuning(base, tmp_path / "whole", whole),
        "altered": a_tuning(base, tmp_path / "altered", some_candles(**altered)),
    }
    for name, tuning in tunings.items():
        tuning.run(name)
    assert tunings["whole"].identity == tunings["altered"].identity
    assert files_of(tmp_path / "whole") == files_of(tmp_path / "altered")
    earlier = {symbol: frame * 1.5 for symbol, frame in whole.frames.items()}
    assert a_tuning(base, tmp_path, some_candles(**earlier)).identity != tunings["whole"].identity


def test_where_nothing_is_better_the_base_comes_back_to_the_byte(tmp_path, monkeypatch):
    """A base that knows something: absurd rates can be better than random weights."""
    reports, base = work_here(monkeypatch), kronos.hub.BUNDLED
    tuning = a_tuning(base, tmp_path / "out", stages="both", learning_rate=0.05,
                      tokenizer_learning_rate=0.05)  # fmt: skip
    card = tuning.run("absurd")
    assert card["is_base"]
    assert {name: stage["best_epoch"] for name, stage in card["stages"].items()} == {
        "tokenizer": 0, "predictor": 0,
    }  # fmt: skip
    assert files_of(tmp_path / "out") == files_of(base)
    assert "no epoch of 2 was better: the base is kept" in tuning.in_words(card)
    assert "this is the base, byte for byte" in (tmp_path / "out" / "README.md").read_text()
    assert [report["stage"] for report in reports] == ["tokenizer", "predictor"]
    steps = [(row["stage"], int(row["step"])) for row in losses(tmp_path / "out")]
    assert steps == [(name, n) for name in ("tokenizer", "predictor") for n in range(1, 21)]


def test_a_loss_that_is_no_number_stops_at_once(base, tmp_path, monkeypatch):
    """The step is named, and what had been saved is whole: a lower rate goes on from the base."""
    work_here(monkeypatch)
    tuning = a_tuning(base, tmp_path / "out", learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"^step 1 \(epoch 0, batch 1\): the loss became nan;"):
        tuning.run("too fast")
    assert not (tmp_path / "out").exists()
    assert (tuning.storage / tuning.run_name / "predictor.safetensors").exists()


def test_an_interrupted_training_goes_on_to_the_same_bytes(base, tmp_path, monkeypatch):
    work_here(monkeypatch)
    whole = a_tuning(base, tmp_path / "whole", stages="both")
    whole.run("whole")

    class Stop(BaseException):
        pass

    def stopping(config):
        from ray_jobs.worker import Stage

        def and_stop(self, at, loss):
            if self.name == "predictor" and at.epoch == 1 and at.batch == 4:
                raise Stop

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Stage, "_on_step", and_stop)
            return train_worker(config)

    halves = a_tuning(base, tmp_path / "halves", stages="both")
    with pytest.raises(Stop):
        halves.run("halves", loop=stopping)
    halves.run("halves")
    assert files_of(tmp_path / "whole") == files_of(tmp_path / "halves")


def test_storage_that_a_worker_does_not_see_is_one_line(base, tmp_path, monkeypatch):
    work_here(monkeypatch)
    tuning = a_tuning(base, tmp_path / "out")

    def elsewhere(config):
        (tuning.storage / tuning.run_name / "shared.txt").unlink()
        return train_worker(config)

    with pytest.raises(WorkerError, match=r"1 of 1 workers do not see the files .* --storage must"):
        tuning.run("blind", loop=elsewhere)


def test_an_error_of_one_worker_ends_the_workers_that_come_next(base, tmp_path, monkeypatch):
    """Only that of a neighbour that died is worth another try."""
    work_here(monkeypatch)
    tuning = a_tuning(base, tmp_path / "out")
    errors = [RuntimeError("Connection closed by peer"), OSError("No space left on device")]

    def failing(config):
        from ray_jobs.worker import Worker

        def fail(self):
            raise errors.pop(0)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Worker, "run", fail)
            for kind in (RuntimeError, OSError):
                with pytest.raises(kind):
                    train_worker(config)
        return train_worker(config)

    with pytest.raises(OSError, match=r"^No space left on device$"):
        tuning.run("full", loop=failing)
    stage = tuning.run("later")["stages"]["predictor"]
    assert stage["steps_run"] == 20
    history = stage["history"]
    assert [row["epoch"] for row in history] == [0, 1, 2]
    assert history[0]["validation_loss"] == stage["base_loss"]
    assert history[0]["train_loss"] is None
    assert history[stage["best_epoch"]]["validation_loss"] == stage["best_loss"]


def test_a_folder_that_cannot_be_written_is_one_line(base, tmp_path):
    (tmp_path / "file").touch()
    tuning = a_tuning(base, tmp_path / "out", workers={"storage": str(tmp_path / "file" / "x")})
    with pytest.raises(ConfigError, match=r"^--storage .*: it cannot be written \(Not a directory"):
        tuning.run("nowhere")


def test_more_than_the_cluster_has_is_said_at_once(base, tmp_path):
    for workers, text in (
        ({"workers": 4}, "4 workers of 1 CPUs each are asked for, and this Ray cluster has 2 CPUs"),
        ({"worker_threads": 9}, "a worker is to have 9 CPUs, and the largest machine"),
        ({"worker_gpus": 1}, "a worker is to have 1 GPUs, and the largest machine"),
    ):
        with pytest.raises(ConfigError, match=text):
            a_tuning(base, tmp_path / "out", workers=workers).run("much")


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        ([*PERIODS, "--batch-size", "7", "--workers", "2"], 2, "must be a multiple of 2"),
        (["--train", "2019", *PERIODS[2:]], 2, "--train '2019': write two dates, such as"),
        (["--train", "2020-01-01:2019-01-01", *PERIODS[2:]], 2, "its end is not after its start"),
        (["--train", "2015-01-01:2023-06-02", *PERIODS[2:]], 2, "begins before --train 2015-01-01"),
        ([*PERIODS, "--lookback", "600"], 2, "model bundled sees 512 bars at most"),
        ([*PERIODS, "--epochs", "0"], 2, "--epochs 0: input should be greater"),
        ([*PERIODS, "--objective", "mine"], 2, "--objective 'mine'"),
        (
            ["--train", "1990-01-01:1991-01-01", *PERIODS[2:]],
            1,
            "no training window fits from 1990",
        ),
        ([*PERIODS[:2], "--validate", "2040-01-01:2041-01-01"], 1, "no validation window fits"),
        ([*PERIODS, "--from", "nothing"], 1, "unknown model 'nothing'"),
        ([*PERIODS, "--data", "sample:NOPE"], 1, "NOPE"),
    ],
)
def test_bad_input_is_one_line(options, status, text, tmp_path, capsys):
    command = ["--data", "sample:AAPL", "--out", str(tmp_path / "out"), *options]
    assert main(command) == status
    lines = capsys.readouterr().err.strip().splitlines()
    assert text in lines[-1]
    assert lines[-1].startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_intraday_bars_are_cut_at_their_times():
    times = pd.date_range("2023-01-01T01:00", periods=200, freq="h", tz="UTC")
    frame = make_frame(np.full((200, 4), 1.0), "2023-01-02").set_index(times)
    series = series_before({"X": frame}, np.datetime64("2023-01-03T12:00", "us"))["X"]
    assert series.times[-1] == np.datetime64("2023-01-03T11:00")
    assert series.stamps[-1].tolist() == [0, 11, 1, 3, 1]


def test_losses_that_are_taken_again_replace_the_old_ones(tmp_path):
    for steps in (range(1, 6), range(3, 8)):
        log = LossLog(tmp_path, "predictor")
        for step in steps:
            log.add(step, 1, step / 10, 1e-3, 0.0)
        log.close()
    assert [(int(row["step"]), float(row["loss"])) for row in losses(tmp_path)] == [
        (n, n / 10) for n in range(1, 8)
    ]


def test_periods_name_dates_and_times():
    times = np.datetime64("2020-01-01", "us"), np.datetime64("2020-01-02T06:00", "us")
    assert Period(*times).in_words() == ["2020-01-01", "2020-01-02T06:00:00"]
