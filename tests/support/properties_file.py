"""server.properties as Java reads it."""

from __future__ import annotations


def read_properties(text: str) -> dict[str, str]:
    """java.util.Properties.load for one-line entries, written from its Javadoc, apart from the code under test."""
    result = {}
    for line in text.split("\n"):
        if not line or line[0] in "#!":
            continue
        key: list[str] = []
        value: list[str] = []
        target = 0
        chars = iter(line)
        for char in chars:
            if char == "\\":
                following = next(chars)
                literal = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}.get(following, following)
            elif target == 0 and char in "=:":
                target = 1
                continue
            else:
                literal = char
            (value if target else key).append(literal)
        result["".join(key)] = "".join(value)
    return result
