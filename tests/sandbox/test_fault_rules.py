"""Fault rules: which requests they are for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from worker.sandbox.faults import PARAMETERS, Faults


def applied(rule: dict[str, Any], count: int = 12) -> list[int]:
    """Which of so many requests the rule is applied to, from 1."""
    faults = Faults()
    faults.add({"fault": "reset"} | rule)
    return [
        n
        for n in range(1, count + 1)
        if faults.choose(site="acme-test", kind="gift_checkout")[1] is not None
    ]


@pytest.mark.parametrize(
    ("rule", "numbers"),
    [
        ({}, list(range(1, 13))),
        ({"requests": "3..7"}, [3, 4, 5, 6, 7]),
        ({"requests": "5"}, [5]),
        ({"requests": 5}, [5]),
        ({"requests": "11.."}, [11, 12]),
        ({"requests": "..2"}, [1, 2]),
        ({"every": 5}, [5, 10]),
        ({"every": 2, "requests": "3..7"}, [4, 6]),
        ({"times": 2}, [1, 2]),
        ({"every": 3, "times": 2}, [3, 6]),
        ({"site": "other-test"}, []),
        ({"kind": "personalized_offer"}, []),
        ({"site": "acme-test", "kind": "gift_checkout", "times": 1}, [1]),
        ({"share": 0}, []),
        ({"share": 1, "times": 3}, [1, 2, 3]),
    ],
)
def test_rule_selects(rule: dict[str, Any], numbers: list[int]) -> None:
    """A rule is applied to the requests that all of its members allow."""
    assert applied(rule) == numbers


def test_rule_counts_only_what_it_may_see() -> None:
    """Requests of another site or kind do not move the count."""
    faults = Faults()
    (rule,) = faults.add({"fault": "reset", "site": "a", "requests": "2"})
    sites = ["b", "a", "b", "a", "a"]
    chosen = [faults.choose(site=site, kind="gift_checkout")[1] for site in sites]
    assert [one is rule for one in chosen] == [False, False, False, True, False]
    assert rule.as_json()["seen"] == 3
    assert rule.as_json()["applied"] == 1


def test_share_is_seeded() -> None:
    """The same seed chooses the same requests, about as many as the share says."""
    rule = {"share": 0.3, "seed": 42}
    chosen = applied(rule, 2000)
    assert chosen == applied(rule, 2000)
    assert chosen != applied(rule | {"seed": 43}, 2000)
    assert 500 < len(chosen) < 700


def test_latency_adds_up_and_the_first_other_rule_decides() -> None:
    """Every latency counts until a rule of another kind matches, which ends the search."""
    faults = Faults()
    faults.add(
        [
            {"fault": "latency", "ms": 100},
            {"fault": "latency", "min_ms": 10, "max_ms": 20, "seed": 1},
            {"fault": "reset", "id": "mine", "requests": "2"},
            {"fault": "garbage"},
        ]
    )
    delay_s, rule = faults.choose(site="s", kind="k")
    assert 0.11 <= delay_s <= 0.12
    assert rule is not None
    assert rule.fault == "garbage"
    assert faults.choose(site="s", kind="k")[1].id == "mine"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_fault_is_read_with_its_defaults(name: str) -> None:
    """Each fault needs no member but its name."""
    (rule,) = Faults().add({"fault": name})
    execute, defaults = PARAMETERS[name]
    assert rule.execute is execute
    assert rule.parameters == defaults
    assert rule.as_json() == {"fault": name, "id": "f1", "seen": 0, "applied": 0}


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ({"fault": "explode"}, "fault"),
        ({}, "fault"),
        ("reset", "fault"),
        ({"fault": "reset", "when": 3}, "when"),
        ({"fault": "reset", "ms": 3}, "ms"),
        ({"fault": "reset", "kind": "gift"}, "kind"),
        ({"fault": "reset", "requests": "a..b"}, "requests"),
        ({"fault": "reset", "requests": ".."}, "requests"),
        ({"fault": "reset", "every": 0}, "every"),
        ({"fault": "reset", "times": True}, "times"),
        ({"fault": "reset", "share": 2}, "share"),
        ({"fault": "latency", "ms": "slow"}, "ms"),
        ({"fault": "stall", "at": "end"}, "at"),
        ({"fault": "drip", "from": "end"}, "from"),
        ({"fault": "drip", "bytes": -1}, "bytes"),
        ({"fault": "redirect", "status": 200}, "status"),
        ({"fault": "error", "body": "xml"}, "body"),
    ],
)
def test_wrong_rule_is_refused_by_name(rule: Any, named: str) -> None:
    """What is wrong is named, and nothing is added."""
    faults = Faults()
    with pytest.raises(ValueError, match=named):
        faults.add([{"fault": "reset"}, rule])
    assert faults.as_json() == []


def test_rule_id_is_unique() -> None:
    """An id can be given once, and a rule can be removed by it."""
    faults = Faults()
    faults.add({"fault": "reset", "id": "x"})
    with pytest.raises(ValueError, match="id"):
        faults.add({"fault": "garbage", "id": "x"})
    assert faults.remove("y") == 0
    assert faults.remove("x") == 1
    faults.add([{"fault": "reset"}, {"fault": "reset"}])
    assert faults.remove() == 2


def test_rules_are_loaded_from_json_and_toml(tmp_path: Path) -> None:
    """Both formats of a fault file say the same."""
    rules = [{"fault": "reset", "every": 10}, {"fault": "latency", "ms": 5, "site": "a"}]
    as_list, as_object = tmp_path / "list.json", tmp_path / "object.json"
    as_list.write_text(json.dumps(rules))
    as_object.write_text(json.dumps({"faults": rules}))
    toml = tmp_path / "faults.toml"
    toml.write_text(
        '[[faults]]\nfault = "reset"\nevery = 10\n\n'
        '[[faults]]\nfault = "latency"\nms = 5\nsite = "a"\n'
    )
    read = [[dict(rule.given) for rule in Faults().load(f)] for f in (as_list, as_object, toml)]
    assert read == [rules, rules, rules]
