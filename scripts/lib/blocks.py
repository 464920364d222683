#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Takes the code blocks out of documents, for check-docs, which says what a block may be.

Writes each to a file of its own in the folder OUT, and prints a line for it: its place, its
language, how it is to be checked (compile, run, shell), and the file. A line of "wrong"
says what is wrong about a block or about a command that a document names.

usage: blocks.py PROJECT OUT DOCUMENT...
"""

import pathlib
import re
import sys
import textwrap

SUFFIX = {"c": "c", "cpp": "cpp", "sh": "sh"}
PRELUDE = """\
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <linux/futex.h>
#include <linux/afutex.h>
#include "afutex.h"
"""

COMMENT = re.compile(r"^\s*(?:<!-- check: (.*?) -->|\.\. check: (.*))$")
FENCE = re.compile(r"^(\s*)```(\S*)")
DIRECTIVE = re.compile(r"^(\s*)\.\. code(?:-block)?::\s*(\S*)")


def indent(line):
    return len(line) - len(line.lstrip())


def blocks(lines, markdown):
    """Line, language, how it is to be checked, and text of each block."""
    how, at = "", 0
    while at < len(lines):
        line = lines[at]
        comment, fence = COMMENT.match(line), FENCE.match(line)
        directive = DIRECTIVE.match(line)
        begin = at + 1
        if comment:
            how = (comment[1] or comment[2] or "").strip()
            at += 1
            continue
        if markdown and fence:
            end = begin
            while end < len(lines) and not lines[end].strip().startswith("```"):
                end += 1
            language, at = fence[2], end + 1
        elif markdown and re.match(r"^ {4}\S", line) and (at == 0 or not lines[at - 1].strip()):
            begin = end = at
            while end < len(lines) and (not lines[end].strip() or lines[end].startswith("    ")):
                end += 1
            language, at = "sh", end
        elif not markdown and directive:
            end = begin
            while end < len(lines) and (not lines[end].strip() or indent(lines[end]) > indent(line)):
                end += 1
            language, at = directive[2], end
        else:
            if line.strip():
                how = ""
            at += 1
            continue
        while begin < end and not lines[begin].strip():
            begin += 1
        yield begin + 1, language, how, textwrap.dedent("\n".join(lines[begin:end])).strip("\n") + "\n"
        how = ""


def main():
    project, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    targets = set(re.findall(r"(?m)^([a-z][a-z-]*):", (project / "Makefile").read_text()))
    number = 0
    for name in sys.argv[3:]:
        text = (project / name).read_text()
        lines = text.splitlines()

        def wrong(line, what):
            print(f"{name}:{line} wrong {what}")

        for at, line in enumerate(lines, 1):
            for target in re.findall(r"(?:`|^ {4}|^sudo |^)(?:sudo )?make ([a-z][a-z-]*)(?=[`\s]|$)", line):
                in_code = "`make" in line or "`sudo make" in line or line.startswith("    ")
                if in_code and target not in targets:
                    wrong(at, f"make has no target {target}")
            for command in re.findall(r"(?<![\w/])scripts/([a-z][a-z-]*)(?![\w/-]|\.\w)", line):
                if not (project / "scripts" / command).exists():
                    wrong(at, f"there is no scripts/{command}")

        for at, language, how, code in blocks(lines, name.endswith(".md")):
            word, _, rest = how.partition(" ")
            if language == "text" or word == "no":
                if word == "no" and not rest:
                    wrong(at, "no reason why the block is not checked")
                continue
            if language not in SUFFIX:
                wrong(at, f"the language '{language}' is none of c, cpp, sh, text")
                continue
            if word not in ("", "run", "fragment") or (word and language == "sh"):
                wrong(at, f"unknown words '{how}' in the comment")
                continue
            number += 1
            path = out / f"block{number}.{SUFFIX[language]}"
            place = f'#line {at} "{name}"\n'
            if language == "sh":
                how, content = "shell", code
            elif word == "fragment":
                how = "compile"
                content = PRELUDE + "void fragment(void);\nvoid fragment(void)\n{\n" + rest + "\n" + place + code + "}\n"
            else:
                how = word or "compile"
                content = place + code
                if rest:
                    if not (project / rest).exists():
                        wrong(at, f"there is no {rest} to run the block with")
                        continue
                    content += f'#line 1 "{rest}"\n' + (project / rest).read_text()
            path.write_text(content)
            print(f"{name}:{at} {how} {language} {path}")


main()
