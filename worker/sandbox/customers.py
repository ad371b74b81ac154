"""Customers: gifters found by id, receivers by e-mail, both created when they are not there."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from typing import Any

from worker.sandbox.clock import Clock
from worker.sandbox.store import Store


@dataclass(frozen=True, slots=True)
class Person:
    """What the checkout form says of somebody."""

    first_name: str
    last_name: str
    email: str


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer of a site; ``created_at`` in Unix seconds."""

    site: str
    id: str
    email: str
    first_name: str
    last_name: str
    business_entity_id: str | None
    created_at: int

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


_COLUMNS = "site, id, email, first_name, last_name, business_entity_id, created_at"


class Customers:
    """The customers of all sites, in the order in which they were created."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def find(self, site: str, customer_id: str) -> Customer | None:
        """The customer of this id."""
        return self._first("site = ? AND id = ?", site, customer_id)

    def find_by_email(self, site: str, email: str, entity: str | None) -> Customer | None:
        """The first customer created with this e-mail address in a business entity."""
        return self._first(
            "site = ? AND email = ? AND business_entity_id IS ?", site, email.lower(), entity
        )

    def create(
        self, site: str, person: Person, *, entity: str | None, customer_id: str | None = None
    ) -> Customer:
        """Create a customer; with an id of its own making when none is given.

        Raises:
            ValueError: when the id is taken.
        """
        customer_id = customer_id or f"cus_{secrets.token_hex(8)}"
        if self.find(site, customer_id) is not None:
            raise ValueError("id is taken")
        customer = Customer(
            site=site,
            id=customer_id,
            email=person.email.lower(),
            first_name=person.first_name,
            last_name=person.last_name,
            business_entity_id=entity,
            created_at=self._clock.now_s(),
        )
        self._store.run(
            f"INSERT INTO customers ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            tuple(asdict(customer).values()),
        )
        return customer

    def list(self, *, site: str | None = None, newest: int | None = None) -> list[Customer]:
        """Customers in order, or the newest few first."""
        order = "n" if newest is None else "n DESC"
        rows = self._store.rows(
            f"SELECT {_COLUMNS} FROM customers "  # noqa: S608
            f"WHERE ? IS NULL OR site = ? ORDER BY {order} LIMIT ?",
            (site, site, -1 if newest is None else newest),
        )
        return [Customer(**row) for row in rows]

    def count(self, site: str | None = None) -> int:
        """How many there are."""
        return self._store.number(
            "SELECT count(*) FROM customers WHERE ? IS NULL OR site = ?", (site, site)
        )

    def _first(self, where: str, *values: Any) -> Customer | None:
        row = self._store.row(
            f"SELECT {_COLUMNS} FROM customers WHERE {where} ORDER BY n LIMIT 1",  # noqa: S608
            values,
        )
        return None if row is None else Customer(**row)
