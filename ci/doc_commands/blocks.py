"""Owns reading a page: its fenced blocks and tables of flags, and the comments that tell `ci/doc` how to
run them. It must not know how anything is run.

A comment stands on a line of its own before the block or table; only other comments, blank lines and a
heading may come between:

    <!-- ci: skip: needs a GPU -->          listed, not run
    <!-- ci: exit 2 -->                     the exit code that the text promises; 0 otherwise
    <!-- ci: replace "5m" "1s" -->          a shorter form of what stands in the block
    <!-- ci: file countries.py -->          not run, but saved under this name for the commands below
    <!-- ci: in finished -->                run in this folder of the scratch folder
    <!-- ci: examples -->                   of a block of text, run the indented lines that begin with evalscope
    <!-- ci: rows: evalscope perf … -->     before a table: run this with the flags of each row added
"""

import dataclasses
import re
import shlex

SHELL = {"sh", "bash", "shell", "console"}
RUN = SHELL | {"python", "sql"}
# languages of blocks that are read and not run
READ = {"text", "toml", "json", "rust", "yaml"}

COMMENT = re.compile(r"\s*<!-- ci: (.*?) -->\s*$")
FENCE = re.compile(r"([\s>]*)(```+|~~~+)\s*([\w-]*)[^`]*$")
# what a command begins with in a block that is not tagged as one
COMMAND = re.compile(r"\s*(\$ |(evalscope|pip3?|python3?|cargo|curl|export|git|docker|vllm|ci/\w+) +[\w-])")
EXAMPLE = re.compile(r"^ {4}(evalscope (?:.*\\\n)*.*\n)", re.MULTILINE)
FLAGS = re.compile(r"`(--[^`]*)`")


class Mistake(Exception):
    """Something in a page that cannot be run as it stands."""


@dataclasses.dataclass
class Block:
    """A fenced block, or a row of a table of flags."""

    page: str
    line: int
    language: str
    text: str
    skip: str = ""
    exit: int = 0
    file: str = ""
    folder: str = "."

    def is_command(self):
        """Whether there is something to do for it, or to say about it."""
        return self.language in RUN or self.skip or self.file


def blocks_of(page, text):
    """The blocks of a page in their order."""
    lines = text.splitlines()
    found, comments, number = [], [], 0
    while number < len(lines):
        line = lines[number]
        comment, fence = COMMENT.match(line), FENCE.match(line)
        if comment:
            comments.append(comment.group(1))
        elif fence:
            body, end = fenced(page, lines, number, fence)
            found.append(block(page, number + 1, fence.group(3), body, comments))
            comments, number = [], end
        elif comments and comments[-1].startswith("rows: ") and line.startswith("|"):
            rows, number = table(page, lines, number, comments)
            found.extend(rows)
            comments = []
        elif comments and line and not line.startswith("#"):
            break
        number += 1
    if comments:
        raise Mistake(f"{page}:{number + 1}: `ci: {comments[-1]}` stands before neither a block nor a table")
    return found


def fenced(page, lines, start, fence):
    """The text of the block that begins at a line, and the line of its end."""
    indent, mark = fence.group(1), fence.group(2)
    for end in range(start + 1, len(lines)):
        if lines[end].removeprefix(indent).strip() == mark:
            body = [line.removeprefix(indent) for line in lines[start + 1:end]]
            return "\n".join(body) + "\n", end
    raise Mistake(f"{page}:{start + 1}: the block has no end")


def block(page, line, language, text, comments):
    """A block with what its comments say."""
    made = Block(page, line, language, text)
    for comment in comments:
        apply(made, comment)
    if made.is_command():
        if language == "console":
            made.text = "".join(f"{line[2:]}\n" for line in text.splitlines() if line.startswith("$ "))
    elif language and language not in READ:
        raise Mistake(f"{page}:{line}: `{language}` is not a language that is run ({', '.join(sorted(RUN))}) "
                      f"or read ({', '.join(sorted(READ))})")
    elif any(COMMAND.match(body_line) for body_line in text.splitlines()[:1 if language else None]):
        raise Mistake(f"{page}:{line}: looks like a command, and is not tagged as one: ```sh")
    return made


def apply(made, comment):
    """Notes in a block what one comment says."""
    where = f"{made.page}:{made.line}"
    word, _, rest = comment.partition(" ")
    if word == "skip:" and rest:
        made.skip = rest
    elif word == "exit" and rest.isdigit():
        made.exit = int(rest)
    elif word == "file" and rest:
        made.file = rest
    elif word == "in" and rest:
        made.folder = rest
    elif comment == "examples" and EXAMPLE.search(made.text):
        made.language, made.text = "sh", "".join(EXAMPLE.findall(made.text))
    elif word == "replace" and len(shlex.split(rest)) == 2:
        old, new = shlex.split(rest)
        if old not in made.text:
            raise Mistake(f"{where}: there is no `{old}` to replace")
        made.text = made.text.replace(old, new)
    else:
        raise Mistake(f"{where}: `ci: {comment}` is no comment that ci/doc knows")


def table(page, lines, start, comments):
    """The rows of a table of flags as blocks, and its last line."""
    base = comments[-1].removeprefix("rows: ")
    end = start
    while end + 1 < len(lines) and lines[end + 1].startswith("|"):
        end += 1
    text = "\n".join(lines[start + 2:end + 1])
    for comment in comments[:-1]:
        whole = Block(page, start + 1, "sh", text)
        apply(whole, comment)
        text = whole.text
    rows = []
    for number, row in enumerate(text.splitlines()):
        rows.extend(Block(page, start + 3 + number, "sh", f"{base} {flags}\n") for flags in FLAGS.findall(row))
    if not rows:
        raise Mistake(f"{page}:{start + 1}: no row of the table has flags")
    return rows, end
