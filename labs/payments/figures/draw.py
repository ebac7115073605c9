"""Draws the figures of BRIEF.md: `python labs/payments/figures/draw.py`.

What they show of charges, payments and events is what came out of the race when it was carried out,
not what somebody remembers. The output is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from races import (
    BOTH_BOOK,
    FRESH_KEY,
    INSERTED,
    KEPT_KEY,
    LOOKED_UP,
    OWNER_BOOKS,
    PAID,
    POLLS,
    READ_THEN_WRITTEN,
    RESERVED,
    WRITERS,
    Outcome,
    Request,
    Step,
    Written,
    play,
    relay,
)

FOLDER = Path(__file__).resolve().parent
SPAN = 14.0  # how much time is shown, in units that mean nothing

WIDTH, LEFT, RIGHT = 760, 104, 18
ROW, BAR, STRIP = 50, 14, 16

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 14px } .quiet { fill: #59636e; font-size: 12px }
  .wrong { fill: #bc4c00; font-size: 12px; font-weight: 600 }
  .paper { fill: #ffffff } .rest { fill: none; stroke: #d1d9e0; stroke-dasharray: 3 3 }
  .area { fill: #0969da; fill-opacity: .14 } .over { fill: #cf4a00; fill-opacity: .30 }
  .yes { stroke: #0969da; stroke-width: 2 } .work { stroke: #0969da; stroke-width: 4 }
  .dead { stroke: #bc4c00; stroke-width: 2.5; fill: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9198a1 } .wrong { fill: #ff9a5c } .paper { fill: #0d1117 }
    .rest { stroke: #30363d } .area { fill: #4493f8; fill-opacity: .25 }
    .over { fill: #ff9a5c; fill-opacity: .38 } .yes, .work { stroke: #4493f8 } .dead { stroke: #ff9a5c }
  }
"""

History = Sequence[tuple[float, int]]
Panel = tuple[str, str, Sequence[Request]]


def race_svg(title: str, *panels: Panel, paid: int = 0) -> str:
    """Panels of (title, remark, requests), one below the other."""
    parts: list[str] = []
    top = 0
    for heading, remark, requests in panels:
        parts += _race(top, heading, remark, requests, paid)
        top += _height(len(requests))
    return _document(top, title, parts)


def _height(rows: int) -> int:
    return 40 + ROW * rows + 2 * (STRIP + 8) + 22


def _race(top: int, heading: str, remark: str, requests: Sequence[Request], paid: int) -> list[str]:
    outcome = play(requests, paid=paid)
    parts = _heading(top, heading, remark)
    for r, one in enumerate(requests):
        parts += _request(one, r, outcome, top + 36 + ROW * r)
    strips = top + 42 + ROW * len(requests)
    says = _left if paid else _counted
    parts += _strip("provider", outcome.provider, strips, lambda at, n: says(outcome, at, n, "charge"))
    parts += _strip(
        "Postgres", outcome.table, strips + STRIP + 8, lambda at, n: says(outcome, at, n, "payment")
    )
    return parts


def _heading(top: int, heading: str, remark: str) -> list[str]:
    return [
        _text(20, top + 24, heading, "title"),
        _text(WIDTH - RIGHT, top + 24, remark, "quiet", "end"),
    ]


def _request(one: Request, r: int, outcome: Outcome, top: int) -> list[str]:
    """A bar from sent to answered, its steps, and what the client got."""
    base = top + 22
    parts = [
        _text(20, base + 11, f"{one.where} {one.verb}", "quiet"),
        _bar("area", one.sent, one.answered, base, BAR),
    ]
    for s, step in enumerate(one.steps):
        parts += _step(step, outcome.labels[r, s], base)
    end = float(_x(one.answered))
    if one.killed:
        parts.append(f'<path class="dead" d="M{end - 5:g} {base + 2}l10 10m0 -10l-10 10"/>')
        parts.append(_text(f"{end + 10:g}", base + 11, "killed", "wrong"))
    else:
        parts.append(_text(f"{end + 6:g}", base + 11, str(outcome.answers[r]), "quiet"))
    return parts


def _step(step: Step, label: str, base: int) -> list[str]:
    """A mark where it is done, a thick line while the provider works, and words above."""
    parts = [f'<path class="yes" d="M{_x(step.at)} {base - 2}v{BAR + 4}"/>']
    if step.until:
        parts.append(f'<path class="work" d="M{_x(step.at)} {base + BAR / 2:g}H{_x(step.until)}"/>')
    middle = (step.at + step.until) / 2 if step.until else step.at
    return [*parts, _text(_x(middle), base - 7, label, "quiet", "middle")]


def _counted(outcome: Outcome, at: float, number: int, thing: str) -> tuple[str, str]:
    """Charges and payments: wrong where there are two, or one that nobody books or works on."""
    words = f"{number or 'no'} {thing}{'s' * (number != 1)}"
    unknown = thing == "charge" and outcome.killed and number > _at(outcome.table, at)
    return words, "over" if number > 1 or unknown else "area" if number else "rest"


def _left(_outcome: Outcome, _at: float, number: int, _thing: str) -> tuple[str, str]:
    """Cents that are left: wrong where more was given back than there was."""
    words = f"{number} left" if number >= 0 else f"{-number} too much given back"
    return words, "over" if number < 0 else "area"


def _strip(name: str, history: History, top: int, says: Callable[[float, int], tuple[str, str]]) -> list[str]:
    """What somebody holds over time; `says` gives the words and the looks of a stretch."""
    parts = [_text(20, top + 12, name, "quiet")]
    for (begin, number), (end, _) in pairwise([*history, (SPAN, 0)]):
        # A stretch looks as its end does: what is out of step for a moment is put right within it.
        words, kind = says(end - 0.01, number)
        parts.append(_bar(kind, begin, end, top, STRIP, gap=1))
        parts.append(_text(_x((begin + end) / 2), top + 12, words, "quiet", "middle"))
    return parts


def _at(history: History, at: float) -> int:
    return next(number for since, number in reversed(history) if since <= at)


def _bar(kind: str, begin: float, end: float, top: int, height: int, *, gap: float = 0) -> str:
    x = float(_x(begin))
    width = float(_x(end)) - x - gap
    return f'<rect class="{kind}" x="{x:g}" y="{top}" width="{width:g}" height="{height}" rx="3"/>'


def slow_commit_svg() -> str:
    """Three transactions that write events, and a relay that asks what is new, in two ways."""
    parts = _heading(0, "a slow commit", "ids are drawn in one order and committed in another")
    for row, one in enumerate(WRITERS):
        parts += _writer(one, 36 + ROW * row)
    top = 36 + ROW * len(WRITERS)
    for name, marks in (("relay, last id", False), ("relay, marks", True)):
        parts += _relay(name, relay(WRITERS, POLLS, marks=marks), top)
        top += ROW + STRIP + 14
    return _document(top + 14, "A relay that remembers the last id, and one that marks rows", parts)


def _writer(one: Written, top: int) -> list[str]:
    base = top + 22
    parts = [_text(20, base + 11, "transaction", "quiet"), _bar("area", one.begins, one.committed, base, BAR)]
    for at, words in ((one.drawn, f"id {one.id}"), (one.committed - 0.1, "COMMIT")):
        parts.append(f'<path class="yes" d="M{_x(at)} {base - 2}v{BAR + 4}"/>')
        parts.append(_text(_x(at), base - 7, words, "quiet", "middle"))
    return parts


def _relay(name: str, taken: list[tuple[float, list[int]]], top: int) -> list[str]:
    """What a relay finds each time, and below it what has been published."""
    base = top + 22
    parts = [_text(20, base + 11, name, "quiet")]
    published: list[int] = []
    history: list[tuple[float, str]] = [(0.0, "nothing")]
    for at, new in taken:
        parts.append(f'<path class="yes" d="M{_x(at)} {base - 2}v{BAR + 4}"/>')
        found = " and ".join(map(str, new)) if new else "nothing new"
        parts.append(_text(_x(at), base - 7, found, "quiet", "middle"))
        published += new
        history.append((at, ", ".join(map(str, published)) or "nothing"))
    return parts + _published(history, top + ROW - 6)


def _published(history: list[tuple[float, str]], top: int) -> list[str]:
    """The topic over time, orange from the poll on at which a committed row was passed over."""
    parts = [_text(20, top + 12, "topic", "quiet")]
    changes = [history[0], *(now for before, now in pairwise(history) if now[1] != before[1])]
    missed = _missed(history)
    if missed is not None:
        changes.append((missed, changes[-1][1] + " and never 7"))
    for (begin, words), (end, _) in pairwise([*changes, (SPAN, "")]):
        kind = "rest" if words == "nothing" else "over" if "never" in words else "area"
        parts.append(_bar(kind, begin, end, top, STRIP, gap=1))
        parts.append(_text(_x((begin + end) / 2), top + 12, words, "quiet", "middle"))
    return parts


def _missed(history: list[tuple[float, str]]) -> float | None:
    """The first poll that should have found the slow row and did not."""
    slow = max(WRITERS, key=lambda one: one.committed)
    found = any(str(slow.id) in words for _, words in history)
    return None if found else next(at for at, _ in history if at >= slow.committed)


PROOFS = (
    ("proven", "201", ("charged", "charged"), "two charges for one order,", "and one key was ever sent"),
    ("not proven", "?", ("charged?",), "no answer: charged, or not, or", "not yet; ask again and see"),
    ("not proven", "409", ("charged",), "it may still be running; only", "L + 10 s after its death not"),
)


def proof_svg() -> str:
    """When a broken promise is proven, and when it is not."""
    parts: list[str] = []
    for column, (title, answer, charges, *remark) in enumerate(PROOFS):
        left = 20 + 250 * column
        proven = title == "proven"
        known = answer != "?"
        parts += [
            _text(left, 24, title, "title"),
            _text(left, 62, "POST", "quiet"),
            _block("area" if known else "rest", left + 66, 51, 110),
            _text(left + 121, 62, answer, "quiet", "middle"),
            _text(left, 94, "provider", "quiet"),
        ]
        width = (112 - 2 * len(charges)) // len(charges)
        for n, words in enumerate(charges):
            kind = "over" if proven else "area" if known else "rest"
            parts.append(_block(kind, left + 66 + n * (width + 2), 83, width))
            parts.append(_text(left + 66 + n * (width + 2) + width / 2, 94, words, "quiet", "middle"))
        parts += [_text(left, 128 + 18 * row, words, "quiet") for row, words in enumerate(remark)]
    return _document(164, "When a broken promise is proven, and when it is not", parts)


def _block(kind: str, x: int, y: int, width: int) -> str:
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{BAR}" rx="3"/>'


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


def crash_svg() -> str:
    return race_svg(
        "Killed between the charge and the booking, and retried",
        ("a fresh key for each call", "the provider cannot know that it is the same payment", FRESH_KEY),
        ("a key kept since before the first call", "the provider answers what it answered then", KEPT_KEY),
    )


def two_replicas_svg() -> str:
    return race_svg(
        "One key on two replicas: looked up first, or inserted first",
        ("looked up, then inserted", "both look before either has written", LOOKED_UP),
        ("inserted first", "a unique index lets one of them in", INSERTED),
    )


def racing_refunds_svg() -> str:
    return race_svg(
        "Two refunds of 60 race for a payment of 100",
        ("read, refunded, written", "two refunds of 60 of a payment of 100", READ_THEN_WRITTEN),
        ("reserved first", "one statement looks and takes", RESERVED),
        paid=PAID,
    )


def lock_svg() -> str:
    return race_svg(
        "A lock that runs out while its owner waits for the provider",
        ("each books what it was told", "the provider's key holds, and yet there are two", BOTH_BOOK),
        ("only the owner books", "whoever is not waits for the answer of the other", OWNER_BOOKS),
    )


FIGURES: dict[str, Callable[[], str]] = {
    "crash.svg": crash_svg,
    "two-replicas.svg": two_replicas_svg,
    "lock.svg": lock_svg,
    "racing-refunds.svg": racing_refunds_svg,
    "slow-commit.svg": slow_commit_svg,
    "proof.svg": proof_svg,
}


def main() -> None:
    for name, draw in FIGURES.items():
        (FOLDER / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
