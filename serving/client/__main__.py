"""`python -m serving.client --text "the heel broke after a week"`."""

from __future__ import annotations

import sys

from serving.client.cli import main

sys.exit(main())
