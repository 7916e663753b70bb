"""What a drug did: one-sided tests of a change, channel by channel and over channels, corrected for their number."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Bool, Float

from ..annotations import typed
from ..arguments import check, check_concrete, check_known, refusal, without_mask

Alternative = Literal["greater", "less"]
Correction = Literal["holm", "bh"]
FEWEST_BEATS = 3
"""A channel needs so many beats before and after for a test of its own."""


class DrugEffect(NamedTuple):
    """A change and how sure it is; see `drug_effect`. Changes are in the unit of what was given, e.g. ms."""

    effect: float
    """Mean over the channels of the change, after minus before, less the vehicle's."""
    lower: float
    upper: float
    """Its two-sided interval, by default of 95 %."""
    p: float
    """Of the one-sided test over channels that the effect is 0."""
    percent: float
    """Mean over the channels of 100 (after - before) / before, less the vehicle's, %."""
    n_channels: int
    """Channels with a number before and after."""
    is_used: Bool[np.ndarray, " channel"]
    """Which these are."""
    channel_effect: Float[np.ndarray, " channel"]
    """Change of each channel, less the vehicle's; NaN where it is not used."""
    channel_p: Float[np.ndarray, " channel"]
    """Of each channel's own one-sided test; NaN without beats."""
    channel_p_corrected: Float[np.ndarray, " channel"]
    """The same after correction for the number of channels tested."""
    effective_beats: Float[np.ndarray, "channel 2"]
    """To how many independent beats those before and after amount."""


@typed
def drug_effect(
    before: ArrayLike | Sequence[Any],
    after: ArrayLike | Sequence[Any],
    *,
    vehicle: tuple[Any, Any] | None = None,
    same_channels: bool = False,
    alternative: Alternative = "greater",
    correction: Correction = "holm",
    confidence: float = 0.95,
) -> DrugEffect:
    """The effect of a drug on, say, the APD90 of many channels.

    Over channels: the paired t test of the channels' means (`scipy.stats.ttest_rel`). Where a vehicle is given, what
    counts is the change less the vehicle's: Welch's test of the changes of both groups of channels, or the paired one
    of the differences where the vehicle was given to the same channels (`same_channels`).

    By channel: Welch's test of its beats after against those before (less the vehicle's mean change, whose own standard
    error is taken in). Beats that follow one another resemble each other, so that n of them count as n / tau, with tau
    the sum of their autocorrelations (initial positive sequence, Geyer 1992, doi:10.1214/ss/1177011137). These p values
    are corrected for the number of channels: "holm" bounds the chance of any false positive channel, "bh"
    (Benjamini and Hochberg) the expected share of false ones among those called positive.

    Channels of one dish are not independent: they share the cells, the medium and the day. The p value over channels
    of one dish says that this dish changed, no more. For a statement about the drug, the rows are to be dishes: give
    the means of each dish, (dish,), with n dishes.

    Args:
        before, after: (channel, beat) values of single beats, or (channel,) means; NaN for what is missing. The numbers
            of beats may differ. Only channels with both are used.
        vehicle: (before, after) of channels that got the vehicle alone, in the same form.
        same_channels: the vehicle's rows are the same channels, in the same order.
        alternative: "greater" tests for an increase, "less" for a decrease.
        correction: of the channels' p values.
        confidence: of the interval, in (0, 1).

    Returns:
        NaN for p and interval where fewer than two channels (or, with other channels for the vehicle, two of each) are
        left, and for a channel with fewer than three beats before or after.

    Raises:
        ValueError: numbers of channels that do not agree, a confidence out of range.
    """
    if vehicle is not None and len(vehicle) != 2:
        raise refusal("vehicle", vehicle, "", "(before, after)")
    check_known("confidence", confidence, "", "0 < confidence < 1", lambda x: (x > 0) & (x < 1))
    treated = _changes("before", before, "after", after)
    plain = None if vehicle is None else _changes("vehicle before", vehicle[0], "vehicle after", vehicle[1])
    if same_channels and (plain is None or plain.mean.size != treated.mean.size):
        n = treated.mean.size
        raise ValueError(f"same_channels = True; allowed: with a vehicle of the same {n} channels")
    if plain is not None and same_channels:
        treated = treated.less(plain)
    is_used = np.isfinite(treated.mean)
    changes = treated.mean[is_used]
    mean, error, df, percent = _mean(changes, treated.percent[is_used])
    own, own_error, own_df = treated.mean, treated.error, treated.df
    if plain is not None and not same_channels:
        known = np.isfinite(plain.mean)
        shift, shift_error, shift_df, shift_percent = _mean(plain.mean[known], plain.percent[known])
        mean, percent = mean - shift, percent - shift_percent
        error, df = _welch(error, df, shift_error, shift_df)
        own = own - shift
        own_error, own_df = _welch(own_error, own_df, shift_error, shift_df)
    half = _quantile(df, 0.5 + confidence / 2) * error
    channel_p = _p_value(own, own_error, own_df, alternative)
    return DrugEffect(
        effect=float(mean),
        lower=float(mean - half),
        upper=float(mean + half),
        p=float(_p_value(mean, error, df, alternative)),
        percent=float(percent),
        n_channels=int(is_used.sum()),
        is_used=is_used,
        channel_effect=own,
        channel_p=channel_p,
        channel_p_corrected=corrected(channel_p, correction),
        effective_beats=treated.effective,
    )


@typed
def corrected(p: Float[ArrayLike, " test"], correction: Correction = "holm") -> Float[np.ndarray, " test"]:
    """p values corrected for their number: by Holm (1979) or by Benjamini and Hochberg (1995); NaN is not counted."""
    values = np.array(p, np.float64)
    check("p", values, "", "0 to 1, or NaN", lambda x: ~((x < 0) | (x > 1)))
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known])]
    n, ordered = order.size, values[order]
    if correction == "holm":
        values[order] = np.minimum(np.maximum.accumulate(ordered * np.arange(n, 0, -1)), 1.0)
    else:
        scaled = ordered * n / np.arange(1, n + 1)
        values[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return values


@typed
def effective_size(values: Float[ArrayLike, " beat"]) -> float:
    """To how many independent values those of a series amount, for the variance of its mean; NaN is left out.

    n / (1 + 2 sum of autocorrelations), the sum over the initial positive sequence: pairs of neighbouring lags as long
    as a pair's sum is positive (Geyer 1992, doi:10.1214/ss/1177011137). Never more than n, and at least 1.
    """
    x = np.asarray(values, np.float64)
    x = x[np.isfinite(x)]
    n = x.size
    x = x - x.mean() if n else x
    power = x @ x
    if n < FEWEST_BEATS or power == 0:
        return float(n)
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(x, size)
    correlation = np.fft.irfft(spectrum * spectrum.conj(), size)[:n] / power
    pairs = correlation[: n // 2 * 2].reshape(-1, 2).sum(axis=1)
    stops = np.flatnonzero(pairs <= 0)
    tau = 2.0 * pairs[: stops[0] if stops.size else None].sum() - 1.0
    return float(np.clip(n / tau, 1.0, n)) if tau > 0 else float(n)


class _Changes(NamedTuple):
    """Changes of channels, with the error of each from its beats (NaN without)."""

    mean: np.ndarray
    percent: np.ndarray
    error: np.ndarray
    df: np.ndarray
    effective: np.ndarray

    def less(self, other: "_Changes") -> "_Changes":
        error, df = _welch(self.error, self.df, other.error, other.df)
        return _Changes(self.mean - other.mean, self.percent - other.percent, error, df, self.effective)


def _changes(name_before: str, before, name_after: str, after) -> _Changes:
    check_concrete(**{name_before: before, name_after: after})
    early, late = (_numbers(name, x) for name, x in ((name_before, before), (name_after, after)))
    for name, x in ((name_before, early), (name_after, late)):
        if x.ndim not in (1, 2) or not x.size:
            raise ValueError(f"{name}: shape {x.shape}; allowed: (channel,) or (channel, beat)")
        x[~np.isfinite(x)] = np.nan
    if len(early) != len(late):
        raise ValueError(f"{name_after}: {len(late)} channels; allowed: those of {name_before}, {len(early)}")
    (mean0, error0, size0), (mean1, error1, size1) = _by_channel(early), _by_channel(late)
    change = mean1 - mean0
    with np.errstate(divide="ignore", invalid="ignore"):
        percent = 100.0 * change / mean0
    error, df = _welch(error0, size0 - 1, error1, size1 - 1)
    return _Changes(change, percent, error, df, np.stack([size0, size1], axis=-1))


def _numbers(name: str, values: Any) -> np.ndarray:
    try:
        return np.array(without_mask(values), np.float64)
    except (TypeError, ValueError):  # texts, or rows of different lengths
        raise refusal(name, values, "", "numbers of shape (channel,) or (channel, beat)") from None


def _by_channel(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, its standard error and the effective number of beats of each channel; NaN where there is none."""
    if values.ndim == 1:
        unknown = np.full(len(values), np.nan)
        return values, unknown, unknown
    rows = [_of_series(row[np.isfinite(row)]) for row in values]
    mean, error, size = np.array(rows, np.float64).T
    return mean, error, size


def _of_series(x: np.ndarray) -> tuple[float, float, float]:
    if not x.size:
        return np.nan, np.nan, np.nan
    size = effective_size(x)
    if x.size < FEWEST_BEATS or size <= 1:
        return float(x.mean()), np.nan, size
    # The variance about the series' own mean is too small by (1 - 1 / size).
    return float(x.mean()), float(np.sqrt(x.var() / (size - 1))), size


def _mean(changes: np.ndarray, percents: np.ndarray) -> tuple[float, float, float, float]:
    """Mean, its standard error, degrees of freedom and mean percentage; NaN where there are too few."""
    n = changes.size
    if n == 0:
        return np.nan, np.nan, np.nan, np.nan
    error = float(changes.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    return float(changes.mean()), error, n - 1.0, float(percents.mean())


def _welch(error0, df0, error1, df1):
    """Standard error of a difference and its degrees of freedom (Welch and Satterthwaite)."""
    v0, v1 = np.square(error0), np.square(error1)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = (v0 + v1) ** 2 / (v0**2 / df0 + v1**2 / df1)
    return np.sqrt(v0 + v1), np.where(v0 + v1 == 0, np.asarray(df0) + df1, df)


def _p_value(mean, error, df, alternative: str) -> np.ndarray:
    from scipy.special import stdtr

    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.asarray(mean) / error
    return stdtr(df, -t if alternative == "greater" else t)


def _quantile(df, part: float):
    from scipy.special import stdtrit

    return stdtrit(df, part)
