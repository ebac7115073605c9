"""Draws the figures of BRIEF.md: `python labs/cache_layer/figures/draw.py`.

What they show of a product's versions is what came out of the race when it was carried out, not what
somebody remembers. The output is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from races import (
    ARRIVALS,
    EARLY_DROP,
    IN_ORDER,
    JOINED,
    LATE_FILL,
    OUT_OF_ORDER,
    Outcome,
    Request,
    Step,
    loads,
    play,
)

FOLDER = Path(__file__).resolve().parent
SPAN = 14.0  # how much time is shown, in units that mean nothing


WIDTH, LEFT, RIGHT = 760, 92, 18
ROW, BAR, STRIP = 50, 14, 16

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 14px } .quiet { fill: #59636e; font-size: 12px }
  .stale { fill: #bc4c00; font-size: 12px; font-weight: 600 }
  .paper { fill: #ffffff } .axis { stroke: #d1d9e0; fill: none }
  .limit { stroke: #59636e; stroke-dasharray: 5 4 }
  .area { fill: #0969da; fill-opacity: .14 } .over { fill: #cf4a00; fill-opacity: .30 }
  .none { fill: none; stroke: #d1d9e0; stroke-dasharray: 3 3 }
  .yes { stroke: #0969da; stroke-width: 2 } .load { stroke: #0969da; stroke-width: 4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9198a1 } .stale { fill: #ff9a5c } .paper { fill: #0d1117 }
    .axis, .none { stroke: #30363d } .limit { stroke: #9198a1 }
    .area { fill: #4493f8; fill-opacity: .25 } .over { fill: #ff9a5c; fill-opacity: .38 }
    .yes, .load { stroke: #4493f8 }
  }
"""


def race_svg(title: str, *panels: tuple[str, str, bool, Sequence[Request]]) -> str:
    """Panels of (title, remark, whether version 1 is cached at first, requests), one below the other."""
    parts: list[str] = []
    top = 0
    for heading, remark, cached, requests in panels:
        parts += _race(top, heading, remark, requests, play(requests, cached=cached))
        top += _height(requests)
    return _document(top + 8, title, parts)


def _height(requests: Sequence[Request]) -> int:
    return 44 + ROW * len(requests) + 2 * (STRIP + 8) + 34


def _race(top: int, heading: str, remark: str, requests: Sequence[Request], outcome: Outcome) -> list[str]:
    strips = top + 44 + ROW * len(requests)
    parts = [
        _text(20, top + 24, heading, "title"),
        _text(WIDTH - RIGHT, top + 24, remark, "quiet", "end"),
        *_promise(requests, outcome, top + 40, strips + 2 * (STRIP + 8)),
    ]
    for r, one in enumerate(requests):
        parts += _request(one, r, outcome, top + 44 + ROW * r)
    parts += _strip("Postgres", outcome.table, outcome.table, strips)
    parts += _strip("Redis", outcome.cache, outcome.table, strips + STRIP + 8)
    return parts


def _promise(requests: Sequence[Request], outcome: Outcome, top: int, bottom: int) -> list[str]:
    """The moment from which on nobody may be shown less than the newest version."""
    newest = max(outcome.table)[1]
    told = next(
        one.answered for r, one in enumerate(requests) if one.verb == "PUT" and outcome.answers[r] == newest
    )
    return [
        f'<path class="limit" d="M{_x(told)} {top}V{bottom + 6}"/>',
        _text(_x(told), bottom + 20, f"a GET sent from here on must show v{newest}", "quiet", "middle"),
    ]


def _request(one: Request, r: int, outcome: Outcome, top: int) -> list[str]:
    """A bar from sent to answered, its steps, and what the client got."""
    base = top + 22
    old = r in outcome.stale
    parts = [
        _text(20, base + 11, f"{one.where} {one.verb}", "quiet"),
        _bar("over" if old else "area", one.sent, one.answered, base, BAR),
    ]
    for s, step in enumerate(one.steps):
        x, end = _x(step.at), _x(max(step.at, step.until))
        parts.append(f'<path class="yes" d="M{x} {base - 2}v{BAR + 4}"/>')
        if step.until:
            parts.append(f'<path class="load" d="M{x} {base + BAR / 2:g}H{end}"/>')
        parts.append(_text(_over(step), base - 7, outcome.labels[r, s], "quiet", "middle"))
    answer = f"v{outcome.answers[r]}" + (": too old" if old else "")
    parts.append(_text(f"{float(_x(one.answered)) + 6:g}", base + 11, answer, "stale" if old else "quiet"))
    return parts


def _over(step: Step) -> str:
    """Where the words to a step stand: over its middle, or near the beginning of a long one."""
    return _x((step.at + max(step.at, min(step.until, step.at + 1.4))) / 2)


def _strip(
    name: str, history: Sequence[tuple[float, int | None]], table: Sequence[tuple[float, int]], top: int
) -> list[str]:
    """What a store held over time; in another colour where the table had moved on."""
    parts = [_text(20, top + 12, name, "quiet")]
    for (begin, version, kind), (end, _, _) in pairwise([*_pieces(history, table), (SPAN, None, "")]):
        parts.append(_bar(kind, begin, end, top, STRIP, gap=1))
        words = "nothing" if version is None else f"v{version}"
        parts.append(_text(_x((begin + end) / 2), top + 12, words, "quiet", "middle"))
    return parts


def _pieces(
    history: Sequence[tuple[float, int | None]], table: Sequence[tuple[float, int]]
) -> list[tuple[float, int | None, str]]:
    """(since when, version, how it looks), one for each stretch in which neither changes."""
    pieces: list[tuple[float, int | None, str]] = []
    for at in sorted({at for at, _ in (*history, *table)}):
        version = _at(history, at)
        looks = _kind(version, _at(table, at))
        if not pieces or pieces[-1][1:] != (version, looks):
            pieces.append((at, version, looks))
    return pieces


def _kind(version: int | None, current: int | None) -> str:
    if version is None:
        return "none"
    return "area" if version == current else "over"


def _at(history: Sequence[tuple[float, int | None]], at: float) -> int | None:
    return next(version for since, version in reversed(history) if since <= at)


def _bar(kind: str, begin: float, end: float, top: int, height: int, *, gap: float = 0) -> str:
    x = float(_x(begin))
    width = float(_x(end)) - x - gap
    return f'<rect class="{kind}" x="{x:g}" y="{top}" width="{width:g}" height="{height}" rx="3"/>'


def stampede_svg() -> str:
    parts: list[str] = []
    for column, (title, shared) in enumerate(
        (("everybody loads", False), ("one loads, the others wait", True))
    ):
        left = 20 + 380 * column
        requests = loads(ARRIVALS, shared=shared)
        asked = sum(asks for _, _, asks in requests)
        parts.append(_text(left, 24, title, "title"))
        for row, (sent, answered, asks) in enumerate(requests):
            x, width, y = left + 40 * sent, 40 * (answered - sent), 44 + 21 * row
            parts.append(f'<rect class="area" x="{x:g}" y="{y}" width="{width:g}" height="{BAR}" rx="3"/>')
            if asks:
                parts.append(f'<path class="load" d="M{x + 6:g} {y + 7}h{width - 12:g}"/>')
        counted = f"{asked} statement{'s' * (asked > 1)} for {len(requests)} GETs, on one replica"
        parts.append(_text(left, 190, counted, "quiet"))
    return _document(
        206, "Many GETs of one cold product: everybody loads, or one loads and the others wait", parts
    )


PROOFS = (
    ("proven", (20, 90), (110, 200), "sent when v2 was", "acknowledged: too old"),
    ("not proven", (20, 120), (90, 200), "sent before that: it may have", "looked before the write"),
    ("not proven", (20, None), (110, 200), "the PUT got no answer: it may", "come later, or never"),
)


def proof_svg() -> str:
    """When an old answer is proven too old, and when it is not."""
    parts: list[str] = []
    for column, (title, (begin, end), (sent, answered), *remark) in enumerate(PROOFS):
        left = 20 + 250 * column
        kind = "over" if title == "proven" else "area"
        parts += [
            _text(left, 24, title, "title"),
            _text(left, 62, "PUT", "quiet"),
            _open_bar(left + 20 + begin, end and left + 20 + end),
            _text(left, 94, "GET", "quiet"),
            f'<rect class="{kind}" x="{left + 20 + sent}" y="83" width="{answered - sent}" '
            f'height="{BAR}" rx="3"/>',
            _text(left + 20 + (sent + answered) / 2, 94, "v1", "quiet", "middle"),
            *(_text(left, 128 + 18 * row, words, "quiet") for row, words in enumerate(remark)),
        ]
    return _document(164, "When an old answer to a GET is proven too old, and when it is not", parts)


def _open_bar(begin: float, end: float | None) -> str:
    """A PUT of version 2; without an end nobody knows when, or whether, it was done."""
    width = 180 if end is None else end - begin
    kind = "none" if end is None else "area"
    bar = f'<rect class="{kind}" x="{begin}" y="51" width="{width}" height="{BAR}" rx="3"/>'
    return bar + _text(begin + width / 2, 62, "v2" if end else "v2?", "quiet", "middle")


def _x(at: float) -> str:
    return f"{LEFT + at / SPAN * (WIDTH - LEFT - RIGHT):.2f}".rstrip("0").rstrip(".")


def _text(x: float | str, y: float, words: str, kind: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{words}</text>'


def _document(height: int, title: str, parts: Iterable[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{title}">\n<title>{title}</title>\n<style>{STYLE}</style>\n'
        f'<rect class="paper" width="{WIDTH}" height="{height}" rx="6"/>\n{body}\n</svg>\n'
    )


def late_fill_svg() -> str:
    return race_svg(
        "A fill that comes later than the write",
        ("a late fill", "the reader is slow between its SELECT and its SET", False, LATE_FILL),
    )


def early_drop_svg() -> str:
    return race_svg(
        "An entry dropped before the commit",
        (
            "dropped before the commit",
            "the reader is quick, and right: so far v1 is the truth",
            True,
            EARLY_DROP,
        ),
    )


def two_writers_svg() -> str:
    return race_svg(
        "Two writers who write through, in both orders",
        ("two writers, in order", "each SET comes in the order of the commits", True, IN_ORDER),
        ("two writers, out of order", "the first writer's SET comes last", True, OUT_OF_ORDER),
    )


def joined_load_svg() -> str:
    return race_svg(
        "A reader joins a load that began before the write",
        ("a load joined too late", "Redis is spotless all the time", False, JOINED),
    )


FIGURES: dict[str, Callable[[], str]] = {
    "late-fill.svg": late_fill_svg,
    "early-drop.svg": early_drop_svg,
    "two-writers.svg": two_writers_svg,
    "joined-load.svg": joined_load_svg,
    "stampede.svg": stampede_svg,
    "proof.svg": proof_svg,
}


def main() -> None:
    for name, draw in FIGURES.items():
        (FOLDER / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
