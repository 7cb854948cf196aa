"""Draw captured output of a terminal as SVG: python3 docs/images/terminal.py < capture > terminal.svg"""

import sys
from html import escape

LINE, CHAR, PAD = 17, 7.8, 16


def draw(lines):
    width = round(max(map(len, lines)) * CHAR) + 2 * PAD
    height = len(lines) * LINE + 2 * PAD
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,monospace" font-size="13">'
    )
    yield f'<rect width="{width}" height="{height}" rx="8" fill="#16181d"/>'
    for row, line in enumerate(lines):
        fill = "#8fd18a" if line.startswith("$ ") else "#d7dae0"
        if line.strip():
            x, y = PAD, PAD + row * LINE + 13
            # the length keeps columns together where the font is another one
            length = f'textLength="{len(line) * CHAR:.1f}"'
            yield f'<text x="{x}" y="{y}" fill="{fill}" xml:space="preserve" {length}>{escape(line)}</text>'
    yield "</svg>"


print("\n".join(draw(sys.stdin.read().rstrip().split("\n"))))
