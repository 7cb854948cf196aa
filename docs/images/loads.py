#!/usr/bin/env python3
"""Draw closed-loop.svg and open-loop.svg: what a server that stops for two seconds does to each kind of load.

    docs/images/loads.py [--check]

A small simulation: a server serves up to four requests at a time, each in half a second, and answers nothing
between 3 s and 5 s. The closed loop has two users; in the open loop a request is due every 0.25 s. `--check` compares
with the files instead of writing them.
"""

import heapq
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
END, SERVICE, PAUSE, PLACES = 8.0, 0.5, (3.0, 5.0), 4
LEFT, TOP, ROW, SECOND = 20, 46, 9, 84


def served(start):
    """When a request ends whose service begins at `start`."""
    if PAUSE[0] <= start < PAUSE[1]:
        return PAUSE[1] + SERVICE
    end = start + SERVICE
    return end + (PAUSE[1] - PAUSE[0]) if start < PAUSE[0] < end else end


def run(due):
    """(due, start of service, end) for moments that come out of `due(free)`, which is asked with the end of the last."""
    free = [0.0] * PLACES
    rows = []
    for at in due:
        start = max(at, heapq.heappop(free))
        end = served(start)
        heapq.heappush(free, end)
        rows.append((at, start, end))
    return rows


def closed(users=2):
    """Each user sends the next request when the last has ended."""
    rows, ready = [], [0.0] * users
    while (at := heapq.heappop(ready)) < END:
        end = served(at)
        rows.append((at, at, end))
        heapq.heappush(ready, end)
    return rows


def opened(gap=0.25):
    """A request is due at each multiple of the gap."""
    return run(gap * k for k in range(int(END / gap)))


def draw(title, rows, words):
    height = TOP + ROW * len(rows) + 58
    width = LEFT * 2 + int(SECOND * (END + 0.6))
    x = lambda seconds: LEFT + SECOND * min(seconds, END + 0.6)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
           f'font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="{title}. {words}">',
           f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
           f'<text x="{LEFT}" y="20" font-size="15" font-weight="600" fill="#1a1a1a">{title}</text>',
           f'<rect x="{x(PAUSE[0])}" y="28" width="{x(PAUSE[1]) - x(PAUSE[0])}" height="{ROW * len(rows) + 22}" '
           'fill="#f3d9d6"/>',
           f'<text x="{x(PAUSE[0]) + 6}" y="41" fill="#8a2d22">the server stops</text>']
    for nth, (due, start, end) in enumerate(rows):
        y = TOP + ROW * nth
        stalled = end - due > SERVICE + 1e-9
        out.append(f'<rect x="{x(due):.1f}" y="{y}" width="{x(end) - x(due):.1f}" height="{ROW - 3}" rx="2" '
                   f'fill="{"#d9822b" if stalled else "#2f6db5"}"/>')
    base = TOP + ROW * len(rows) + 6
    out.append(f'<line x1="{LEFT}" y1="{base}" x2="{x(END)}" y2="{base}" stroke="#555"/>')
    for second in range(int(END) + 1):
        out.append(f'<text x="{x(second):g}" y="{base + 16}" fill="#333" text-anchor="middle">{second} s</text>')
    out.append(f'<text x="{LEFT}" y="{base + 38}" fill="#1a1a1a">{words}</text></svg>')
    return "\n".join(out) + "\n"


def pictures():
    slow = lambda rows: sum(end - due > SERVICE + 1e-9 for due, _, end in rows)
    ours, theirs = closed(), opened()
    yield "closed-loop.svg", draw("Closed loop: two users wait for each response", ours,
                                  f"{slow(ours)} of {len(ours)} requests are slow: nothing else was sent meanwhile.")
    yield "open-loop.svg", draw("Open loop: a request is due every 0.25 s", theirs,
                                f"{slow(theirs)} of {len(theirs)} requests are slow, as users would have seen it.")


if __name__ == "__main__":
    for name, text in pictures():
        if sys.argv[1:] == ["--check"]:
            if (HERE / name).read_text() != text:
                sys.exit(f"{name} is not what {pathlib.Path(__file__).name} draws")
        else:
            (HERE / name).write_text(text)
