"""TensorBoard's server, in this process, for this machine only."""

from __future__ import annotations

from pathlib import Path

from tensorboard import program

from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError


def launch(folder: Path, *, port: int) -> str:
    """Starts TensorBoard on a thread that ends with the process.

    Args:
        folder: its logdir.
        port: of 127.0.0.1; 0: any that is free.

    Returns:
        The address.

    Raises:
        UserError: the port is taken.
    """
    board = program.TensorBoard()
    # Its fast loader is another process, which a kill would leave behind.
    board.configure(logdir=str(folder), host="127.0.0.1", port=port, load_fast="false")
    try:
        address: str = board.launch()
    except program.TensorBoardServerException as error:
        raise UserError(
            f"{typed.name('port')} is {port}: {error.msg}; name another one, or 0 for any that is free"
        ) from error
    return address
