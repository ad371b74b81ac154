"""Which ids exist on a site: everything by default, or what a catalogue lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.sandbox.errors import Refusal, not_found, wrong_value
from worker.sandbox.store import Store

#: Ids that are refused without a catalogue, so that a rejection can be shown without set-up.
MISSING_PREFIX = "missing_"
NOT_GIFTABLE_PREFIX = "not_giftable_"

_LISTS = ("item_prices", "coupons", "business_entities", "brands")


class Catalogue:
    """What is known of each site."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sites: dict[str, dict[str, list[Any]]] = store.remembered("catalogue", {})

    def get(self, site: str) -> Mapping[str, Any]:
        """The lists of a site; one that is absent does not restrict."""
        return self._sites.get(site, {})

    def put(self, site: str, lists: Mapping[str, Any]) -> None:
        """Replace the catalogue of a site.

        Raises:
            ValueError: for an unknown list, or entries in the wrong form.
        """
        for name, entries in lists.items():
            if name not in _LISTS:
                raise ValueError(f"unknown list {name}")
            if not isinstance(entries, list) or not all(map(_entry_right(name), entries)):
                raise ValueError(f"{name} has an entry in the wrong form")
        self._sites[site] = dict(lists)
        self._store.remember("catalogue", self._sites)

    def remove(self, site: str | None = None) -> None:
        """Forget the catalogue of a site, or all."""
        if site is None:
            self._sites.clear()
        else:
            self._sites.pop(site, None)
        self._store.remember("catalogue", self._sites)

    def check_gift(self, site: str, params: Mapping[str, Any]) -> None:
        """Look up every id of a checked gift checkout.

        Raises:
            Refusal: 404 ``resource_not_found``, or 400 for an item that cannot be given.
        """
        for group in ("subscription_items", "item_tiers"):
            for index, item in params.get(group, {}).get("item_price_id", {}).items():
                self._check_item_price(site, item, f"{group}[item_price_id][{index}]")
        for index, coupon in params.get("coupon_ids", {}).items():
            self._check(site, "coupons", coupon, f"coupon_ids[{index}]", "coupon")
        self._check_context(site, params)

    def check_offer(self, site: str, params: Mapping[str, Any]) -> None:
        """Look up every id of a checked offer request.

        Raises:
            Refusal: 404 ``resource_not_found``; 400 when the subscription is needed.
        """
        for name in ("customer_id", "subscription_id"):
            if params.get(name, "").startswith(MISSING_PREFIX):
                raise not_found(name, name.removesuffix("_id"))
        if len(self.get(site).get("brands", ())) > 1 and "subscription_id" not in params:
            raise wrong_value("subscription_id", "is needed when there are several brands")
        self._check_context(site, params)

    def _check_context(self, site: str, params: Mapping[str, Any]) -> None:
        for name, known in (("business_entity_id", "business_entities"), ("brand_id", "brands")):
            if name in params:
                self._check(site, known, params[name], name, name.removesuffix("_id"))

    def _check(self, site: str, known: str, value: str, param: str, what: str) -> None:
        listed = self.get(site).get(known)
        if value not in listed if listed is not None else value.startswith(MISSING_PREFIX):
            raise not_found(param, what)

    def _check_item_price(self, site: str, value: str, param: str) -> None:
        listed = self.get(site).get("item_prices")
        if listed is None:
            missing = value.startswith(MISSING_PREFIX)
            giftable = not value.startswith(NOT_GIFTABLE_PREFIX)
        else:
            found = [entry for entry in listed if entry["id"] == value]
            missing = not found
            giftable = missing or found[0].get("giftable", True)
        if missing:
            raise not_found(param, "item price")
        if not giftable:
            raise Refusal(400, message=f"{param} : the item cannot be given", param=param)


def _entry_right(name: str) -> Any:
    if name != "item_prices":
        return lambda entry: isinstance(entry, str)
    return lambda entry: isinstance(entry, dict) and isinstance(entry.get("id"), str)
