"""The paper's tables in LaTeX: one `tabular` for each family, ruled by booktabs, for any engine and font encoding."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable

from mec_transfer.results.leaderboard import Leaderboard
from mec_transfer.results.paper import PUBLISHED, Number, PaperTable, paper_tables

_COMMANDS = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "[": "{[}",  # else an option of the row before
    "*": "{*}",
    "\0": "{}",
    "\N{NO-BREAK SPACE}": "~",
    "–": "--",
    "—": "---",
    "‘": "`{}",
    "’": "'{}",
    "“": "``",
    "”": "''",
    "…": r"\dots{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
}
_ACCENTS = dict(
    zip("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327", "`'^~=u.\"rHvc", strict=True)
)
"""Combining marks and the commands that set them."""
_WIDTH = 12
"""Letters of a title over each column of its numbers; what is longer is broken."""
_LIGATURES = re.compile(r"([-`',])(?=\1)|[?!](?=`)")
"""What would be set as another sign together with what follows."""


def format_latex(board: Leaderboard) -> str:
    r"""Return the tables as LaTeX, to be put into a document with `\input`."""
    head = "% Made by mec-transfer. The document's preamble needs \\usepackage{booktabs}.\n"
    return "\n".join([head, *map(_table, paper_tables(board))])


def escape(text: str) -> str:
    r"""Return `text` as LaTeX that prints it; a character that plain LaTeX fonts lack becomes its code.

    >>> print(escape("50 % of a_b, Grün 中"))
    50 \% of a\_b, Gr\"{u}n {[}U+4E2D]
    """
    words = " ".join(unicodedata.normalize("NFC", text).split())
    return "".join(map(_character, _LIGATURES.sub(lambda found: f"{found[0]}\0", words)))


def _character(character: str) -> str:
    if character in _COMMANDS:
        return _COMMANDS[character]
    if character.isascii() and character.isprintable():
        return character
    parts = unicodedata.normalize("NFD", character)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in _ACCENTS:
        return f"\\{_ACCENTS[parts[1]]}{{{parts[0]}}}"
    return f"{{[}}U+{ord(character):04X}]"


def _table(table: PaperTable) -> str:
    width = sum(len(head.metrics) for head in table.heads)
    titles, rules, metrics, first = [], [], [], 2
    for head in table.heads:
        count = len(head.metrics)
        stack = r"\\".join(map(escape, textwrap.wrap(head.title, _WIDTH * count, break_on_hyphens=False)))
        titles.append(f"\\multicolumn{{{count}}}{{c}}{{\\shortstack{{{stack}}}}}")
        rules.append(f"\\cmidrule(lr){{{first}-{first + count - 1}}}")
        metrics += [escape(name) for name in head.names]
        first += count
    lines = [
        r"\begin{table}[t]",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        f"\\caption{{{escape(table.family.capitalize())}.}}",
        f"\\label{{tab:{table.family}}}",
        r"\par\smallskip",
        f"\\begin{{tabular}}{{l{'r' * width}}}",
        r"\toprule",
        f"{_row(['', *titles])}",
        "".join(rules),
        _row(["model", *metrics]),
        r"\midrule",
        *(_row([escape(label), *map(_number, numbers)]) for label, numbers in table.rows),
    ]
    if table.published:
        lines += [r"\midrule", _row([f"\\multicolumn{{{width + 1}}}{{l}}{{\\textit{{{escape(PUBLISHED)}}}}}"])]
        lines += [_row(map(escape, (method, *cells))) for method, cells in table.published]
    lines += [r"\bottomrule", r"\end{tabular}", "", r"\smallskip", r"\raggedright\footnotesize"]
    lines += [f"{escape(note)}\\par" for note in table.notes]
    return "\n".join([*lines, r"\end{table}", ""])


def _row(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _number(number: Number | None) -> str:
    if number is None:
        return "--"
    mean = f"\\textbf{{{number.mean}}}" if number.best else number.mean
    dagger = _COMMANDS["†"] if number.chosen_on_test_set else ""
    spread = f" $\\pm$ {number.std}" if number.std else ""
    count = f" ({number.count})" if number.count else ""
    return f"{mean}{dagger}{spread}{count}"
