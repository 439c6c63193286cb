"""The errors that a user can mend."""

from __future__ import annotations


class UserError(Exception):
    """Bad input; the message names the key, the value and the fix, and is all that the user sees."""
