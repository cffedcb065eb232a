"""Training as moving pictures: a callback that keeps graphs, and draws when it is told to save."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from kansym import scores
from kansym.errors import NoSampleError, check_choice, check_positive_int, is_number
from kansym.files import write_atomically
from kansym.network import Network
from kansym.training.history import StepRecord
from kansym.views.diagram import draw
from kansym.views.graph import network_graph

CURVE_POINTS = 40
SAMPLE_ROWS = 400  # that scores and ranges are taken from
ENDINGS = (".gif", ".webp", ".png")


class Frame(NamedTuple):
    """The network after a step."""

    record: StepRecord
    graph: nx.DiGraph


class Recorder:
    """A callback of `fit` that keeps the network after every so many steps.

        recorder = Recorder(every=5)
        model.fit(data, callbacks=[recorder])
        recorder.save("training.gif", fps=10)

    every: steps between two frames. most_frames: when there are more, every second one is dropped
    and `every` doubles, so that any fit takes bounded memory and is shown from end to end.
    X: [n, in], rows to draw the network by; by default those the model is fitted to.
    score: of the edges, as in `KAN.plot`. Several fits in a row are recorded one after another.
    """

    def __init__(
        self, every: int = 1, most_frames: int = 100, X: Any = None, score: str = "attribution"
    ):
        self.every = check_positive_int("every", every)
        self.most_frames = check_positive_int("most_frames", most_frames, 2)
        self.score = check_choice("score", score, scores.SCORES)
        self.X = X
        self.frames: list[Frame] = []
        self._calls = 0

    def __call__(self, model: Network, record: StepRecord) -> None:
        if self._calls % self.every == 0:
            self.frames.append(Frame(record, self._graph(model)))
            if len(self.frames) > self.most_frames:
                self.frames = self.frames[::2]
                self.every *= 2
        self._calls += 1

    def save(self, path: str | Path, fps: float = 10.0, beta: float = 3.0, dpi: int = 100) -> Path:
        """Write the frames as one moving picture, by the path's ending .gif, .webp or .png
        (animated); the path. The last frame stays for a second.

        Raises ValueError when nothing was recorded, or for another ending.
        """
        path = Path(path)
        check_choice("ending of path", path.suffix.lower(), ENDINGS)
        if not (is_number(fps) and 0 < fps <= 50):
            raise ValueError(f"fps must be a number in (0, 50], got {fps!r}")
        frames = self._checked_frames()
        # A palette: a film of full-colour pages would take four times the memory.
        pictures = (
            image.convert("P", palette=Image.Palette.ADAPTIVE) for image in self.images(beta, dpi)
        )
        pause = round(1000 / fps)
        pauses = [pause] * (len(frames) - 1) + [max(1000, pause)]
        first = next(pictures)
        film = io.BytesIO()
        first.save(
            film, Image.registered_extensions()[path.suffix.lower()], save_all=True,
            append_images=pictures, duration=pauses, loop=0, disposal=2,
        )  # fmt: skip
        write_atomically(path, film.getvalue())
        return path

    def save_frames(self, folder: str | Path, beta: float = 3.0, dpi: int = 100) -> list[Path]:
        """Write every frame as step_00012.png into an existing folder; the paths."""
        folder = Path(folder)
        if not folder.is_dir():
            raise ValueError(f"folder must be an existing folder, got {str(folder)!r}; create it")
        paths = []
        frames = self._checked_frames()
        for number, image in enumerate(self.images(beta, dpi)):
            paths.append(folder / f"frame_{number:04d}_step_{frames[number].record.step:05d}.png")
            picture = io.BytesIO()
            image.save(picture, "png")
            write_atomically(paths[-1], picture.getvalue())
        return paths

    def images(self, beta: float = 3.0, dpi: int = 100) -> Iterator[Image.Image]:
        """The frames as pictures of one size, drawn one at a time."""
        frames = self._checked_frames()
        first = draw(frames[0].graph, beta=beta, title=_title(frames[0].record))
        size = first.figure.canvas.figure.get_size_inches()
        for record, graph in frames:
            figure = Figure(figsize=(size[0], size[1]), dpi=dpi)
            canvas = FigureCanvasAgg(figure)
            ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
            draw(graph, ax, beta=beta, title=_title(record))
            canvas.draw()
            yield Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")

    def _checked_frames(self) -> list[Frame]:
        if not self.frames:
            raise ValueError(
                "there are no frames to save; pass the recorder to a fit: callbacks=[recorder]"
            )
        return self.frames

    @torch.no_grad()
    def _graph(self, model: Network) -> nx.DiGraph:
        rows = self.X
        if rows is None:
            sample = getattr(model, "sample", None)
            if sample is None:
                raise NoSampleError("the model has no sample to draw by; pass X to Recorder")
            rows = sample.X
        X = torch.as_tensor(np.asarray(rows) if not torch.is_tensor(rows) else rows)
        X = X[torch.linspace(0, len(X) - 1, min(len(X), SAMPLE_ROWS)).long()]
        X = X.to(model.device, model.dtype)
        trace = model.trace(X)
        edges = scores.edge_scores(model, trace, self.score)
        names = getattr(model, "feature_names", None), getattr(model, "target_names", None)
        return network_graph(model, X, edges, *names, CURVE_POINTS, sample_rows=2)


def _title(record: StepRecord) -> str:
    test = "" if record.test_loss is None else f", test {record.test_loss:.2e}"
    return f"step {record.step}: loss {record.train_loss:.2e}{test}"
