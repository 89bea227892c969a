import { onchainTable } from "ponder";

// A transfer to an address of ours.
export const deposit = onchainTable("deposit", (column) => ({
  id: column.text().primaryKey(),
  blockHash: column.hex().notNull(),
  transaction: column.hex().notNull(),
  logIndex: column.integer().notNull(),
  to: column.hex().notNull(),
  value: column.bigint().notNull(),
}));
