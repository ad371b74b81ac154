"""Write what is generated in these pages anew, or check that it is up to date.

    python docs/generate.py            write
    python docs/generate.py --check    exit 1 when something would change

A generated part of a page stands between `<!-- generated: NAME -->` and `<!-- end -->`. NAME is a
command, `commands` (the list of them), `exit codes`, or `file PATH`, a file beside this one.
Beside the pages json_schemas/*.json and examples/digests.json are generated.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from schema_writer import documents
from typer.main import get_command
from typer.testing import CliRunner

from schemas import REQUEST_OPTIONS, rows_form, validate
from worker.cli.app import app
from worker.cli.exits import MEANINGS
from worker.jobs.job import job_id_of

DOCS = Path(__file__).resolve().parent
WIDTH = "96"
LANGUAGES = {".py": "python", ".mjs": "js", ".sh": "sh", ".toml": "toml", ".json": "json"}

SITE = "acme-test"
REQUESTS: tuple[tuple[str, str, dict[str, Any], dict[str, Any]], ...] = (
    ("gift_checkout", "order-1", {}, {}),
    (
        "gift_checkout",
        "order-2",
        {
            "subscription_items": {"item_price_id": ["plan", "addon"], "quantity": [2, None]},
            "gifter": {"customer_id": "søren", "locale": None},
            "coupon_ids": [],
        },
        {"skip": "webhooks, email", "lane": "bulk", "deadline_s": 60},
    ),
    (
        "personalized_offer",
        "käse 🧀",
        {"customer_id": "顧客_0042", "roles": [], "custom": {"Plan": "pro", "score": 0.75}},
        {"origin": {"user": "é@example.com", "ip": "203.0.113.7"}, "brand_id": "north"},
    ),
)

_PART = re.compile(r"(<!-- generated: ([\w /.]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def generated() -> dict[Path, str]:
    """Give every file that holds something generated, as it should be."""
    files = {DOCS / "examples" / "digests.json": json.dumps(digests(), indent=2) + "\n"}
    for name, document in documents().items():
        files[DOCS / "json_schemas" / f"{name}.json"] = json.dumps(document, indent=2) + "\n"
    for page in DOCS.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        if _PART.search(text):
            files[page] = _PART.sub(lambda found: found[1] + part(found[2]) + found[3], text)
    return files


def digests() -> list[dict[str, Any]]:
    """Give requests with what a producer makes of them: text, digest and id."""
    written = []
    for kind, key, payload, options in REQUESTS:
        valid = validate(kind, payload, options)
        shaping = {name: one for name, one in valid.options.items() if name in REQUEST_OPTIONS}
        request = {
            "kind": kind, "site": SITE, "payload": rows_form(kind, valid.payload),
            "options": shaping,
        }  # fmt: skip
        written.append({
            "kind": kind, "site": SITE, "key": key, "payload": payload, "options": options,
            "text": json.dumps(request, sort_keys=True, separators=(",", ":")),
            "digest": valid.request_digest(SITE), "job_id": job_id_of(SITE, kind, key),
        })  # fmt: skip
    return written


def part(name: str) -> str:
    """Give the text of one generated part, ended by a line break."""
    if name == "exit codes":
        rows = "".join(f"| {code.value} | {text} |\n" for code, text in MEANINGS.items())
        return f"\n| code | meaning |\n|---|---|\n{rows}\n"
    if name.startswith("file "):
        file = DOCS / name.removeprefix("file ")
        return f"\n```{LANGUAGES[file.suffix]}\n{file.read_text(encoding='utf-8')}```\n\n"
    words = [] if name == "commands" else [name]
    group = get_command(app).commands.get(name)  # type: ignore[attr-defined]
    shown = [help_of(words)]
    if hasattr(group, "commands"):
        shown = [help_of([name, below]) for below in group.commands]
    return "".join(f"\n```text\n{text}\n```\n" for text in shown) + "\n"


def help_of(words: list[str]) -> str:
    """Give what `largesse WORDS --help` prints."""
    words = [*words, "--help"]
    env = {"COLUMNS": WIDTH, "TERM": "dumb"}
    shown = CliRunner().invoke(app, words, prog_name="largesse", env=env)
    if shown.exit_code != 0:
        raise SystemExit(f"largesse {' '.join(words)} failed")
    lines = [line.rstrip() for line in shown.output.strip().splitlines()]
    return "\n".join([f"$ largesse {' '.join(words)}", *lines])


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    stale = {
        path: text
        for path, text in generated().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    if arguments == ["--check"]:
        for path in sorted(stale):
            name = path.relative_to(DOCS.parent)
            sys.stderr.write(f"{name} is out of date. Run: make docs\n")
        return int(bool(stale))
    for path, text in stale.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
