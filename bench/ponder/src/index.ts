// The least that an indexer can do with a transfer: drop it, unless it is to one of our addresses.
import { readFileSync } from "node:fs";
import { ponder } from "ponder:registry";
import { deposit } from "ponder:schema";

const ours = new Set<string>(JSON.parse(readFileSync(process.env.BENCH_ADDRESSES!, "utf8")));

ponder.on("Token:Transfer", async ({ event, context }) => {
  if (!ours.has(event.args.to.toLowerCase())) return;
  await context.db.insert(deposit).values({
    id: event.id,
    blockHash: event.block.hash,
    transaction: event.transaction.hash,
    logIndex: event.log.logIndex,
    to: event.args.to,
    value: event.args.value,
  });
});
