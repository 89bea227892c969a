"""The peer in Python: the package `eventsourcing` with its Postgres recorder, a store of its own.

Fills it with payments through the package's own API, then reads all events back in global order, deserializes them and
folds them into balances and statuses. Prints one line of JSON, as the bench's own workers do.
"""

import json
import os
import resource
import sys
import time
from urllib.parse import unquote, urlparse

READ_AT_ONCE = 1_000
SAVED_AT_ONCE = 100

url = urlparse(os.environ["WOPAY_BENCH_WORK_URL"])
os.environ.update(
    PERSISTENCE_MODULE="eventsourcing.postgres",
    POSTGRES_HOST=url.hostname or "127.0.0.1",
    POSTGRES_PORT=str(url.port or 5432),
    POSTGRES_USER=unquote(url.username or ""),
    POSTGRES_PASSWORD=unquote(url.password or ""),
    POSTGRES_DBNAME=url.path.lstrip("/"),
)

from eventsourcing.application import Application  # noqa: E402
from eventsourcing.domain import Aggregate, event  # noqa: E402


class Payment(Aggregate):
    """A payment as ours, its amounts as text."""

    @event("Created")
    def __init__(self, merchant_id, order_id, amount, asset, chain, address, callback_url, expires_at):
        self.merchant_id = merchant_id
        self.asset = asset
        self.status = "pending"

    @event("DepositDetected")
    def detect(self, deposit, revision, amount, sender, block, disposition, merchant_id):
        pass

    @event("Confirming")
    def confirming(self, status, amount_received, amount_confirmed, transaction_hash, confirmations):
        self.status = status

    @event("DepositConfirmed")
    def confirm(self, deposit, revision, merchant_id, amount, block, disposition, confirmations):
        pass

    @event("Completed")
    def complete(self, status, amount_received, amount_confirmed, transaction_hash, confirmations):
        self.status = status


def paid(number):
    """A payment with its five events."""
    merchant, asset = f"merchant-{number % 200}", f"bsc/0x{number % 9:040x}"
    transaction = f"0x{number:064x}"
    deposit = f"bsc:{transaction}:log:0"
    block = {"number": number, "hash": transaction, "time": "2026-01-01T00:00:00Z"}
    payment = Payment(
        merchant, f"order-{number:010}", "100500000", asset, "bsc", f"0x{number:040x}",
        "https://shop.example/webhooks/wopay", "2026-01-01T01:00:00Z",
    )
    payment.detect(deposit, number, "100500000", f"0x{number:040x}", block, "credit", merchant)
    payment.confirming("confirming", "100500000", "0", transaction, 1)
    payment.confirm(deposit, number, merchant, "100500000", block, "credit", 12)
    payment.complete("completed", "100500000", "100500000", transaction, 12)
    return payment


def fill(app, events):
    payments = []
    for number in range(max(1, events // 5)):
        payments.append(paid(number))
        if len(payments) >= SAVED_AT_ONCE:
            app.save(*payments)
            payments.clear()
    if payments:
        app.save(*payments)


def replay(app):
    balances, statuses, count, last = {}, {}, 0, 0
    while True:
        notifications = app.recorder.select_notifications(start=last + 1, limit=READ_AT_ONCE)
        if not notifications:
            return count, len(statuses), len(balances)
        for notification in notifications:
            happened = app.mapper.to_domain_event(notification)
            kind = type(happened).__name__
            if kind == "Created":
                statuses[happened.originator_id] = "pending"
            elif kind == "DepositConfirmed":
                minor = int(happened.amount)
                for account in ("custody:bsc", f"merchant:{happened.merchant_id}:payable"):
                    balances[account] = balances.get(account, 0) + minor
            elif kind in ("Confirming", "Completed"):
                statuses[happened.originator_id] = happened.status
            count += 1
            last = notification.id


def main():
    app = Application(env={"AGGREGATE_CACHE_MAXSIZE": ""})
    fill(app, int(sys.argv[1]))
    began, cpu = time.perf_counter(), time.process_time()
    events, payments, balances = replay(app)
    print(json.dumps({
        "events": events,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
        "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "note": f"{payments} payments, {balances} balances",
    }))


main()
