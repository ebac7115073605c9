"""Draws the figures of BRIEF.md: `python labs/queue_worker/figures/draw.py`.

What they show of offsets and deliveries is what came out of the story when it was carried out, not
what somebody remembers. The output is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from runs import (
    COMMIT_FIRST,
    SLOTS,
    SPAN,
    TOOK,
    WORK_FIRST,
    ZOMBIE,
    Outcome,
    Run,
    Worker,
    latest_finished,
    play,
    side_by_side,
    waiting,
    watermark,
)

FOLDER = Path(__file__).resolve().parent
WIDTH, LEFT, RIGHT = 760, 92, 18
ROW, BAR, STRIP = 50, 14, 16

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 14px } .quiet { fill: #59636e; font-size: 12px }
  .bad { fill: #bc4c00; font-size: 12px; font-weight: 600 }
  .paper { fill: #ffffff } .limit { stroke: #59636e; stroke-dasharray: 5 4 }
  .area { fill: #0969da; fill-opacity: .14 } .over { fill: #cf4a00; fill-opacity: .30 }
  .none { fill: none; stroke: #d1d9e0; stroke-dasharray: 3 3 } .life { fill: #59636e; fill-opacity: .12 }
  .yes { stroke: #0969da; stroke-width: 2 } .load { stroke: #0969da; stroke-width: 4 }
  .cut { stroke: #bc4c00; stroke-width: 2.5; fill: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9198a1 } .bad { fill: #ff9a5c } .paper { fill: #0d1117 }
    .none { stroke: #30363d } .limit { stroke: #9198a1 }
    .area { fill: #4493f8; fill-opacity: .25 } .over { fill: #ff9a5c; fill-opacity: .38 }
    .life { fill: #9198a1; fill-opacity: .16 } .yes, .load { stroke: #4493f8 } .cut { stroke: #ff9a5c }
  }
"""


def story_svg(title: str, *panels: tuple[str, str, Sequence[Worker], int]) -> str:
    """Panels of (title, what came of it, workers, records), one below the other; all begin at offset 7."""
    parts: list[str] = []
    top = 0
    for heading, remark, workers, records in panels:
        parts += _story(top, heading, remark, workers, play(workers, first=7, records=records))
        top += _height(workers)
    return _document(top, title, parts)


def _height(workers: Sequence[Worker]) -> int:
    return 44 + ROW * len(workers) + 2 * (STRIP + 8) + 22


def _story(top: int, heading: str, remark: str, workers: Sequence[Worker], outcome: Outcome) -> list[str]:
    strips = top + 48 + ROW * len(workers)
    parts = [
        _text(20, top + 24, heading, "title"),
        _text(WIDTH - RIGHT, top + 24, remark, "bad" if outcome.lost else "quiet", "end"),
    ]
    for w, worker in enumerate(workers):
        parts += _worker(worker, w, outcome, top + 44 + ROW * w)
    parts += _sink(outcome, strips)
    return parts + _offsets("committed", outcome.committed, strips + STRIP + 8, lambda _at, _offset: "area")


def _worker(worker: Worker, w: int, outcome: Outcome, top: int) -> list[str]:
    """A bar for its life, what it does on it, and how it ends."""
    base = top + 22
    parts = [_text(20, base + 11, worker.name, "quiet")]
    begin, pieces = worker.steps[0].at - 0.3, worker.frozen or (worker.ends, worker.ends)
    parts.append(_bar("life", begin, pieces[0], base, BAR))
    if worker.frozen:
        parts += [_bar("none", *worker.frozen, base, BAR), _bar("life", worker.frozen[1], SPAN, base, BAR)]
        middle = (worker.expires + worker.frozen[1]) / 2
        parts.append(_text(_x(middle), base + 11, "frozen, and does not know", "quiet", "middle"))
        parts.append(f'<path class="limit" d="M{_x(worker.expires)} {base - 8}v{BAR + 16}"/>')
        parts.append(_text(_x(worker.expires), base - 13, "its session ends", "quiet", "middle"))
    if worker.ends < SPAN:
        x = float(_x(worker.ends))
        parts.append(f'<path class="cut" d="M{x - 5:g} {base + 2}l10 10m0 -10l-10 10"/>')
        parts.append(_text(f"{x + 10:g}", base + 11, "killed", "bad"))
    for s, step in enumerate(worker.steps):
        if (w, s) in outcome.labels:
            parts += _step(step.at, min(step.until, worker.ends), worker.frozen, base)
            parts.append(_text(_x(step.at), base - 7, outcome.labels[w, s], "quiet", "middle"))
    return parts


def _step(at: float, until: float, frozen: tuple[float, float] | None, base: int) -> list[str]:
    parts = [f'<path class="yes" d="M{_x(at)} {base - 2}v{BAR + 4}"/>']
    if until and frozen and at < frozen[0] < until:
        parts.append(_line(at, frozen[0], base))
        parts.append(_line(frozen[1], until, base))
    elif until:
        parts.append(_line(at, until, base))
    return parts


def _line(begin: float, end: float, base: int) -> str:
    return f'<path class="load" d="M{_x(begin)} {base + BAR / 2:g}H{_x(end)}"/>'


def _sink(outcome: Outcome, top: int) -> list[str]:
    """What came to the sink; in another colour what it had seen before."""
    parts = [_text(20, top + 12, "sink", "quiet")]
    seen: set[int] = set()
    for one in outcome.deliveries:
        again = one.offset in seen
        seen.add(one.offset)
        # The sink has what it was sent long before a frozen worker hears of it.
        end = min(one.until, one.at + 1.4)
        kind = "none" if one.cut else "over" if again else "area"
        parts.append(_bar(kind, one.at, end, top, STRIP, gap=1))
        words = f"{one.offset}{'?' if one.cut else ''}"
        parts.append(_text(_x((one.at + end) / 2), top + 12, words, "bad" if again else "quiet", "middle"))
    return parts


def _offsets(
    name: str, history: Sequence[tuple[float, int]], top: int, kind: Callable[[float, int], str]
) -> list[str]:
    """The committed offset over time."""
    parts = [_text(20, top + 12, name, "quiet")]
    for (begin, offset), (end, _) in pairwise([*history, (SPAN, 0)]):
        parts.append(_bar(kind(begin, offset), begin, end, top, STRIP, gap=1))
        parts.append(_text(_x((begin + end) / 2), top + 12, str(offset), "quiet", "middle"))
    return parts


def watermark_svg() -> str:
    """Jobs that end out of order, and what may be committed meanwhile."""
    runs = side_by_side(TOOK, slots=SLOTS)
    parts = [
        _text(20, 24, "six jobs of one partition, three at a time", "title"),
        _text(WIDTH - RIGHT, 24, "each of another key; the first is slow", "quiet", "end"),
    ]
    for row, run in enumerate(runs):
        top = 40 + 24 * row
        parts.append(_text(20, top + 11, f"offset {run.offset}", "quiet"))
        parts.append(_bar("area", run.begun, run.ended, top, BAR))
        parts.append(f'<path class="yes" d="M{_x(run.ended)} {top - 2}v{BAR + 4}"/>')
    top = 40 + 24 * len(runs) + 14
    parts += _offsets("watermark", watermark(runs), top, lambda at, offset: _kind(runs, at, offset))
    top += STRIP + 10
    parts += _offsets("the latest", latest_finished(runs), top, lambda at, offset: _kind(runs, at, offset))
    remark = "orange: killed now, the worker's jobs before this offset are never delivered"
    parts.append(_text(LEFT, top + STRIP + 18, remark, "quiet"))
    return _document(top + STRIP + 32, "Jobs that end out of order, and which offset may be committed", parts)


def _kind(runs: Sequence[Run], at: float, offset: int) -> str:
    """Whether the committed offset has passed a job that has not ended."""
    return "over" if any(run.offset < offset and run.ended > at for run in runs) else "area"


def waiting_svg() -> str:
    """A wait in the worker's loop, and one aside."""
    parts: list[str] = []
    for panel, (title, aside) in enumerate((("waits in its loop", False), ("waits aside", True))):
        top = 138 * panel
        attempts = waiting(aside=aside)
        parts.append(_text(20, top + 24, title, "title"))
        last = max(one.ended for one in attempts if one.key != "a")
        remark = "one worker, one partition, one slot; the sink refuses key a twice"
        parts.append(_text(WIDTH - RIGHT, top + 24, remark, "quiet", "end"))
        for row, key in enumerate("abc"):
            y = top + 42 + 24 * row
            own = [one for one in attempts if one.key == key]
            parts.append(_text(20, y + 11, f"key {key}", "quiet"))
            for one, following in pairwise([*own, None]):
                parts.append(_bar("over" if one.failed else "area", one.begun, one.ended, y, BAR, gap=1))
                words = "503" if one.failed else "200"
                parts.append(_text(_x((one.begun + one.ended) / 2), y + 11, words, "quiet", "middle"))
                if one.failed and following:
                    parts.append(_bar("none", one.ended, following.begun, y, BAR, gap=1))
        parts.append(f'<path class="limit" d="M{_x(last)} {top + 36}v{BAR + 68}"/>')
        parts.append(_text(_x(last), top + 132, "b and c are done", "quiet", "middle"))
    return _document(286, "Waiting for the next attempt: in the worker's loop, or aside", parts)


PROOFS = (
    # title, the sink's answers (begin, end, words), when the sample was asked and answered, remark
    ("proven", ((10, 150, "200"),), (80, 120), ("told before the sink's", "answer: not ended then")),
    (
        "proven",
        ((10, 50, "503"), (140, 180, "200")),
        (80, 120),
        ("told between two attempts:", "a wait is no end either"),
    ),
    (
        "not proven",
        ((10, 100, "200"),),
        (80, 120),
        ("told after the answer: the", "commit may have come then"),
    ),
)


def proof_svg() -> str:
    """When a committed offset is proven to have passed a job, and when it is not."""
    parts: list[str] = []
    for column, (title, answers, (asked, told), remark) in enumerate(PROOFS):
        left = 20 + 250 * column
        parts += [_text(left, 24, title, "title"), _text(left, 62, "sink", "quiet")]
        for begin, end, words in answers:
            x = left + 44 + begin
            parts.append(f'<rect class="area" x="{x}" y="51" width="{end - begin}" height="{BAR}" rx="3"/>')
            parts.append(f'<path class="yes" d="M{left + 44 + end} 49v{BAR + 4}"/>')
            parts.append(_text(left + 44 + end, 44, words, "quiet", "middle"))
        kind = "over" if title == "proven" else "area"
        x = left + 44 + asked
        parts += [
            _text(left, 94, "offset", "quiet"),
            f'<rect class="{kind}" x="{x}" y="83" width="{told - asked}" height="{BAR}" rx="3"/>',
            _text(x + (told - asked) / 2, 94, "8", "quiet", "middle"),
            *(_text(left, 128 + 18 * row, words, "quiet") for row, words in enumerate(remark)),
        ]
    return _document(164, "When offset 8 as the committed one proves that job 7 was passed over", parts)


def _bar(kind: str, begin: float, end: float, top: float, height: int, *, gap: float = 0) -> str:
    x = float(_x(begin))
    width = float(_x(end)) - x - gap
    return f'<rect class="{kind}" x="{x:g}" y="{top:g}" width="{width:g}" height="{height}" rx="3"/>'


def _x(at: float) -> str:
    return f"{LEFT + at / SPAN * (WIDTH - LEFT - RIGHT):.2f}".rstrip("0").rstrip(".")


def _text(x: float | str, y: float, words: str, kind: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{words}</text>'


def _document(height: float, title: str, parts: Iterable[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-label="{title}">\n<title>{title}</title>\n<style>{STYLE}</style>\n'
        f'<rect class="paper" width="{WIDTH}" height="{height:g}" rx="6"/>\n{body}\n</svg>\n'
    )


def commit_first_svg() -> str:
    return story_svg(
        "A worker killed in a delivery: committed before, and committed afterwards",
        ("commit, then work", "job 7 is lost", COMMIT_FIRST, 2),
        ("work, then commit", "job 7 is delivered twice, and not lost", WORK_FIRST, 2),
    )


def zombie_svg() -> str:
    return story_svg(
        "A worker frozen for longer than its session, and resumed",
        ("a worker that comes back", "job 8 need not have been delivered twice", ZOMBIE, 2),
    )


FIGURES: dict[str, Callable[[], str]] = {
    "commit-first.svg": commit_first_svg,
    "zombie.svg": zombie_svg,
    "watermark.svg": watermark_svg,
    "waiting.svg": waiting_svg,
    "proof.svg": proof_svg,
}


def main() -> None:
    for name, draw in FIGURES.items():
        (FOLDER / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
