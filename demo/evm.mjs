// A local EVM chain (anvil) with a test USDT on it, and payers who spend from its unlocked accounts.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

import { minorUnits } from './amounts.mjs';
import { freePort } from './net.mjs';
import { until } from './print.mjs';
import { start, stop } from './processes.mjs';

/// Confirmations that payments on these chains ask for.
const CONFIRMATIONS = 3;

const repository = new URL('..', import.meta.url).pathname;
const token = JSON.parse(readFileSync(join(repository, 'testkit/contracts/build/TestToken.json'), 'utf8'));

function anvilBinary() {
  const packages = join(repository, 'tools/node_modules/@foundry-rs');
  const packaged = existsSync(packages) ? readdirSync(packages).map((name) => join(packages, name, 'bin/anvil')) : [];
  const onPath = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'anvil'));
  const found = [...packaged, ...onPath].find(existsSync);
  if (!found) throw new Error('no anvil: run `make tools`, or install Foundry');
  return found;
}

const word = (value) => BigInt(value).toString(16).padStart(64, '0');

/// ABI encoding of the constructor's (string symbol, uint8 decimals).
function constructorArguments(symbol, decimals) {
  const text = Buffer.from(symbol).toString('hex').padEnd(64, '0');
  return word(64) + word(decimals) + word(symbol.length) + text;
}

export class EvmChain {
  static async start({ name, chainId, decimals, blockSeconds, native }) {
    const port = await freePort();
    const args = ['--port', port, '--chain-id', chainId, '--block-time', blockSeconds, '--silent', '--accounts', 3];
    const child = start(anvilBinary(), args, { stdio: 'ignore' });
    const chain = new EvmChain({ name, chainId, decimals, native, url: `http://127.0.0.1:${port}`, child });
    await until(`${name}'s node to answer`, () => {
      if (child.hasEnded) throw new Error(child.hasEnded);
      return chain.rpc('eth_chainId').catch(() => undefined);
    });
    [chain.deployer, chain.payer] = await chain.rpc('eth_accounts');
    await chain.#deployToken();
    return chain;
  }

  nonces = new Map();

  constructor(fields) {
    Object.assign(this, fields);
  }

  async #deployToken() {
    const data = token.bytecode + constructorArguments('USDT', this.decimals);
    const receipt = await this.#mined({ from: this.deployer, data, gas: '0x2dc6c0' });
    this.token = receipt.contractAddress;
    const mint = `0x${token.selectors['mint(address,uint256)']}${word(this.payer)}${word(10n ** 30n)}`;
    await this.#mined({ from: this.deployer, to: this.token, data: mint });
  }

  async rpc(method, ...params) {
    const response = await fetch(this.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
    });
    const { result, error } = await response.json();
    if (error) throw new Error(`${this.name}: ${method}: ${error.message}`);
    return result;
  }

  /// The next nonce of an account: counted here, since many payments are sent at once.
  #nonce(account) {
    const nonce = this.nonces.get(account) ?? 0;
    this.nonces.set(account, nonce + 1);
    return `0x${nonce.toString(16)}`;
  }

  async #mined(transaction) {
    const hash = await this.rpc('eth_sendTransaction', { ...transaction, nonce: this.#nonce(transaction.from) });
    const receipt = await until(`transaction ${hash}`, async () => (await this.rpc('eth_getTransactionReceipt', hash)) ?? undefined);
    if (receipt.status !== '0x1') throw new Error(`${this.name}: transaction ${hash} failed`);
    return receipt;
  }

  /// The chain's table in wopay's configuration.
  table() {
    return `
[chains.${this.name}]
kind = "evm"
chain_id = ${this.chainId}
rpc = ["${this.url}"]
finality = { mode = "depth", confirmations = ${CONFIRMATIONS} }
native = { symbol = "${this.native}", decimals = 18 }
poll_interval_ms = 100
[[chains.${this.name}.tokens]]
symbol = "USDT"
contract = "${this.token}"
decimals = ${this.decimals}
`;
  }

  /// Pays a part of a payment; answers with the transaction and its block, once it is in one.
  async pay({ payment, amount }) {
    const { payment_address: to, currency } = payment;
    const minor = minorUnits(amount, this.#decimalsOf(currency));
    const receipt = await this.#mined(currency === this.native
      ? { from: this.payer, to, value: `0x${minor.toString(16)}` }
      : { from: this.payer, to: this.token, data: `0x${token.selectors['transfer(address,uint256)']}${word(to)}${word(minor)}` });
    return { transaction: receipt.transactionHash, block: Number(receipt.blockNumber) };
  }

  /// Resolves with the wall-clock time (ms) at which what is in this block was first deep enough.
  settledAt(block) {
    const height = block + CONFIRMATIONS - 1;
    return until(`${this.name}'s block ${height}`, async () => {
      const head = Number(await this.rpc('eth_blockNumber'));
      return head >= height ? Date.now() : undefined;
    }, { everyMs: 10 });
  }

  /// Resolves once the newest block is later than this time (RFC 3339).
  passes(time) {
    return until(`${this.name} to pass ${time}`, async () => {
      const block = await this.rpc('eth_getBlockByNumber', 'latest', false);
      return Number(block.timestamp) * 1000 > Date.parse(time) ? true : undefined;
    }, { everyMs: 50 });
  }

  #decimalsOf(currency) {
    return currency === this.native ? 18 : this.decimals;
  }

  stop() {
    return stop(this.child);
  }
}
