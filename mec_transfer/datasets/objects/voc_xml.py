"""VOC's annotation files as trees whose elements know their lines, whatever encoding they declare."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

_LINE = "line"
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""")
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030"}
"""Chinese Windows writes characters of the later standards under the oldest one's name."""


def parse_xml(path: Path) -> ElementTree.Element:
    """Parse a file.

    Raises:
        ValueError: it cannot be read, is malformed or declares entities; the message begins with the path and the line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from None
    text = _decode(path, data)
    builder, parser = ElementTree.TreeBuilder(), expat.ParserCreate("utf-8")

    def start(tag: str, attributes: dict[str, str]) -> None:
        builder.start(tag, {**attributes, _LINE: str(parser.CurrentLineNumber)})

    def refuse(*_: object) -> None:  # a few nested entities unfold to gigabytes, and no tool writes any
        raise ValueError(f"{path}:{parser.CurrentLineNumber}: uses XML entities of its own; write the text itself")

    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = refuse
    parser.SkippedEntityHandler = refuse
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        what = "the file is empty" if not text.strip() else f"malformed XML ({expat.ErrorString(error.code)})"
        raise ValueError(f"{path}:{error.lineno}: {what}") from None
    return builder.close()


def line_of(element: ElementTree.Element | None) -> str:
    """Return the line that an element begins on; 1 for none."""
    return element.get(_LINE, "1") if element is not None else "1"


def _decode(path: Path, data: bytes) -> str:
    """Return the text by its byte order mark, else by the encoding it declares: expat knows few itself."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif data.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    else:
        declared = _DECLARED.match(data)
        encoding = declared[1].decode("ascii", "replace").lower() if declared else "utf-8"
        if encoding.startswith("utf-16"):  # the declaration itself was readable as ASCII, so it is not true
            encoding = "utf-8"
    try:
        return data.decode(_WIDER.get(encoding, encoding))
    except LookupError:
        raise ValueError(f"{path}:1: declares the unknown encoding '{encoding}'; save it as UTF-8") from None
    except UnicodeError as error:
        at = getattr(error, "start", 0)
        line = data.count(b"\n", 0, at) + 1
        raise ValueError(f"{path}:{line}: is not {encoding} text; save it as UTF-8, or declare its encoding") from None
