"""Decimals as RapidJSON reads them, which TF Serving uses: long ones may be off by one in the last place."""

from __future__ import annotations

# So many digits a float64 holds exactly, and with a point as many characters: there RapidJSON is right, as `float` is.
_EXACT_DIGITS, _EXACT_CHARS = 15, 16
_MAX_EXACT, _MAX_UINT64, _MAX_INT64_SIZE = 2**53 - 1, 2**64 - 1, 2**63
# Digits beyond this number of them are skipped.
_DIGITS = 17
_SMALLEST_POWER = -308
_POWER_CHARS = 12
_POWERS = tuple(float(f"1e{power}") for power in range(309))


def read(text: str) -> float:
    """Reads a decimal; infinite where it is beyond float64.

    >>> read("0.5"), read("123456789.123456789"), float("123456789.123456789")
    (0.5, 123456789.12345681, 123456789.12345679)

    The algorithm is `ParseNumber` and `StrtodNormalPrecision` of RapidJSON 1.1.0 (include/rapidjson/reader.h and
    internal/strtod.h): digits are gathered in an integer of 64 bits, then in a float64, and scaled once.

    Args:
        text: of a JSON number.
    """
    exponent = ""
    if "e" in text or "E" in text:
        text, _, exponent = text.lower().partition("e")
    elif len(text) <= _EXACT_CHARS:
        return float(text)
    sign = text.startswith("-")
    whole, _, fraction = text[sign:].partition(".")
    if len(whole) > len(_POWERS):
        return float("-inf" if sign else "inf")
    value, taken = _gather(whole, fraction, largest=_MAX_INT64_SIZE if sign else _MAX_UINT64)
    # A power of so many digits makes 0 or infinity of every number that a body can hold.
    power = int(exponent.lstrip("+-0")[:_POWER_CHARS] or "0")
    value = _scale(value, (-power if exponent.startswith("-") else power) - taken)
    return -value if sign else value


def _gather(whole: str, fraction: str, *, largest: int) -> tuple[float, int]:
    """The digits as a number, and how many of those behind the point are in it."""
    digits = (whole + fraction).lstrip("0")
    if len(whole) < _EXACT_DIGITS:
        number = int(digits[: _EXACT_DIGITS + 1] or "0")
        taken = min(len(digits), _EXACT_DIGITS + 1)
        if taken < len(digits) and number <= _MAX_EXACT:
            number, taken = int(digits[: taken + 1]), taken + 1
        value, left = float(number), digits[taken:]
        significant = taken - (whole != "0")
    else:
        value, significant, left = _from_long_whole(whole, fraction, largest=largest)
    for digit in left[: max(0, _DIGITS - significant)]:
        value = value * 10.0 + int(digit)
        left = left[1:]
    return value, len(fraction) - len(left)


def _from_long_whole(whole: str, fraction: str, *, largest: int) -> tuple[float, int, str]:
    """The value, how many digits count as significant in it, and the digits that are left."""
    number, significant = int(whole), len(whole) - 1
    if number <= largest:
        taken = 0
        while taken < len(fraction) and number <= _MAX_EXACT:
            number, taken = number * 10 + int(fraction[taken]), taken + 1
        return float(number), significant + taken, fraction[taken:]
    fits = len(str(largest))
    if int(whole[:fits]) > largest:
        fits -= 1
    value = float(int(whole[:fits]))
    for digit in whole[fits:]:
        value = value * 10.0 + int(digit)
    return value, fits - 1, fraction


def _scale(value: float, power: int) -> float:
    if power < _SMALLEST_POWER:
        return _scale_once(_scale_once(value, _SMALLEST_POWER), power - _SMALLEST_POWER)
    return _scale_once(value, power)


def _scale_once(value: float, power: int) -> float:
    if power < _SMALLEST_POWER:
        return 0.0
    if power < 0:
        return value / _POWERS[-power]
    return value * _POWERS[power] if power < len(_POWERS) else float("inf")
