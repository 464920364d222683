#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Checks that no file of rust/futex imports from a layer above, or from its own.

The layers are a list in the documentation of rust/futex/mod.rs, from the lowest:

    //! # Layers
    //!
    //! 1. word count
    //! 2. key watch
    //!    set
    //! 3. watch/file

A file that is not listed, as watch/file might be, is in the layer of its folder, and may
import from those beside it. A file's own tests, a module in it, import what they like.
rust/sys imports nothing of rust/futex.

usage: layers.py RUST
"""

import pathlib
import re
import sys

PATH = re.compile(r"(?<![\w:])(crate::futex|(?:super::)*super|self)::")


def layers(text):
    """The number of the layer of each name."""
    found, number, inside = {}, None, False
    for line in text.splitlines():
        if not line.startswith("//!"):
            continue
        line = line[3:].rstrip()
        if line.startswith(" # "):
            inside = line == " # Layers"
            number = None
            continue
        if not inside:
            continue
        head = re.match(r" (\d+)\. (.*)", line)
        if head:
            number, names = int(head[1]), head[2]
        elif number is not None and line.startswith("    "):
            names = line
        else:
            number = None
            continue
        for name in names.replace("`", "").split():
            found[name.replace("::", "/")] = number
    return found


def tree(text, at):
    """The paths of a tree of imports at a place, and where it ends."""
    if text[at : at + 1] == "{":
        paths, at = [], at + 1
        while True:
            at += len(text[at:]) - len(text[at:].lstrip(" \t\n,"))
            if at >= len(text) or text[at] == "}":
                return paths, at + 1
            some, after = tree(text, at)
            if after == at:
                return paths, at
            paths, at = paths + some, after
    name = re.compile(r"\w+|\*").match(text, at)
    if not name:
        return [], at
    at = name.end()
    if text.startswith("::", at):
        below, at = tree(text, at + 2)
        return [[name[0]] + path for path in below] or [[name[0]]], at
    rename = re.compile(r"\s+as\s+\w+").match(text, at)
    return [[name[0]]], rename.end() if rename else at


def imports(text, module):
    """Line and path, from rust/futex, of all that a file names of its crate."""
    text = re.sub(r"//[^\n]*", "", text)
    tests = [(m.start(), text.find("\n}", m.start())) for m in re.finditer(r"(?m)^mod \w+ \{", text)]
    for match in PATH.finditer(text):
        if any(begin < match.start() < end for begin, end in tests):
            continue
        base = list(module)
        if match[1] == "crate::futex":
            base = []
        elif match[1] != "self":
            depth = match[1].count("super")
            if depth > len(base):
                continue
            base = base[: len(base) - depth]
        for path in tree(text, match.end())[0]:
            yield text.count("\n", 0, match.start()) + 1, base + path


def main():
    rust = pathlib.Path(sys.argv[1])
    futex = rust / "futex"
    wrong = []
    order = layers((futex / "mod.rs").read_text())
    files = {str(path.relative_to(futex).with_suffix("")).removesuffix("/mod"): path for path in sorted(futex.rglob("*.rs"))}
    del files["mod"]

    def layer(name):
        while name not in order and "/" in name:
            name = name.rpartition("/")[0]
        return order.get(name)

    if not order:
        wrong.append("rust/futex/mod.rs: no list of layers under '# Layers'")
        files = {}
    for name in order:
        if name not in files:
            wrong.append(f"rust/futex/mod.rs: layer {order[name]} has {name}, and there is no such file")
    for name, path in files.items():
        if layer(name) is None:
            wrong.append(f"{path}: is in no layer of rust/futex/mod.rs")
            continue
        for line, target in imports(path.read_text(), name.split("/")):
            while target and "/".join(target) not in files:
                target.pop()
            other = "/".join(target)
            if not other or other == name or layer(other) is None or layer(other) < layer(name):
                continue
            if layer(other) == layer(name) and other.split("/")[0] == name.split("/")[0]:
                continue
            wrong.append(f"{path}:{line}: {name}, in layer {layer(name)}, imports {other}, in layer {layer(other)}")
    for path in sorted((rust / "sys").rglob("*.rs")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if "crate::futex" in line.partition("//")[0]:
                wrong.append(f"{path}:{number}: rust/sys imports from rust/futex")
    print("\n".join(dict.fromkeys(wrong)))
    return bool(wrong)


sys.exit(main())
