"""The model server as a program: `python -m serving.model_server --model_base_path ...`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import warnings
from collections.abc import Sequence

# Before TensorFlow is imported: its warnings quote texts of requests, and nothing of a request may get into the log.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# google-api-core, which TensorFlow imports, on the age of Python 3.10.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")

from serving.model_server import process  # noqa: E402
from serving.model_server.config.flags import parse_flags  # noqa: E402

if __name__ == "__main__" and parse_flags().supervise:  # before TensorFlow, which the parent does without
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    sys.exit(process.supervise([*sys.argv[1:], "--supervise=false"]))

import tensorflow as tf  # noqa: E402  # after the settings above

from serving.model_server.config.files import ConfigError  # noqa: E402
from serving.model_server.errors import ServingError  # noqa: E402
from serving.model_server.server import Server  # noqa: E402

logger = logging.getLogger("serving.model_server")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the server; returns its exit status: 1 where it could not start, else `Server.run`'s."""
    flags = parse_flags(arguments)
    if flags.version:
        print(f"embedded model server of TF Serving 2.16's API\nTensorFlow {tf.__version__}")
        return 0
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # TensorFlow announces on every load that its TF1 loader is deprecated; who serves a model cannot act on it.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if flags.without_effect:
        logger.warning("without effect here: --%s", ", --".join(flags.without_effect))
    try:
        return asyncio.run(Server(flags).run())
    except (OSError, ConfigError) as error:
        print(f"the server could not start: {error}", file=sys.stderr, flush=True)
    except ServingError as error:
        print(f"the server could not start: {error.message}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    sys.stdout.flush()
    # Loading may be under way in TensorFlow's threads, and a normal exit of the interpreter would crash them.
    os._exit(status)
