#!/usr/bin/python3
"""Holds the source tree to the house rules; the last line is "N passed, N failed".

Each rule is one test on the tree. Before that, each rule is tried on small samples: it must fire on
the bad ones and be quiet on the good one. Known violations may stand in test/structure.allow, one
"rule path name" a line; the list only shrinks, as a line that is no longer needed is a failure.

Comments and the contents of literals are blanked before a rule looks at C; lines keep their numbers.
"""
import fnmatch
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PRODUCT = ("core", "net", "filters", "tls")
FOLDERS = PRODUCT + ("bench", "test")
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 800
README_LINES_MAX = 60

# Who may include whom; bench/ and test/ may include anything of ours, nothing of ours includes them.
INCLUDES = {"core": PRODUCT, "filters": ("filters", "net"), "tls": ("tls", "net"), "net": ("net",)}
# A library's headers and the only files that may name them. Tests are free.
LIBRARIES = {
    "liburing*": ("net/loop_uring.c",),
    "sys/epoll.h": ("net/loop_epoll.c", "core/acceptor.c"),
    "wolfssl/*": ("tls/*", "filters/digest.c"),
    "ini.h": ("core/config*.c",),
    "ldns/*": ("net/dns*.c",),
}
# Calls, and the files where they are allowed; memory is taken at start, by those who own the rest.
BANNED = {
    "strcpy strcat sprintf vsprintf strtok gets alloca atoi atol signal": (),
    "malloc calloc realloc": ("net/pool.c", "net/loop*.c", "core/main.c", "core/config*.c",
                              "core/acceptor.c", "core/worker.c", "filters/dnsbl_watch.c",
                              "tls/tls_ctx.c", "bench/*", "test/*"),
    "getaddrinfo": ("core/config*.c", "bench/*", "test/*"),
}
OUTPUT = "printf fprintf vprintf vfprintf dprintf puts fputs putchar fputc putc perror syslog vsyslog"
OUTPUT_ALLOWED = ("core/log.c", "core/main.c", "core/config*.c", "core/verify_*.c", "bench/*", "test/*")


def matches(path, patterns):
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def blank(text):
    """Text of the same length and lines, with comments and literals replaced by blanks."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''

    def blanks(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(pattern, blanks, text, flags=re.S)


def find_functions(code):
    """[(name, first line, last line)] of the function bodies in blanked code."""
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group(0)), code,
                  flags=re.M)
    functions = []
    depth = start = opened = 0
    for match in re.finditer(r"[{};]", code):
        mark, at = match.group(0), match.start()
        if mark == "{":
            if depth == 0:
                opened = at
            depth += 1
        elif mark == "}":
            depth -= 1
        if depth > 0 or mark == "{":
            continue
        head = code[start:opened] if mark == "}" else ""
        name = re.match(r"[\w\s*]*?(\w+)\s*\(", head)
        if name and "=" not in head and head.rstrip().endswith(")"):
            first = code.count("\n", 0, start + len(head) - len(head.lstrip())) + 1
            functions.append((name[1], first, code.count("\n", 0, at) + 1))
        start = at + 1
    return functions


class Source:
    """One file as the rules see it."""

    def __init__(self, path, text):
        self.path = path
        self.folder = path.split("/")[0]
        self.text = text
        self.lines = text.split("\n")
        self.is_c = path.endswith((".c", ".h")) and self.folder in FOLDERS
        self.code = blank(text) if self.is_c else ""
        self.functions = find_functions(self.code) if path.endswith(".c") and self.is_c else []

    def calls(self, names):
        """(line, name) of each call of one of the names, members of structs not counted."""
        pattern = r"(?<![\w.>])(%s)\s*\(" % "|".join(names.split())
        for match in re.finditer(pattern, self.code):
            yield self.code.count("\n", 0, match.start()) + 1, match[1]

    def function_at(self, line):
        for function in self.functions:
            if function[1] <= line <= function[2]:
                return function
        return "", 1, 0

    def includes(self):
        for number, line in enumerate(self.lines, 1):
            match = re.match(r'\s*#\s*include\s*(["<])([^">]+)', line)
            if match:
                yield number, match[1] == '"', match[2]


# Rules: each takes all sources and yields (path, line, name, text).

def rule_include_direction(sources):
    for source in sources:
        for line, ours, name in source.includes() if source.is_c else ():
            allowed = INCLUDES.get(source.folder, FOLDERS)
            if ours and name.split("/")[0] not in allowed:
                yield source.path, line, name, f'{source.folder}/ may not include "{name}"'


def rule_library(sources):
    for source in sources:
        for line, ours, name in source.includes() if source.is_c else ():
            for pattern, places in LIBRARIES.items():
                if (fnmatch.fnmatchcase(name, pattern) and source.folder != "test"
                        and not matches(source.path, places)):
                    yield source.path, line, name, f"<{name}> belongs to {' '.join(places)}"


def rule_function_length(sources):
    for source in sources:
        for name, first, last in source.functions:
            if last - first + 1 > FUNCTION_LINES_MAX:
                yield (source.path, first, name,
                       f"{name}() has {last - first + 1} lines, more than {FUNCTION_LINES_MAX}")


def rule_file_length(sources):
    for source in sources:
        count = len(source.text.splitlines())
        if source.is_c and count > FILE_LINES_MAX:
            yield source.path, count, "", f"{count} lines, more than {FILE_LINES_MAX}"


def rule_banned_call(sources):
    for source in sources:
        for names, places in BANNED.items():
            for line, name in source.calls(names):
                if not matches(source.path, places):
                    yield source.path, line, name, f"{name}() is not used here"


def rule_ndebug(sources):
    for source in sources:
        text = source.code if source.is_c else source.text if source.path == "Makefile" else ""
        for number, line in enumerate(text.split("\n"), 1):
            if "NDEBUG" in line:
                yield source.path, number, "", "asserts stay on: no NDEBUG"


def rule_state_write(sources):
    """`x->state = ` and `x.state = `: only one function moves a state machine, and it checks the edge.

    The first value is set where the object is made, which is where its magic is stamped. The pure
    parsers are free: their tables are the edges, and no callback moves them.
    """
    for source in sources:
        if source.folder == "test" or matches(source.path, ("core/smtp_*.c",)):
            continue
        for match in re.finditer(r"(\w+[\w\])]*)(?:->|\.)state\s*(?:=(?!=)|[-+|&^]=|\+\+|--)", source.code):
            line = source.code.count("\n", 0, match.start()) + 1
            name, first, last = source.function_at(line)
            body = "\n".join(source.code.split("\n")[first - 1:last])
            is_made_here = f"{match[1]}->magic =" in body
            if not name.endswith("_enter") and not is_made_here:
                yield source.path, line, name, f"state is written in {name or 'no function'}(), not *_enter()"


def rule_leftover(sources):
    for source in sources:
        for number, line in enumerate(source.lines, 1):
            if re.search(r"\b(?:FIX" r"ME|TO" r"DO|X" r"XX)\b", line):
                yield source.path, number, "", "something is left to do here"


def rule_blanks(sources):
    for source in sources:
        for number, line in enumerate(source.lines, 1):
            if line.rstrip(" \t\r") != line:
                yield source.path, number, "", "blanks at the end of the line"
            elif source.is_c and "\t" in line:
                yield source.path, number, "", "a tab"
        if source.text and not source.text.endswith("\n"):
            yield source.path, len(source.lines), "", "no newline at the end"


def rule_readme(sources):
    """test/README.md is excepted from the length: it carries the table of attacks and norms."""
    by_path = {source.path: source for source in sources}
    for folder in sorted({source.folder for source in sources if source.is_c}):
        path = f"{folder}/README.md"
        if path not in by_path:
            yield path, 1, "", "is missing"
        elif folder != "test" and len(by_path[path].text.splitlines()) > README_LINES_MAX:
            yield path, 1, "", f"more than {README_LINES_MAX} lines"


def rule_head_comment(sources):
    for source in sources:
        if source.is_c and not source.text.lstrip().startswith("/*"):
            yield source.path, 1, "", "does not begin with a comment that says what it is for"


def rule_output(sources):
    for source in sources:
        for line, name in source.calls(OUTPUT):
            if not matches(source.path, OUTPUT_ALLOWED):
                yield source.path, line, name, f"{name}(): output goes through core/log.c"


RULES = {function.__name__[5:].replace("_", "-"): function for function in (
    rule_include_direction, rule_library, rule_function_length, rule_file_length, rule_banned_call,
    rule_ndebug, rule_state_write, rule_leftover, rule_blanks, rule_readme, rule_head_comment,
    rule_output)}


# Samples: rule -> bad texts and good texts, each as path -> content.

def body_of(lines):
    return "int f(void)\n{\n" + "    g();\n" * (lines - 3) + "}\n"


SAMPLES = {
    "include-direction": (
        [{"net/a.c": '#include "core/session.h"\n'}, {"core/a.c": '#include "test/sim.h"\n'},
         {"filters/a.h": '#include "core/text.h"\n'}, {"core/a.c": '#include "session.h"\n'},
         {"tls/a.c": '#include "filters/chain.h"\n'}, {"core/a.c": '#include "bench/sink.h"\n'}],
        [{"core/a.c": '#include "net/loop.h"\n'}, {"test/unit/a.c": '#include "core/session.h"\n'}]),
    "library": (
        [{"net/stream.c": "#include <liburing.h>\n"}, {"core/session.c": "#include <sys/epoll.h>\n"},
         {"core/main.c": "#include <wolfssl/ssl.h>\n"}, {"core/log.c": "#include <ini.h>\n"},
         {"filters/spf.c": "#include <ldns/ldns.h>\n"}, {"bench/sink.c": "#include <wolfssl/ssl.h>\n"}],
        [{"net/loop_uring.c": "#include <liburing.h>\n"}, {"filters/digest.c": "#include <wolfssl/a.h>\n"},
         {"core/config_read.c": "#include <ini.h>\n"}]),
    "function-length": (
        [{"core/a.c": body_of(FUNCTION_LINES_MAX + 1)},
         {"core/a.c": "static const int t[] = {\n1,\n};\n\n" + body_of(FUNCTION_LINES_MAX + 1)}],
        [{"core/a.c": body_of(FUNCTION_LINES_MAX)},
         {"core/a.c": "static const int t[] = {\n" + "1,\n" * 80 + "};\n"}]),
    "file-length": ([{"core/a.c": "\n" * (FILE_LINES_MAX + 1)}], [{"core/a.c": "\n" * FILE_LINES_MAX}]),
    "banned-call": (
        [{"test/unit/a.c": f"void f(void)\n{{\n    {call}(x);\n}}\n"} for call in
         "strcpy strcat sprintf strtok gets alloca atoi signal".split()]
        + [{"core/session.c": f"void f(void)\n{{\n    {call}(x);\n}}\n"} for call in
           "malloc calloc realloc getaddrinfo".split()],
        [{"core/a.c": 'void f(void)\n{\n    /* atoi(x) */\n    g("strcpy(a)", a->signal(x));\n}\n'},
         {"net/pool.c": "void f(void)\n{\n    malloc(1);\n}\n"},
         {"core/a.c": "void f(void)\n{\n    my_atoi(1);\n    snprintf(a);\n}\n"}]),
    "ndebug": ([{"core/a.c": "#define NDEBUG\n"}, {"Makefile": "CFLAGS = -DNDEBUG\n"}],
               [{"core/a.c": "/* NDEBUG is never set */\n"}]),
    "state-write": (
        [{"core/a.c": "void f(void)\n{\n    s->state = 1;\n}\n"},
         {"core/a.c": "void f(void)\n{\n    a[1].state |= 1;\n}\n"},
         {"core/a.c": "void f(void)\n{\n    s->magic = MAGIC;\n    t->state = 1;\n}\n"},
         {"core/a.c": "void f_enter(void)\n{\n}\nvoid g(void)\n{\n    s->state++;\n}\n"}],
        [{"core/a.c": "static void f_enter(struct s *s, int to)\n{\n    s->state = to;\n}\n"},
         {"core/a.c": "void f(struct s *s)\n{\n    s->magic = MAGIC;\n    s->state = FIRST;\n}\n"},
         {"core/smtp_body.c": "void f(struct s *s)\n{\n    s->state = next[s->state];\n}\n"},
         {"core/a.c": "int f(void)\n{\n    struct s x = {.state = 1};\n    return s->state == 1;\n}\n"}]),
    "leftover": ([{"core/a.c": "/* FIX" "ME: later */\n"}, {"README.md": "TO" "DO\n"}],
                 [{"core/a.c": "/* to do a thing */\n"}]),
    "blanks": ([{"core/a.c": "int a; \n"}, {"core/a.c": "\tint a;\n"}, {"README.md": "a"}],
               [{"core/a.c": "int a;\n"}, {"Makefile": "a:\n\tb\n"}]),
    "readme": ([{"core/a.c": "\n"}, {"core/a.c": "\n", "core/README.md": "\n" * (README_LINES_MAX + 1)}],
               [{"core/a.c": "\n", "core/README.md": "\n" * README_LINES_MAX}]),
    "head-comment": ([{"core/a.c": "#include <stdio.h>\n"}, {"core/a.h": ""}], [{"core/a.c": "/* a - b */\n"}]),
    "output": (
        [{"core/session.c": 'void f(void)\n{\n    fprintf(stderr, "x");\n}\n'},
         {"net/loop.c": 'void f(void)\n{\n    printf("x");\n}\n'},
         {"filters/a.c": "void f(void)\n{\n    syslog(1, x);\n}\n"}],
        [{"core/log.c": "void f(void)\n{\n    syslog(1, x);\n}\n"},
         {"core/a.c": "void f(void)\n{\n    snprintf(a, 1, x);\n}\n"}]),
}


def load(files):
    return [Source(path, text) for path, text in sorted(files.items())]


def read_tree():
    files = {}
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders
                      if name not in ("build", "corpus", "__pycache__") and not name.startswith(".")]
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), ROOT)
            if name.endswith((".c", ".h", ".py", ".sh", ".md", ".ini", ".in")) or name == "Makefile":
                with open(os.path.join(ROOT, path), encoding="utf-8") as file:
                    files[path] = file.read()
    return files


def read_allowed():
    path = os.path.join(ROOT, "test/structure.allow")
    if not os.path.exists(path):
        return set()
    with open(path, encoding="utf-8") as file:
        lines = [line.split("#")[0].split() for line in file]
    return {(words[0], words[1], " ".join(words[2:])) for words in lines if words}


def check_samples():
    """[(name, passed)] of the rules on their samples."""
    results = []
    for rule, (bad, good) in SAMPLES.items():
        for number, files in enumerate(bad):
            results.append((f"{rule} fires on bad sample {number}", any(RULES[rule](load(files)))))
        for number, files in enumerate(good):
            results.append((f"{rule} is quiet on good sample {number}", not any(RULES[rule](load(files)))))
    results += [(f"{rule} has samples", rule in SAMPLES) for rule in RULES]
    return results


def check_tree():
    """[(name, passed)] of the rules on the tree; prints what they find."""
    results = []
    allowed = read_allowed()
    needed = set()
    sources = load(read_tree())
    results.append(("the tree has C files", any(source.is_c for source in sources)))
    for rule, function in RULES.items():
        findings = list(function(sources))
        known = {(rule, path, name) for path, _line, name, _text in findings} & allowed
        needed |= known
        new = [finding for finding in findings if (rule, finding[0], finding[2]) not in known]
        for path, line, _name, text in new:
            print(f"{path}:{line}: {rule}: {text}")
        results.append((f"{rule} on the tree", not new))
    for entry in sorted(allowed - needed):
        print(f"test/structure.allow: no longer needed: {' '.join(entry)}")
    results.append(("structure.allow only shrinks", allowed == needed))
    return results


def main():
    results = check_samples() + check_tree()
    for name, passed in results:
        if not passed:
            print(f"failed: {name}")
    failed = sum(not passed for _name, passed in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
