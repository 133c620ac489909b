"""An account as people read it: plain text, the same on a terminal and in a log."""

from __future__ import annotations

from controlplane.domain.accounting import Account

STALLS_SHOWN = 10
RANGES_SHOWN = 5


def account_text(account: Account) -> str:
    """Two columns; the stalls and lost ranges below, the longest and the first of them."""
    rows = [
        ("sent", f"{account.sent}"),
        ("acknowledged", f"{account.acknowledged}"),
        ("failed", f"{account.failed}"),
        ("unresolved", f"{account.unresolved}"),
        ("consumed", f"{account.consumed}"),
        ("lost", f"{account.lost}"),
        ("duplicated", f"{account.duplicated}"),
        ("reordered", f"{account.reordered}"),
        ("holes", f"{account.holes}"),
        ("unacknowledged but consumed", f"{account.unacknowledged_consumed}"),
        ("produce latency p50", _ms(account.p50_ms)),
        ("produce latency p99", _ms(account.p99_ms)),
        ("produce latency max", _ms(account.max_ms)),
        ("stalls over 100 ms", f"{len(account.stalls)}"),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value:>10}" for name, value in rows]
    longest = sorted(account.stalls, key=lambda stall: -stall.duration_ms)[:STALLS_SHOWN]
    lines += [
        f"  stall of {stall.duration_ms:.0f} ms at {stall.start_s:.1f} s, partition {stall.partition}"
        f" ({stall.records} records waited)"
        for stall in longest
    ]
    if len(account.stalls) > STALLS_SHOWN:
        lines.append(f"  and {len(account.stalls) - STALLS_SHOWN} shorter ones")
    lines += [
        f"  lost: run {one.run} partition {one.partition} sequences {one.first} to {one.last}"
        for one in account.lost_ranges[:RANGES_SHOWN]
    ]
    return "\n".join(lines)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
