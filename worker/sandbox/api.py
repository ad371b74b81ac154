"""The API: from a request to an answer, by way of limits, faults and the idempotency key."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import replace
from typing import Any

from starlette.types import Receive, Scope, Send

from worker.sandbox import breakage, offers, validation
from worker.sandbox.call import Call, read_body, read_call
from worker.sandbox.errors import Refusal
from worker.sandbox.faults import Rule
from worker.sandbox.hosted_page import HostedPage
from worker.sandbox.idempotency import REPLAYED_HEADER, Stored, signature
from worker.sandbox.journal import Entry
from worker.sandbox.sandbox import Sandbox
from worker.sandbox.validation import Context
from worker.sandbox.wire import Reply, Wire

#: How long a client should wait for a request with the same key to end.
_LOCK_WAIT_S = 1


class _StoppingError(Exception):
    """The sandbox is stopping: this request gets no answer."""


class Api:
    """The ASGI application under ``/api/v2``."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, log it, and break the answer when a fault asks for it."""
        body = await read_body(receive)
        if body is None:
            return
        began = time.perf_counter()
        call = read_call(
            scope,
            body,
            n=self._sandbox.journal.next_n(),
            now_ms=self._sandbox.clock.now_ms(),
        )
        try:
            reply, rule = await self._answer(call)
        except _StoppingError:
            await Wire(scope, receive).abort()
            return
        broken = reply if rule is None else breakage.mangle(rule, reply, self._sandbox.clock)
        call.entry.status = broken.status if broken else _sent_status(rule, reply)
        call.entry.took_ms = round((time.perf_counter() - began) * 1000)
        self._log(call.entry)
        if broken is not None:
            await broken.send(send)
        elif rule is not None:
            await breakage.play(rule, reply, Wire(scope, receive))

    async def _answer(self, call: Call) -> tuple[Reply, Rule | None]:
        """The answer as it should be, and the fault that it is to suffer."""
        try:
            site = self._admit(call)
        except Refusal as refusal:
            return self._refused(call, refusal), None
        sandbox = self._sandbox
        try:
            delay_s, rule = sandbox.faults.choose(site=site, kind=str(call.entry.kind))
            delay_s += sandbox.settings.latency_ms / 1000
            if rule is not None:
                call.entry.fault = rule.fault
                if (error := breakage.refusal(rule, sandbox.clock)) is not None:
                    call.entry.error, call.entry.param = error.code, error.param
            try:
                if rule is not None and not rule.execute:
                    await self._pause(delay_s)
                    return Reply(200, b"{}"), rule
                return await self._execute(call, site, delay_s), rule
            except Refusal as refusal:
                return self._refused(call, refusal), rule
        finally:
            sandbox.limits.leave(site)

    def _admit(self, call: Call) -> str:
        """Find the site, check the path, and take a place under the limits."""
        sandbox = self._sandbox
        site = sandbox.sites.authenticate(call.address, call.headers.get("authorization"))
        call.entry.site = site
        call.check_path()
        settings = sandbox.settings
        wait_ms = sandbox.limits.enter(
            site,
            grow=call.entry.kind == "personalized_offer",
            now_ms=sandbox.clock.now_ms(),
            settings=settings,
        )
        if wait_ms:
            raise Refusal(
                429,
                message="the limit of requests of this site is reached",
                headers=breakage.retry_after(settings.retry_after, wait_ms / 1000, sandbox.clock),
            )
        return site

    async def _execute(self, call: Call, site: str, delay_s: float) -> Reply:
        """Carry the request out once per idempotency key, or repeat its answer."""
        sandbox = self._sandbox
        context = validation.read_context(call.pairs)
        call.entry.skip = list(context.skip)
        key = call.entry.idempotency_key if call.entry.method == "POST" else None
        if key is None:
            await self._pause(delay_s)
            return self._perform(call, site, context, None)
        sign = signature(call.entry.path, call.pairs, call.body)
        while (running := sandbox.idempotency.in_progress(site, key, sign)) is not None:
            if sandbox.settings.concurrent_duplicate == "lock_timeout":
                raise self._lock_timeout()
            await running.wait()
        window_s = sandbox.settings.idempotency_window_s
        stored = sandbox.idempotency.find(site, key, sign, window_s=window_s)
        if stored is not None:
            await self._pause(delay_s)
            call.entry.replayed = True
            call.entry.page_id = stored.page_id
            plain = Reply(200, stored.body)
            return replace(plain, headers=(*plain.headers, (REPLAYED_HEADER, "true")))
        sandbox.idempotency.begin(site, key, sign)
        try:
            await self._pause(delay_s)
            return self._perform(call, site, context, sign)
        finally:
            sandbox.idempotency.end(site, key)

    def _perform(self, call: Call, site: str, context: Context, sign: str | None) -> Reply:
        """Carry it out and bind the answer to the key, both or neither."""
        sandbox = self._sandbox
        with sandbox.store.transaction():
            answer = self._operate(call, site, context)
            reply = Reply(200, json.dumps(answer, ensure_ascii=False).encode())
            key = call.entry.idempotency_key
            if sign is not None and key is not None:
                stored = Stored(reply.body, call.entry.page_id)
                sandbox.idempotency.bind(site, key, sign, stored)
        call.entry.executed = True
        return reply

    def _operate(self, call: Call, site: str, context: Context) -> dict[str, Any]:
        kind = call.entry.kind
        if kind == "gift_checkout":
            return {"hosted_page": self._make_page(call, site, context).as_json()}
        if kind == "personalized_offer":
            return self._offer(call, site, context)
        page = self._sandbox.pages.find(call.page_id, site=site)
        if page is None:
            raise Refusal(404, message="hosted page not found", param="hosted_page_id")
        call.entry.page_id = page.id
        if kind == "acknowledge":
            page = self._sandbox.pages.acknowledge(page)
        return {"hosted_page": page.as_json()}

    def _make_page(self, call: Call, site: str, context: Context) -> HostedPage:
        sandbox = self._sandbox
        params = validation.read_gift(call.body, call.content_type())
        validation.agree(params, context)
        sandbox.catalogue.check_gift(site, params)
        # A page must open in a browser, so it never names a host that is really the API's.
        named = call.address.site is not None or not call.entry.host
        page = sandbox.pages.make(
            site=site,
            params=params,
            skip=context.skip,
            idempotency_key=call.entry.idempotency_key,
            request=call.entry.n,
            origin=sandbox.origin if named else f"http://{call.entry.host}",
            life_s=sandbox.settings.page_expires_s,
        )
        call.entry.page_id = page.id
        return page

    def _offer(self, call: Call, site: str, context: Context) -> dict[str, Any]:
        sandbox = self._sandbox
        params = validation.read_offer(
            call.body, call.content_type(), form_allowed=sandbox.settings.offers_form
        )
        validation.agree(params, context)
        sandbox.catalogue.check_offer(site, params)
        return offers.answer(site, params, now_s=sandbox.clock.now_s())

    def _lock_timeout(self) -> Refusal:
        form = self._sandbox.settings.retry_after
        return Refusal(
            429,
            "lock_timeout",
            message="a request with this idempotency key is in progress",
            headers=breakage.retry_after(form, _LOCK_WAIT_S, self._sandbox.clock),
        )

    def _refused(self, call: Call, refusal: Refusal) -> Reply:
        call.entry.error = refusal.code
        call.entry.param = refusal.param
        plain = Reply(refusal.status, refusal.body())
        return replace(plain, headers=plain.headers + refusal.headers)

    async def _pause(self, delay_s: float) -> None:
        if not delay_s:
            return
        try:
            async with asyncio.timeout(delay_s):
                await self._sandbox.stopping.wait()
        except TimeoutError:
            return
        raise _StoppingError

    def _log(self, entry: Entry) -> None:
        self._sandbox.journal.add(entry)
        if self._sandbox.access_log:
            fields = ("site", "kind", "method", "status", "error", "fault", "took_ms")
            line = {"event": "sandbox.request", "n": entry.n}
            line.update((name, getattr(entry, name)) for name in fields)
            sys.stderr.write(json.dumps(line) + "\n")


def _sent_status(rule: Rule | None, reply: Reply) -> int | None:
    """The status line that reached the wire, if one did."""
    if rule is None or rule.fault in ("reset", "garbage"):
        return None
    nothing = rule.parameters.get("at") == "start" or rule.parameters.get("after_bytes") == 0
    return None if nothing else reply.status
