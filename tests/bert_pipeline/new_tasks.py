"""Reviews as people have them in files, and `new-task` run on such a file in folders of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bert_pipeline.new_task.new_task import LabelChoice, write_task
from bert_pipeline.settings import config

TEXTS = (
    "the parcel came two days late and the box was crushed",
    "lovely colour, and it fits as the table of sizes says",
    "I asked twice and nobody ever answered my letter",
    "works as described; would buy from them again",
    "the seam came apart in the first week of wearing it",
)


def reviews(num_rows: int = 40) -> list[dict[str, str]]:
    """Rows with a text, a label that alternates, a shop, a date and an id."""
    return [
        {
            "review_id": str(1000 + i),
            "comment": f"{TEXTS[i % 5]} ({i})",
            "stars": ("bad", "good")[i % 2],
            "shop": ("Bonn", "Lyon", "Oslo")[i % 3],
            "day": f"2025-03-{1 + i % 28:02d}",
        }
        for i in range(num_rows)
    ]


def write_csv(
    path: Path, rows: Sequence[dict[str, str]], *, delimiter: str = ",", header: bool = True
) -> Path:
    lines = [delimiter.join(rows[0])] if header else []
    lines += [delimiter.join(f'"{cell}"' for cell in row.values()) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


AS_THEY_ARE = LabelChoice()


class Project:
    """Folders for what `new-task` writes."""

    def __init__(self, folder: Path) -> None:
        self.tasks, self.data, self.said = folder / "tasks", folder / "data", list[str]()
        self.tasks.mkdir()

    def new_task(
        self, data: str | Path, *, text: tuple[str, ...] = (), label: str = "", slices: tuple[str, ...] = (),
        name: str = "mine", force: bool = False, labels: LabelChoice = AS_THEY_ARE,
    ) -> config.LoadedTask:  # fmt: skip
        path = write_task(
            name, data=str(data), chosen=(text, label, slices), force=force, labels=labels,
            tasks_dir=self.tasks, data_dir=self.data, say=self.said.append,
        )  # fmt: skip
        return config.load_task(str(path), data=str(self.data / name) if (self.data / name).exists() else "")
