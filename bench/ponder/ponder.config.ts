// One contract's transfers, from the first block. The bench says where the node and the database are.
import { createConfig } from "ponder";
import { parseAbi } from "viem";

const { BENCH_RPC, BENCH_CHAIN_ID, BENCH_TOKEN } = process.env;

// Ponder asks an endpoint 20 times a second at first, and seldom more often with time. Naming the node so many times
// lifts that limit above what node and machine can do, so that the comparison is not one of limits.
const RPC_ENTRIES = 100;

export default createConfig({
  database: { kind: "postgres", connectionString: process.env.DATABASE_URL },
  chains: { bench: { id: Number(BENCH_CHAIN_ID), rpc: Array<string>(RPC_ENTRIES).fill(BENCH_RPC!) } },
  contracts: {
    Token: {
      chain: "bench",
      abi: parseAbi(["event Transfer(address indexed from, address indexed to, uint256 value)"]),
      address: BENCH_TOKEN as `0x${string}`,
      startBlock: 1,
    },
  },
});
