"""Draws the figures of BRIEF.md: `python labs/rate_limiter/figures/draw.py`.

The four algorithms are simulated in exact time on the same requests, so the figures show what they
do and not what somebody remembers of it. The output is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
LIMIT = 10
SPAN = Fraction(4)  # how much is shown; all times are in windows

Limiter = Callable[[Fraction], bool]


def fixed_window() -> Limiter:
    """Counts per window of the clock."""
    counts: dict[int, int] = {}

    def admits(now: Fraction) -> bool:
        window = int(now)
        if counts.get(window, 0) >= LIMIT:
            return False
        counts[window] = counts.get(window, 0) + 1
        return True

    return admits


def sliding_log() -> Limiter:
    """Remembers each admission for one window."""
    log: list[Fraction] = []

    def admits(now: Fraction) -> bool:
        if sum(now - 1 < then <= now for then in log) >= LIMIT:
            return False
        log.append(now)
        return True

    return admits


def sliding_counter() -> Limiter:
    """Weighs the count of the window before by how much of it still reaches into the last W."""
    counts: dict[int, int] = {}

    def admits(now: Fraction) -> bool:
        window = int(now)
        weighted = counts.get(window - 1, 0) * (1 - (now - window)) + counts.get(window, 0)
        if int(weighted) >= LIMIT:
            return False
        counts[window] = counts.get(window, 0) + 1
        return True

    return admits


def token_bucket() -> Limiter:
    """Holds up to L tokens, refilled evenly at L per window."""
    tokens, filled_at = Fraction(LIMIT), Fraction(0)

    def admits(now: Fraction) -> bool:
        nonlocal tokens, filled_at
        tokens = min(Fraction(LIMIT), tokens + (now - filled_at) * LIMIT)
        filled_at = now
        if tokens < 1:
            return False
        tokens -= 1
        return True

    return admits


def evenly(begin: str, end: str, count: int) -> list[Fraction]:
    """`count` requests from `begin` on, the last one a step before `end`."""
    first, last = Fraction(begin), Fraction(end)
    return [first + (last - first) * n / count for n in range(count)]


# A burst on each side of a boundary of the clock, silence, then four times the limit, without end.
REQUESTS = [*evenly("0.86", "0.98", 14), *evenly("1.02", "1.14", 14), *evenly("1.6", "4", 96)]


@dataclass(frozen=True)
class Panel:
    """One algorithm on the requests: when it admitted, when it refused."""

    title: str
    remark: str
    admitted: tuple[Fraction, ...]
    refused: tuple[Fraction, ...]


def simulate(title: str, remark: str, limiter: Limiter) -> Panel:
    verdicts = [(now, limiter(now)) for now in REQUESTS]
    return Panel(
        title,
        remark,
        tuple(now for now, admitted in verdicts if admitted),
        tuple(now for now, admitted in verdicts if not admitted),
    )


def in_last_window(admitted: Sequence[Fraction]) -> list[tuple[Fraction, int]]:
    """The steps of "how many were admitted within the last W", from time 0 to SPAN."""
    changes = sorted({Fraction(0), *admitted, *(then + 1 for then in admitted)})
    steps = [(at, sum(at - 1 < then <= at for then in admitted)) for at in changes if at < SPAN]
    return [*steps, (SPAN, steps[-1][1])]


PANELS = (
    ("fixed window", "twice the limit at once, where two windows of the clock meet", fixed_window),
    ("sliding log", "never more than L within any W; spent in a burst, it comes back in one", sliding_log),
    ("sliding counter", "the burst before weighs less and less; an estimate, smooth", sliding_counter),
    ("token bucket", "one burst of L, then an even trickle of L per W", token_bucket),
)

WIDTH, LEFT, RIGHT = 760, 54, 18
PANEL_HEIGHT, PLOT_HEIGHT, TOP = 152, 84, 62
HIGHEST = 20

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 14px } .quiet { fill: #59636e; font-size: 12px }
  .paper { fill: #ffffff } .axis { stroke: #d1d9e0; fill: none }
  .limit { stroke: #59636e; stroke-dasharray: 5 4 }
  .area { fill: #0969da; fill-opacity: .14 } .line { stroke: #0969da; stroke-width: 2; fill: none }
  .over { fill: #cf4a00; fill-opacity: .30 }
  .bar { fill-opacity: .45 }
  .yes { stroke: #0969da; stroke-width: 2 } .no { stroke: #8c959f; stroke-width: 1 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9198a1 } .paper { fill: #0d1117 }
    .axis { stroke: #30363d } .limit { stroke: #9198a1 }
    .area { fill: #4493f8; fill-opacity: .20 } .line { stroke: #4493f8 } .yes { stroke: #4493f8 }
    .over { fill: #ff9a5c; fill-opacity: .38 } .no { stroke: #6e7681 }
    .bar { fill-opacity: .6 }
  }
"""


def admissions_svg() -> str:
    """All four algorithms, one below the other, on one axis of time."""
    height = TOP + PANEL_HEIGHT * len(PANELS) + 34
    parts = [*_legend()]
    for row, (title, remark, make) in enumerate(PANELS):
        parts += _panel(simulate(title, remark, make()), TOP + row * PANEL_HEIGHT)
    parts += _time_axis(TOP + PANEL_HEIGHT * len(PANELS))
    return _document(
        height, "Admissions over time of four rate limiting algorithms on the same requests", parts
    )


def _legend() -> list[str]:
    return [
        _text(LEFT, 22, f"The same requests, L = {LIMIT}: how many were admitted within the last W", "title"),
        f'<path class="yes" d="M{LEFT} 38v12"/>',
        _text(LEFT + 8, 48, "admitted", "quiet"),
        f'<path class="no" d="M{LEFT + 82} 38v12"/>',
        _text(LEFT + 90, 48, "refused with 429", "quiet"),
        f'<rect class="over" x="{LEFT + 214}" y="38" width="14" height="12"/>',
        _text(LEFT + 234, 48, "more than L within W", "quiet"),
    ]


def _panel(panel: Panel, top: int) -> list[str]:
    base = top + 22 + PLOT_HEIGHT
    steps = in_last_window(panel.admitted)
    return [
        _text(LEFT, top + 14, panel.title, "title"),
        _text(WIDTH - RIGHT, top + 14, panel.remark, "quiet", anchor="end"),
        f'<path class="area" d="{_outline(steps, base, floor=0)}"/>',
        f'<path class="over" d="{_outline(steps, base, floor=LIMIT)}"/>',
        f'<path class="line" d="{_staircase(steps, base)}"/>',
        f'<path class="axis" d="M{LEFT} {base}H{WIDTH - RIGHT}{_boundaries(base)}"/>',
        f'<path class="limit" d="M{LEFT} {_y(LIMIT, base)}H{WIDTH - RIGHT}"/>',
        _text(LEFT - 8, float(_y(LIMIT, base)) + 4, "L", "quiet", anchor="end"),
        _text(LEFT - 8, float(_y(HIGHEST, base)) + 4, "2L", "quiet", anchor="end"),
        f'<path class="no" d="{_ticks(panel.refused, base + 6, 5)}"/>',
        f'<path class="yes" d="{_ticks(panel.admitted, base + 6, 12)}"/>',
    ]


def _boundaries(base: int) -> str:
    """Where the windows of the clock meet."""
    return "".join(f"M{_x(Fraction(n))} {base + 18}V{_y(HIGHEST, base)}" for n in range(1, int(SPAN)))


def _time_axis(top: int) -> list[str]:
    return [_text(_x(Fraction(n)), top + 14, f"{n} W" if n else "0", "quiet", "middle") for n in range(5)]


def _staircase(steps: Iterable[tuple[Fraction, int]], base: int) -> str:
    path = ""
    for at, count in steps:
        path += f"H{_x(at)}V{_y(count, base)}" if path else f"M{_x(at)} {_y(count, base)}"
    return path


def _outline(steps: Sequence[tuple[Fraction, int]], base: int, *, floor: int) -> str:
    """The surface between the staircase and `floor`."""
    lifted = [(at, max(count, floor)) for at, count in steps]
    return f"{_staircase(lifted, base)}V{_y(floor, base)}H{_x(lifted[0][0])}Z"


def _ticks(times: Iterable[Fraction], top: int, length: int) -> str:
    return "".join(f"M{_x(at)} {top}v{length}" for at in times)


def _x(at: Fraction) -> str:
    return _number(LEFT + at / SPAN * (WIDTH - LEFT - RIGHT))


def _y(count: int, base: int) -> str:
    return _number(base - Fraction(count, HIGHEST) * PLOT_HEIGHT)


def _number(value: Fraction) -> str:
    return f"{float(value):.2f}".rstrip("0").rstrip(".")


def _text(x: float | str, y: float, words: str, kind: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{words}</text>'


def _document(height: int, title: str, parts: Iterable[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{title}">\n<title>{title}</title>\n<style>{STYLE}</style>\n'
        f'<rect class="paper" width="{WIDTH}" height="{height}" rx="6"/>\n{body}\n</svg>\n'
    )


# Four admissions where three are allowed, as the grader saw them: when sent, when answered.
CERTAIN = ((60, 120), (95, 150), (130, 205), (170, 250))
UNCERTAIN = ((60, 120), (95, 150), (130, 205), (170, 322))
T_BEGIN, T_END = 50, 262


def proof_svg() -> str:
    """When "more than L within T" is proven, and when it is not."""
    parts = [
        *_exchanges(CERTAIN, 0, "proven", "4 of 4 were decided within T,", "whenever in its bar each was"),
        *_exchanges(
            UNCERTAIN, 380, "not proven", "the last may have been decided", "after T: nothing is charged"
        ),
    ]
    return _document(214, "When an excess within an interval is proven, and when not", parts)


def _exchanges(bars: Sequence[tuple[int, int]], left: int, title: str, *remark: str) -> list[str]:
    """Requests as bars on one clock, from sent to answered, and the interval T above them."""
    begin, end = left + T_BEGIN, left + T_END
    parts = [
        _text(left + 20, 24, title, "title"),
        f'<path class="limit" d="M{begin} 50V158M{end} 50V158"/>',
        f'<path class="axis" d="M{begin} 54H{end}"/>',
        _text((begin + end) / 2, 48, "T, in which L = 3 are allowed", "quiet", "middle"),
    ]
    for row, (sent, answered) in enumerate(bars):
        kind = "area" if answered <= T_END else "over"
        place = f'x="{left + sent}" y="{66 + 23 * row}" width="{answered - sent}" height="14" rx="3"'
        parts.append(f'<rect class="{kind} bar" {place}/>')
    parts += [_text(left + 20, 180 + 18 * row, words, "quiet") for row, words in enumerate(remark)]
    return parts


FIGURES: dict[str, Callable[[], str]] = {"admissions.svg": admissions_svg, "proof.svg": proof_svg}


def main() -> None:
    for name, draw in FIGURES.items():
        (FOLDER / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
