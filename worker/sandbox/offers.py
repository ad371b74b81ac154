"""Personalized offers: at most one, the same each time for the same customer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

#: Customers whose id begins so have no offer.
NO_OFFER_PREFIX = "no_offer_"

#: How long offers may be shown before they are fetched again.
LIFE_S = 24 * 3600


def answer(site: str, params: Mapping[str, Any], *, now_s: int) -> dict[str, Any]:
    """What ``POST /personalized_offers`` answers; no offer is an empty list."""
    seed = f"{site}:{params['customer_id']}:{params.get('subscription_id', '')}"
    mark = hashlib.sha256(seed.encode()).hexdigest()
    none = params["customer_id"].startswith(NO_OFFER_PREFIX)
    return {
        "personalized_offers": [] if none else [_offer(mark)],
        "brand": {"id": params.get("brand_id", "brand_default"), "name": "Acme"},
        "expires_at": now_s + LIFE_S,
    }


def _offer(mark: str) -> dict[str, Any]:
    return {
        "id": mark[:16],
        "offer_id": mark[16:32],
        "content": {
            "title": '<div class="slate-p">Need to take a break?</div>',
            "description": '<div class="slate-p">Pause your plan for up to three months and keep '
            'your settings.</div><div class="slate-p"></div><div class="slate-p">No fee.</div>',
        },
        "options": [
            {
                "id": f"{mark[32:44]}-pause",
                "label": "PAUSE MY PLAN",
                "processing_type": "url_redirect",
                "redirect_url": "https://shop.example.com/pause",
            },
            {
                "id": f"{mark[32:44]}-keep",
                "label": "KEEP MY PLAN",
                "processing_type": "billing_update",
            },
        ],
    }
